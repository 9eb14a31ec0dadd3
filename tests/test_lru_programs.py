"""The programs of list_lru say what they check, and skip where the kernel lacks what they need."""

import subprocess
from pathlib import Path

import pytest

from pipeline import declare
from pipeline.guest import FLAGS, GUEST_TESTS

PROGRAMS = {
    "lru_reparent": ({"remover", "holder", "pager", "scanner", "auditor"}, "counts_follow_to_the_parent"),
    "lru_mount": ({"mounter", "maker", "failer"}, "rates_measured"),
}


@pytest.fixture(scope="module", params=PROGRAMS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile one of them for this machine, as it is compiled for the guest."""
    name: str = request.param
    output = tmp_path_factory.mktemp("lru") / name
    library = sorted(str(path) for path in (GUEST_TESTS / "lib").glob("*.c"))
    subprocess.run(["gcc", *FLAGS, "-o", str(output), str(GUEST_TESTS / f"{name}.c"), *library], check=True)
    return output


def run(program: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run([str(program), *args], capture_output=True, text=True, timeout=60, check=False)


def test_it_lists_roles_and_checks(program: Path) -> None:
    """Every role is there, and the check that no splat stands for."""
    listed = run(program, "--list").stdout.splitlines()
    roles, check = PROGRAMS[program.name]
    assert {line.removeprefix("role ") for line in listed if line.startswith("role ")} == roles
    assert f"check {check}" in listed
    assert "check windows_reached" in listed


def test_it_has_a_worker_for_each_role() -> None:
    """With fewer workers than roles one side of a window would not be there."""
    path = GUEST_TESTS / "programs.yaml"
    rows = {row.name: row for row in declare.programs(path.read_text(), str(path))}
    for name, (roles, _check) in PROGRAMS.items():
        assert rows[name].threads >= len(roles)


def test_what_it_needs_and_is_not_there_is_named(program: Path) -> None:
    """A kernel without the shrinkers' debugfs skips the program and says why."""
    done = run(program, "--need", "/sys/kernel/debug/no/such/shrinker")
    assert done.returncode == 4
    assert "1..0 # SKIP needs /sys/kernel/debug/no/such/shrinker" in done.stdout


def test_a_wrong_argument_is_refused(program: Path) -> None:
    """One line, and the exit status of bad arguments."""
    done = run(program, "--workers", "none")
    assert done.returncode == 2
    assert "none is no number from 1 to 64" in done.stderr
