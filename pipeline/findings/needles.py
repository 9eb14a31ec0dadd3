"""The cheap first look: which lines of a block are worth reading at all.

All needles of the table are searched for at once (Hyperscan compiles them into one automaton), so a
clean console costs next to nothing.
"""

import re
from dataclasses import dataclass

import hyperscan

from pipeline.findings.rules import RULES

# A line stamped by a clock that runs: the kernel is up. At zero it is still finding its clock.
_CLOCK = r"^(?:<\d{1,3}>)?\[ {0,6}(?:[1-9]\d{0,6}\.\d{6}|0\.\d{0,5}[1-9])"
# Not a complaint, but it says something about the console.
# An escape sequence or a NUL may stand in the middle of a needle, so such a line is always read.
_REMARKS = (
    "\x1b",
    "\0",
    "Kernel panic - not syncing",
    "INIT: PANIC: segmentation violation",
    "SeaBIOS (version",
    "UEFI firmware",
)
_CLOCK_LINE = re.compile(_CLOCK.encode(), re.MULTILINE)
_NEEDLE, _TICK = 0, 1


@dataclass(frozen=True, slots=True)
class Hits:
    """Where the lines with a needle begin, in order, and where the first tick of the kernel's clock ends."""

    lines: tuple[int, ...]
    tick: int | None


def _escaped(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"


def _compile() -> hyperscan.Database:
    needles = dict.fromkeys((*(rule.needle for rule in RULES), *_REMARKS))
    rows = [(re.sub(r"([^\w ])", _escaped, needle), _NEEDLE, 0) for needle in needles]
    rows.append((_CLOCK, _TICK, hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_MULTILINE))
    expressions, ids, flags = zip(*rows, strict=True)
    database = hyperscan.Database()
    database.compile(expressions=[x.encode() for x in expressions], ids=ids, elements=len(rows), flags=flags)
    return database


_DATABASE = _compile()


def clock(block: bytes, start: int) -> int | None:
    """Return where the first tick of the kernel's clock ends after `start`."""
    match = _CLOCK_LINE.search(block, start)
    return match.end() if match else None


def search(block: bytes) -> Hits:
    """Look a block of whole lines over."""
    lines: set[int] = set()
    ticks: list[int] = []
    begin = past = 0

    def hit(kind: int, _start: int, end: int, _flags: int, _context: object) -> None:
        nonlocal begin, past
        if kind == _TICK:
            ticks.append(end)
        elif not begin < end <= past:
            # One look a line, however many needles it holds: a megabyte of them costs no more.
            begin = block.rfind(b"\n", 0, end) + 1
            past = block.find(b"\n", end) + 1 or len(block)
            lines.add(begin)

    _DATABASE.scan(block, match_event_handler=hit)
    return Hits(tuple(sorted(lines)), min(ticks, default=None))
