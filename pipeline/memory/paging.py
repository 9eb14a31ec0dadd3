"""From the kernel's addresses to physical ones, by its own page tables.

Formats: arch/x86/include/asm/pgtable_64_types.h; Intel SDM volume 3, 4.5 (4-level and 5-level paging).
"""

import struct
from collections.abc import Iterator
from typing import Protocol

PAGE = 1 << 12
PRESENT, HUGE = 1 << 0, 1 << 7
FRAME = 0x000F_FFFF_FFFF_F000
KERNEL_TEXT = 0xFFFF_FFFF_8000_0000
"""__START_KERNEL_map: the kernel's image lies at this plus its physical address, when it was loaded where it was
linked for (no KASLR)."""


class Memory(Protocol):
    """Physical memory."""

    def read(self, address: int, size: int) -> bytes:
        """Return `size` bytes."""


class UnmappedError(Exception):
    """A kernel address that no page table maps."""


class Tables:
    """Page tables from their root, each looked up once."""

    def __init__(self, memory: Memory, root: int, levels: int) -> None:
        """Take the physical address of the root table and whether there are 4 or 5 `levels`."""
        self._memory = memory
        self._root = root
        self._levels = levels
        self._tables: dict[int, tuple[int, ...]] = {}
        self._found: dict[int, int] = {}

    def forget(self) -> None:
        """Forget what was looked up: the guest has run since."""
        self._tables.clear()
        self._found.clear()

    def _entries(self, table: int) -> tuple[int, ...]:
        entries = self._tables.get(table)
        if entries is None:
            entries = self._tables[table] = struct.unpack("<512Q", self._memory.read(table, PAGE))
        return entries

    def physical(self, address: int) -> int:
        """Return the physical address.  Raises UnmappedError."""
        page = address >> 12
        frame = self._found.get(page)
        if frame is None:
            frame = self._found[page] = self._walk(address & -PAGE)
        return frame | address & (PAGE - 1)

    def _walk(self, address: int) -> int:
        table = self._root
        for level in reversed(range(self._levels)):
            shift = 12 + 9 * level
            entry = self._entries(table)[address >> shift & 511]
            if not entry & PRESENT:
                raise UnmappedError(f"{address:#x} is not mapped")
            if level == 0 or (level < 3 and entry & HUGE):
                span = (1 << shift) - 1
                return entry & FRAME & ~span | address & span
            table = entry & FRAME
        raise AssertionError(self._levels)

    def read(self, address: int, size: int) -> bytes:
        """Return `size` bytes at a kernel address.  Raises UnmappedError, MissingError."""
        return b"".join(self._memory.read(at, length) for at, length in self._pieces(address, size))

    def _pieces(self, address: int, size: int) -> Iterator[tuple[int, int]]:
        """Yield the physical ranges of a virtual one, those that lie one after another as one."""
        start = end = -1
        while size > 0:
            length = min(size, PAGE - address % PAGE)
            at = self.physical(address)
            if at != end:
                if end > start:
                    yield start, end - start
                start = at
            end = at + length
            address += length
            size -= length
        if end > start:
            yield start, end - start
