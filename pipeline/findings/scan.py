"""The parser: bytes of a console in, findings out, as they become complete.

Nothing is kept of a console but the last few lines and the reports that are open, so memory does
not grow with the log. While no report is open, a block of lines is searched for the needles of all
rules at once and only the lines that hold one are looked at.
"""

import re
from collections import deque
from dataclasses import dataclass, field, replace

import hyperscan

from pipeline.findings import anatomy, report
from pipeline.findings.line import LINE_LIMIT, Line, parse
from pipeline.findings.rules import RULES, Rule
from pipeline.findings.types import Finding


# How much is searched at once.
_BLOCK = 1 << 20
# The lines before a report that are kept with it.
_BEFORE = 5
# A report that is longer than this is cut: the rest is another's or a loop of the kernel's.
_REPORT_LINES = 3000
_REPORT_SIZE = 1 << 20
# Reports that are open at once, one a task: with more, the first is taken to have ended.
_OPEN = 16
# A report has ended when this many of its task's lines, or of all lines, were no part of any report.
_QUIET_OWN = 50
_QUIET_ALL = 400

_BIOS = re.compile(r"^(?:SeaBIOS|UEFI firmware|BdsDxe|EDK II|iPXE|early console in|Decompressing Linux)")

_NEEDLES = tuple(dict.fromkeys(rule.needle for rule in RULES))
_LITERAL, _RUNNING, _FIRMWARE = 0, 1, 2


def _database() -> hyperscan.Database:
    rows = [(re.sub(r"([^\w ])", r"\\\1", needle), _LITERAL, 0) for needle in _NEEDLES]
    # printk with a clock that runs: the kernel is up.
    rows.append(
        (
            r"^(?:<\d{1,3}>)?\[ {0,6}(?:[1-9]\d{0,6}\.\d{6}|0\.\d{0,5}[1-9])",
            _RUNNING,
            hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_MULTILINE,
        )
    )
    rows.append((r"^(?:SeaBIOS|UEFI firmware|BdsDxe|EDK II)", _FIRMWARE, hyperscan.HS_FLAG_MULTILINE))
    database = hyperscan.Database()
    database.compile(
        expressions=[row[0].encode() for row in rows],
        ids=[row[1] for row in rows],
        elements=len(rows),
        flags=[row[2] for row in rows],
    )
    return database


_DATABASE = _database()


@dataclass(slots=True)
class _Open:
    """A report that is being read."""

    rules: tuple[Rule, ...]
    lines: list[Line]
    before: tuple[Line, ...]
    alive: int
    kept: int = 1
    size: int = 0
    quiet: int = 0


