"""Who may refer to a memcg or to an objcg besides pages and objects: one row a kind of holder.

A row's function yields (address of the memcg or objcg, what is to be said of it) once for each reference.
Each cites where the kernel takes that reference.  What is not in this table is a reference that nothing known
holds, so a new kind of holder in the kernel needs a row here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from drgn import Object
from drgn.helpers.linux.list import hlist_for_each_entry
from drgn.helpers.linux.xarray import xa_for_each

from pipeline.memory.kernel import Kernel
from pipeline.memory.memcgs import Memcg
from pipeline.pin import Holder

POINTER = ~3
"""Low bits of task_struct.objcg are flags (CURRENT_OBJCG_UPDATE_FLAG, include/linux/sched.h)."""

References = Iterator[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Row:
    """A kind of holder and the function that finds its references."""

    holder: Holder
    find: Callable[[Kernel, tuple[Memcg, ...]], References]


def _stock(kernel: Kernel, _groups: tuple[Memcg, ...]) -> References:
    """mm/memcontrol.c, refill_stock: css_get of the memcg whose charges a CPU keeps for the next time."""
    at = kernel.own("struct memcg_stock_pcp", "cached")
    for stock in kernel.per_cpu("memcg_stock"):
        yield kernel.word(stock + at), ""


def _children(_kernel: Kernel, groups: tuple[Memcg, ...]) -> References:
    """kernel/cgroup/cgroup.c, init_and_link_css: a css holds its parent's until it is freed."""
    for memcg in groups:
        if memcg.object.css.parent:
            yield int(memcg.object.css.parent), ""


def _tasks(kernel: Kernel, _groups: tuple[Memcg, ...]) -> References:
    """kernel/cgroup/cgroup.c, find_css_set: a css_set holds its csses; the last of its tasks frees it."""
    memory = int(kernel.prog.constant("memory_cgrp_id"))
    for bucket in kernel.array("css_set_table", "struct hlist_head"):
        for group in hlist_for_each_entry(kernel.prog.type("struct css_set"), bucket.address_of_(), "hlist"):
            yield int(group.subsys[memory]), f"a css_set of {int(group.nr_tasks)} tasks"


def _writeback(kernel: Kernel, groups: tuple[Memcg, ...]) -> References:
    """mm/backing-dev.c, cgwb_create: wb->memcg_css; inodes that were dirtied from a memcg hold its wb."""
    for memcg in groups:
        if not memcg.object.cgwb_list.next:
            continue  # wb_memcg_offline: closed
        for wb in kernel.each(memcg.object.cgwb_list, "struct bdi_writeback", "memcg_node"):
            yield int(wb.memcg_css), _device(wb)
    for wb in kernel.each(kernel.variable("offline_cgwbs", "struct list_head"), "struct bdi_writeback", "offline_node"):
        yield int(wb.memcg_css), _device(wb)


def _device(wb: Object) -> str:
    return f"of {wb.bdi.dev_name.string_().decode('utf-8', 'replace')}"


def _id(_kernel: Kernel, groups: tuple[Memcg, ...]) -> References:
    """mm/memcontrol.c, mem_cgroup_css_online: an id that is referred to holds the css, once."""
    for memcg in groups:
        if int(memcg.object.id.ref.refs.counter) > 0:
            yield memcg.address, ""


def _zswap_cursor(kernel: Kernel, _groups: tuple[Memcg, ...]) -> References:
    """mm/zswap.c, shrink_worker: the memcg that is shrunk next, as mem_cgroup_iter() returned it."""
    if kernel.has("zswap_next_shrink"):
        yield int(kernel.variable("zswap_next_shrink", "struct mem_cgroup *")), "zswap_next_shrink"


def _listeners(_kernel: Kernel, groups: tuple[Memcg, ...]) -> References:
    """mm/memcontrol-v1.c, memcg_write_event_control: an eventfd of cgroup v1."""
    for memcg in groups:
        if not memcg.object.prog_.type("struct mem_cgroup").has_member("event_list"):
            return
        node = memcg.object.event_list.next
        while int(node) != int(memcg.object.event_list.address_of_()):
            yield memcg.address, "an event of cgroup v1"
            node = node.next


CSS = (
    Row(Holder.STOCK, _stock),
    Row(Holder.CHILDREN, _children),
    Row(Holder.TASKS, _tasks),
    Row(Holder.WRITEBACK, _writeback),
    Row(Holder.SWAP, _id),
    Row(Holder.ITERATOR, _zswap_cursor),
    Row(Holder.TASKS, _listeners),
)
"""References to a memcg's css; struct mem_cgroup begins with it, so that its address is the memcg's."""


def _objcg_stock(kernel: Kernel, _groups: tuple[Memcg, ...]) -> References:
    """mm/memcontrol.c, refill_obj_stock."""
    at = kernel.own("struct memcg_stock_pcp", "cached_objcg")
    for stock in kernel.per_cpu("memcg_stock"):
        yield kernel.word(stock + at), ""


def _objcg_tasks(kernel: Kernel, _groups: tuple[Memcg, ...]) -> References:
    """mm/memcontrol.c, current_objcg_update: every task keeps the objcg that it charges to."""
    first = kernel.variable("init_task", "struct task_struct")
    for leader in kernel.each(first.tasks, "struct task_struct", "tasks"):
        for task in kernel.each(leader.signal.thread_head, "struct task_struct", "thread_node"):
            yield int(task.objcg) & POINTER, task.comm.string_().decode("utf-8", "replace")


def _original(_kernel: Kernel, groups: tuple[Memcg, ...]) -> References:
    """mm/memcontrol.c, memcg_online_kmem: a memcg keeps its first objcg to the end."""
    for memcg in groups:
        yield int(memcg.object.orig_objcg), "their dying memcg"


def _percpu(kernel: Kernel, _groups: tuple[Memcg, ...]) -> References:
    """mm/percpu.c, pcpu_memcg_post_alloc_hook: one reference an allocation, in the chunk's vector."""
    step = kernel.size("struct pcpuobj_ext") // 8
    heads = kernel.variable("pcpu_chunk_lists", "struct list_head *")
    for slot in range(int(kernel.variable("pcpu_nr_slots", "int"))):
        for chunk in kernel.each(heads[slot], "struct pcpu_chunk", "list"):
            if chunk.obj_exts:
                # mm/percpu-internal.h, pcpu_chunk_map_bits: one entry for every four bytes.
                entries = int(chunk.nr_pages) << 12 >> 2
                words = kernel.words(int(chunk.obj_exts), entries * step)
                yield from ((word, "") for word in words[::step] if word)


def _zswap(kernel: Kernel, _groups: tuple[Memcg, ...]) -> References:
    """mm/zswap.c, zswap_store: one reference an entry."""
    if not kernel.has("zswap_trees"):
        return
    at = kernel.own("struct zswap_entry", "objcg")
    numbers = kernel.array("nr_zswap_trees", "unsigned int")
    for trees, count in zip(kernel.array("zswap_trees", "struct xarray *"), numbers, strict=True):
        for number in range(int(count) if trees else 0):
            for _, entry in xa_for_each(trees[number].address_of_()):
                yield kernel.word(int(entry) + at), ""


OBJCG = (
    Row(Holder.STOCK, _objcg_stock),
    Row(Holder.TASKS, _objcg_tasks),
    Row(Holder.CHILDREN, _original),
    Row(Holder.PERCPU, _percpu),
    Row(Holder.ZSWAP, _zswap),
)
"""References to an objcg; those of slab objects and kernel pages are found with the pages."""
