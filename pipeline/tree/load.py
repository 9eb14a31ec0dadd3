"""A series from where the user keeps it: an mbox, a folder of patches, a quilt series, a range of commits."""

import re
import tempfile
from pathlib import Path

from pipeline import series
from pipeline.errors import UserError, nearest
from pipeline.tree import git, source

LARGEST = 64_000_000
"""Bytes of a patch file beyond which it is taken for something else."""

FORMS = "give an mbox, a folder of *.patch files, or a quilt series file"


def load_series(path: Path) -> series.Series:
    """Read the series at `path`: an mbox, a folder (its ``series`` file, else *.patch by name), a quilt series.

    Raises UserError for whatever is no sound series.
    """
    path = path.expanduser()
    if not path.exists():
        beside = sorted(p.name for p in path.parent.iterdir())[:30] if path.parent.is_dir() else []
        raise UserError("no such series", where=str(path), todo=nearest(path.name, beside) if beside else FORMS)
    listed = path / "series" if path.is_dir() and (path / "series").is_file() else path
    if (listed.name == "series" or listed.suffix == ".series") and not listed.is_dir():
        return _quilt(listed, listed.absolute().parent.name)
    if not path.is_dir():
        found = series.parse_mbox(_read(path), str(path))
        return series.Series(path.name, found.patches)
    files = sorted(path.glob("*.patch"))
    if not files:
        raise UserError("no *.patch file in this folder", where=str(path), todo=FORMS)
    return series.parse_patches(path.absolute().name, [(str(file), _read(file)) for file in files])


def _quilt(listed: Path, name: str) -> series.Series:
    text = _read(listed).decode("utf-8", "surrogateescape")
    names = series.parse_quilt(text, str(listed))
    for number, line in enumerate(names, 1):
        if not (listed.parent / line).is_file():
            there = [p.name for p in sorted(listed.parent.iterdir()) if p.is_file() and p != listed][:30]
            message = f"patch {number}/{len(names)} {line} is not there"
            raise UserError(message, where=str(listed), todo=nearest(line, there))
    return series.parse_patches(name, [(str(listed.parent / line), _read(listed.parent / line)) for line in names])


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise UserError("no regular file", where=str(path), todo=FORMS)
        size = path.stat().st_size
        if size > LARGEST:
            message = f"{size / 1e6:.0f} MB is no patch series"
            raise UserError(message, where=str(path), todo=FORMS)
        return path.read_bytes()
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise UserError(message, where=str(path), todo="see who may read it") from error


def series_from_range(repo: Path, span: str) -> series.Series:
    """Return the commits ``A..B`` of a user's git tree as a series; the tree is only read.

    Raises UserError for an unknown revision, an empty range, a merge in it.
    """
    path = repo.expanduser()
    where = f"--range {span}"
    ends = re.fullmatch(r"(.+?)\.\.(.*)", span)
    if not ends or "..." in span:
        raise UserError("no range of commits", where=where, todo="write it as A..B")
    if not path.is_dir() or not source.is_git(path):
        message = f"{repo} is no git tree"
        raise UserError(message, where=where, todo="point --kernel at a git tree")
    user = source.user_repo(path.resolve())
    first, last = source.resolve(user, ends[1]), source.resolve(user, ends[2] or "HEAD")
    # In a repository of our own, so that the user's settings for mails (format.*, diff.*) do not apply.
    with tempfile.TemporaryDirectory(prefix="kpv-range-") as scratch:
        ours = Path(scratch) / "repo"
        source.borrow(ours, user)
        merges = git.run(ours, "rev-list", "--merges", "--max-count=1", f"{first}..{last}").decode().strip()
        if merges:
            message = f"the range holds a merge, {merges[:12]}"
            raise UserError(message, where=where, todo="rebase it, so that it is one line of commits")
        mbox = git.run(ours, "format-patch", "--stdout", "--full-index", "--no-base", f"{first}..{last}")
    if not mbox:
        raise UserError("no commit in this range", where=where, todo="write the older end first: A..B")
    return series.parse_mbox(mbox, span)
