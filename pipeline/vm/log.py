"""The console as lines: all of them where there is a sane number, else both ends and what matters between.

A guest can print without end.  `console.log` has what it printed; kpv itself keeps a few MiB.
"""

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.run import Line

LINE_MOST = 1 << 16
"""Bytes of one line that are kept; printk's own limit is 1 KiB (kernel/printk/printk.c, PRINTKRB_RECORD_MAX)."""
HEAD = 3 << 20
TAIL = 8 << 20
"""What the first and the last lines may cost, in bytes of our memory: a boot fits the first, any report the last."""
PICKED = 2 << 20
"""The same for lines between them that were asked to be kept."""
OVERHEAD = 250
"""Bytes that CPython spends on a line beside its text."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """A line and its place in the whole console, counted from 0."""

    number: int
    line: Line

    @property
    def cost(self) -> int:
        """Bytes it holds, about."""
        return len(self.line.text) + OVERHEAD


class Log:
    """Takes bytes, keeps lines."""

    def __init__(self, keep: Iterable[str] = (), head: int = HEAD, tail: int = TAIL, picked: int = PICKED) -> None:
        """`keep` are patterns of lines that stay wherever they stand."""
        self._keep = tuple(re.compile(pattern) for pattern in keep)
        self._room = {"head": head, "tail": tail, "picked": picked}
        self._head: list[Numbered] = []
        self._picked: list[Numbered] = []
        self._tail: deque[Numbered] = deque()
        self._tail_cost = 0
        self._reports: list[range] = []
        self._half = b""
        self.total = 0
        """Lines so far, the unfinished one not counted."""

    def feed(self, data: bytes, at: float) -> None:
        """Take what the console said `at` seconds after the start."""
        *whole, half = data.split(b"\n")
        if whole:
            self._add(self._half + whole[0], at)
            for line in whole[1:]:
                self._add(line, at)
            self._half = b""
        self._half += half[: LINE_MOST - len(self._half)]

    def protect(self, first: int, end: int) -> None:
        """Keep the lines from `first` to before `end`: a report stands there."""
        self._reports.append(range(first, end))

    def lines(self, first: int = 0, end: int | None = None) -> tuple[Line, ...]:
        """Return the lines from `first` to before `end`; one line stands for each gap."""
        found: list[Line] = []
        expected = first
        stop = self.total if end is None else min(end, self.total)
        for one in (*self._head, *self._picked, *self._tail):
            if not first <= one.number < stop:
                continue
            if one.number > expected:
                found.append(_gap(one.number - expected, one.line.at))
            found.append(one.line)
            expected = one.number + 1
        if stop > expected:
            found.append(_gap(stop - expected, 0.0))
        return tuple(found)

    def _add(self, raw: bytes, at: float) -> None:
        text = raw[:LINE_MOST].decode("utf-8", "replace").rstrip("\r")
        one = Numbered(self.total, Line(at, text))
        self.total += 1
        if not self._tail and (room := self._room["head"] - one.cost) >= 0:
            self._head.append(one)
            self._room["head"] = room
            return
        self._tail.append(one)
        self._tail_cost += one.cost
        while self._tail_cost > self._room["tail"] and len(self._tail) > 1:
            old = self._tail.popleft()
            self._tail_cost -= old.cost
            self._pick(old)

    def _pick(self, old: Numbered) -> None:
        if self._room["picked"] < old.cost or not self._matters(old):
            return
        self._picked.append(old)
        self._room["picked"] -= old.cost

    def _matters(self, old: Numbered) -> bool:
        while self._reports and self._reports[0].stop <= old.number:
            self._reports.pop(0)
        if any(old.number in report for report in self._reports):
            return True
        return any(pattern.search(old.line.text) for pattern in self._keep)


def _gap(count: int, at: float) -> Line:
    return Line(at, f"kpv: {count} lines are left out here")


def texts(lines: Sequence[Line]) -> tuple[str, ...]:
    """Return the texts of lines."""
    return tuple(line.text for line in lines)
