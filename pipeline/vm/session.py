"""One boot and the trials that run in it: from an argument vector to data.

`session` is what the rest of kpv calls.  It returns how far it came: a trial that ends by a finding, or
takes the guest with it, ends the session too, and the caller boots afresh for what is left.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline import machine
from pipeline.declare import Detector, Profile
from pipeline.machine import Accel, Machine
from pipeline.matrix import Trial
from pipeline.progress import Progress
from pipeline.run import Boot, Ended, Line, Proof, Run, between, to_json
from pipeline.store import write_atomic
from pipeline.vm.guest import NOMINAL_BOOT, GoneError, Guest, Limits
from pipeline.vm.qemu import Qemu, Wires

CMDLINE = ("console=ttyS0,115200", "printk.time=1", "nokaslr")
"""For every guest; without KASLR a stack reads the same in every boot and against vmlinux."""
KMEMLEAK = "/sys/kernel/debug/kmemleak"


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
    """A boot, the runs that came of it, and how many of the trials they cover."""

    boot: Boot
    runs: tuple[Run, ...]


def open_guest(
    setting: Setting, folder: Path, nonce: str, stretch: float, on_console: Callable[[bytes], None] | None = None
) -> tuple[Qemu, Guest]:
    """Start QEMU for `setting` and return it with the guest on it; the caller owns both."""
    cmdline = setting.cmdline(nonce)

    def argv(wires: Wires) -> tuple[str, ...]:
        return setting.argv(cmdline, f"socket,fd={wires.console}", f"socket,fd={wires.agent}", f"socket,fd={wires.qmp}")

    qemu = Qemu(argv, folder)
    try:
        qemu.connect()
        return qemu, Guest(qemu, nonce, Limits(stretch), on_console)
    except BaseException:
        qemu.close()
        raise


def session(setting: Setting, trials: Sequence[Trial], folder: Path, progress: Progress) -> Session:
    """Boot, run `trials` until one ends the guest, and keep boot.json and run-N.json in `folder`.

    Raises InfraError when QEMU does not even start.
    """
    nonce = secrets.token_hex(8)
    qemu, guest = open_guest(setting, folder, nonce, setting.profile.slowdown)
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
        write_atomic(folder / "boot.json", to_json(boot).encode())
        runs: list[Run] = []
        if boot.ended is Ended.DONE:
            guest.stretch(max(1.0, boot.seconds / NOMINAL_BOOT) * setting.profile.slowdown)
            for trial in trials:
                progress.begin(f"{label(setting.cut)}: {trial.program.name}, seed {trial.seed}", trial.budget)
                run = _run(guest, boot, trial, progress)
                # After every trial, so that a guest that dies later leaves this one proved.
                run = replace(run, proofs=_prove(guest, run, setting.profile.detectors))
                progress.end(_outcome(run))
                runs.append(run)
                if run.ended is not Ended.DONE:
                    break
            runs[-1:] = [_scan(guest, run, setting.profile.detectors, progress) for run in runs[-1:]]
            guest.finish()
    runs = [_cut_console(run, guest.console) for run in runs]
    for run in runs:
        write_atomic(folder / f"run-{run.number}.json", to_json(run).encode())
    return Session(boot, tuple(runs))


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
        ended, detail, release = Ended.DONE, "; ".join(guest.errors), ready.fields[0] if ready.fields else ""
    progress.end(detail or f"ready, Linux {release} on {boot.accel.value}")
    lines = tuple(line.text for line in guest.console)
    return replace(boot, ended=ended, detail=detail, release=release, console=lines, seconds=guest.age)


def _run(guest: Guest, boot: Boot, trial: Trial, progress: Progress) -> Run:
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
        log="console.log",
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
    return replace(run, kmemleak=scan, unread=("kmemleak",) if scan.count < 0 else ())


def _cut_console(run: Run, console: Sequence[Line]) -> Run:
    first, lines, _ = between(console, f"kpv: begin t{run.number} ", f"kpv: end t{run.number} ")
    return replace(run, console=tuple(line.text for line in lines), first_line=first)
