"""Three leaks planted in different places of a real kernel: the report names what holds on to what."""

import json
import sys
from pathlib import Path

import pytest

from pipeline import catalog, proc
from pipeline.declare import Case
from pipeline.pin import Look
from pipeline.run import run_from_json

pytestmark = pytest.mark.real

LEAKS = tuple(case for case in catalog.cases() if case.name.startswith("leak-"))


def looks(folder: Path, cut: int) -> list[Look]:
    """Return what the host saw around the trials of a cut."""
    runs = sorted(folder.glob(f"boot-{cut}.*/run-*.json"))
    return [look for path in runs for look in run_from_json(path.read_text(), str(path)).looks]


@pytest.mark.parametrize("case", LEAKS, ids=lambda case: case.name)
def test_the_pin_is_named(case: Case, tmp_path: Path) -> None:
    """On the base every reference is somebody's; with the leak, what nobody holds is counted and told."""
    argv = [sys.executable, "-m", "pipeline", "validate", "--series", str(catalog.PATCHES / case.name)]
    argv += ["--kernel", case.kernel, "--out", str(tmp_path)]
    argv += [word for name in case.programs for word in ("--program", name)]

    done = proc.run(argv, cwd=catalog.HOUSE, seconds=3600)

    story = done.stdout.decode() + done.stderr.decode()
    verdict = json.loads((tmp_path / "latest" / "verdict.json").read_text())
    assert case.expect.title in "\n".join(x["title"] for x in verdict["verdict"]["reasons"]), story
    base, patched = looks(tmp_path / "latest", 0), looks(tmp_path / "latest", 1)
    assert len(base) >= 2, story
    assert not any(look.unread for look in (*base, *patched)), story
    assert not any(look.doubtful for look in base), story
    assert any(look.doubtful for look in patched), story
