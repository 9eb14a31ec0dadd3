"""What holds a memcg that should be gone: pins as data, which of them are leaks, and the words for them.

A look is taken at a guest that stands still, before and after each trial (pipeline/memory reads it,
docs/pins.md says how).  A memcg that was removed lives on for as long as somebody refers to it; most of that is
right, and some kinds of it never are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum


class Thing(Enum):
    """What is held though it should be gone."""

    MEMCG = "dying memcg"
    OBJCG = "objcg"


class Holder(Enum):
    """Who refers to a memcg, or to an objcg, that is offline; the value follows a number."""

    PAGE_CACHE = "pages of page cache"
    ANON = "anonymous pages"
    SHMEM = "shmem pages"
    SWAP = "swap entries in use"
    TASKS = "references by tasks"
    CHILDREN = "references by dying memcgs"
    STOCK = "references by charges that a CPU caches"
    WRITEBACK = "references by writeback"
    SLAB = "slab objects"
    KERNEL_PAGES = "kernel pages"
    PERCPU = "percpu allocations"
    ZSWAP = "zswap entries"
    ITERATOR = "positions of reclaim iterators"
    UNCHARGED_SWAP = "swap entries that are free and were never uncharged"
    UNCHARGED_ID = "swap charges that were never uncharged and that no swap entry has"
    CSS = "css references that nothing known holds"
    OBJCG = "objcg references that nothing known holds"


LEDGER = "pins"
"""What a leak by what holds it is called among the ledgers."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which holders leave nothing legitimate to hold by, and what it is called when it grows over a trial."""

    holder: Holder
    title: str


RULES = (
    Rule(Holder.CSS, "memcg pinned by css references that nothing known holds"),
    Rule(Holder.ITERATOR, "memcg pinned by a reclaim iterator"),
    Rule(Holder.UNCHARGED_ID, "memcg pinned by swap that was never uncharged"),
    Rule(Holder.UNCHARGED_SWAP, "memcg pinned by swap that was never uncharged"),
    Rule(Holder.OBJCG, "objcg references that nothing known holds"),
)
"""Everything else may be right, or is held by one of these in turn: books that grow decide about it."""
IDS = "memcg ids that no memcg has"
"""mm/memcontrol.c, mem_cgroup_ids: what is reserved or stored there is given back when a memcg goes offline."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One kind of hold, over all the memcgs or objcgs that are held in that way.

    thing   which of the two
    held    how many of them
    count   how many references that makes
    detail  what it is: an inode and its filesystem, a slab cache; empty where there is nothing more to say
    first   one of them: the path of the memcg, or the path of the memcg that an objcg is charged to now
    """

    thing: Thing
    holder: Holder
    held: int
    count: int
    detail: str = ""
    first: str = ""

    def __str__(self) -> str:
        """Return it as a reader wants it."""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.count} {self.holder.value}{detail}"


@dataclass(frozen=True, slots=True)
class Look:
    """Memory control as the host saw it in the guest's memory at one moment.

    memcgs   that exist, the root and dying ones included
    dying    of these: offline, and still not freed
    ids      memcg ids in use (of 65535)
    objcgs   that exist
    orphans  of these: their memcg is offline
    pins     what holds the dying ones and the orphans, the most first; only where something was left after a trial
    unread   why nothing could be seen; empty when it could
    """

    memcgs: int = 0
    dying: int = 0
    ids: int = 0
    objcgs: int = 0
    orphans: int = 0
    pins: tuple[Pin, ...] = ()
    unread: str = ""

    @property
    def stray(self) -> int:
        """Ids that no memcg can have: each has one at the most, and a dying one may have lost its own."""
        return max(0, self.ids - self.memcgs)

    @property
    def doubtful(self) -> int:
        """References that are never right."""
        kinds = {rule.holder for rule in RULES}
        return sum(pin.count for pin in self.pins if pin.holder in kinds)


@dataclass(frozen=True, slots=True)
class Held:
    """A leak by what holds it: `count` references (or ids), `title` without figures, so that runs can be compared."""

    title: str
    count: int
    text: str


def leaks(looks: Sequence[Look]) -> tuple[Held, ...]:
    """Return what the second of two looks, before and after a trial, shows more of that is never right."""
    if len(looks) != 2 or any(look.unread for look in looks):
        return ()
    return tuple(_grown(looks[0], looks[1]))


def _grown(before: Look, after: Look) -> Iterator[Held]:
    stray = after.stray - before.stray
    if stray > 0:
        yield Held(IDS, stray, f"{IDS}: {stray} more than before; {after.ids} ids for {after.memcgs} memcgs")
    for title in dict.fromkeys(rule.title for rule in RULES):
        rules = [rule for rule in RULES if rule.title == title]
        kinds = {rule.holder for rule in rules}
        had = sum(pin.count for pin in before.pins if pin.holder in kinds)
        pins = [pin for pin in after.pins if pin.holder in kinds]
        count = sum(pin.count for pin in pins) - had
        if count > 0:
            yield Held(title, count, f"{title}: {'; '.join(map(_told, pins))}")


def _told(pin: Pin) -> str:
    several = "s" if pin.held != 1 else ""
    place = "the first is" if pin.thing is Thing.MEMCG else "the first is charged to"
    return f"{pin.held} {pin.thing.value}{several} held by {pin}, {place} {pin.first}"


def sentence(look: Look, most: int = 4) -> str:
    """Say in one line what holds the dying memcgs; empty when there are none, or nothing was seen."""
    pins = [pin for pin in look.pins if pin.thing is Thing.MEMCG]
    rest = f", and {len(pins) - most} kinds more" if len(pins) > most else ""
    return ", ".join(map(str, pins[:most])) + rest
