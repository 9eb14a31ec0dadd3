"""One sound and one broken case on a real kernel in a real QEMU; `make cases` runs them all."""

import json
import re
import sys
from pathlib import Path

import pytest

from pipeline import catalog, proc
from pipeline.declare import Case

pytestmark = pytest.mark.real


SHORT = ("iter-lock", "iter-generation")
"""Each of the others is a kernel to build."""


@pytest.mark.parametrize("case", [x for x in catalog.cases() if x.name in SHORT], ids=lambda case: case.name)
def test_case_comes_to_what_it_must(case: Case, tmp_path: Path) -> None:
    """A case's verdict, title and patch are those its case.yaml names, and the exit status says the same."""
    argv = [sys.executable, "-m", "pipeline", "validate", "--series", str(catalog.PATCHES / case.name)]
    argv += ["--kernel", case.kernel, "--profile", case.profile, "--machine", case.machine]
    argv += [word for name in case.programs for word in ("--program", name)]
    argv += ["--trials", str(case.trials), "--out", str(tmp_path)]
    argv += ["--budget", str(case.budget)] if case.budget else []

    done = proc.run(argv, cwd=catalog.HOUSE, seconds=3600)

    story = done.stdout.decode() + done.stderr.decode()
    verdict = json.loads((tmp_path / "latest" / "verdict.json").read_text())
    assert done.status == (1 if case.expect.fails else 0), story
    assert verdict["outcome"] == ("FAIL" if case.expect.fails else "PASS"), story
    assert (tmp_path / "latest" / "junit.xml").exists()
    assert sorted((tmp_path / "latest").glob("boot-*/console.log")), "the consoles are kept"
    if case.expect.fails:
        told = [x for x in verdict["verdict"]["reasons"] if re.search(case.expect.title, x["title"] or "")]
        assert told, story
        if case.expect.patch:
            assert told[0]["patch_number"] == case.expect.patch, story
        assert told[0]["function"], story
    else:
        assert verdict["verdict"]["worth"], "a PASS says what it is worth"
        assert all(row["trials"] and row["cycles"] for row in verdict["verdict"]["worth"]), story
