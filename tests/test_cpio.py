"""The archive is what cpio and the kernel read, and the same each time."""

import random
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cpio import BLOCK, TRAILER, Entry, archive
from pipeline.errors import UserError

PART = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="/"), min_size=1, max_size=12)
PATHS = st.lists(PART.filter(lambda part: part not in {".", "..", TRAILER}), min_size=1, max_size=3).map("/".join)


def listed(data: bytes) -> list[str]:
    """Return the names that GNU cpio finds."""
    done = subprocess.run(["cpio", "-t", "--quiet"], input=data, capture_output=True, check=True)
    return done.stdout.decode().splitlines()


def test_cpio_reads_it_back(tmp_path: Path) -> None:
    """Content, modes and links come out of GNU cpio as they went in."""
    data = archive(
        [
            Entry.file("bin/hello", b"#!/bin/sh\n", executable=True),
            Entry.file("etc/empty", b""),
            Entry.link("etc/link", "empty"),
            Entry.folder("tmp", 0o1777),
        ]
    )
    subprocess.run(["cpio", "-i", "--quiet"], input=data, cwd=tmp_path, check=True)
    assert (tmp_path / "bin/hello").read_bytes() == b"#!/bin/sh\n"
    assert stat.S_IMODE((tmp_path / "bin/hello").stat().st_mode) == 0o755
    assert (tmp_path / "etc/link").readlink() == Path("empty")
    assert (tmp_path / "etc/empty").stat().st_size == 0
    assert stat.S_IMODE((tmp_path / "tmp").stat().st_mode) == 0o1777


def test_device_nodes_need_no_root() -> None:
    """A console node is a record with its numbers; nothing is made on this machine."""
    data = archive([Entry.device("dev/console", 5, 1)])
    done = subprocess.run(
        ["cpio", "-tv", "--quiet"],
        input=data,
        capture_output=True,
        check=True,
        env={"TZ": "UTC", "PATH": "/usr/bin:/bin"},
    )
    line = next(x for x in done.stdout.decode().splitlines() if x.endswith("dev/console"))
    assert line.startswith("crw-------")
    assert "5,   1" in line
    assert "Jan  1  1970" in line


@given(st.dictionaries(PATHS, st.binary(max_size=64), max_size=8), st.randoms())
def test_order_and_folders_do_not_matter(files: dict[str, bytes], order: random.Random) -> None:
    """The same entries give the same bytes in any order, and every folder comes before its content."""
    entries = [
        Entry.file(path, data)
        for path, data in files.items()
        if not any(other.startswith(f"{path}/") for other in files)
    ]
    data = archive(entries)
    order.shuffle(entries)
    assert archive(entries) == data
    assert len(data) % BLOCK == 0
    names = listed(data)
    assert {entry.path for entry in entries} <= set(names)
    for place, name in enumerate(names):
        if "/" in name:
            assert name.rpartition("/")[0] in names[:place]


@pytest.mark.parametrize("path", ["/etc", "etc/", "../etc", "a/../b", "./a", "", "a//b", "TRAILER!!!", "a\0b"])
def test_odd_paths_are_refused(path: str) -> None:
    """A path that the kernel would not find, or that leads outside, is the user's mistake."""
    with pytest.raises(UserError, match="no path for an initramfs"):
        Entry.file(path, b"")


def test_twice_and_below_a_file_are_refused() -> None:
    """One name means one thing."""
    with pytest.raises(UserError, match="a: stands twice"):
        archive([Entry.file("a", b""), Entry.folder("a")])
    with pytest.raises(UserError, match="a/b: a is no folder"):
        archive([Entry.file("a", b""), Entry.file("a/b", b"")])
