"""The folder of a run: reproduce.sh runs, hostile names stay text, a mistake leaves nothing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.errors import InfraError, UserError
from pipeline.results import Results, begin
from pipeline.series import Series, parse_mbox

HOSTILE = (
    "$(touch pwned)",
    "`touch pwned`",
    "a b",
    "'",
    '"',
    "; touch pwned #",
    "\\",
    "*",
    "-n",
    "line\nbreak",
    "}",
    "é",
)
"""Arguments that a shell would act on."""

MAIL = b"""From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001
From: Toy <toy@example.org>
Date: Mon, 17 Sep 2001 00:00:00 +0000
Subject: [PATCH] mm: ../../etc/passwd $(touch pwned)

---
diff --git a/mm/x.c b/mm/x.c
--- a/mm/x.c
+++ b/mm/x.c
@@ -1 +1 @@
-a
+b
--
2.39
"""


def files(folder: Path) -> list[str]:
    """Return everything below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_run_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    """Also when three are begun in one second; `latest` points to the last."""
    out = tmp_path / "deep" / "results"
    runs = [begin(out, "my series") for _ in range(3)]
    assert len({run.folder for run in runs}) == 3
    assert all(run.folder.is_dir() and "my-series" in run.folder.name for run in runs)
    assert (out / "latest").resolve() == runs[-1].folder.resolve()
    assert sorted(x.name for x in out.iterdir()) == sorted(["latest", *(run.folder.name for run in runs)])


@pytest.mark.parametrize("name", ["../../etc", "/etc/passwd", "", ".", "..", "-rf", "a\x00b\n", "x" * 500, "日本"])
def test_a_hostile_series_name_stays_inside(tmp_path: Path, name: str) -> None:
    """A name becomes part of one file name, whatever it is."""
    run = begin(tmp_path / "results", name)
    assert run.folder.parent == tmp_path / "results"
    assert run.folder.is_dir()
    assert len(run.folder.name) < 100


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """One line with the folder and what to do, and nothing is left."""
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/results")):
        with pytest.raises(UserError, match=r"results cannot be written here: .*; name another folder with --out"):
            begin(out, "s")
    assert files(tmp_path) == ["file"]


def test_latest_in_the_way(tmp_path: Path) -> None:
    """A folder called latest is somebody's, and stays; ours does not."""
    (tmp_path / "out" / "latest" / "theirs").mkdir(parents=True)
    with pytest.raises(UserError, match="results cannot be written here"):
        begin(tmp_path / "out", "s")
    assert files(tmp_path / "out") == ["latest", "latest/theirs"]


def test_discard_leaves_nothing(tmp_path: Path) -> None:
    """Not even the folders above it that were made for it."""
    run = begin(tmp_path / "a" / "b" / "results", "s")
    run.write("x", "y")
    run.discard()
    assert files(tmp_path) == []


def test_discard_takes_only_what_is_its_own(tmp_path: Path) -> None:
    """An empty folder of the user's stays, and `latest` points where it did."""
    out = tmp_path / "results"
    out.mkdir()
    begin(out, "first").discard()
    assert files(tmp_path) == ["results"]
    kept = begin(out, "kept")
    begin(out, "mistake").discard()
    assert (out / "latest").resolve() == kept.folder
    assert sorted(x.name for x in out.iterdir()) == sorted(["latest", kept.folder.name])
    mistake = begin(out, "mistake")
    later = begin(out, "later")
    mistake.discard()
    assert (out / "latest").resolve() == later.folder


def test_reproduce_runs_what_it_says(tmp_path: Path) -> None:
    """Every argument arrives as it was, from wherever the script is called and to wherever the folder is moved."""
    program = tmp_path / "it's a $program }"
    program.write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
    program.chmod(0o755)
    run = begin(tmp_path / "results", "s")
    run.keep_series(Series("s", parse_mbox(MAIL, "s").patches))
    run.reproducible((str(program),), HOSTILE, "about\nrm -rf $(touch pwned)")
    moved = tmp_path / "moved $(touch pwned) here"
    run.folder.rename(moved)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    env = {name: value for name, value in os.environ.items() if name != "KPV"}
    done = subprocess.run([moved / "reproduce.sh", "--more"], cwd=elsewhere, env=env, capture_output=True, check=False)
    assert done.stderr == b""
    words = done.stdout.decode().split("\0")[:-1]
    assert words == [*HOSTILE, "--series", str(moved / "series"), "--more"]
    assert files(elsewhere) == []
    other = shutil.which("echo")
    done = subprocess.run([moved / "reproduce.sh"], env={**env, "KPV": str(other)}, capture_output=True, check=False)
    assert b"--series" in done.stdout, "another kpv can be named"


def test_the_kept_series_is_the_series(tmp_path: Path) -> None:
    """Byte for byte, under names that sort as they apply and stay in their folder."""
    run = begin(tmp_path / "results", "s")
    series = parse_mbox(MAIL, "s")
    run.keep_series(series)
    (path,) = (run.folder / "series").iterdir()
    assert path.name.startswith("0001-")
    assert path.suffix == ".patch"
    assert path.read_bytes() == series.patches[0].text


def test_files_are_kept_when_they_are_there(tmp_path: Path) -> None:
    """A log that was never written is no reason to stop; a full disk is."""
    run = begin(tmp_path / "results", "s")
    (tmp_path / "log").write_text("said")
    run.keep(tmp_path / "log", "build/log")
    run.keep(tmp_path / "nothing", "build/nothing")
    assert (run.folder / "build" / "log").read_text() == "said"
    assert files(run.folder / "build") == ["log"]
    (run.folder / "full").symlink_to("/dev/full")
    with pytest.raises(InfraError, match=r"cannot be kept: No space left on device"):
        run.keep(tmp_path / "log", "full")


def test_text_that_is_no_unicode_is_written(tmp_path: Path) -> None:
    """A surrogate from a file name must not end a run that is otherwise over."""
    assert Results(tmp_path).write("x", "a\udcffb").read_bytes() == b"a\\udcffb"


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """It is named."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "y").touch()
    with pytest.raises(UserError, match=r"/x: cannot be written: Is a directory"):
        Results(tmp_path).write("x", "text")
