"""Base against patched: the table of docs/verdicts.md, as code."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from pipeline.findings.types import Finding
from pipeline.ktap import Status
from pipeline.verdict import figures, gaps, sightings
from pipeline.verdict.sightings import Sighting
from pipeline.verdict.types import (
    Asked,
    Blame,
    Evidence,
    Outcome,
    Reason,
    Verdict,
    Why,
    Worth,
    ordered,
    worst,
)

Blamer = Callable[[Finding], Blame | None]
"""What ties a finding to a patch of the series, where something does."""


def nobody(_finding: Finding) -> Blame | None:
    """Blame no patch."""
    return None


Pardoner = Callable[[Finding], str]
"""What says why a finding is not counted (a known issue of the user's list); empty when it counts."""


def none_pardoned(_finding: Finding) -> str:
    """Count every finding."""
    return ""


def judge(
    asked: Asked,
    base: Evidence,
    patched: Evidence,
    *,
    blame: Blamer = nobody,
    pardon: Pardoner = none_pardoned,
    more: Iterable[Reason] = (),
) -> Verdict:
    """Judge the patched kernel by what its base does not show.

    `more` are reasons from before the first boot (new compiler warnings).  What was asked for and is not
    in the evidence makes the verdict BROKEN; it is PASS only when a program came to its end on both
    kernels and nothing speaks against it.
    """
    early = tuple(more)
    if not any((base.starts, base.trials, patched.starts, patched.trials)):
        skip = Reason(Why.NOT_RUN, Outcome.SKIP, title="nothing ran", text="nothing ran")
        return Verdict(worst((Outcome.SKIP, *(x.outcome for x in early))), ordered((*early, skip)))
    compared, known = _compared(base, patched, pardon)
    fresh = sightings.folded(compared)
    on_base = tuple(gaps.of_base(asked, base))
    missing = (*on_base, *gaps.of_patched(asked, base, patched, failed=bool(fresh)))
    measured = (*figures.compared(asked.programs, base, patched), *figures.gaps(asked.programs, base, patched))
    told = tuple(_comparable(x.told(blame(x.finding) if x.finding else None), on_base) for x in fresh)
    reasons = ordered((*early, *told, *measured, *missing))
    worth = tuple(row for row in (_worth(program, asked, patched) for program in asked.programs) if row.trials)
    proved = Outcome.PASS if worth else Outcome.SKIP
    outcome = worst((proved, *(x.outcome for x in reasons if x.outcome is not Outcome.SKIP)))
    return Verdict(outcome, reasons, tuple(replace(x.reason, outcome=Outcome.PASS) for x in known), worth)


def _compared(base: Evidence, patched: Evidence, pardon: Pardoner) -> tuple[list[Sighting], list[Sighting]]:
    """Part what the patched kernel shows into what is new, and what the base shows too or is pardoned."""
    on_base = sightings.everything(base)
    fresh: list[Sighting] = []
    known: list[Sighting] = []
    for source in sightings.sources(patched):
        new = [x for x in source.things if not any(x.same(y) for y in on_base) and not _excuse(x, pardon, base)]
        for thing in source.things:
            sightings.add(fresh if thing in new else known, thing.because(_excuse(thing, pardon, base)))
        # A panic that follows a new report is that report's; one that follows only known reports, or
        # none, is a reason of its own unless the base ends so too.
        if source.end is not None and any(source.end.same(y) for y in on_base):
            sightings.add(known, source.end)
        elif source.end is not None and not new:
            sightings.add(fresh, source.end)
    return fresh, known


def _excuse(thing: Sighting, pardon: Pardoner, base: Evidence) -> str:
    return pardon(thing.finding) if thing.finding is not None else _unreached(thing.reason, base)


def _unreached(reason: Reason, base: Evidence) -> str:
    """Say that the base never got to a subtest, when the test around it was cut short there and so expected to fail."""
    above = reason.title.rpartition("/")[0]
    if reason.why is not Why.TEST or not above:
        return ""
    seen = [dict(trial.tests.flat()) for trial in base.of(reason.program)]
    cut = next((x[above] for x in seen if above in x and x[above].status is Status.EXPECTED), None)
    if cut is None or any(reason.title in x for x in seen):
        return ""
    return f"the base did not get there, {above} was cut short: {cut.note or 'as expected'}"


def _comparable(reason: Reason, on_base: tuple[Reason, ...]) -> Reason:
    """Take the vote from a reason whose base was not seen: nobody knows whether the base shows it too."""
    holes = [x for x in on_base if x.why is Why.NO_BASE and x.program in {"", reason.program}]
    if not holes:
        return reason
    return replace(reason, outcome=Outcome.BROKEN, text=f"{reason.text}; not comparable: {holes[0].title}")


def _worth(program: str, asked: Asked, patched: Evidence) -> Worth:
    trials = [trial for trial in patched.of(program) if gaps.counts(trial, asked)]
    cycles = [x.run.cycles if x.run.cycles is not None else int(x.tests.figure("cycles") or 0) for x in trials]
    return Worth(program, len(trials), sum(trial.run.seconds for trial in trials), sum(cycles))
