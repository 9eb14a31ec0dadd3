"""The type of a row in the table of rules."""

import re
from dataclasses import dataclass
from enum import Enum, unique

from pipeline.findings.types import Kind, Role


@unique
class Blame(Enum):
    """Which frame a report is named after."""

    FIRST = "the first frame that is not plumbing"
    HEADER = "the function in the first line, if it is not plumbing; else FIRST"
    WAITER = "the first frame below all waiting: who waits, not how"
    LOOP = "the frame above the first dispatcher: the loop, not where the CPU was in it"
    STALL = "LOOP, of what the timer interrupt stopped"
    RACE = "both functions of the first line"
    NOBODY = "no frame"


@dataclass(frozen=True, slots=True)
class Rule:
    """One way in which a kernel complains.

    name      of the rule, and of its folder of golden logs
    needle    a literal that the first line of such a report holds: looked for in the whole console at once
    pattern   is then searched for in the message; the group ``fn`` is the function that it names
    title     a format string over the groups and ``frame``, the function to blame
    kind      the class of the problem
    source    where the kernel prints it: file, and function
    alts      further titles under which the bug may be known
    body      has to match somewhere in the report, and may bind more groups
    blame     which frame is ``frame``
    roles     the stacks to look for it, the best first
    skip      functions to pass over, for this rule only
    stack     whether a report without a stack is damaged
    corrupted whether it is damaged anyway: rows for what is left of a report
    ends      the last line of the report, where it has one of its own
    absorbs   first lines of other rules that belong to this report
    lock      the report is about a lock: where it was asked for is the function to blame
    framed    the report ends with a line of ``=``: damaged if another report comes before that
    follows   a line of a report that has begun; a report of its own only if none has
    aftermath of an earlier report, however long ago: what panic_on_warn and its kin lead to
    boot      a sign that the machine starts: a finding if it had been running
    prose     words without a format, which a program may print too: it counts if the kernel printed it
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
    roles: tuple[Role, ...] = (Role.AUX, Role.CALL)
    skip: re.Pattern[str] | None = None
    stack: bool = True
    corrupted: bool = False
    ends: re.Pattern[str] | None = None
    absorbs: re.Pattern[str] | None = None
    lock: bool = False
    framed: bool = False
    follows: bool = False
    aftermath: bool = False
    boot: bool = False
    prose: bool = False