@dataclass(slots=True)
class Scanner:
    """Reads a console as it arrives.

    >>> scanner = Scanner()
    >>> findings = scanner.feed(b"[    1.000000] BUG: Bad rss-counter state mm:0 idx:0 val:1\\n") + scanner.close()
    >>> [finding.title for finding in findings]
    ['BUG: Bad rss-counter state']

    How the bytes are cut into calls of ``feed`` makes no difference. A finding is returned as soon as
    its report is whole. ``pending`` is True while one is open: a runner that waits for the rest of a
    report waits until that is False, or until the console has been silent for long enough, and closes.
    """

    panicked: bool = False
    _tail: bytearray = field(default_factory=bytearray)
    _number: int = 0
    _open: dict[str | None, _Open] = field(default_factory=dict)
    _before: deque[bytes] = field(default_factory=lambda: deque(maxlen=_BEFORE))
    _done: list[Finding] = field(default_factory=list)
    _running: bool = False
    _banner: bool = False
    _firmware: bool = False
    _text: bool = False
    _trouble: int | None = None

    @property
    def pending(self) -> bool:
        """Whether a report has begun and is not whole yet."""
        return bool(self._open)

    def feed(self, data: bytes) -> list[Finding]:
        """Read on. Returns the findings whose reports are whole by now."""
        for start in range(0, len(data), _BLOCK):
            self._feed(data[start : start + _BLOCK])
        return self._take()

    def close(self) -> list[Finding]:
        """The console has ended: returns the findings whose reports were still open."""
        if self._tail:
            self._lines(bytes(self._tail) + b"\n")
            self._tail.clear()
        for key in list(self._open):
            self._finish(key)
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
        starts: set[int] = set()
        running = [len(block)]
        looked_at = 0

        def hit(kind: int, _: int, end: int, __: int, ___: object) -> None:
            nonlocal looked_at
            if kind == _RUNNING:
                running[0] = min(running[0], end)
            elif end > looked_at:
                starts.add(block.rfind(b"\n", looked_at, end) + 1 or looked_at)
                looked_at = block.find(b"\n", end) + 1

        _DATABASE.scan(block, match_event_handler=hit)
        queue = deque(sorted(starts))
        position = 0
        while position < len(block):
            if not self._open:
                while queue and queue[0] < position:
                    queue.popleft()
                target = queue[0] if queue else len(block)
                if target > position:
                    self._skip(block, position, target)
                    position = target
                    continue
            end = block.index(b"\n", position)
            if running[0] <= end:
                self._running = True
            raw = block[position : min(end, position + LINE_LIMIT)]
            self._line(raw, interesting=position in starts)
            self._before.append(raw)
            self._number += 1
            position = end + 1
        if running[0] < len(block):
            self._running = True

    def _skip(self, block: bytes, start: int, end: int) -> None:
        """Pass over lines of no interest: only their number and the last few matter."""
        self._number += block.count(b"\n", start, end)
        self._text = self._text or bool(block[start:end].strip())
        at, last = end, []
        while at > start and len(last) < _BEFORE:
            begin = block.rfind(b"\n", start, at - 1) + 1 or start
            last.append(block[begin : min(at - 1, begin + LINE_LIMIT)])
            at = begin
        self._before.extend(reversed(last))

    def _line(self, raw: bytes, *, interesting: bool) -> None:
        line = parse(raw, self._number)
        if self._open:
            self._expire(line)
        if interesting:
            if "Kernel panic - not syncing" in line.message:
                self.panicked = True
            rules = self._begins(line)
            if rules:
                self._begin(rules, line)
                return
        if _BIOS.match(line.message):
            self._firmware = self._firmware or self._text
        self._text = self._text or bool(line.message.strip())
        key = line.caller
        current = self._open.get(key)
        if current is None or (current.lines[0].stamped and not line.stamped):
            return
        self._extend(key, current, line)

    def _extend(self, key: str | None, current: _Open, line: Line) -> None:
        current.lines.append(line)
        current.size += len(line.message)
        if anatomy.is_part(line.message):
            current.alive = line.number
            current.kept = len(current.lines)
            current.quiet = 0
        else:
            current.quiet += 1
        if anatomy.is_end(line.message):
            current.kept = len(current.lines)
            self._finish(key)
        elif current.quiet > _QUIET_OWN or len(current.lines) >= _REPORT_LINES or current.size >= _REPORT_SIZE:
            self._finish(key)

    def _expire(self, line: Line) -> None:
        stale = [key for key, current in self._open.items() if line.number - current.alive > _QUIET_ALL]
        for key in stale:
            self._finish(key)

    def _begins(self, line: Line) -> tuple[Rule, ...]:
        """The rules of the report that begins with this line; none if it is part of what is known."""
        rules = report.openers(line.message)
        if not rules:
            return ()
        first = rules[0]
        if first.boot:
            return rules if self._rebooted(line) else ()
        if first.prose and not line.stamped and self._running:
            return ()
        current = self._open.get(line.caller)
        if current is not None:
            if first.follows:
                return ()
            head = current.rules[0]
            if head.absorbs is not None and head.absorbs.search(line.message):
                return ()
            if "[inline]" in current.lines[-1].message and first is head:
                return ()
        if first.aftermath and (self._trouble is not None or self._open):
            return ()
        if first.follows and self._trouble is not None and line.number - self._trouble < _QUIET_OWN:
            return ()
        return rules

    def _rebooted(self, line: Line) -> bool:
        banner = line.message.startswith("Linux version")
        again = self._running or self._firmware or (banner and self._banner)
        known = self._trouble is not None or bool(self._open)
        for key in list(self._open):
            self._finish(key)
        self._trouble = None
        self._running = False
        self._firmware = False
        self._banner = banner
        if again and not known:
            return True
        return False

    def _begin(self, rules: tuple[Rule, ...], line: Line) -> None:
        if line.caller in self._open:
            self._finish(line.caller, cut=True)
        if len(self._open) == _OPEN:
            self._finish(next(iter(self._open)))
        first = line.number - len(self._before)
        before = tuple(
            old
            for old in (parse(raw, first + index) for index, raw in enumerate(self._before))
            if old.caller == line.caller and old.stamped == line.stamped
        )
        self._open[line.caller] = _Open(rules, [line], before, line.number)
        self._trouble = line.number

    def _finish(self, key: str | None, *, cut: bool = False) -> None:
        current = self._open.pop(key)
        self._trouble = current.alive
        self._done.append(report.assemble(current.rules, current.lines[: current.kept], current.before, cut=cut))


def scan(data: bytes) -> list[Finding]:
    """Every finding of a whole console, in order of appearance."""
    scanner = Scanner()
    findings = scanner.feed(data) + scanner.close()
    return sorted(
        (replace(finding, panicked=scanner.panicked) for finding in findings), key=lambda finding: finding.start_line
    )
