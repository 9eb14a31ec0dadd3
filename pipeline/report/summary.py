"""What a report is made of: one value that holds all a renderer may say.

`Summary.made` is the only way in, and it cleans every text: a console is data, and nothing in it may
reach a terminal, a page or a parser as anything else.
"""

import re
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

from pipeline.ktap import Status
from pipeline.run import Ended
from pipeline.verdict import Outcome, Trial, Verdict

T = TypeVar("T")

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, clear (ECMA-48, 5.4)
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|\x9c|$)"  # OSC, DCS, SOS, PM, APC: titles, links, clipboards
    r"|\x1b[ -/]*[0-~]"  # the two- and three-character ones
    r"|\x9b[0-?]*[ -/]*[@-~]",  # CSI as one C1 character
    re.DOTALL,
)
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, save tab and newline
    "\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"  # what turns or hides text
    "\u2028\u2029"  # line ends to some and not to others
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"  # no characters at all, for XML least of all
)


def clean(text: str) -> str:
    """Return `text` without escape sequences, controls and invisible characters; tabs and line ends stay."""
    return _UNPRINTABLE.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n")))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, tuple):
        return tuple(_cleaned(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _cleaned(getattr(value, field.name)) for field in fields(value)})
    return value


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of the run: what was done, in how many seconds, and how it ended (``kept from before``)."""

    name: str
    seconds: float
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One trial in a table; `findings` are titles, of leaks too; `passed` of `tests` KTAP results are ok."""

    cut: int
    number: int
    program: str
    seed: int
    ended: Ended
    seconds: float
    cycles: int | None
    passed: int
    tests: int
    findings: tuple[str, ...]

    @classmethod
    def of(cls, trial: Trial) -> "Row":
        """Make the row of a trial."""
        run, leaves = trial.run, [test for _path, test in trial.tests.flat() if not test.subtests]
        return cls(
            run.cut,
            run.number,
            run.program,
            run.seed,
            run.ended,
            run.seconds,
            run.cycles,
            sum(test.status is Status.OK for test in leaves),
            len(leaves),
            tuple(dict.fromkeys((*(x.title for x in trial.findings), *(f"leak: {x.title}" for x in trial.leaks)))),
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything about one job.

    version     of kpv
    started     ISO 8601, UTC
    patches     labels in order (``1/2 subject``)
    base        what the user named and what it was (``debian:6.12``); `release` is what the guest booted
    keys        (what, content key): trees, kernels, guest
    programs    those asked for
    files       (what, path below the results folder)
    reproduce   the command that gives the same again
    partial     why this is not all (``interrupted while building``), else empty
    """

    version: str
    started: str
    seconds: float
    series: str
    patches: tuple[str, ...]
    base: str
    release: str
    profile: str
    machine: str
    accel: str
    programs: tuple[str, ...]
    verdict: Verdict
    keys: tuple[tuple[str, str], ...] = ()
    trials: tuple[Row, ...] = ()
    stages: tuple[Stage, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    reproduce: str = ""
    partial: str = ""

    def cleaned(self) -> "Summary":
        """Return the same with every text in it cleaned; each renderer begins with this."""
        result: Summary = _cleaned(self)
        return result

    @property
    def headline(self) -> str:
        """One line that says what came out."""
        if self.partial:
            return self.partial
        if not self.verdict.reasons or self.verdict.outcome is Outcome.PASS:
            return "nothing speaks against it that the base does not show too"
        first = self.verdict.reasons[0]
        title = (first.title or first.text).partition("\n")[0]
        return f"{title}, patch {first.patch}" if first.patch and first.patch not in title else title

    @property
    def worth(self) -> tuple[str, ...]:
        """What was tried, one sentence a program; with what a PASS is worth, since a FAIL needs no bound."""
        passed = self.verdict.outcome is Outcome.PASS
        return tuple(
            f"{row.program}: {_count(row.trials, 'trial')}, {row.seconds:.0f} s, {_count(row.cycles, 'cycle')}"
            + (f"; a failure in more than {row.bound:.1%} of such trials would have shown (95% sure)" if passed else "")
            for row in self.verdict.worth
        )

    @property
    def canaries(self) -> str:
        """How many of the faults on purpose were seen; empty when none was to be."""
        rows = self.verdict.canaries
        unseen = ", ".join(row.name for row in rows if not row.title)
        if not rows:
            return ""
        return f"{sum(bool(row.title) for row in rows)} of {len(rows)} seen" + (f"; not {unseen}" if unseen else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
