"""One boot and the trials that run in it: from an argument vector to data.

`session` is what the rest of kpv calls.  It returns how far it came: a trial that ends by a finding, or
takes the guest with it, ends the session too, and the caller boots afresh for what is left.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline import machine
from pipeline.declare import Canary, Detector, Profile
from pipeline.errors import InfraError
from pipeline.machine import Accel, Machine
from pipeline.matrix import Trial
from pipeline.progress import Progress
from pipeline.run import Boot, Ended, Proof, Run, to_json
from pipeline.store import write_atomic
from pipeline.vm import canaries
from pipeline.vm.guest import KMEMLEAK, GoneError, Guest
from pipeline.vm.limits import LIMITS, NOMINAL_BOOT, Limits
from pipeline.vm.log import texts
from pipeline.vm.qemu import Qemu, Wires
from pipeline.vm.sight import Sight

CMDLINE = ("console=ttyS0,115200", "printk.time=1", "nokaslr")
"""For every guest; without KASLR a stack reads the same in every boot and against vmlinux."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is booted, and how: all that two sessions of one kernel have in common."""

    cut: int
    kernel: str
    bzimage: Path
    guest: str
    initramfs: Path
    machine: Machine
    accel: Accel
    profile: Profile
    append: tuple[str, ...] = ()
    types: Path | None = None
    """The kernel's types, for looks into its memory (docs/pins.md), which stands beside its vmlinux."""
    no_types: str = "no types were built for this kernel"

    def cmdline(self, nonce: str) -> tuple[str, ...]:
        """Return the kernel's parameters, one an entry."""
        return (*CMDLINE, *self.profile.cmdline, *self.append, f"kpv.nonce={nonce}")

    def argv(self, cmdline: Sequence[str], console: str, agent: str, qmp: str) -> tuple[str, ...]:
        """Return QEMU's argument vector for given chardev backends."""
        return machine.qemu_argv(
            self.machine,
            kernel=str(self.bzimage),
            initrd=str(self.initramfs),
            cmdline=cmdline,
            accel=self.accel,
            console=console,
            agent=agent,
            qmp=qmp,
        )


@dataclass(frozen=True, slots=True)
class Session:
    """A boot, the runs that came of it, and what the canaries showed if any were planted."""

    boot: Boot
    runs: tuple[Run, ...]
    canaries: tuple[Run, ...] = ()


Choose = Callable[[tuple[Run, ...]], tuple[Canary, ...]]
"""What says which canaries are planted behind these runs."""


def none(_runs: tuple[Run, ...]) -> tuple[Canary, ...]:
    """Plant nothing."""
    return ()


def open_guest(
    setting: Setting,
    folder: Path,
    nonce: str,
    stretch: float,
    on_console: Callable[[bytes], None] | None = None,
    limits: Limits = LIMITS,
) -> tuple[Qemu, Guest]:
    """Start QEMU for `setting` and return it with the guest on it; the caller owns both.

    Raises UserError when there is no QEMU, InfraError when it does not even start.
    """
    cmdline = setting.cmdline(nonce)

    def argv(wires: Wires) -> tuple[str, ...]:
        return setting.argv(cmdline, wires.console, f"socket,fd={wires.agent}", f"socket,fd={wires.qmp}")

    qemu = Qemu(argv, folder)
    try:
        qemu.connect(limits.connect)
        guest = Guest(qemu, nonce, limits, on_console, setting.profile.detectors)
        guest.stretch(stretch)
    except BaseException:
        qemu.close()
        raise
    return qemu, guest


def session(
    setting: Setting,
    trials: Sequence[Trial],
    folder: Path,
    progress: Progress,
    limits: Limits = LIMITS,
    choose: Choose = none,
) -> Session:
    """Boot, run `trials` until one ends the guest, and keep boot.json and run-N.json in `folder`.

    A run's console begins where that of the one before it ends, and the last one's ends with the guest: a
    report that comes late belongs to the program that ran last, and none is lost.  When all trials have come to
    their end and the guest is still sane, the canaries that `choose` names are planted in it, and kept as
    canary-N.json; the last run's console ends with the first of them.  Raises as `open_guest`.
    """
    nonce = secrets.token_hex(8)
    qemu, guest = open_guest(setting, folder, nonce, setting.profile.slowdown, limits=limits)
    runs: list[Run] = []
    with qemu:
        boot = Boot(
            cut=setting.cut,
            kernel=setting.kernel,
            guest=setting.guest,
            machine=setting.machine.name,
            accel=setting.accel,
            argv=qemu.argv,
            cmdline=setting.cmdline(nonce),
        )
        boot = _wait(guest, boot, progress)
        _keep(boot, folder / "boot.json")
        if boot.ended is not Ended.DONE:
            return Session(boot, ())
        stretch = max(1.0, boot.seconds / NOMINAL_BOOT) * setting.profile.slowdown
        guest.stretch(stretch)
        sight = _sight(setting, qemu, guest)
        before = sight.settled()
        first = guest.seen
        asked = () if trials else choose(())
        for trial in trials:
            progress.begin(f"{label(setting.cut)}: {trial.program.name}, seed {trial.seed}", trial.budget)
            run = _run(guest, boot, trial, folder.name, progress)
            # After every trial, so that a guest that dies later leaves this one proved.
            run = replace(run, proofs=_prove(guest, run, setting.profile.detectors))
            if run.ended in {Ended.DONE, Ended.TIMEOUT}:
                run = replace(run, looks=(before, sight.settled()))
                before = run.looks[-1]
            progress.end(_outcome(run))
            # What came up behind a program's back is its report, and the next one gets a guest without it.
            last = run.ended is not Ended.DONE or trial is trials[-1] or guest.troubled()
            if last:
                run = _scan(guest, run, setting.profile.detectors, progress)
                sane = run.ended is Ended.DONE and trial is trials[-1] and not guest.troubled()
                run = replace(run, console=texts(guest.console(first)), first_line=first)
                asked = choose((*runs, run)) if sane else ()
                run = run if asked else _finish(guest, run)
            run = replace(run, console=texts(guest.console(first)), first_line=first)
            _keep(run, folder / f"run-{run.number}.json")
            runs.append(run)
            first = guest.seen
            if last:
                break
        return Session(boot, tuple(runs), _plant(guest, boot, asked, folder, stretch, progress))


