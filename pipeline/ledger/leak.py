"""What does not come back: books held against each other by the rules of the table.

A leak grows with the cycles.  What is made once, at the first use of something, is in the book of round 1 and
stays; what grows to a limit grows less from round to round.  So a counter leaks when it grew by more than its
allowance in every round after the first and at about the same pace a cycle in all of them.  A few counters are
exact (`Rule.RETURNS`): at rest they stand where they stood at the start, and one cycle is enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipeline.ledger.book import ROUNDS, Book, Books
from pipeline.ledger.table import LEDGERS, Ledger, Rule, ledger_of

SPREAD = 4.0
"""How far the paces of two rounds may lie apart.

Of a leak that strikes at random, two rounds lie further apart than this in two trials of a hundred when it strikes
eight times a round on average, and in a quarter of them when it strikes twice: a rare one needs a longer budget or more
trials.  What fills up (a cache that warms, a stack depot) loses more than that from one round to the next.
"""


@dataclass(frozen=True, slots=True)
class Leak:
    """A counter that does not come back.

    ledger   its row in the book (``cgroup.nr_dying_subsys_memory``)
    title    what leaks, without figures, so that two runs can be compared
    size     how much more there is at the end: than at the start (RETURNS) or than after the first round
    cycles   over how many cycles that came about
    unit     of `size`
    text     one line for a reader
    pin      what holds it (``page cache of inode 12 on ext4``), where somebody found out; else empty
    """

    ledger: str
    title: str
    size: int
    cycles: int
    unit: str
    text: str
    pin: str = ""

    @property
    def slope(self) -> float:
        """Growth a cycle."""
        return self.size / max(1, self.cycles)

    def __str__(self) -> str:
        """Return one line for a reader, with the pin where it is known."""
        return f"{self.text}; held by {self.pin}" if self.pin else self.text


def leaks(books: Books, table: Sequence[Ledger] = LEDGERS) -> tuple[Leak, ...]:
    """Return what leaks by the books of one trial, in the order of the table, the largest of a ledger first.

    Without a whole book for the start and for each round there is nothing to compare, and nothing is said:
    `Books.problems` makes such a trial unreadable.
    """
    if len(books.books) != ROUNDS + 1:
        return ()
    order = {ledger: at for at, ledger in enumerate(table)}
    found = []
    for row in books.rows:
        ledger = ledger_of(row, table)
        leak = _leak(ledger, row, books.books) if ledger is not None else None
        if ledger is not None and leak is not None:
            found.append((order[ledger], -leak.size, leak))
    return tuple(leak for _at, _size, leak in sorted(found, key=lambda x: x[:2]))


def rank(leak: Leak | None, table: Sequence[Ledger] = LEDGERS) -> int:
    """Return where in the table a leak's ledger stands; -1 for what is in no book: it was looked for by name."""
    ledger = ledger_of(leak.ledger, table) if leak is not None else None
    return table.index(ledger) if ledger is not None else -1


def unknown(books: Books, table: Sequence[Ledger] = LEDGERS) -> tuple[str, ...]:
    """Return the rows that no ledger of the table judges or leaves out with a reason."""
    return tuple(row for row in books.rows if ledger_of(row, table) is None)


def absent(books: Books, table: Sequence[Ledger] = LEDGERS) -> tuple[str, ...]:
    """Return the ledgers that every kernel has something to say to, and of which a book has no row.

    A row of 0 is left out, and so is one whose file could not be read: here the two can be told apart.
    """
    return tuple(
        x.name
        for x in table
        if x.always and not all(any(ledger_of(row, table) is x for row in book.rows) for book in books.books)
    )


def _leak(ledger: Ledger, row: str, books: Sequence[Book]) -> Leak | None:
    match ledger.rule:
        case Rule.NOTED:
            return None
        case Rule.RETURNS:
            return _stays(ledger, row, books[0], books[-1])
        case Rule.GROWS:
            return _grows(ledger, row, books[1:], 1)
        case Rule.FALLS:
            return _grows(ledger, row, books[1:], -1)


def _stays(ledger: Ledger, row: str, start: Book, end: Book) -> Leak | None:
    size, cycles = end[row] - start[row], end.cycles - start.cycles
    return _made(ledger, row, size, cycles, "than at the start") if size > ledger.allowance else None


def _grows(ledger: Ledger, row: str, books: Sequence[Book], sign: int) -> Leak | None:
    steps = [(sign * (after[row] - before[row]), after.cycles - before.cycles) for before, after in pairwise(books)]
    if any(grown <= ledger.allowance or cycles <= 0 for grown, cycles in steps):
        return None
    paces = [grown / cycles for grown, cycles in steps]
    if max(paces) > SPREAD * min(paces):
        return None
    return _made(ledger, row, sum(x for x, _ in steps), sum(n for _, n in steps), "than after the first round")


def _made(ledger: Ledger, row: str, size: int, cycles: int, since: str) -> Leak:
    title = ledger.titled(row)
    change = "less" if ledger.rule is Rule.FALLS else "more"
    pace = pace_text(size, cycles, ledger.unit)
    return Leak(row, title, size, cycles, ledger.unit, f"{title}: {size} {ledger.unit} {change} {since}, {pace}")


def pace_text(size: int, cycles: int, unit: str) -> str:
    """Return a slope as a person would say it: a cycle, or a thousand cycles where that is little."""
    slope = size / max(1, cycles)
    if slope >= 100:
        return f"{slope:.0f} {unit} a cycle"
    if slope >= 1:
        return f"{slope:.3g} {unit} a cycle"
    return f"{1000 * slope:.3g} {unit} in 1000 cycles"
