"""What this machine has and what a run would use: every row was looked at, none is assumed."""

import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import proc, store
from pipeline.errors import InfraError, UserError
from pipeline.machine import Accel
from pipeline.vm import probe

PACKAGES = Path(__file__).with_name("packages.txt")
DISK_NEEDED = 12e9
"""Bytes for a first run: source and work tree, one build with debug info, two kept kernels."""
MEMORY_NEEDED = 3e9
"""Bytes for a guest, its QEMU and a compiler or two."""
VERSIONED = {
    "git": "--version",
    "make": "--version",
    "gcc": "--version",
    "ccache": "--version",
    "qemu-system-x86_64": "--version",
    "flex": "--version",
    "bison": "--version",
    "addr2line": "--version",
    "setpriv": "--version",
}
"""Commands whose version a bug report wants, and how to ask for it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what, what was found, whether it is as it should be, whether a run needs that."""

    what: str
    found: str
    good: bool
    todo: str = ""
    needed: bool = True


def present(sign: str) -> bool:
    """Say whether the sign of packages.txt (a command, a file, py:MODULE) is there."""
    if sign.startswith("/"):
        return Path(sign).exists()
    if sign.startswith("py:"):
        return importlib.util.find_spec(sign[3:]) is not None
    return shutil.which(sign) is not None


def packages() -> tuple[tuple[str, str, str], ...]:
    """Return the rows of packages.txt: package, sign, purpose."""
    lines = [x for x in PACKAGES.read_text().splitlines() if x.strip() and not x.startswith("#")]
    rows = [x.split(maxsplit=2) for x in lines]
    return tuple((package, sign, purpose) for package, sign, purpose in rows)


OPTIONAL = frozenset({"busybox-static", "linux-source-6.12", "python3-venv"})
"""Not every run needs these; what does says so itself."""


def require() -> None:
    """Raise UserError, with the command that mends it, unless all that every run needs is there."""
    gone = [package for package, sign, _ in packages() if package not in OPTIONAL and not present(sign)]
    if gone:
        what = f"{gone[0]} is" if len(gone) == 1 else f"{', '.join(gone)} are"
        raise UserError(f"{what} not installed", todo=f"run: {command(gone)}")


def command(missing: Sequence[str]) -> str:
    """Return the one command that installs packages."""
    names = " ".join(missing)
    return f"sudo apt-get update && sudo apt-get install -y --no-install-recommends {names}"


def version(program: str) -> str:
    """Return the version number a program prints of itself, or what it printed instead."""
    try:
        text = proc.run((program, VERSIONED[program]), seconds=20).text
    except InfraError as error:
        return error.what
    match = re.search(r"\d+\.\d+[\w.+~-]*", text)
    return match.group(0) if match else text.strip().split("\n")[0]


def tools() -> list[Row]:
    """Look at every package."""
    rows = []
    for package, sign, purpose in packages():
        if present(sign):
            rows.append(Row(package, version(sign) if sign in VERSIONED else "there", good=True))
        else:
            rows.append(Row(package, f"missing ({purpose})", good=False, todo=f"apt-get install {package}"))
    return rows


def room(cache: Path, out: Path) -> list[Row]:
    """Look at disk and memory."""
    rows = []
    for what, folder in (("disk for the cache", cache), ("disk for results", out)):
        where = folder
        while not where.exists():
            where = where.parent
        free = shutil.disk_usage(where).free
        needed = DISK_NEEDED if folder is cache else 1e8
        writable = os.access(where, os.W_OK)
        found = f"{free / 1e9:.1f} GB free at {folder}" + ("" if writable else ", not writable")
        rows.append(Row(what, found, good=free >= needed and writable, todo=f"needs {needed / 1e9:.1f} GB"))
    match = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
    memory = int(match.group(1)) * 1024 if match else 0
    rows.append(Row("memory", f"{memory / 1e9:.1f} GB available", memory >= MEMORY_NEEDED, todo="needs 3 GB"))
    cores = len(os.sched_getaffinity(0))
    rows.append(Row("cores", str(cores), cores >= 1))
    return rows


def newest_kernel(cache: store.Store) -> Path | None:
    """Return a kernel that KVM can be tried with: one kpv built, or the one this machine runs."""
    kept = (*(cache.root / "kernels").glob("*/bzImage"), *Path("/boot").glob("vmlinuz-*"))
    usable = [x for x in kept if os.access(x, os.R_OK)]
    return max(usable, key=lambda x: x.stat().st_mtime, default=None)


def acceleration(cache: store.Store) -> list[Row]:
    """Boot a guest under KVM and say what came of it."""
    kernel = newest_kernel(cache)
    with tempfile.TemporaryDirectory(prefix="kpv-probe-") as folder:
        try:
            found = probe.probe(kernel, Path(folder))
        except InfraError as error:
            return [Row("accelerator", error.what, good=False)]
    kvm = found.accel is Accel.KVM
    return [
        Row("KVM", found.why, good=kvm, needed=False),
        Row("accelerator", "kvm" if kvm else "tcg,thread=multi (slower, same kernel)", good=True),
    ]


def examine(cache: store.Store, out: Path) -> tuple[Row, ...]:
    """Return the whole table."""
    return (*tools(), *room(cache.root, out), *acceleration(cache))
