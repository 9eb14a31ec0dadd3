# ruff: noqa: T201  (a program of its own, which prints)
"""Record the golden logs of tests/golden/real: each detector made to speak by a real kernel in a real guest.

The kernel is one that kpv built with the series beside this file, which adds what lkdtm has no trigger for:

    kpv build --series tests/golden/series                     (profile kasan)
    kpv build --series tests/golden/series --profile kcsan
    python tests/golden/record.py --profile kasan --kernel BZIMAGE TRIGGER...

For each trigger the raw console is kept in --output, one file a trigger: from the mark of its program on, or
the whole boot when it had one of its own.  What stands in tests/golden/real was read by a person, who also
wrote its expected.json; nothing is copied there.
"""

import argparse
import re
import secrets
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline import catalog, guest
from pipeline.console import Terminal
from pipeline.declare import Program, pick
from pipeline.errors import PipelineError, UserError, nearest
from pipeline.machine import Accel
from pipeline.progress import Progress
from pipeline.run import Ended
from pipeline.store import Store
from pipeline.vm.guest import GoneError, Guest
from pipeline.vm.session import Setting, open_guest

HERE = Path(__file__).parent
BUDGET = 4
"""Seconds of guest time that a trigger has at the least."""
FOLLOWING = 4
"""Reports that may follow from one trigger's first."""
DOMAINNAME = "/proc/sys/kernel/domainname"
"""Where the program reads what to do."""
KCSAN = "/sys/kernel/debug/kcsan"
"""kernel/kcsan/debugfs.c:debugfs_write: ``!FUNCTION`` leaves out the reports of a function."""
KMEMLEAK_VERBOSE = ("/sys/module/kmemleak/parameters/verbose", "1")
"""Leaks come on the console as well."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """One way to make a detector speak.

    `name` is what the file `folder`/DIRECT of debugfs takes, none for a guest that is only booted; `files` is
    written before, `append` is for the kernel's command line.  `alone` gets a guest of its own: what turns a
    detector off for good or takes the guest with it.
    """

    name: str
    folder: str = "provoke"
    budget: int = BUDGET
    alone: bool = False
    scan: bool = False
    files: tuple[tuple[str, str], ...] = ()
    append: tuple[str, ...] = ()
    alias: str = ""

    @property
    def label(self) -> str:
        """What it is called on the command line and in the folder of the logs."""
        return self.alias or self.name.lower().replace("_", "-")


def _lkdtm(names: str, *, alone: bool = False) -> tuple[Trigger, ...]:
    return tuple(Trigger(name, folder="provoke-crash", alone=alone) for name in names.split())


def _ours(names: str, *, alone: bool = False) -> tuple[Trigger, ...]:
    return tuple(Trigger(name, alone=alone) for name in names.split())


WATCHDOG = "/proc/sys/kernel/watchdog_thresh"
WORKQUEUE = "/sys/module/workqueue/parameters/watchdog_thresh"
STALL = "/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout"
HANGS = (
    Trigger("soft_lockup", budget=25, files=((WATCHDOG, "3"),)),
    # A CPU that hangs is of interest to all of these: the others are made to wait.
    Trigger("workqueue", budget=25, files=((WATCHDOG, "60"), (WORKQUEUE, "3"))),
    Trigger("rcu_stall", budget=25, files=((WATCHDOG, "60"), (WORKQUEUE, "300"), (STALL, "3"))),
    # The last, since it keeps its mutex.
    Trigger("hung", budget=25, files=(("/proc/sys/kernel/hung_task_timeout_secs", "4"),)),
)

# The kernel's own race of readers of the clock (kernel/time/timekeeping.c) is found by whoever spins until a time
# comes, and would end a trial before its hang does.
KCSAN_HANGS = tuple(replace(row, files=(*row.files, (KCSAN, "!ktime_get_mono_fast_ns"))) for row in HANGS)

TRIGGERS = {
    "kasan": (
        # The guest goes on after these, kasan_multi_shot being on.
        *_ours("slab_read stack_read global_read invalid_free"),
        *_lkdtm("READ_AFTER_FREE WRITE_AFTER_FREE SLAB_LINEAR_OVERFLOW SLAB_FREE_DOUBLE READ_BUDDY_AFTER_FREE"),
        *_lkdtm("WARNING WARNING_MESSAGE REFCOUNT_INC_ZERO REFCOUNT_DEC_ZERO REFCOUNT_INC_OVERFLOW"),
        *_ours("free_timer init_timer sleep bad_page cache_in_use"),
        # These end in an oops of their process.
        *_lkdtm("VMALLOC_LINEAR_OVERFLOW BUG EXCEPTION CORRUPT_LIST_ADD CORRUPT_LIST_DEL ACCESS_USERSPACE ACCESS_NULL"),
        *_lkdtm("WRITE_RO EXEC_DATA EXEC_NULL SLAB_FREE_PAGE STACK_GUARD_PAGE_LEADING"),
        *_ours("null_write wild_write user_read"),
        Trigger("leak", scan=True),
        Trigger("leak", scan=True, files=(KMEMLEAK_VERBOSE,), alias="leak-on-console"),
        *HANGS,
        # Lockdep says one thing and then nothing more; any report of KASAN has turned it off before.
        *_ours("rcu_dereference rcu_sleep", alone=True),
        *_ours("circular recursive inconsistent irq_order irq_inversion wait_context held_at_return", alone=True),
        *_ours("held_at_exit unlock_balance held_lock_freed key spin_magic", alone=True),
        # No guest after these.
        *_ours("schedule page_twice free_work", alone=True),
        *_lkdtm("PANIC EXHAUST_STACK SPINLOCKUP", alone=True),
    ),
    "kcsan": (
        *(Trigger(name, budget=8, alone=True) for name in ("race", "race_unseen", "race_assert")),
        Trigger("selftest_fails", folder="", alone=True, append=("kcsan_selftest_fails",)),
        *KCSAN_HANGS,
    ),
}
"""What each profile's detectors are provoked with, in the order in which one guest can take them."""