def _sight(setting: Setting, qemu: Qemu, guest: Guest) -> Sight:
    """Return what looks into the guest's memory, or says why it cannot."""
    vmlinux = setting.bzimage.with_name("vmlinux")
    if setting.types is None:
        return Sight(qemu, guest, vmlinux, vmlinux, setting.no_types)
    return Sight(qemu, guest, vmlinux, setting.types)


def _keep(record: Boot | Run, path: Path) -> None:
    try:
        write_atomic(path, to_json(record).encode())
    except OSError as error:
        raise InfraError(f"cannot be written: {error.strerror}", where=str(path)) from error


def _plant(
    guest: Guest, boot: Boot, asked: Sequence[Canary], folder: Path, stretch: float, progress: Progress
) -> tuple[Run, ...]:
    """Plant what was asked for and power off."""
    if not asked:
        return ()
    runs = canaries.plant(guest, boot, asked, f"{folder.name}/console.log", stretch, progress)
    for number, run in enumerate(runs, 1):
        _keep(replace(run, number=number), folder / f"canary-{number}.json")
    guest.finish()
    return runs


def _finish(guest: Guest, run: Run) -> Run:
    """Power off after the last trial; a guest that breaks down over that has not come through."""
    if run.ended is not Ended.DONE:
        return run
    asked = guest.gone is None
    guest.finish()
    if guest.gone is None or (asked and guest.gone.ended is Ended.LOST):
        return run
    return replace(run, ended=guest.gone.ended, detail=f"{guest.gone.detail}, after the program had ended")


def label(cut: int) -> str:
    """Name a cut as a person would."""
    return "base" if cut == 0 else f"cut {cut}"


def _outcome(run: Run) -> str:
    pace = f"{run.cycles} cycles, {run.cycles / run.seconds:.1f} a second" if run.cycles and run.seconds else "no cycle"
    return pace if run.ended is Ended.DONE else f"{run.detail}, {pace}"


def _wait(guest: Guest, boot: Boot, progress: Progress) -> Boot:
    """Wait for the agent and say how the boot went."""
    progress.begin(f"{label(boot.cut)}: boot", NOMINAL_BOOT)
    try:
        ready = guest.wait_ready(progress)
    except GoneError as gone:
        ended, detail, release = gone.ended, gone.detail, ""
    else:
        # What the agent could not set up; a program that needs it will say so too.
        ended, detail, release = Ended.DONE, "; ".join(guest.errors), ready.field(0)
    progress.end(detail or f"ready, Linux {release} on {boot.accel.value}")
    return replace(boot, ended=ended, detail=detail, release=release, console=texts(guest.console()), seconds=guest.age)


def _run(guest: Guest, boot: Boot, trial: Trial, folder: str, progress: Progress) -> Run:
    outcome = guest.trial(f"t{trial.number}", trial.program, trial.seed, trial.budget, progress)
    return Run(
        cut=boot.cut,
        kernel=boot.kernel,
        guest=boot.guest,
        machine=boot.machine,
        accel=boot.accel,
        program=trial.program.name,
        seed=trial.seed,
        budget=trial.budget,
        number=trial.number,
        argv=boot.argv,
        cmdline=boot.cmdline,
        ended=outcome.ended,
        detail=outcome.detail,
        seconds=outcome.seconds,
        exit_status=outcome.exit_status,
        cycles=outcome.cycles,
        ktap=outcome.output,
        log=f"{folder}/console.log",
    )


def _prove(guest: Guest, run: Run, detectors: Sequence[Detector]) -> tuple[Proof, ...]:
    """See every detector alive; a guest that a trial ended is not asked, since its end is what counts."""
    if guest.gone is not None or run.ended is not Ended.DONE:
        return tuple(Proof(d.name, alive=False, evidence="the guest had ended") for d in detectors)
    return guest.prove(detectors)


def _scan(guest: Guest, run: Run, detectors: Sequence[Detector], progress: Progress) -> Run:
    """Let kmemleak scan, once and after the last trial of a boot: it takes longer than many a trial."""
    armed = any(detector.file == KMEMLEAK for detector in detectors)
    if not armed or guest.gone is not None or run.ended is not Ended.DONE:
        return run
    progress.begin(f"{label(run.cut)}: kmemleak scans")
    scan = guest.leaks()
    progress.end("unreadable" if scan.count < 0 else f"{scan.count} unreferenced objects")
    return replace(run, kmemleak=scan)
