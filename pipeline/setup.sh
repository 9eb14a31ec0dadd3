#!/bin/sh
# Make this machine ready for kpv: Debian packages (as root), then the virtual environment.
# What is there already is left alone; a second run takes a fraction of a second.
#   pipeline/setup.sh [VENV]
set -eu
cd "$(dirname "$0")/.."
venv=${1:-.venv}

present() {
	case $1 in
	/*) [ -e "$1" ] ;;
	py:*) python3 -c "import ${1#py:}" 2>/dev/null ;;
	*) command -v "$1" >/dev/null 2>&1 ;;
	esac
}

missing=
while read -r package sign _; do
	case $package in '' | '#'*) continue ;; esac
	present "$sign" || missing="$missing $package"
done <pipeline/packages.txt

if [ -n "$missing" ]; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
		echo "setup: missing packages:$missing" >&2
		echo "setup: install them with: sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing" >&2
		exit 2
	fi
	echo "setup: installing$missing"
	log=$(mktemp)
	# shellcheck disable=SC2086  # a list of package names
	if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		echo "setup: apt-get failed; its whole output is in $log" >&2
		exit 3
	fi
	rm -f "$log"
fi

want=$(cat pyproject.toml .ci/constraints.txt | sha256sum)
if [ "$(cat "$venv/.ready" 2>/dev/null)" != "$want" ]; then
	echo "setup: Python packages into $venv"
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet --disable-pip-version-check \
		--constraint .ci/constraints.txt --editable '.[dev]' --config-settings editable_mode=compat
	echo "$want" >"$venv/.ready"
fi
