"""The table of ledgers: what each row of a book means, how it is judged, and how much of it is nothing.

A row of a book belongs to the first ledger whose pattern matches its whole name.  Their order is that in which leaks
are told: what names the cause comes before what only shows its size.  docs/ledgers.md is this table with
where each figure is read, and a test holds the two together.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Rule(Enum):
    """What speaks against a row."""

    RETURNS = "returns"
    """At the end it stands higher than at the start, by more than the allowance."""
    GROWS = "grows"
    """It grew by more than the allowance in every round after the first, at one pace."""
    FALLS = "falls"
    """It fell so."""
    NOTED = "noted"
    """Nothing: it is in the book for a person to read, and the reason says why."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """One kind of row.

    name       what it is called here
    pattern    a regular expression for its rows; what its group ``what`` matches stands in the title
    title      of a leak, with ``{what}``
    unit       of the row's figure
    rule       what counts as a leak
    allowance  in `unit`: in all (RETURNS) or a round (GROWS, FALLS)
    reason     why that much, or why it is not judged
    source     kernel file and function that the figure comes from
    always     every kernel has some of it: books without a row of this are of a kernel that could not be read
    """

    name: str
    pattern: str
    title: str
    unit: str
    rule: Rule
    allowance: int
    reason: str
    source: str
    always: bool = False

    def titled(self, row: str) -> str:
        """Return the title of a leak in `row`."""
        match = re.fullmatch(self.pattern, row)
        what = match.groupdict().get("what", "") if match else ""
        # A row without a word of its own leaves a gap where it would stand.
        return " ".join(self.title.format(what=what or "").split())


def ledger_of(row: str, table: Sequence[Ledger]) -> Ledger | None:
    """Return the ledger that a row belongs to."""
    return next((x for x in table if re.fullmatch(x.pattern, row) is not None), None)


_BY_CPU = "what CPUs keep for the next time: "

LEDGERS: tuple[Ledger, ...] = (
    Ledger(
        "dying groups",
        r"cgroup\.nr_dying_(descendants|subsys_(?P<what>\w+))",
        "dying {what} groups stay",
        "groups",
        Rule.RETURNS,
        0,
        "all that may pin one for good reason (page cache, swap, cached objects, charges of CPUs) has been drained",
        "kernel/cgroup/cgroup.c:cgroup_stat_show",
    ),
    Ledger(
        "swap charges",
        r"memory\.(?P<what>z?swap)\.current",
        "{what} charges stay",
        "bytes",
        Rule.RETURNS,
        0,
        "swap has been turned off and on again, so nothing is swapped out",
        "mm/memcontrol.c:swap_current_read, zswap_current_read",
    ),
    Ledger(
        "swap",
        r"swap\.used",
        "swap stays in use",
        "kB",
        Rule.RETURNS,
        0,
        "swap has been turned off and on again, so nothing is swapped out",
        "mm/swapfile.c:swap_show",
    ),
    Ledger(
        "hierarchies",
        r"cgroups\.hierarchies",
        "cgroup hierarchies stay mounted",
        "hierarchies",
        Rule.RETURNS,
        0,
        "a hierarchy of v1 goes with its last group once it is unmounted",
        "kernel/cgroup/cgroup.c:proc_cgroup_show",
    ),
    Ledger(
        "groups",
        r"cgroup\.nr_(descendants|subsys_(?P<what>\w+))",
        "{what} groups grow",
        "groups",
        Rule.GROWS,
        0,
        "a program removes what it makes, and nobody else makes any",
        "kernel/cgroup/cgroup.c:cgroup_stat_show",
    ),
    Ledger(
        "groups with dying ones",
        r"cgroups\.(?P<what>\w+)",
        "groups of {what} grow, dying ones included",
        "groups",
        Rule.GROWS,
        0,
        "a program removes what it makes, and a group that is removed counts until it is freed",
        "kernel/cgroup/cgroup-v1.c:proc_cgroupstats_show",
        always=True,
    ),
    Ledger(
        "dead lists",
        r"dead\.unlisted",
        "dentries or inodes stay on lists that no shrinker reaches",
        "objects",
        Rule.RETURNS,
        32,
        "the lists are read one after the other and then the totals, and reading looks names up in between",
        "fs/dcache.c:nr_dentry_unused, fs/inode.c:nr_unused, less mm/shrinker_debug.c:shrinker_debugfs_count_show",
    ),
    Ledger(
        "objects of dead groups",
        r"dead\.(?P<what>\S+)\.node\d+",
        "objects of {what} stay on lists of groups that are gone",
        "objects",
        Rule.RETURNS,
        0,
        "a shrinker shows only groups that are online, and lists move to the parent when one goes offline",
        "mm/shrinker_debug.c:shrinker_debugfs_count_show",
    ),
    Ledger(
        "shrinkers",
        r"shrinkers",
        "shrinkers, and with them superblocks, grow",
        "shrinkers",
        Rule.GROWS,
        0,
        "each superblock and zswap pool has one that goes with it, and a program unmounts what it mounts",
        "mm/shrinker_debug.c:shrinker_debugfs_add",
        always=True,
    ),
    Ledger(
        "charges",
        r"memory\.current",
        "charges of the program's group grow",
        "bytes",
        Rule.GROWS,
        16 << 10,
        "the group's own files have dentries and inodes, which a page a CPU is charged for at a time "
        "(mm/memcontrol.c, struct memcg_stock_pcp)",
        "mm/memcontrol.c:memory_current_read",
    ),
    Ledger(
        "charges by kind",
        r"memory\.stat\.(?P<what>\w+)",
        "{what} charged to the program's group grows",
        "bytes",
        Rule.GROWS,
        16 << 10,
        "as for charges: a few objects of the group's own files",
        "mm/memcontrol.c:memcg_stat_format",
    ),
    Ledger(
        "percpu allocations",
        r"percpu\.allocations",
        "percpu allocations grow",
        "allocations",
        Rule.GROWS,
        16,
        "a memcg has half a dozen; the rest are freed by work items, a mount or two of them late",
        "mm/percpu-stats.c:percpu_stats_show",
    ),
    Ledger(
        "percpu memory",
        r"meminfo\.Percpu",
        "percpu memory grows",
        "kB",
        Rule.GROWS,
        64,
        "pages of empty chunks are kept and given back by a work item (mm/percpu.c, PCPU_EMPTY_POP_PAGES_HIGH)",
        "mm/percpu.c:pcpu_nr_pages",
    ),
    Ledger(
        "percpu chunks",
        r"percpu\.chunks",
        "percpu chunks grow",
        "chunks",
        Rule.NOTED,
        0,
        "percpu memory says the same in a smaller unit",
        "mm/percpu-stats.c:percpu_stats_show",
    ),
    Ledger(
        "objects of detectors",
        r"slab(pages)?\.(kmemleak_\w+|debug_objects_cache)",
        "objects of a detector",
        "objects",
        Rule.NOTED,
        0,
        "kmemleak keeps one for each object of the others, which are counted themselves; debugobjects keeps a pool",
        "mm/slab_common.c:cache_show",
    ),
    Ledger(
        "small slab objects",
        r"slab\.(?P<what>(dma-|rcl-|cg-)?kmalloc-((dma|rcl|cg)-)?(8|16|32))",
        "slab objects of {what} grow",
        "objects",
        Rule.GROWS,
        512,
        _BY_CPU
        + "a slab each whose free objects count as used; on two CPUs with slabs of up to 512 that is off by 1024",
        "mm/slub.c:get_slabinfo",
    ),
    Ledger(
        "slab objects",
        r"slab\.(?P<what>\S+)",
        "slab objects of {what} grow",
        "objects",
        Rule.GROWS,
        64,
        _BY_CPU + "a slab each whose free objects count as used; on two CPUs with slabs of up to 64 that is off by 128",
        "mm/slub.c:get_slabinfo",
        always=True,
    ),
    Ledger(
        "slab pages",
        r"slabpages\.(?P<what>\S+)",
        "slab pages of {what} grow",
        "pages",
        Rule.GROWS,
        64,
        "one object in use keeps a slab of up to eight pages, and which slabs those are is chance",
        "mm/slub.c:get_slabinfo",
    ),
    Ledger(
        "objects on lists",
        r"lru\.(?P<what>\S+)\.node\d+",
        "objects on the lists of {what} grow",
        "objects",
        Rule.GROWS,
        32,
        "caches have been dropped; names that are looked up while the books are read come back",
        "mm/shrinker_debug.c:shrinker_debugfs_count_show",
    ),
    Ledger(
        "dentries and inodes",
        r"fs\.(?P<what>dentries|inodes)",
        "{what} grow",
        "objects",
        Rule.GROWS,
        32,
        "as for objects on lists",
        "fs/dcache.c:proc_nr_dentry, fs/inode.c:proc_nr_inodes",
        always=True,
    ),
    Ledger(
        "unused dentries and inodes",
        r"fs\.(?P<what>dentries|inodes)_unused",
        "unused {what} grow",
        "objects",
        Rule.NOTED,
        0,
        "those on lists are counted there, and those on none are the dead lists'",
        "fs/dcache.c:proc_nr_dentry, fs/inode.c:proc_nr_inodes",
    ),
    Ledger(
        "vmalloc",
        r"meminfo\.VmallocUsed",
        "vmalloc memory grows",
        "kB",
        Rule.GROWS,
        128,
        _BY_CPU + "two stacks of tasks that have ended (kernel/fork.c, NR_CACHED_STACKS), and those of workers",
        "mm/vmalloc.c:vmalloc_nr_pages",
    ),
    Ledger(
        "kernel stacks",
        r"meminfo\.KernelStack",
        "kernel stacks grow",
        "kB",
        Rule.GROWS,
        128,
        "workers come when work piles up and go after five minutes (kernel/workqueue.c, IDLE_WORKER_TIMEOUT)",
        "fs/proc/meminfo.c:meminfo_proc_show",
        always=True,
    ),
    Ledger(
        "page tables",
        r"meminfo\.(?P<what>(Sec)?PageTables)",
        "{what} grow",
        "kB",
        Rule.GROWS,
        64,
        "the agent and the program are the only processes, and both have all they touch",
        "fs/proc/meminfo.c:meminfo_proc_show",
    ),
    Ledger(
        "zswap",
        r"meminfo\.(?P<what>Zswap(ped)?)",
        "{what} memory grows",
        "kB",
        Rule.RETURNS,
        0,
        "swap has been turned off and on again, so zswap holds nothing",
        "mm/zswap.c:zswap_total_pages, zswap_stored_pages",
    ),
    Ledger(
        "sockets",
        r"socket\.(?P<what>\S+)",
        "sockets ({what}) grow",
        "sockets",
        Rule.GROWS,
        8,
        "a program closes its own; of the kernel's there is a fixed number",
        "net/ipv4/proc.c:sockstat_seq_show",
    ),
    Ledger(
        "free pages",
        r"(?P<what>node\d+)\.free",
        "free pages of {what} fall",
        "pages",
        Rule.FALLS,
        256,
        "RAM disks take a page for each block that is first written, allocators their slack, debugging its stacks",
        "mm/vmstat.c:zoneinfo_show_print",
        always=True,
    ),
    Ledger(
        "pages by kind",
        r"(?P<what>node\d+\.nr_\w+)",
        "{what} grows",
        "pages",
        Rule.NOTED,
        0,
        "for a reader of free pages: who has the others; each kind is judged by a ledger of its own",
        "mm/vmstat.c:zoneinfo_show_print",
    ),
)
"""In the order in which leaks are told."""