class Recorder:
    """Boots guests of one kernel and keeps what they say."""

    def __init__(self, setting: Setting, program: Program, output: Path, progress: Progress) -> None:
        """Keep logs in `output`."""
        self._setting = setting
        self._program = program
        self._output = output
        self._progress = progress

    def record(self, triggers: Sequence[Trigger]) -> None:
        """Provoke `triggers` in one guest, as long as it lasts; the rest in another."""
        left = list(triggers)
        while left:
            tried = self._boot(left)
            del left[: max(1, tried)]

    def _boot(self, triggers: Sequence[Trigger]) -> int:
        """Boot once and return how many triggers were tried."""
        said = bytearray()
        setting = self._setting
        with tempfile.TemporaryDirectory() as folder:
            append = triggers[0].append
            nonce = secrets.token_hex(8)
            if append:
                setting = Setting(**{name: getattr(setting, name) for name in Setting.__slots__} | {"append": append})
            qemu, machine = open_guest(setting, Path(folder), nonce, setting.profile.slowdown, said.extend)
            with qemu:
                try:
                    machine.wait_ready(self._progress)
                except GoneError as gone:
                    self._keep(triggers[0], bytes(said), str(gone))
                    return 1
                tried = 0
                for number, trigger in enumerate(triggers):
                    first = 0 if trigger.alone else len(said)
                    end = self._provoke(machine, trigger, number)
                    self._keep(trigger, bytes(said[first:]), end)
                    tried += 1
                    if machine.gone is not None:
                        break
                return tried

    def _provoke(self, machine: Guest, trigger: Trigger, number: int) -> str:
        """Provoke one and return how it ended."""
        self._progress.begin(trigger.label)
        for path, text in (*trigger.files, (DOMAINNAME, f"{trigger.folder} {trigger.name}")):
            answer = machine.ask("wrote", "write", path, text)
            if answer is None or answer.integer(1) != 0:
                self._progress.end(f"cannot write {path}")
                return f"cannot write {path}"
        end = machine.trial(f"t{number}", self._program, 1, trigger.budget, self._progress)
        if trigger.scan:
            # What kpv itself reads: the file in debugfs, not the console.
            (self._output / f"{self._setting.profile.name}-{trigger.label}.kmemleak").write_text(machine.leaks().text)
        # A second report that comes after the first would end the next trial: one that does nothing takes it.
        machine.ask("wrote", "write", DOMAINNAME, "nothing")
        for again in range(FOLLOWING):
            if machine.gone is not None or trigger.alone:
                break
            machine.read("/proc/uptime")
            if machine.trial(f"t{number}.{again}", self._program, 1, 1, self._progress).ended is Ended.DONE:
                break
        self._progress.end(f"{end.ended.value}: {end.detail}")
        return f"{end.ended.value}: {end.detail}"

    def _keep(self, trigger: Trigger, console: bytes, end: str) -> None:
        path = self._output / f"{self._setting.profile.name}-{trigger.label}.log"
        path.write_bytes(console)
        print(f"{path}: {len(console)} bytes, {end}")


def _groups(triggers: Iterable[Trigger]) -> Iterator[tuple[Trigger, ...]]:
    """Give what has to be alone by itself, and all others together."""
    together = []
    for trigger in triggers:
        if trigger.alone:
            yield (trigger,)
        else:
            together.append(trigger)
    if together:
        yield tuple(together)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="record.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", required=True, help="kasan or kcsan")
    parser.add_argument("--kernel", required=True, type=Path, help="a bzImage of that profile")
    parser.add_argument("--output", type=Path, default=Path("recorded"), help="folder for the logs (default: recorded)")
    parser.add_argument("--store", type=Path, default=None, help="kpv's store (default: the usual one)")
    parser.add_argument("triggers", nargs="*", metavar="TRIGGER", help="default: all of the profile")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Record what the command line asks for."""
    arguments = _arguments(argv)
    known = catalog.load()
    try:
        profile = pick("profile", arguments.profile, known.profiles)
        rows = {trigger.label: trigger for trigger in TRIGGERS.get(profile.name, ())}
        wrong = next((name for name in arguments.triggers if name not in rows), None)
        if wrong is not None:
            raise UserError(f"no trigger {wrong}", todo=f"{nearest(wrong, rows)}; there are: {', '.join(rows)}")
        arguments.output.mkdir(parents=True, exist_ok=True)
        provoke = Program("provoke", "provoke.c", "makes one detector speak", BUDGET, 1, ())
        with Terminal() as terminal, tempfile.TemporaryDirectory() as folder:
            sources = Path(folder)
            for path in (guest.GUEST_TESTS / guest.AGENT, guest.GUEST_TESTS / "lib", HERE / provoke.source):
                (sources / path.name).symlink_to(path)
            store = Store(arguments.store or Path(folder) / "store")
            image = guest.build_guest(store, [provoke], with_shell=False, progress=terminal, folder=sources)
            machine = pick("machine", "2node", known.machines)
            kernel = re.sub(r"\W", "-", arguments.kernel.parent.name)
            setting = Setting(0, kernel, arguments.kernel, image.key, image.initramfs, machine, Accel.TCG, profile)
            recorder = Recorder(setting, provoke, arguments.output, terminal)
            for group in _groups(rows[name] for name in arguments.triggers or rows):
                recorder.record(group)
    except PipelineError as error:
        print(f"record.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
