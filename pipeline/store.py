"""Where things are kept: content keys, atomic writes, per-key locks.

An entry is a folder ``<root>/<kind>/<key>``.  It is made in a folder beside it and renamed when it is
whole, so whoever finds the name finds all of it, and a run that was killed leaves only a ``.new-``
folder that the next one sweeps away.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError

NEW, GONE = ".new-", ".gone-"
"""How a folder is called while its entry is made, and while it is removed."""
KEY_LENGTH = 20
"""Hex digits of a key: 80 bits, far more than any cache has entries."""


def key(*parts: str | bytes) -> str:
    """Name content by what it is; borders between `parts` count, so "a", "b" is not "ab"."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()[:KEY_LENGTH]


def write_atomic(path: Path, data: bytes) -> None:
    """Write `path` so that a reader sees the old content or all of the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), 0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise UserError unless the disk of `folder` has `needed` bytes free, before the work that needs them."""
    where = folder.absolute()
    while not os.access(where, os.F_OK) and where != where.parent:
        where = where.parent
    free = shutil.disk_usage(where).free
    if free < needed:
        message = f"{what} needs {needed / 1e9:.1f} GB on disk, {free / 1e9:.1f} GB are free"
        raise UserError(message, where=str(folder), todo="free some space, or name another disk with KPV_CACHE")


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of entries by kind and key, shared by every kpv of one user."""

    root: Path

    def path(self, kind: str, name: str) -> Path:
        """Return where entry `name` of `kind` stands, or would stand."""
        return self.root / kind / name

    def find(self, kind: str, name: str) -> Path | None:
        """Return the entry's folder if it is there, and note that it was used."""
        path = self.path(kind, name)
        if not path.is_dir():
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return path

    @contextlib.contextmanager
    def lock(self, kind: str, name: str, on_wait: Callable[[], None] | None = None) -> Iterator[int]:
        """Hold the lock of an entry; yield its descriptor.

        A child that is given the descriptor (`pass_fds`) keeps the lock until it has ended too, so a
        build whose kpv was killed cannot be joined by a second one in the same folder.  `on_wait` is
        called once when somebody else holds the lock.
        """
        folder = self.root / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder / f"{kind}-{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            message = f"the cache cannot be written: {error.strerror}"
            raise UserError(message, where=str(self.root), todo="name another folder with KPV_CACHE") from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if on_wait is not None:
                    on_wait()
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def make(self, kind: str, name: str) -> Iterator[Path]:
        """Yield an empty folder that becomes the entry when the block ends well, and nothing when not.

        Hold the entry's lock around it.
        """
        final = self.path(kind, name)
        new = final.with_name(NEW + name)
        shutil.rmtree(new, ignore_errors=True)
        # One block from before the folder is there: an interrupt may come at any line.
        try:
            try:
                new.mkdir(parents=True)
            except OSError as error:
                message = f"the cache cannot be written: {error.strerror}"
                raise UserError(message, where=str(self.root), todo="name another folder with KPV_CACHE") from error
            yield new
            # Renaming onto a folder with something in it fails: an entry is never replaced.
            new.rename(final)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise

    def drop(self, kind: str, name: str) -> None:
        """Remove an entry, if it is there; hold its lock."""
        _remove(self.path(kind, name))

    def trim(self, kind: str, most: int, idle: float = 86400.0) -> int:
        """Remove the entries of `kind` used longest ago beyond the `most` that stay; return how many went.

        An entry used within `idle` seconds is never removed: another kpv may be booting from it.  What a
        killed kpv was making, or removing, goes after the same time.
        """
        now = time.time()
        entries: list[tuple[float, Path]] = []
        for entry in (self.root / kind).glob("*"):
            with contextlib.suppress(OSError):  # gone since
                entries.append((entry.stat().st_mtime, entry))
        whole = sorted((row for row in entries if not row[1].name.startswith(".")), reverse=True)
        strays = [row for row in entries if row[1].name.startswith((NEW, GONE))]
        old = [entry for used, entry in (*whole[most:], *strays) if now - used > idle]
        for entry in old:
            with self.lock(kind, entry.name.removeprefix(NEW).removeprefix(GONE)):
                _remove(entry)
        return sum(not entry.name.startswith(".") for entry in old)


def _remove(entry: Path) -> None:
    """Remove a folder so that whoever looks for its name finds all of it or nothing."""
    gone = entry if entry.name.startswith(".") else entry.with_name(GONE + entry.name)
    with contextlib.suppress(FileNotFoundError):
        if gone != entry:
            shutil.rmtree(gone, ignore_errors=True)
            entry.rename(gone)
        shutil.rmtree(gone)
