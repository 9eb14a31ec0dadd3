"""Whether the faults that were planted on purpose were seen, by the very rules that find any other.

A canary's run is read as a trial is, and what speaks against the kernel in it has to make a verdict FAIL under
the title that is due.  It is held against no base and counts for nobody: planted trials are no `Evidence`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from pipeline.declare import Canary
from pipeline.run import Ended
from pipeline.verdict import sightings
from pipeline.verdict.types import (
    Evidence,
    Outcome,
    Planted,
    Reason,
    Trial,
    Verdict,
    Why,
    ordered,
    worst,
)


def trusted(verdict: Verdict, asked: Iterable[Canary], planted: Iterable[Trial], why: str = "") -> Verdict:
    """Return `verdict` with what was seen of each canary; `planted` are the trials called after them.

    `why` says what stood in the way of planting those that have none.

    One that was not seen makes it BROKEN, whatever else was not found, unless it is FAIL: what one detector has
    shown is not undone by another that is blind, and no canary is planted behind a kernel that has failed.
    """
    trials = {trial.run.program: trial for trial in planted}
    if verdict.outcome is Outcome.FAIL and not trials:
        return verdict
    canaries = tuple(_shown(canary, trials, why) for canary in asked)
    missing = () if verdict.outcome is Outcome.FAIL else tuple(_unseen(canaries))
    outcome = worst((verdict.outcome, *(reason.outcome for reason in missing)))
    return replace(verdict, outcome=outcome, reasons=ordered((*verdict.reasons, *missing)), canaries=canaries)


def _shown(canary: Canary, trials: Mapping[str, Trial], why: str) -> Planted:
    trial = trials.get(canary.name)
    if trial is None:
        return Planted(canary.name, "", why or "it was not planted")
    titles = _titles(trial)
    found = [title for title in titles if re.search(canary.title, title)]
    if found:
        return Planted(canary.name, found[0])
    run = trial.run
    said = f"; reported instead: {', '.join(titles)}" if titles else ""
    return Planted(canary.name, "", (run.detail if run.ended is not Ended.DONE else "not reported") + said)


def _titles(trial: Trial) -> Sequence[str]:
    """Return the titles of all that would count, had it been a trial."""
    things = (
        thing
        for source in sightings.sources(Evidence(trials=(trial,)))
        for thing in (*source.things, source.end)
        if thing is not None and thing.reason.outcome is Outcome.FAIL
    )
    return tuple(dict.fromkeys(thing.reason.title for thing in things))


def _unseen(planted: Iterable[Planted]) -> Iterator[Reason]:
    """Yield why a detector is not trusted: BROKEN, whatever else was not found."""
    for one in planted:
        if not one.title:
            title = f"canary {one.name} was not seen"
            yield Reason(Why.CANARY, Outcome.BROKEN, title=title, text=f"{title}: {one.why}")
