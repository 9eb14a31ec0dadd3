"""Windows: how often the two sides of a hazard were in their parts at once (guest_tests/lib/window.c).

A program says at its end, one line a window::

    # window <name> <side>=<n> <side>=<n> overlap=<n>
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

REACHED = "windows_reached"
"""The test by which the library itself says that every window was reached; skipped when one was not."""

_LINE = re.compile(
    r"# window (?P<name>\S+) (?P<one>[^\s=]+)=(?P<ones>\d{1,18}) (?P<two>[^\s=]+)=(?P<twos>\d{1,18})"
    r" overlap=(?P<overlap>\d{1,18})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Window:
    """One hazard: its two sides, how often each ran, and how often one began while the other was in its part."""

    name: str
    sides: tuple[str, str]
    ran: tuple[int, int]
    overlap: int


def windows(lines: Iterable[str]) -> tuple[Window, ...]:
    """Read the windows out of a program's lines; lines that are none are passed over."""
    found = (_LINE.fullmatch(line.strip()) for line in lines)
    return tuple(
        Window(x["name"], (x["one"], x["two"]), (int(x["ones"]), int(x["twos"])), int(x["overlap"]))
        for x in found
        if x is not None
    )
