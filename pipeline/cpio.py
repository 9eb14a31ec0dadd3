"""An initramfs as bytes: entries in, one reproducible cpio archive out.

The format is "newc" as the kernel unpacks it (Documentation/driver-api/early-userspace/buffer-format.rst,
init/initramfs.c).  Device nodes are plain records in it, so no root is needed to pack them.  The same
entries give the same bytes: sorted, owned by root, dated to the epoch, inodes counted from 1.
"""

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from pipeline.errors import UserError

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
BLOCK = 512
"""The archive's size is a multiple of this, as GNU cpio writes it."""
FILE_MOST = 0xFFFFFFFF
"""A size is eight hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder, link or device; `path` is relative to the root, without ``.`` and ``..``.

    `mode` holds the type too, as in `stat`; `data` is a file's content or a link's target; `rdev` the
    major and minor number of a device.
    """

    path: str
    mode: int
    data: bytes = b""
    rdev: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        """Refuse a path that would leave the archive's root, or that the kernel would not find again."""
        parts = self.path.split("/")
        if any(part in {"", ".", ".."} for part in parts) or "\0" in self.path or self.path == TRAILER:
            raise UserError(f"{self.path!r} is no path for an initramfs", todo="name it from the root, as in bin/sh")
        if len(self.data) > FILE_MOST:
            raise UserError("over 4 GiB, which a cpio archive cannot hold", where=self.path)

    @classmethod
    def folder(cls, path: str, mode: int = 0o755) -> Self:
        """Return a folder."""
        return cls(path, stat.S_IFDIR | mode)

    @classmethod
    def file(cls, path: str, data: bytes, *, executable: bool = False) -> Self:
        """Return a regular file."""
        return cls(path, stat.S_IFREG | (0o755 if executable else 0o644), data)

    @classmethod
    def link(cls, path: str, target: str) -> Self:
        """Return a symbolic link."""
        return cls(path, stat.S_IFLNK | 0o777, target.encode())

    @classmethod
    def device(cls, path: str, major: int, minor: int, mode: int = 0o600) -> Self:
        """Return a character device."""
        return cls(path, stat.S_IFCHR | mode, rdev=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """Return the archive of `entries`; folders that they stand in are added where they are not given.

    Raises UserError when a path stands twice, or when something stands below what is no folder.
    """
    table: dict[str, Entry] = {}
    for entry in entries:
        if entry.path in table:
            raise UserError("stands twice in the initramfs", where=entry.path)
        table[entry.path] = entry
    for path in tuple(table):
        parts = path.split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            if not stat.S_ISDIR(table.setdefault(above, Entry.folder(above)).mode):
                raise UserError(f"{above} is no folder, so nothing can stand below it", where=path)
    # Sorted by parts, a folder comes before what stands in it: the kernel makes no folders by itself.
    ordered = sorted(table.values(), key=lambda entry: entry.path.split("/"))
    records = [_record(number, entry) for number, entry in enumerate(ordered, 1)]
    records.append(_header(TRAILER, 0, 0, 1, 0, (0, 0)))
    packed = b"".join(records)
    return packed + bytes(-len(packed) % BLOCK)


def _record(number: int, entry: Entry) -> bytes:
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    return _header(entry.path, number, entry.mode, links, len(entry.data), entry.rdev) + _padded(entry.data)


def _header(path: str, number: int, mode: int, links: int, size: int, rdev: tuple[int, int]) -> bytes:
    """Return a header and its name: thirteen fields of eight hexadecimal digits, padded to four bytes."""
    name = path.encode() + b"\0"
    owner = group = mtime = device_major = device_minor = check = 0
    fields = (
        number, mode, owner, group, links, mtime, size,
        device_major, device_minor, rdev[0], rdev[1], len(name), check,
    )  # fmt: skip
    return _padded(MAGIC + b"".join(b"%08X" % field for field in fields) + name)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
