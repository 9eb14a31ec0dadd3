"""Which swap entries are charged to a memcg: the kernel's record of ids held against its map of entries.

A charge of swap holds the memcg's id, and the id holds the memcg (mm/memcontrol.c, __mem_cgroup_try_charge_swap).
The record (mm/swap_cgroup.c) has the id of each entry, and is cleared when that entry is uncharged.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from pipeline.memory.kernel import Kernel
from pipeline.memory.pages import page_address
from pipeline.memory.paging import PAGE

WIDTH = 2
"""Bytes of an id (struct swap_cgroup)."""


@dataclass(frozen=True, slots=True)
class Entries:
    """How many entries each id has: in use, and free although nobody uncharged them."""

    used: Counter[int] = field(default_factory=Counter)
    free: Counter[int] = field(default_factory=Counter)


def entries(kernel: Kernel, ids: Collection[int]) -> Entries:
    """Return the swap entries that are recorded for any of `ids`."""
    found = Entries()
    if not ids or not kernel.has("swap_cgroup_ctrl"):
        return found
    devices = kernel.array("swap_info", "struct swap_info_struct *")
    size = kernel.own_size("struct swap_cgroup_ctrl")
    for number, device in enumerate(devices):
        if not device or not device.swap_map:
            continue
        most = int(device.max)
        uses = kernel.bytes(int(device.swap_map), most)
        for at, ident in enumerate(_record(kernel, kernel.address("swap_cgroup_ctrl") + number * size, most)):
            if ident in ids and at < most:
                (found.used if uses[at] else found.free)[ident] += 1
    return found


def _record(kernel: Kernel, record: int, entries: int) -> Sequence[int]:
    """Return the id of each entry of one device.

    Since 6.13 they are one array; before that, a page of them at a time.
    """
    start = kernel.word(record + kernel.own("struct swap_cgroup_ctrl", "map"))
    if not start:
        return ()
    try:
        length = kernel.word(record + kernel.own("struct swap_cgroup_ctrl", "length"))
    except LookupError:
        return memoryview(kernel.bytes(start, WIDTH * entries)).cast("H")
    pages = (page_address(kernel, page) for page in kernel.words(start, length))
    return memoryview(b"".join(kernel.bytes(page, PAGE) for page in pages)).cast("H")
