"""Figures that programs measure: the patched kernel's held against the base's, each with its error.

A program says one as a diagnostic line of its KTAP (guest_tests/lib/gt.h)::

    # figure <name> <value> <error> <least>
    # figure <name> none <why>

`error` is the standard error of `value`; more is worse, and a difference below `least` is not worth a word
however sure it is.  The second form says that nothing could be measured.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.run import Ended
from pipeline.verdict.types import Evidence, Outcome, Reason, Trial, Why

SIGMAS = 4.0
"""Standard errors of the difference by which a figure has to be worse: by chance once in 30 000 comparisons.

The errors are estimates from a few repetitions themselves, which makes chance more frequent; `least` is what
keeps such a difference from counting when it is small.
"""

_NUMBER = r"-?\d{1,12}(?:\.\d{1,12})?"
_LINE = re.compile(
    rf"#\s*figure\s+(?P<name>[a-z][a-z0-9_]*)\s+"
    rf"(?:none\b\s*(?P<why>.*)|(?P<value>{_NUMBER})\s+(?P<error>{_NUMBER})\s+(?P<least>{_NUMBER})\s*)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Figure:
    """What one trial, or all of one kernel, measured; without a `value` there is a `why`."""

    name: str
    value: float = 0.0
    error: float = 0.0
    least: float = 0.0
    why: str = ""


def read(trial: Trial) -> tuple[Figure, ...]:
    """Return the figures of a trial that came to its end, the last of each name; others have none."""
    if trial.run.ended is not Ended.DONE:
        return ()
    found: dict[str, Figure] = {}
    for line in trial.run.ktap:
        if not line.lstrip().startswith("# figure "):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            name = line.split()[2] if len(line.split()) > 2 else ""
            found[name] = Figure(name, why=f"{line.strip()!r} is no figure")
        elif match["value"] is None:
            found[match["name"]] = Figure(match["name"], why=match["why"].strip() or "not measured")
        else:
            value, error, least = float(match["value"]), float(match["error"]), float(match["least"])
            found[match["name"]] = Figure(match["name"], value, error, least)
    return tuple(found.values())


def pooled(figures: Sequence[Figure]) -> Figure:
    """Return the mean of one figure over several trials.

    Its error is what the trials' own errors come to, or what the trials differ by where that is more:
    repetitions within a trial have more in common than trials.
    """
    values = [figure.value for figure in figures]
    n = len(values)
    mean = sum(values) / n
    error = math.sqrt(sum(figure.error**2 for figure in figures)) / n
    if n > 1:
        error = max(error, math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n))
    return Figure(figures[0].name, mean, error, max(figure.least for figure in figures))


def worse(base: Figure, patched: Figure) -> bool:
    """Whether the difference is more than its error explains, and enough to matter."""
    difference = patched.value - base.value
    return difference > max(base.least, patched.least) and difference > SIGMAS * math.hypot(base.error, patched.error)


def _by_name(trials: Sequence[Trial]) -> dict[str, list[Figure]]:
    named: dict[str, list[Figure]] = {}
    for figure in (x for trial in trials for x in read(trial) if not x.why):
        named.setdefault(figure.name, []).append(figure)
    return named


def compared(programs: Sequence[str], base: Evidence, patched: Evidence) -> Iterator[Reason]:
    """Yield a FAIL for each figure of the patched kernel that is worse than the base's."""
    for program in programs:
        on_base = _by_name(base.of(program))
        trials = patched.of(program)
        for name, figures in _by_name(trials).items():
            if name not in on_base:
                continue
            was, now = pooled(on_base[name]), pooled(figures)
            if not worse(was, now):
                continue
            first = next(trial.run for trial in trials if any(x.name == name and not x.why for x in read(trial)))
            yield Reason(
                Why.FIGURE,
                Outcome.FAIL,
                title=f"{name} is worse than the base's",
                text=f"{program}: {name} is {_told(now)}, the base's {_told(was)}",
                cut=first.cut,
                program=program,
                seed=first.seed,
                times=len(figures),
                log=first.log,
            )


def _told(figure: Figure) -> str:
    return f"{figure.value:.3f} +- {figure.error:.3f}"


def gaps(programs: Sequence[str], base: Evidence, patched: Evidence) -> Iterator[Reason]:
    """Yield a BROKEN for each figure that was to be measured and was not, on either kernel."""
    for program in programs:
        trials = (*base.of(program), *patched.of(program))
        wanted = dict.fromkeys(figure.name for trial in trials for figure in read(trial))
        for trial in trials:
            if trial.run.ended is not Ended.DONE:
                continue
            got = {figure.name: figure for figure in read(trial)}
            for name in wanted:
                why = got[name].why if name in got else "the program does not say it"
                if why:
                    yield _gap(trial, f"{name} was not measured: {why}")


def _gap(trial: Trial, text: str) -> Reason:
    run = trial.run
    kernel = "base" if run.cut == 0 else "patched"
    return Reason(
        Why.FIGURE,
        Outcome.BROKEN,
        title=text,
        text=f"{kernel}, {run.program}, seed {run.seed}: {text}",
        cut=run.cut,
        program=run.program,
        seed=run.seed,
        log=run.log,
    )
