"""Verdicts on a series that never came to run: it does not apply, does not build, or warns."""

from pipeline.errors import BuildError, PipelineError, TreeError
from pipeline.verdict.types import Outcome, Reason, Verdict, Why


def not_applied(error: TreeError) -> Verdict:
    """Judge a series that does not apply to its base: FAIL, with patch, file and hunk."""
    reason = Reason(
        Why.APPLY,
        Outcome.FAIL,
        title=f"patch {error.patch} does not apply",
        text=str(error),
        patch=error.patch,
        file=error.file,
        report="\n".join(x for x in (error.hunk, error.detail) if x),
    )
    return Verdict(Outcome.FAIL, (reason,))


def not_built(error: BuildError, *, cut: int, patch: str = "") -> Verdict:
    """Judge a series whose cut `cut` does not build while those before it do.

    Cut 0 is the base: BROKEN, nothing can be said about the series.  Any other is a FAIL of `patch`, the
    label of the patch that makes the cut (``3/7 subject``).
    """
    base = cut == 0
    what = "the base does not build" if base else f"does not build from patch {patch or cut} on"
    reason = Reason(
        Why.NO_BASE if base else Why.BUILD,
        Outcome.BROKEN if base else Outcome.FAIL,
        title=what,
        text=f"{what}: {error}",
        cut=cut,
        patch="" if base else patch,
        patch_number=None if base else cut,
        file=error.file,
        report=error.detail,
    )
    return Verdict(reason.outcome, (reason,))


def broken(error: PipelineError) -> Verdict:
    """Judge a job in which something of ours gave way before there was anything to judge."""
    reason = Reason(Why.NOT_RUN, Outcome.BROKEN, title=error.what, text=str(error), report=error.detail)
    return Verdict(Outcome.BROKEN, (reason,))


def warning(*, file: str, line: int, text: str, detail: str, cut: int, patch: str = "") -> Reason:
    """Return the reason that a compiler warning is which the base does not give: FAIL.

    `cut` is the first that gives it, `patch` the label of the patch that makes that cut; both may be left
    at the whole series when nobody looked further.
    """
    place = f"{file}:{line}" if line else file
    return Reason(
        Why.WARNING,
        Outcome.FAIL,
        title=f"{file}: {text}",
        text=f"{place}: {text}" if place else text,
        cut=cut,
        patch=patch,
        patch_number=cut if patch else None,
        file=file,
        report=detail,
    )
