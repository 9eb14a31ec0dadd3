"""One look at memory control in a guest that stands still, and what holds what should be gone.

Every reference to a dying memcg's css, and to an objcg that outlived its memcg, is looked for in the tables of
holders; the count says how many there must be.  What is left over nobody known holds: it was never put.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from drgn import FaultError, Object

from pipeline.memory import holders, memcgs, pages, swap
from pipeline.memory.kernel import Kernel, UnreadableError
from pipeline.memory.memcgs import Memcg, Objcg
from pipeline.memory.physical import MissingError
from pipeline.pin import Holder, Look, Pin, Thing

MOST_PINS = 40
"""Rows that are kept; what is rarer is added up by its holder."""

_UNREADABLE = (UnreadableError, MissingError, FaultError, LookupError, AttributeError, TypeError, ValueError)
"""What reading a kernel raises that is not laid out as this one thinks (drgn raises the last four for types)."""

Holds = dict[int, Counter[tuple[Holder, str]]]
"""By the address of what is held: how many references of each kind."""


def look(kernel: Kernel, *, name: bool) -> Look:
    """Count, and with `name` also find out what holds what is left; never raises for what it cannot read."""
    try:
        groups = memcgs.memcgs(kernel)
        objcgs = memcgs.objcgs(kernel, groups)
        seen = Look(
            memcgs=len(groups),
            dying=sum(not memcg.online for memcg in groups),
            ids=memcgs.ids(kernel),
            objcgs=len(objcgs),
            orphans=sum(objcg.orphan for objcg in objcgs),
            pins=_pins(kernel, groups, objcgs) if name else (),
        )
    except _UNREADABLE as error:
        return Look(unread=_line(error))
    finally:
        kernel.moved()
    return seen


def _line(error: BaseException) -> str:
    return f"the guest's memory cannot be read: {' '.join(str(error).split()) or type(error).__name__}"


def _pins(kernel: Kernel, groups: tuple[Memcg, ...], objcgs: tuple[Objcg, ...]) -> tuple[Pin, ...]:
    dying = {memcg.address: memcg for memcg in groups if not memcg.online}
    orphans = {objcg.address: objcg for objcg in objcgs if objcg.orphan}
    if not dying and not orphans:
        return ()
    found = pages.charged(kernel, dying.keys(), orphans.keys())
    css = _joined(found.folios, _held(kernel, groups, holders.CSS, dying))
    _leave_over(css, {at: memcg.references for at, memcg in dying.items()}, Holder.CSS)
    _iterators(kernel, groups, css)
    _swap(kernel, dying, css)
    refs = _joined(found.objcgs, _held(kernel, groups, holders.OBJCG, orphans))
    _leave_over(refs, {at: objcg.references for at, objcg in orphans.items()}, Holder.OBJCG)
    paths = {memcg.address: memcg.path for memcg in groups}

    def charged_to(objcg: int) -> str:
        return paths.get(int(kernel.at("struct obj_cgroup", objcg).memcg), "nobody")

    return (*_told(Thing.MEMCG, css, lambda at: dying[at].path), *_told(Thing.OBJCG, refs, charged_to))


def _held(
    kernel: Kernel, groups: tuple[Memcg, ...], rows: Iterable[holders.Row], wanted: Mapping[int, object]
) -> Holds:
    """Return the references that the rows of a table find to any of `wanted`."""
    found: Holds = {}
    for row in rows:
        for target, detail in row.find(kernel, groups):
            if target in wanted:
                found.setdefault(target, Counter())[row.holder, detail] += 1
    return found


def _joined(one: Holds, other: Holds) -> Holds:
    return {at: one.get(at, Counter()) + other.get(at, Counter()) for at in one.keys() | other.keys()}


def _leave_over(holds: Holds, counts: Mapping[int, int | None], holder: Holder) -> None:
    """Add what each count says beyond the holders that are known; a count that is not known adds nothing."""
    for at, count in counts.items():
        known = holds.setdefault(at, Counter())
        if count is not None and count > known.total():
            known[holder, ""] = count - known.total()


def _iterators(kernel: Kernel, groups: Sequence[Memcg], css: Holds) -> None:
    """Where nobody known is left over but as many positions of iterators, those are the holders.

    mm/memcontrol.c, mem_cgroup_iter: a position holds no reference as long as it is forgotten on release; in a
    kernel in which it does, every left over reference is a position.  One that is not acquits them all: then they
    stand there by chance.
    """
    positions: dict[int, Counter[str]] = {}
    for memcg in groups:
        for node in _nodes(kernel, memcg):
            positions.setdefault(int(node.iter.position), Counter())[memcg.path] += 1
    left = {at: kinds[Holder.CSS, ""] for at, kinds in css.items() if kinds[Holder.CSS, ""] > 0}
    if any(count > positions.get(at, Counter()).total() for at, count in left.items()):
        return
    for at in left:
        del css[at][Holder.CSS, ""]
        css[at].update({(Holder.ITERATOR, f"of {path}"): count for path, count in positions[at].items()})


def _nodes(kernel: Kernel, memcg: Memcg) -> Iterable[Object]:
    nodes = kernel.array("node_data", "struct pglist_data *")
    for number in range(len(nodes)):
        if nodes[number]:
            yield memcg.object.nodeinfo[number]


def _swap(kernel: Kernel, dying: Mapping[int, Memcg], css: Holds) -> None:
    """Take the one reference of a pinned id apart into the charges of swap that pin the id."""
    ids = {}
    for at, memcg in dying.items():
        if css.get(at, Counter())[Holder.SWAP, ""]:
            ids[int(memcg.object.id.id)] = (at, int(memcg.object.id.ref.refs.counter))
    found = swap.entries(kernel, ids.keys())
    for ident, (at, references) in ids.items():
        used, free = found.used[ident], found.free[ident]
        kinds = {Holder.SWAP: used, Holder.UNCHARGED_SWAP: free, Holder.UNCHARGED_ID: references - used - free}
        del css[at][Holder.SWAP, ""]
        css[at].update({(holder, ""): count for holder, count in kinds.items() if count > 0})


def _told(thing: Thing, holds: Holds, name: Callable[[int], str]) -> list[Pin]:
    """Add up over all that is held, the most first."""
    held: Counter[tuple[Holder, str]] = Counter()
    counts: Counter[tuple[Holder, str]] = Counter()
    first: dict[tuple[Holder, str], int] = {}
    for at, kinds in holds.items():
        for what, count in kinds.items():
            if count > 0:
                held[what] += 1
                counts[what] += count
                first.setdefault(what, at)
    pins = [Pin(thing, what[0], held[what], count, what[1], name(first[what])) for what, count in counts.most_common()]
    return pins[:MOST_PINS] + _rest(pins[MOST_PINS:])


def _rest(pins: Iterable[Pin]) -> list[Pin]:
    rest: dict[Holder, list[Pin]] = {}
    for pin in pins:
        rest.setdefault(pin.holder, []).append(pin)
    return [
        Pin(
            rows[0].thing,
            holder,
            max(x.held for x in rows),
            sum(x.count for x in rows),
            f"{len(rows)} kinds more",
            rows[0].first,
        )
        for holder, rows in rest.items()
    ]
