"""Every program that is declared compiles and says of itself what its row says; none of them needs a guest for that."""

import subprocess
from pathlib import Path

import pytest

from pipeline import catalog
from pipeline.declare import Program
from pipeline.guest import FLAGS, GUEST_TESTS

PROGRAMS = [x for x in catalog.load().programs if x.name in {"slab_outlive", "charge_life"}]


@pytest.fixture(scope="module", params=PROGRAMS, ids=lambda program: program.name)
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Program, Path]:
    """Compile one of them for this machine."""
    program: Program = request.param
    output = tmp_path_factory.mktemp("programs") / program.name
    library = sorted(str(path) for path in (GUEST_TESTS / "lib").glob("*.c"))
    subprocess.run(["gcc", *FLAGS, "-o", str(output), str(GUEST_TESTS / program.source), *library], check=True)
    return program, output


def test_what_it_lists(compiled: tuple[Program, Path]) -> None:
    """Its name is the row's, it has two sides at least, and its checks have names of their own."""
    program, path = compiled
    listed = subprocess.run([str(path), "--list"], capture_output=True, text=True, timeout=60, check=True)
    lines = [line.split(maxsplit=1) for line in listed.stdout.splitlines()]
    assert [text for key, text in lines if key == "program"] == [program.name]
    assert len({text for key, text in lines if key == "role"}) >= 2
    checks = [text for key, text in lines if key == "check"]
    assert len(set(checks)) == len(checks)
    assert {"windows_reached", "nothing_left_dying", "counters_back"} <= set(checks)


def test_what_it_needs_is_looked_for_first(compiled: tuple[Program, Path]) -> None:
    """Without it nothing is touched: a skip says what is missing."""
    _program, path = compiled
    skipped = subprocess.run(
        [str(path), "--need", "/proc", "--need", "/none/such"], capture_output=True, text=True, timeout=60, check=False
    )
    assert skipped.returncode == 4
    assert skipped.stdout.splitlines()[-1] == "1..0 # SKIP needs /none/such"
