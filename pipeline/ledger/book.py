"""The books of a trial, as guest_tests/lib/ledger.c prints them among a program's KTAP.

Grammar (each on a line of its own, rounds in their order)::

    # ledger <round> cycles=<n> <row>=<n> ...     as many as it takes; a row that is not there is 0
    # ledger <round> unstable <row> ...           rows that still moved when the kernel should have been at rest
    # ledger <round> end rows=<n> ...             how many rows there were, so that a cut book is seen; how it was made

Round 0 is the start, and one book follows after each of the `ROUNDS` rounds.  Any text at all can be
read: what is wrong with it is listed in `Books.problems`, nothing is raised.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

ROUNDS = 3
"""Rounds of a program (guest_tests/lib/gt.h, GT_ROUNDS)."""
MOST_ROWS = 10_000
"""Rows of a book that are kept; no kernel has as many counters as that."""
_MOST_PROBLEMS = 20

_LINE = re.compile(r"# ledger (?P<round>\d{1,3}) (?P<rest>.*)", re.ASCII)
_ROW = re.compile(r"(?P<name>[^\s=]{1,120})=(?P<value>-?\d{1,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Book:
    """The rows of one round that are not 0, and the cycles that had been run by then."""

    round: int
    cycles: int
    rows: Mapping[str, int]
    unstable: tuple[str, ...] = ()

    def __getitem__(self, row: str) -> int:
        """Return a row; 0 when nothing stood in it."""
        return self.rows.get(row, 0)


@dataclass(frozen=True, slots=True)
class Books:
    """All books of a trial, by round; `problems` says in what they are not what was promised."""

    books: tuple[Book, ...]
    problems: tuple[str, ...]

    @property
    def rows(self) -> tuple[str, ...]:
        """Every row that stands in any of them, in the order in which they came."""
        return tuple(dict.fromkeys(name for book in self.books for name in book.rows))


NO_BOOKS = Books((), ())
"""Of a program that keeps none."""


@dataclass(slots=True)
class _Open:
    """A book that is being read."""

    cycles: int | None = None
    rows: dict[str, int] = field(default_factory=dict)
    unstable: list[str] = field(default_factory=list)
    closed: bool = False


def without(lines: Iterable[str]) -> tuple[str, ...]:
    """Return a program's lines without those of its books."""
    return tuple(line for line in lines if _LINE.fullmatch(line.strip()) is None)


def parse(lines: Iterable[str]) -> Books:
    """Read the books out of a program's lines.  Never raises, whatever the lines hold."""
    found: dict[int, _Open] = {}
    problems: list[str] = []
    for line in lines:
        match = _LINE.fullmatch(line.strip())
        if match is not None:
            number = int(match["round"])
            problem = _take(found.setdefault(number, _Open()), match["rest"].split())
            if problem:
                problems.append(f"the book of round {number} {problem}")
    problems += _missing(found)
    whole = {number: x for number, x in found.items() if x.closed}
    books = (
        Book(number, x.cycles or 0, MappingProxyType(x.rows), tuple(x.unstable)) for number, x in sorted(whole.items())
    )
    return Books(tuple(books), tuple(problems[:_MOST_PROBLEMS]))


def _take(book: _Open, words: list[str]) -> str:
    """Read one line into `book`; return what is wrong with it, or an empty string."""
    if book.closed:
        return "goes on after its end"
    if words[:1] == ["end"]:
        return _close(book, words[1:])
    if words[:1] == ["unstable"]:
        book.unstable += words[1:]
        return ""
    for word in words:
        match = _ROW.fullmatch(word)
        if match is None:
            return f"holds {word[:40]!r}, which is no row"
        name, value = match["name"], int(match["value"])
        if name == "cycles":
            book.cycles = value
        elif name in book.rows:
            return f"has two rows {name}"
        elif len(book.rows) < MOST_ROWS:
            book.rows[name] = value
    return ""


def _close(book: _Open, words: list[str]) -> str:
    match = _ROW.fullmatch(words[0]) if words else None
    if match is None or match["name"] != "rows":
        return "does not say at its end how many rows it has"
    book.closed = True
    if int(match["value"]) != len(book.rows):
        return f"is cut: {len(book.rows)} of {int(match['value'])} rows"
    return "" if book.cycles is not None else "does not say after how many cycles"


def _missing(found: Mapping[int, _Open]) -> list[str]:
    if not found:
        return ["no book was printed"]
    problems = [f"the book of round {i} is missing" for i in range(ROUNDS + 1) if i not in found]
    problems += [f"there is a book of round {i}, and {ROUNDS} rounds" for i in sorted(found) if i > ROUNDS]
    problems += [f"the book of round {i} has no end" for i, book in sorted(found.items()) if not book.closed]
    return problems
