"""Whether a verdict can be trusted: canaries into the guest, planted behind the trials or in a guest of their own."""

from collections.abc import Sequence
from pathlib import Path

from pipeline import guest, verdict
from pipeline.declare import Canary, Profile
from pipeline.guest import GuestImage
from pipeline.kernel import KernelImage
from pipeline.progress import Progress
from pipeline.run import Ended
from pipeline.store import Store
from pipeline.verdict import Outcome, Trial, Verdict
from pipeline.vm import canaries
from pipeline.vm.session import Setting, session

PROGRAM = canaries.PROGRAM
"""What every guest has beside the programs that were asked for."""
FOLDER = "canaries"
"""Where a guest of their own leaves its records, in the results."""


def packed(store: Store, image: GuestImage, kernel: KernelImage) -> GuestImage:
    """Return `image` with the module that plants faults in `kernel`, or as it is when there is none."""
    return image if _why_not(kernel) else guest.with_file(store, image, canaries.MODULE, _module(kernel))


def plantable(profile: Profile, kernel: KernelImage) -> tuple[Canary, ...]:
    """Return the canaries of `profile`, none when there is no module that could plant them in `kernel`."""
    return () if _why_not(kernel) else profile.canaries


def judged(
    found: Verdict, setting: Setting, kernel: KernelImage, planted: Sequence[Trial], folder: Path, progress: Progress
) -> Verdict:
    """Return `found` with what was seen of the canaries; `planted` are those behind the trials.

    When there are none, because no guest was sane to the end, they get one of their own, whose records go below
    `folder`; unless the verdict is FAIL, which they cannot change.
    """
    asked = setting.profile.canaries
    why = _why_not(kernel)
    rows = plantable(setting.profile, kernel)
    if rows and not planted and found.outcome is not Outcome.FAIL:
        alone = session(setting, (), folder / FOLDER, progress, choose=lambda _runs: rows)
        planted = tuple(verdict.read_run(run) for run in alone.canaries)
        if alone.boot.ended is not Ended.DONE:
            why = f"the guest for it did not come up: {alone.boot.detail}"
    return verdict.trusted(found, asked, planted, why)


def _module(kernel: KernelImage) -> Path:
    assert kernel.modules is not None
    return kernel.modules.canary


def _why_not(kernel: KernelImage) -> str:
    """Say why there is no module; empty when there is."""
    why = kernel.modules.why(_module(kernel)) if kernel.modules is not None else "nobody built it"
    return f"its module does not build: {why}" if why else ""
