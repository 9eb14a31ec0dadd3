"""The host's own look into the guest's memory, before and after each trial (docs/pins.md)."""

from pathlib import Path

from pipeline.pin import Look
from pipeline.vm.guest import Guest
from pipeline.vm.qemu import Qemu

try:
    from pipeline import memory
except ImportError as error:
    # drgn is C, and there is no wheel of it for every host: without it kpv sees less, and says so.
    MISSING = f"drgn cannot be used here: {error}"
else:
    MISSING = ""

WAITS = 8
"""Times that a guest is given a moment to free what it is about to free (a grace period, a worker's turn)."""
MOMENT = 0.5
"""Seconds of that."""


class Sight:
    """Looks at memory control in one guest, which stands still for as long as a look takes."""

    def __init__(self, qemu: Qemu, guest: Guest, vmlinux: Path, types: Path, why: str = "") -> None:
        """Take the kernel's symbols and types; `why` is why there are none, and then nothing is seen."""
        self._qemu = qemu
        self._guest = guest
        self._why = why or MISSING
        self._kernel: memory.Kernel | None = None
        if self._why:
            return
        try:
            self._kernel = memory.Kernel(vmlinux, types, memory.Physical(qemu.memory))
        except memory.UnreadableError as error:
            self._why = str(error)

    def look(self, *, name: bool) -> Look:
        """Look once; with `name` also at what holds what is left."""
        if self._kernel is None:
            return Look(unread=self._why)
        if self._guest.gone is not None:
            return Look(unread="the guest had ended")
        if self._qemu.command("stop") is None:
            return Look(unread="QEMU did not stop the guest")
        try:
            return memory.look(self._kernel, name=name)
        finally:
            self._qemu.command("cont")

    def settled(self) -> Look:
        """Look until what is left stays the same, and then at what holds it."""
        seen = self.look(name=False)
        for _ in range(WAITS):
            if seen.unread or not (seen.dying or seen.orphans):
                return seen
            self._guest.rest(MOMENT)
            before, seen = seen, self.look(name=False)
            if (seen.dying, seen.orphans) == (before.dying, before.orphans):
                break
        seen = self.look(name=True)
        if not seen.doubtful:
            return seen
        # Who walks the tree at this very moment (kswapd) holds the memcg it stands at, and soon does not.
        self._guest.rest(MOMENT)
        again = self.look(name=True)
        return again if again.unread or again.doubtful < seen.doubtful else seen
