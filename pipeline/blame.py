"""Which patch of a series a finding points to: the frames of its stacks held against what the patches touch."""

from collections.abc import Callable, Sequence

from pipeline.findings import Finding, Frame, Role
from pipeline.findings.plumbing import base
from pipeline.series import Patch, Series
from pipeline.verdict import Blame

WEIGHT = (Role.CALL, Role.REGS, Role.OTHER, Role.FREE, Role.ALLOC, Role.LOCK, Role.AUX)
"""Stacks in the order in which they speak: who did it, before who freed and who allocated."""


def blamer(series: Series) -> Callable[[Finding], Blame | None]:
    """Return what holds a finding against `series`; None from it says that no frame is near the series.

    A patch that changes a function on the stack is named outright; one that only changes the file of such
    a function is a guess, and is called one.
    """

    def blame(finding: Finding) -> Blame | None:
        return by_function(finding) or by_file(finding)

    def by_file(finding: Finding) -> Blame | None:
        for frame in finding.frames:
            if frame.trusted and (patch := changing(series.patches, frame)):
                text = f"a guess: patch {patch.index}/{patch.total} touches {frame.file}, the file of {frame.function}"
                return Blame(patch.index, patch.label, text)
        return None

    def by_function(finding: Finding) -> Blame | None:
        for role in WEIGHT:
            frames = [frame for frame in finding.frames if frame.role is role and frame.trusted]
            frames = frames[_fault(frames, finding) :]
            for depth, frame in enumerate(frames):
                if patch := touching(series.patches, frame):
                    where = "" if role is Role.CALL else f" of the {role.value} stack"
                    text = f"patch {patch.index}/{patch.total} touches {frame.function}, frame {depth}{where}"
                    return Blame(patch.index, patch.label, text)
        return None

    return blame


def _fault(frames: Sequence[Frame], finding: Finding) -> int:
    """Return where the reporter's own frames end (dump_stack, kasan_report, ...): frame 0 is the faulty function."""
    return next((i for i, frame in enumerate(frames) if frame.function == finding.frame), 0)


def touching(patches: Sequence[Patch], frame: Frame) -> Patch | None:
    """Return the last patch that changes the frame's function: it is the one whose code ran."""
    name = base(frame.function)  # without .isra.0 and the like, which only the compiler knows
    return next((patch for patch in reversed(patches) if name in patch.functions), None)


def changing(patches: Sequence[Patch], frame: Frame) -> Patch | None:
    """Return the last patch that changes the file of the frame, where the frame's file is known."""
    return next((patch for patch in reversed(patches) if any(frame.file in x.paths for x in patch.files)), None)
