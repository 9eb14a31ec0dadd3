"""Which patch of a series a finding points to: the frames of its stacks held against what the patches touch."""

from collections.abc import Callable, Sequence

from pipeline.findings import Finding, Frame, Role
from pipeline.series import Patch, Series
from pipeline.verdict import Blame

WEIGHT = (Role.CALL, Role.REGS, Role.OTHER, Role.FREE, Role.ALLOC, Role.LOCK, Role.AUX)
"""Stacks in the order in which they speak: who did it, before who freed and who allocated."""


def blamer(series: Series) -> Callable[[Finding], Blame | None]:
    """Return what holds a finding against `series`; None from it says that no frame is near the series."""

    def blame(finding: Finding) -> Blame | None:
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
    return next((patch for patch in reversed(patches) if frame.function in patch.functions), None)
