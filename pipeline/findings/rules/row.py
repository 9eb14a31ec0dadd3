"""The type of a row in the table of rules."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, unique

from pipeline.findings.types import Kind, Role


@unique
class Blame(Enum):
    """Which frame a report is named after."""

    FIRST = "the first frame that is not plumbing"
    HEADER = "the function named in the first line, if it is not plumbing, else FIRST"
    WAITER = "the first frame above the wait itself: who waits, not how"
    STALL = "LOOP, below the timer interrupt that noticed"
    LOOP = "the frame below the first dispatcher: the loop, not where it happened to be"
    RACE = "the top of each of the two stacks"
    NOBODY = "no frame"


@dataclass(frozen=True, slots=True)
class Rule:
    """One way in which a kernel complains.

    ``needle`` is a literal that every first line of such a report holds: it is looked for in the whole
    console at once. ``pattern`` is then searched for in the message. ``body``, if given, has to match
    somewhere in the report and may bind more groups. ``title`` and ``alts`` are format strings over the
    groups and ``frame``. ``blame`` says which frame that is; ``skip`` names functions to pass over for
    this rule only. A rule without ``stack`` is whole without a stack. ``absorbs`` are first lines of
    other rules that belong to this report. ``source`` is where the kernel prints it.
    """

    name: str
    needle: str
    pattern: re.Pattern[str]
    title: str
    kind: Kind
    source: str
    alts: tuple[str, ...] = ()
    body: re.Pattern[str] | None = None
    blame: Blame = Blame.FIRST
    skip: re.Pattern[str] | None = None
    stack: bool = True
    corrupted: bool = False
    absorbs: re.Pattern[str] | None = None
    roles: tuple[Role, ...] = (Role.AUX, Role.CALL)
    traits: frozenset[str] = field(default_factory=frozenset)


def rx(pattern: str) -> re.Pattern[str]:
    """A pattern over the lines of a report."""
    return re.compile(pattern, re.MULTILINE)
