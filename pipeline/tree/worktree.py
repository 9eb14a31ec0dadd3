"""A work tree folder of kpv's own, moved from commit to commit with the fewest files written.

The index stands beside the folder, not in it: the kernel's build looks for ``.git`` to name a version
(scripts/setlocalversion), and without one two trees of equal content give equal kernels.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline import proc
from pipeline.errors import InfraError
from pipeline.tree import git
from pipeline.tree.source import Source


def checkout(source: Source, commit: str, folder: Path) -> None:
    """Make `folder` hold exactly `commit`, made if need be; only files that differ are written.

    What was changed or added in the folder is lost, and so is what a killed checkout left.  The caller
    holds the lock of the folder.  Raises InfraError when the disk does not take it.
    """
    index = index_of(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the folder for sources cannot be made: {error.strerror}"
        raise InfraError(message, where=str(folder)) from error
    Path(f"{index}.lock").unlink(missing_ok=True)
    if not all(done.ok for done in _move(source, commit, folder, index)):
        # Once more from nothing: an index that another git wrote, or that the disk lost, must not stop us.
        index.unlink(missing_ok=True)
        for done in _move(source, commit, folder, index):
            if not done.ok:
                message = f"the sources cannot be checked out: {done.complaint}"
                raise InfraError(message, where=str(folder), detail=done.stderr.decode("utf-8", "replace"))


def _move(source: Source, commit: str, folder: Path, index: Path) -> Iterator[proc.Done]:
    """Remove what the index does not know, then go from the index to the commit.

    In this order: read-tree looks through a symlink that somebody put in place of a folder, clean takes it away.
    """
    env = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(folder)}
    yield git.ask(source.repo, "-C", str(folder), "clean", "-ffdxq", env=env)
    yield git.ask(source.repo, "-C", str(folder), "read-tree", "--reset", "-u", commit, env=env)


def objects(source: Source, commit: str, paths: Sequence[str]) -> dict[str, str]:
    """Return the git object of each of `paths` in `commit`, without those that it does not have."""
    listed = git.run(source.repo, "ls-tree", "-z", commit, "--", *paths).decode("utf-8", "surrogateescape")
    rows = (row.partition("\t") for row in listed.split("\0") if row)
    return {path: about.split(" ")[2] for about, _tab, path in rows}


def checkout_parts(source: Source, commit: str, paths: Sequence[str], folder: Path) -> None:
    """Write `paths` of `commit`, which it has to have, into `folder`, a new one.  Raises InfraError."""
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InfraError(f"the folder for sources cannot be made: {error.strerror}", where=str(folder)) from error
    env = {"GIT_INDEX_FILE": str(index_of(folder)), "GIT_WORK_TREE": str(folder)}
    git.run(source.repo, "-C", str(folder), "checkout", "-q", commit, "--", *paths, env=env)
    index_of(folder).unlink(missing_ok=True)


def index_of(folder: Path) -> Path:
    """Return where the index of a work tree folder stands; it goes when the folder goes."""
    return folder.with_name(f"{folder.name}.index")
