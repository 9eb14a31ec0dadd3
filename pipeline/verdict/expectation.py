"""Whether a case of the library came to what it has to come to, and how soon."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.declare import Case, Expected
from pipeline.run import Run
from pipeline.verdict import figures, sightings
from pipeline.verdict.types import Evidence, Outcome, Reason, Trial, Verdict

CLAIMS = (
    ("KASAN: ", "kasan"),
    ("KCSAN: ", "kcsan"),
    ("memory leak in", "kmemleak"),
    ("possible deadlock", "lockdep"),
    ("inconsistent lock state", "lockdep"),
    ("suspicious RCU usage", "rcu-lockdep"),
    ("ODEBUG bug", "debug-objects"),
    ("task hung", "hung-task"),
    ("soft lockup", "soft-lockup"),
    ("workqueue lockup", "workqueue-watchdog"),
    ("KMSAN: ", ""),
    ("KFENCE: ", ""),
    ("UBSAN: ", ""),
)
"""Words of a title that one detector alone brings about, and which; "" is one that no profile arms."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One trial of a case on the patched kernel; `seconds` of guest time until what is expected was `shown`."""

    program: str
    seed: int
    seconds: float
    shown: bool


@dataclass(frozen=True, slots=True)
class Held:
    """A case held against its verdict; `unmet` says in what they differ and is empty when they do not."""

    case: Case
    outcome: Outcome
    title: str
    unmet: str
    detections: tuple[Detection, ...]

    @property
    def shown(self) -> tuple[float, ...]:
        """Seconds to detection, of the trials that showed it, the quickest first."""
        return tuple(sorted(x.seconds for x in self.detections if x.shown))


def impossible(expected: Expected, detectors: Iterable[str]) -> str:
    """Say why no kernel with `detectors` can show what is `expected`; empty when one can."""
    claims = [(words, detector) for words, detector in CLAIMS if words.strip(" :") in expected.title]
    armed = set(detectors)
    if not claims or any(detector in armed for _words, detector in claims):
        return ""
    words, detector = claims[0]
    return f"{words.strip(' :')} is what {f'detector {detector}' if detector else 'no detector of ours'} reports"


def held(case: Case, verdict: Verdict, base: Evidence, patched: Evidence) -> Held:
    """Hold `verdict` and the trials it was made of against what `case` has to come to."""
    detections = tuple(_detection(case.expect, base, trial) for trial in patched.trials)
    fail = next((x for x in verdict.reasons if x.outcome is Outcome.FAIL and _is(case.expect, x)), None)
    first = fail or (verdict.reasons[0] if verdict.reasons else None)
    wrong = unmet(case.expect, verdict) or (_unseen(case, detections) if case.expect.fails else "")
    return Held(case, verdict.outcome, first.title if first else "", wrong, detections)


def _detection(expected: Expected, base: Evidence, trial: Trial) -> Detection:
    run: Run = trial.run
    seen = [
        x.reason
        for source in sightings.sources(Evidence((), (trial,)))
        for x in (*source.things, source.end)
        if x is not None
    ]
    # A figure speaks only beside the base's.
    seen += figures.compared((run.program,), base, Evidence((), (trial,)))
    shown = expected.fails and any(_is(expected, reason) for reason in seen)
    return Detection(run.program, run.seed, run.seconds, shown)


def _is(expected: Expected, reason: Reason) -> bool:
    named = not expected.function or re.search(expected.function, reason.function) is not None
    return named and bool(expected.title) and re.search(expected.title, reason.title) is not None


def _unseen(case: Case, detections: Sequence[Detection]) -> str:
    """Say which trials did not show what every one of them has to: found once may be luck."""
    missed = [f"{x.program} with seed {x.seed}" for x in detections if not x.shown]
    asked = len(case.programs) * case.trials
    if len(detections) < asked:
        return f"{len(detections)} of {asked} trials were run"
    if missed:
        return f"shown in {len(detections) - len(missed)} of {len(detections)} trials, not by {', '.join(missed)}"
    return ""


def unmet(expected: Expected, verdict: Verdict) -> str:
    """Say in what `verdict` differs from what was `expected`; empty when it does not."""
    wanted = Outcome.FAIL if expected.fails else Outcome.PASS
    if verdict.outcome is not wanted:
        why = f": {verdict.reasons[0].text}" if verdict.reasons else ""
        return f"{verdict.outcome.value} where {wanted.value} is due{why}"
    if not expected.fails:
        return ""
    fails = [x for x in verdict.reasons if x.outcome is Outcome.FAIL]
    titled = [x for x in fails if re.search(expected.title, x.title)]
    if not titled:
        seen = "; ".join(reason.title for reason in verdict.reasons)
        return f"no reason is titled {expected.title!r}, but: {seen}"
    right = [x for x in titled if _is(expected, x)]
    if not right:
        return f"{titled[0].title}: function {expected.function!r} is due, {titled[0].function or 'none'} is named"
    if expected.patch and not any(reason.patch_number == expected.patch for reason in right):
        return f"{right[0].title}: patch {expected.patch} is due, {_named(right[0])} is named"
    return ""


def _named(reason: Reason) -> str:
    return f"patch {reason.patch_number}" if reason.patch_number else "no patch"
