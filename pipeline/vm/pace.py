"""A clock for deadlines that does not run while QEMU wants a CPU of the host and gets none.

A guest that hangs and a host that is busy look alike from outside: nothing happens.  The kernel of the
host tells them apart: it counts how long each thread was ready to run and had to wait
(``/proc/<pid>/task/<tid>/schedstat``, second field, ns; Documentation/scheduler/sched-stats.rst).
"""

import time
from collections.abc import Callable
from pathlib import Path

EVERY = 0.1
"""Seconds between two looks."""
SLOWEST = 0.2
"""What the clock runs at least, as a share of real time: a hang has to be found on the busiest host."""


class Pace:
    """The time that QEMU was given, in seconds since this object was made."""

    def __init__(self, pid: int, proc: Path = Path("/proc"), clock: Callable[[], float] = time.monotonic) -> None:
        """Watch the threads of process `pid`."""
        self._tasks = proc / str(pid) / "task"
        self._clock = clock
        self._looked = clock()
        self._waited = self._waiting()
        self._now = 0.0

    def now(self) -> float:
        """Return what the clock shows; it never runs back."""
        at = self._clock()
        elapsed = at - self._looked
        if elapsed < EVERY:
            # What is not known yet is taken at the least it can be, so that the clock need not run back.
            return self._now + elapsed * SLOWEST
        waited = max(self._waited, self._waiting())
        self._now += max(elapsed - (waited - self._waited), elapsed * SLOWEST)
        self._looked, self._waited = at, waited
        return self._now

    def _waiting(self) -> float:
        """Seconds that the thread which fared worst has waited for a CPU; 0 where the kernel does not say."""
        most = 0
        try:
            for task in self._tasks.iterdir():
                fields = (task / "schedstat").read_text().split()
                most = max(most, int(fields[1]))
        except (OSError, ValueError, IndexError):
            pass  # it has ended, or this kernel keeps no such figures
        return most / 1e9
