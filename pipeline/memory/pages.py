"""Every page of the guest in one pass: whose it is.

A drgn object a page would take minutes.  The array of struct page is read as bytes instead, and of each only the
word `memcg_data` is looked at (include/linux/memcontrol.h, enum page_memcg_data_flags): a memcg, or with a flag
in its low bits the vector of a slab's objcgs, or a kernel page's objcg.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from drgn import FaultError, Object
from drgn.helpers.linux.fs import inode_path

from pipeline.memory.kernel import Kernel
from pipeline.memory.paging import PAGE
from pipeline.pin import Holder

OBJEXTS, KMEM = 1 << 0, 1 << 1
FLAGS = 3
SECTION = 1 << 15
"""Pages of a section (arch/x86/include/asm/sparsemem.h, SECTION_SIZE_BITS 27): its struct pages are there or not."""
VMEMMAP = 0xFFFF_EA00_0000_0000
"""__VMEMMAP_BASE_L4, where the kernel has no vmemmap_base."""
PAGE_OFFSET = 0xFFFF_8880_0000_0000
"""__PAGE_OFFSET_BASE_L4, where it has no page_offset_base."""
ANON = 3
"""Low bits of page.mapping: an anon_vma (1), or one of the other things that are no file (2, 3)."""
SHMEM = "tmpfs"
MOST_OBJECTS = 4096
"""Objects of a slab: more than any has, so that a word that is no vector is not followed far."""


@dataclass(slots=True)
class Charged:
    """What was found: by the address of a memcg or an objcg, and then by what it is."""

    folios: dict[int, Counter[tuple[Holder, str]]] = field(default_factory=dict)
    objcgs: dict[int, Counter[tuple[Holder, str]]] = field(default_factory=dict)


def charged(kernel: Kernel, memcgs: Collection[int], objcgs: Collection[int]) -> Charged:
    """Return which pages and objects are charged to any of `memcgs` and `objcgs` (addresses)."""
    found = Charged()
    names = _Names(kernel)
    caches = _Caches(kernel) if objcgs else None
    for page, data in _pages(kernel):
        what = data & ~FLAGS
        if data & FLAGS == 0:
            if what in memcgs:
                _add(found.folios, what, names.of(page))
        elif data & FLAGS == KMEM:
            if what in objcgs:
                _add(found.objcgs, what, (Holder.KERNEL_PAGES, ""))
        elif data & FLAGS == OBJEXTS and caches is not None:
            for objcg, name in caches.objcgs(page, what, objcgs):
                _add(found.objcgs, objcg, (Holder.SLAB, name))
    return found


def _add(to: dict[int, Counter[tuple[Holder, str]]], target: int, what: tuple[Holder, str]) -> None:
    to.setdefault(target, Counter())[what] += 1


def vmemmap(kernel: Kernel) -> int:
    """Return the address of page 0's struct page."""
    return int(kernel.variable("vmemmap_base", "unsigned long")) if kernel.has("vmemmap_base") else VMEMMAP


def _pages(kernel: Kernel) -> Iterator[tuple[int, int]]:
    """Yield address and memcg_data of every page that has any."""
    size, at = kernel.size("struct page"), kernel.offset("struct page", "memcg_data")
    base = vmemmap(kernel)
    for first, end in _spans(kernel):
        for section in range(first // SECTION, (end - 1) // SECTION + 1):
            low, high = max(first, section * SECTION), min(end, (section + 1) * SECTION)
            start = base + low * size
            try:
                block = kernel.bytes(start, (high - low) * size)
            except FaultError:
                continue  # a hole: no memory, no struct pages
            column = memoryview(block).cast("Q")[at // 8 :: size // 8].tolist()
            yield from ((start + i * size, data) for i, data in enumerate(column) if data)


def _spans(kernel: Kernel) -> Iterator[tuple[int, int]]:
    nodes = kernel.array("node_data", "struct pglist_data *")
    for node in range(len(nodes)):
        if nodes[node]:
            first = int(nodes[node].node_start_pfn)
            yield first, first + int(nodes[node].node_spanned_pages)


class _Names:
    """What a folio is, by its mapping; each mapping is looked up once."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._at = kernel.offset("struct page", "mapping")
        self._known: dict[int, tuple[Holder, str]] = {}

    def of(self, page: int) -> tuple[Holder, str]:
        mapping = self._kernel.word(page + self._at)
        if mapping & ANON:
            return Holder.ANON, ""
        if mapping not in self._known:
            self._known[mapping] = self._name(mapping)
        return self._known[mapping]

    def _name(self, mapping: int) -> tuple[Holder, str]:
        if not mapping:
            return Holder.PAGE_CACHE, "that was truncated and is still referenced"
        try:
            inode = self._kernel.at("struct address_space", mapping).host
            return _inode(inode)
        except FaultError:
            return Holder.PAGE_CACHE, "of a mapping that cannot be read"


def _inode(inode: Object) -> tuple[Holder, str]:
    filesystem = inode.i_sb.s_type.name.string_().decode("utf-8", "replace")
    path = inode_path(inode)
    device = int(inode.i_rdev)
    name = f" {path.decode('utf-8', 'replace')}" if path else f" {device >> 20}:{device & 0xFFFFF}" if device else ""
    told = f"inode {int(inode.i_ino)}{name} on {filesystem} {inode.i_sb.s_id.string_().decode('utf-8', 'replace')}"
    return Holder.SHMEM if filesystem == SHMEM else Holder.PAGE_CACHE, told


class _Caches:
    """The objcgs of a slab's objects, and the name of its cache."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._cache = kernel.offset("struct slab", "slab_cache")
        self._step = kernel.size("struct slabobj_ext") // 8
        self._known = {
            int(cache): cache.name.string_().decode("utf-8", "replace")
            for cache in kernel.each(kernel.variable("slab_caches", "struct list_head"), "struct kmem_cache", "list")
        }

    def objcgs(self, page: int, vector: int, wanted: Collection[int]) -> Iterator[tuple[int, str]]:
        name = self._known.get(self._kernel.word(page + self._cache))
        if name is None:
            return
        objects = int(self._kernel.at("struct slab", page).objects)
        if 0 < objects <= MOST_OBJECTS:
            words = self._kernel.words(vector, objects * self._step)
            yield from ((word, name) for word in words[:: self._step] if word in wanted)


def page_address(kernel: Kernel, page: int) -> int:
    """Return where in the direct map a page's memory is."""
    number = (page - vmemmap(kernel)) // kernel.size("struct page")
    moved = kernel.has("page_offset_base")
    return (int(kernel.variable("page_offset_base", "unsigned long")) if moved else PAGE_OFFSET) + number * PAGE
