"""How long anything in a guest may take: one row of figures, stretched as a whole."""

from dataclasses import dataclass, fields

NOMINAL_BOOT = 16.0
"""Seconds from QEMU's start to the agent on the machine that the limits below were chosen on."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines in seconds of a host that is not busy.

    connect     until QEMU answers on QMP
    boot        a boot without a word on either wire for so long hangs
    boot_most   a boot that talks all the time and is never ready
    silence     the agent ticks every second; a guest without tick or console for so long hangs
    standstill  a program whose count of cycles stands still for so long beyond its budget hangs
    watchdog    what a program gets beyond twice its budget before the agent kills it
    answer      how long the agent may take over a command that only reads
    mark        until a mark that the agent wrote shows on the console
    pause       silence after which a report is looked at before it is known to be whole
    settle      silence after which a report that could go on is taken to be whole
    storm       how long reports that come one upon another are listened to
    stacks      how long a hung kernel may print for one sysrq key
    """

    connect: float = 30.0
    boot: float = 90.0
    boot_most: float = 900.0
    silence: float = 30.0
    standstill: float = 60.0
    watchdog: float = 60.0
    answer: float = 60.0
    mark: float = 10.0
    pause: float = 0.3
    settle: float = 1.5
    storm: float = 5.0
    stacks: float = 20.0

    def stretched(self, factor: float) -> "Limits":
        """Return these limits for a machine, or a kernel, that is slower by `factor`."""
        return Limits(**{row.name: getattr(self, row.name) * factor for row in fields(self)})


LIMITS = Limits()
"""The ones in use."""
