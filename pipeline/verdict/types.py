"""A verdict as data: the outcome, every reason for it, and what it is worth."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from pipeline.findings.types import Finding
from pipeline.ktap import Report
from pipeline.ledger import NO_BOOKS, Books, Leak
from pipeline.run import Boot, Run
from pipeline.window import Window

CONFIDENCE = 0.95
"""How sure the bound on the failure rate is."""


class Outcome(Enum):
    """Whose fault it is: the series' (FAIL), ours (BROKEN), or nobody's."""

    PASS = "PASS"  # noqa: S105  the word of the field, no password
    FAIL = "FAIL"
    SKIP = "SKIP"
    BROKEN = "BROKEN"

    @property
    def exit_status(self) -> int:
        """Exit status of kpv; 2 is the user's mistake, and 4 for SKIP is what kselftest uses (KSFT_SKIP)."""
        return {Outcome.PASS: 0, Outcome.FAIL: 1, Outcome.BROKEN: 3, Outcome.SKIP: 4}[self]


class Why(Enum):
    """What a reason is about."""

    APPLY = "does not apply"
    BUILD = "does not build"
    WARNING = "compiler warning"
    FINDING = "report by the kernel"
    TEST = "failing test"
    LEAK = "leak"
    FIGURE = "figure"
    PANIC = "panic"
    HANG = "hang"
    TRIPLE_FAULT = "triple fault"
    LOST = "guest lost"
    TIMEOUT = "out of time"
    DETECTOR = "detector not alive"
    CANARY = "canary not seen"
    KTAP = "test results incomplete"
    LEDGER = "ledger unreadable"
    WINDOW = "window never reached"
    NO_BASE = "no base to compare with"
    NOT_RUN = "not run"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Blame:
    """What ties a finding to the series: `number` of the patch from 1, `patch` its label, `text` the reasoning."""

    number: int
    patch: str
    text: str


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that was seen, and what it makes of the verdict.

    `title` is what two reasons are compared by, `text` one line for a reader.  `times` counts the trials
    that showed it; `program`, `seed`, `log` and `line` (0-based) are those of the first.  `report` is the
    kernel's or the compiler's own text; of a leak in the books, the other rows that leak with it.
    """

    why: Why
    outcome: Outcome
    title: str
    text: str
    cut: int | None = None
    program: str = ""
    seed: int | None = None
    times: int = 1
    patch: str = ""
    patch_number: int | None = None
    blame: str = ""
    function: str = ""
    file: str = ""
    report: str = ""
    log: str = ""
    line: int | None = None
    leak: Leak | None = None


@dataclass(frozen=True, slots=True)
class Worth:
    """What a program's trials on the patched kernel amount to; only those that came to their end count."""

    program: str
    trials: int
    seconds: float
    cycles: int

    @property
    def bound(self) -> float:
        """Highest rate of failing trials that would have stayed unseen with a chance of 5%."""
        return rate_bound(self.trials)


@dataclass(frozen=True, slots=True)
class Planted:
    """A fault on purpose: the title of what reported it, or (empty) why nothing did."""

    name: str
    title: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome; `reasons` are what made it, `known` what the base shows too and nobody counts.

    `canaries` are the faults that were planted to see the detectors at work; they are no reasons.
    """

    outcome: Outcome
    reasons: tuple[Reason, ...] = ()
    known: tuple[Reason, ...] = ()
    worth: tuple[Worth, ...] = ()
    canaries: tuple[Planted, ...] = ()

    @property
    def bound(self) -> float:
        """The bound of the program that was tried least."""
        return max((worth.bound for worth in self.worth), default=1.0)


@dataclass(frozen=True, slots=True)
class Start:
    """A boot and what was read out of its console."""

    boot: Boot
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """A run and what was read out of its console, its kmemleak files and its program's lines."""

    run: Run
    findings: tuple[Finding, ...]
    tests: Report
    books: Books = NO_BOOKS
    leaks: tuple[Leak, ...] = ()
    windows: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was seen of one kernel."""

    starts: tuple[Start, ...] = ()
    trials: tuple[Trial, ...] = ()

    def of(self, program: str) -> tuple[Trial, ...]:
        """Return the trials of one program."""
        return tuple(trial for trial in self.trials if trial.run.program == program)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for: it is checked against what was got.

    `trials` of each program on the patched kernel; `detectors` are the names every guest has to prove
    alive; `kmemleak` says that a scan follows the last trial in a guest; `books` are the programs that keep books.
    """

    programs: tuple[str, ...]
    trials: int
    detectors: tuple[str, ...] = ()
    kmemleak: bool = False
    books: tuple[str, ...] = ()


def rate_bound(trials: int, confidence: float = CONFIDENCE) -> float:
    """Return the upper bound on the rate of failure after `trials` without one.

    A rate p stays unseen in n independent trials with probability (1 - p)^n; the bound is the p at which
    that is 1 - confidence.  For large n it is 3/n, the rule of three.
    """
    return 1.0 if trials <= 0 else 1.0 - (1.0 - confidence) ** (1.0 / trials)


_WEIGHT = {Outcome.FAIL: 3, Outcome.BROKEN: 2, Outcome.PASS: 1, Outcome.SKIP: 0}
"""FAIL outranks BROKEN: what one trial has shown is not undone by another that broke."""


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return what several outcomes come to; SKIP for none, PASS only when nothing failed or broke."""
    return max(outcomes, key=_WEIGHT.__getitem__, default=Outcome.SKIP)


def ordered(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Return reasons with the weightiest first and otherwise as they came."""
    return tuple(sorted(reasons, key=lambda reason: -_WEIGHT[reason.outcome]))


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """Join the verdicts of several jobs on one series; trials of one program add up."""
    parts = tuple(verdicts)
    worth: dict[str, Worth] = {}
    for row in (x for part in parts for x in part.worth):
        had = worth.get(row.program, Worth(row.program, 0, 0.0, 0))
        worth[row.program] = Worth(
            row.program, had.trials + row.trials, had.seconds + row.seconds, had.cycles + row.cycles
        )
    return Verdict(
        worst(part.outcome for part in parts),
        ordered(reason for part in parts for reason in part.reasons),
        tuple(reason for part in parts for reason in part.known),
        tuple(worth.values()),
        tuple(planted for part in parts for planted in part.canaries),
    )
