"""The memcgs and objcgs of a kernel: which there are, which of them should be gone, and their reference counts."""

from collections.abc import Iterator
from dataclasses import dataclass

from drgn import Object
from drgn.helpers.linux.xarray import xa_for_each

from pipeline.memory.kernel import Kernel, UnreadableError

CSS_ONLINE = 1 << 1
"""include/linux/cgroup-defs.h."""
ATOMIC, DEAD = 1 << 0, 1 << 1
"""Low bits of percpu_ref.percpu_count_ptr (include/linux/percpu-refcount.h, __PERCPU_REF_ATOMIC and _DEAD)."""
BIASED = 1 << 62
"""A count this large is still being switched from percpu to atomic (lib/percpu-refcount.c, PERCPU_COUNT_BIAS)."""
MOST = 200_000
"""Entries of a list: ids are 16 bits wide, and a list that is longer than this is no list."""


@dataclass(frozen=True, slots=True)
class Memcg:
    """One memcg; `references` to its css, None while they are counted by CPU and so not known."""

    address: int
    object: Object
    path: str
    online: bool
    references: int | None


@dataclass(frozen=True, slots=True)
class Objcg:
    """One obj_cgroup; `orphan` says that its memcg is offline and it lives on objects and whoever else has it."""

    address: int
    orphan: bool
    references: int | None


def memcgs(kernel: Kernel) -> tuple[Memcg, ...]:
    """Return all memcgs that are linked to their parent, which they are until their last reference is put."""
    root = kernel.variable("root_mem_cgroup", "struct mem_cgroup *")
    if not root:
        raise UnreadableError("this kernel has no memcg: memory control is off")
    found: list[Memcg] = []
    waiting = [root]
    while waiting and len(found) < MOST:
        memcg = waiting.pop()
        found.append(_memcg(memcg))
        waiting.extend(kernel.each(memcg.css.children, "struct mem_cgroup", "css.sibling"))
    return tuple(found)


def _memcg(memcg: Object) -> Memcg:
    return Memcg(
        address=int(memcg),
        object=memcg,
        path=_path(memcg.css.cgroup),
        online=bool(int(memcg.css.flags) & CSS_ONLINE),
        references=references(memcg.css.refcnt),
    )


def _path(cgroup: Object) -> str:
    """Return a cgroup's path, as it was when it was still there: kernfs nodes live as long as their cgroup."""
    names: list[str] = []
    node = cgroup.kn
    while node and len(names) < 64:
        # kernfs_node.parent became __parent in 6.15.
        parent = node.member_("__parent" if node.prog_.type("struct kernfs_node").has_member("__parent") else "parent")
        if parent:
            names.append(node.name.string_().decode("utf-8", "replace"))
        node = parent
    return "/" + "/".join(reversed(names))


def references(ref: Object) -> int | None:
    """Return a percpu_ref's count; None when it is (or was a moment ago) spread over the CPUs."""
    if not int(ref.percpu_count_ptr) & ATOMIC or not ref.data:
        return None
    count = int(ref.data.count.counter)
    return None if abs(count) >= BIASED else count


def dead(ref: Object) -> bool:
    """Whether a percpu_ref was killed: nobody can take a first reference to it any more."""
    return bool(int(ref.percpu_count_ptr) & DEAD)


def objcgs(kernel: Kernel, groups: tuple[Memcg, ...]) -> tuple[Objcg, ...]:
    """Return all objcgs: each memcg's own, and those of dead children that it inherited."""
    return tuple(_objcgs(kernel, groups))


def _objcgs(kernel: Kernel, groups: tuple[Memcg, ...]) -> Iterator[Objcg]:
    for memcg in groups:
        if memcg.object.objcg:
            yield Objcg(int(memcg.object.objcg), orphan=False, references=None)
        elif memcg.object.css.parent:
            continue  # memcg_reparent_objcgs: its list was spliced to its parent's, and its head left as it was
        for objcg in kernel.each(memcg.object.objcg_list, "struct obj_cgroup", "list"):
            yield Objcg(int(objcg), orphan=dead(objcg.refcnt), references=references(objcg.refcnt))


def ids(kernel: Kernel) -> int:
    """Return how many memcg ids are in use, or reserved for a memcg that is being made."""
    table = kernel.variable("mem_cgroup_ids", "struct xarray")
    # An array that begins with 1 (XA_FLAGS_ALLOC1) keeps 0 busy (lib/xarray.c, xas_expand).
    return sum(index > 0 for index, _ in xa_for_each(table.address_of_(), advanced=True))
