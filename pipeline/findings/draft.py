"""A report that is still being read."""

from dataclasses import dataclass

from pipeline.findings import anatomy
from pipeline.findings.line import Line
from pipeline.findings.report import assemble
from pipeline.findings.rules import Rule
from pipeline.findings.types import Finding

QUIET_OWN = 50
"""A report has ended when this many lines of its task are no part of any report,"""
QUIET_ALL = 400
"""or this many lines of whatever task have come since its own last one."""
_MAX_LINES = 3000
_MAX_SIZE = 1 << 20
"""A report longer than this is cut: the rest is another's, or the kernel goes round in circles."""


@dataclass(slots=True)
class Draft:
    """The lines of one task since the one that began a report; `last` is the last that is surely part of it."""

    rules: tuple[Rule, ...]
    lines: list[Line]
    before: tuple[Line, ...]
    last: int
    _kept: int = 1
    _quiet: int = 0
    _size: int = 0
    _stack: bool = False

    def takes(self, line: Line) -> bool:
        """Return whether a line of the report's task is the kernel's, and not of a program in between."""
        return line.stamped or not self.lines[0].stamped

    def add(self, line: Line) -> bool:
        """Take a line; return whether the report is whole with it."""
        self.lines.append(line)
        self._size += len(line.message) * (1 if line.message.isascii() else 4)
        self._quiet += 1
        self._stack = self._stack or "+0x" in line.message
        own = self.rules[0].ends
        ends = anatomy.is_end(line.message) or (own is not None and own.match(line.message) is not None)
        if ends or anatomy.is_part(line.message):
            self.last = line.number
            self._kept = len(self.lines)
            self._quiet = 0
        return (
            # Before 4.8 KASAN had a report of SLUB within its own, with a frame of its own.
            (ends and (self._stack or not anatomy.is_border(line.message)))
            or self._quiet > QUIET_OWN
            or len(self.lines) >= _MAX_LINES
            or self._size >= _MAX_SIZE
        )

    def absorbs(self, rules: tuple[Rule, ...], line: Line) -> bool:
        """Return whether a line that could begin another report is but a part of this one."""
        head, other = self.rules[0], rules[0]
        if other.follows or (head.absorbs is not None and head.absorbs.search(line.message)):
            return True
        # A symboliser says the first line again, once for each inlined caller.
        return other is head and "[inline]" in self.lines[-1].message

    def finding(self, *, cut: bool) -> Finding:
        """Return what was read; `cut` if another report of the same task has begun."""
        return assemble(self.rules, self.lines[: self._kept], self.before, cut=cut)
