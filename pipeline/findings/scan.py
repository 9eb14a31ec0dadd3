"""The parser: bytes of a console in, findings out, as they become complete.

Nothing is kept of a console but its last few lines and the reports that are open, so memory does not
grow with the log. While no report is open only the lines that hold a needle are read.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pipeline.findings import anatomy, needles
from pipeline.findings.draft import QUIET_ALL, QUIET_OWN, Draft
from pipeline.findings.line import LINE_LIMIT, Line, parse
from pipeline.findings.report import openers
from pipeline.findings.rules import Rule
from pipeline.findings.tally import Tally
from pipeline.findings.types import Finding
from pipeline.findings.uptime import Uptime

_BLOCK = 1 << 20
"""How much is searched at once."""
_BEFORE = 5
"""Lines above a report that are kept with it."""
_MAX_OPEN = 16
"""Reports that are open at once, one a task; with more, the oldest is taken to have ended."""
_PIECE = 1 << 17
"""How much is read before the findings in it are tallied: a short line can be a finding."""


@dataclass(slots=True)
class Scanner:
    r"""Reads a console as it arrives.

    >>> scanner = Scanner()
    >>> scanner.feed(b"[    1.000000] BUG: Bad rss-counter state mm:0 idx:0 val:1\n")
    []
    >>> [finding.title for finding in scanner.close()]
    ['BUG: Bad rss-counter state']

    How the bytes are cut into calls of `feed` makes no difference. A finding is returned as soon as its
    report is whole. `pending` is True while one is open: a runner that wants the whole report waits until
    that is False, or until the console has been silent for long enough, and then calls `close`.
    """

    panicked: bool = False
    """Whether the kernel has panicked, anywhere so far."""
    suppressed: bool = False
    """Whether the console shows that what it reports is of no interest: init itself has crashed."""
    _tail: bytearray = field(default_factory=bytearray)
    _number: int = 0
    _drafts: dict[str | None, Draft] = field(default_factory=dict)
    _before: deque[bytes] = field(default_factory=lambda: deque(maxlen=_BEFORE))
    _done: list[Finding] = field(default_factory=list)
    _uptime: Uptime = field(default_factory=Uptime)
    _trouble: int | None = None

    @property
    def pending(self) -> bool:
        """Whether a report has begun and is not whole yet."""
        return bool(self._drafts)

    def feed(self, data: bytes) -> list[Finding]:
        """Read on; return the findings whose reports are whole by now."""
        for start in range(0, len(data), _BLOCK):
            self._feed(data[start : start + _BLOCK])
        return self._take()

    def close(self) -> list[Finding]:
        """End the console; return the findings whose reports were still open."""
        if self._tail:
            self._lines(bytes(self._tail) + b"\n")
            self._tail.clear()
        self._finish_all()
        return self._take()

    def _take(self) -> list[Finding]:
        done, self._done = self._done, []
        return done

    def _feed(self, data: bytes) -> None:
        end = data.rfind(b"\n") + 1
        if end:
            self._lines(bytes(self._tail) + data[:end])
            self._tail.clear()
        room = LINE_LIMIT - len(self._tail)
        if room > 0:
            self._tail += data[end : end + room]

    def _lines(self, block: bytes) -> None:
        """Read a block of whole lines."""
        hits = needles.search(block)
        queue, tick = deque(hits.lines), hits.tick
        position = 0
        while position < len(block):
            while queue and queue[0] < position:
                queue.popleft()
            target = queue[0] if queue else len(block)
            if not self._drafts and target > position:
                self._skip(block, position, target)
                position = target
                continue
            end = block.index(b"\n", position)
            if tick is not None and tick <= end:
                self._uptime.running, tick = True, None
            was_running = self._uptime.running
            raw = block[position : min(end, position + LINE_LIMIT)]
            self._line(parse(raw, self._number), hit=position == target)
            self._before.append(raw)
            self._number += 1
            position = end + 1
            if was_running and not self._uptime.running:
                tick = needles.clock(block, position)
        if tick is not None:
            self._uptime.running = True

    def _skip(self, block: bytes, start: int, end: int) -> None:
        """Pass over lines of no interest: their number and the last few are all that matters."""
        self._number += block.count(b"\n", start, end)
        last: list[bytes] = []
        at = end
        while at > start and len(last) < _BEFORE:
            begin = max(start, block.rfind(b"\n", start, at - 1) + 1)
            last.append(block[begin : min(at - 1, begin + LINE_LIMIT)])
            at = begin
        self._before.extend(reversed(last))
        if not self._uptime.spoken:
            self._uptime.spoken = bool(block[start:end].strip())

    def _line(self, line: Line, *, hit: bool) -> None:
        self._expire(line.number)
        if hit and line.lead and not openers(line.message) and openers(line.lead):
            # Another line cut the first line of a report short: that is what counts.
            line = replace(line, message=f"{line.lead} {line.message}", stamped=False)
        rules = self._begins(line) if hit else ()
        self._uptime.read(line)
        if rules:
            self._begin(rules, line)
            return
        draft = self._drafts.get(line.caller)
        if draft is not None and draft.takes(line) and draft.add(line):
            self._finish(line.caller)
        if self._drafts and anatomy.is_last(line.message):
            self._finish_all()

    def _begins(self, line: Line) -> tuple[Rule, ...]:
        """Return the rules of the report that begins with this line; none if it is part of what is known."""
        self.panicked = self.panicked or "Kernel panic - not syncing" in line.message
        self.suppressed = self.suppressed or "INIT: PANIC: segmentation violation" in line.message
        rules = openers(line.message)
        if not rules:
            return ()
        if rules[0].boot:
            return rules if self._reboots(line) else ()
        draft = self._drafts.get(line.caller)
        known = (
            (rules[0].prose and self._uptime.running and not line.stamped)
            or (draft is not None and draft.absorbs(rules, line))
            or (rules[0].aftermath and self._trouble is not None)
            or (rules[0].follows and self._trouble is not None and line.number - self._trouble < QUIET_OWN)
        )
        return () if known else rules

    def _reboots(self, line: Line) -> bool:
        """Return whether a sign of booting is a finding: the machine was up, and nothing explains it."""
        self._finish_all()
        explained, self._trouble = self._trouble is not None, None
        return self._uptime.boots(line) and not explained

    def _begin(self, rules: tuple[Rule, ...], line: Line) -> None:
        if line.caller in self._drafts:
            self._finish(line.caller, cut=True)
        elif len(self._drafts) == _MAX_OPEN:
            self._finish(next(iter(self._drafts)))
        first = line.number - len(self._before)
        above = (parse(raw, first + index) for index, raw in enumerate(self._before))
        before = tuple(x for x in above if x.caller == line.caller and x.stamped == line.stamped)
        self._drafts[line.caller] = Draft(rules, [line], before, line.number)
        self._trouble = line.number

    def _expire(self, number: int) -> None:
        """End the reports of tasks that have said nothing for long."""
        for key in [key for key, draft in self._drafts.items() if number - draft.last > QUIET_ALL]:
            self._finish(key)

    def _finish_all(self) -> None:
        for key in list(self._drafts):
            self._finish(key)

    def _finish(self, key: str | None, *, cut: bool = False) -> None:
        draft = self._drafts.pop(key)
        self._trouble = draft.last
        self._done.append(draft.finding(cut=cut))


def scan(data: bytes) -> list[Finding]:
    """Return the findings of a whole console, in order of appearance, as `scan_blocks` does."""
    return scan_blocks((data,))


def scan_blocks(blocks: Iterable[bytes]) -> list[Finding]:
    """Return the findings of a console that comes in pieces, in order of appearance.

    All of them, unless there are very many: of a title that comes again and again the first sightings
    are listed and the others counted (pipeline/findings/tally.py), however long the console.
    """
    scanner, tally = Scanner(), Tally()
    for block in blocks:
        for start in range(0, len(block), _PIECE):
            for finding in scanner.feed(block[start : start + _PIECE]):
                tally.add(finding)
    for finding in scanner.close():
        tally.add(finding)
    return tally.listed(panicked=scanner.panicked, suppressed=scanner.suppressed)
