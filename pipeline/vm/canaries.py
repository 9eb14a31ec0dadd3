"""Faults on purpose, planted one after another in a guest whose trials are over.

What a canary showed is a `Run` like that of a trial, called after it, so that what reads and judges trials
reads and judges it too (pipeline/verdict/canaries.py).  Nothing is judged here: that a report is looked for
while it is printed only saves the wait until it is late.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.declare import By, Canary, Program
from pipeline.progress import Progress, Silent
from pipeline.run import Boot, Ended, Run
from pipeline.vm.guest import Guest
from pipeline.vm.log import texts

MODULE = "modules/canary.ko"
"""Where the guest has the module (guest_tests/canary/canary.c), from its root."""
PLANT = "/sys/kernel/debug/canary/plant"
"""Takes the name of a fault."""
PROGRAM = Program("canary", "canary.c", "leaks on purpose, for the books", budget=3, threads=1, needs=(PLANT,))
"""What leaks for all canaries that the books of a program's rounds have to show."""
SEED = 1


DEAF = "the guest does not answer any more"


class _DeafError(Exception):
    """The guest did not answer in time; it is not asked again."""


def plant(
    guest: Guest, boot: Boot, canaries: Sequence[Canary], log: str, stretch: float, progress: Progress
) -> tuple[Run, ...]:
    """Return a run for each of `canaries`, in their order.

    Leaks come before the other faults: it takes a sane kernel to find them.  `log` is the console's file;
    `stretch` says how much slower this guest is than one that a canary's seconds are meant for.
    """
    stage = _Stage(guest, boot, log, stretch)
    progress.begin("canaries", len(canaries))
    why = _why(guest.load(f"/{MODULE}"))
    if why:
        progress.end(f"their module cannot be loaded: {why}")
        return tuple(stage.lost(x, f"the module that plants it cannot be loaded: {why}") for x in canaries)
    found: dict[str, Run] = {}
    for run in stage.all(canaries):
        found[run.program] = run
        progress.step(len(found), run.program)
        if run.detail == DEAF:
            break
    for canary in canaries:
        found.setdefault(canary.name, stage.lost(canary, DEAF))
    quiet = [name for name, run in found.items() if run.ended is Ended.LOST]
    silent = f", nothing heard of {', '.join(quiet)}" if quiet else ""
    progress.end(guest.gone.detail if guest.gone is not None else f"{len(found)} planted{silent}")
    return tuple(found[canary.name] for canary in canaries)


def _why(number: int | None) -> str:
    """Say what an errno means; empty for 0."""
    if number is None:
        return DEAF
    return os.strerror(number) if number else ""


@dataclass(frozen=True, slots=True)
class _Stage:
    """The guest, and what all of its canaries have in common."""

    guest: Guest
    boot: Boot
    log: str
    stretch: float

    def all(self, canaries: Sequence[Canary]) -> Iterator[Run]:
        """Plant one after another."""
        yield from self._leaks(canaries)
        for canary in canaries:
            if canary.by is By.FAULT:
                yield self._fault(canary)

    def lost(self, canary: Canary, detail: str) -> Run:
        """Return the run of a canary that could not be planted."""
        return self._record(canary, self.guest.seen, Ended.LOST, detail)

    def _leaks(self, canaries: Sequence[Canary]) -> Iterator[Run]:
        """Let leak what is to leak, then look: by then what kmemleak has to find is old enough for it."""
        scanned = [canary for canary in canaries if canary.by is By.SCAN]
        refused = [_why(self.guest.write(PLANT, canary.name)) for canary in scanned]
        counted = [canary for canary in canaries if canary.by is By.PROGRAM]
        if counted:
            run = self._program(counted[0])
            yield from (replace(run, program=canary.name) for canary in counted)
        if scanned:
            run = self._scan(scanned[0])
            for canary, why in zip(scanned, refused, strict=True):
                yield self.lost(canary, f"it cannot be planted: {why}") if why else replace(run, program=canary.name)

    def _watched(self, canary: Canary, work: Callable[[], tuple[Ended, str]]) -> Run:
        """Return a run with what the console says during `work`."""
        first = self.guest.seen
        try:
            self._write("/dev/kmsg", f"<5>kpv: canary {canary.name}\n")
            self.guest.forget()
            ended, detail = work()
        except _DeafError:
            ended, detail = Ended.LOST, DEAF
        return self._record(canary, first, ended, detail)

    def _record(self, canary: Canary, first: int, ended: Ended, detail: str) -> Run:
        """Return what was seen of a canary; a guest that has ended decides how that ended."""
        guest, boot = self.guest, self.boot
        if guest.gone is not None:
            ended, detail = guest.gone.ended, guest.gone.detail
        return Run(
            cut=boot.cut,
            kernel=boot.kernel,
            guest=boot.guest,
            machine=boot.machine,
            accel=boot.accel,
            program=canary.name,
            seed=SEED,
            budget=float(canary.seconds),
            number=1,
            argv=boot.argv,
            cmdline=boot.cmdline,
            ended=ended,
            detail=detail,
            console=texts(guest.console(first)),
            first_line=first,
            log=self.log,
        )

    def _program(self, canary: Canary) -> Run:
        outcome = self.guest.trial("canary", PROGRAM, SEED, PROGRAM.budget, Silent())
        run = self._watched(canary, lambda: (outcome.ended, outcome.detail))
        return replace(
            run, seconds=outcome.seconds, exit_status=outcome.exit_status, cycles=outcome.cycles, ktap=outcome.output
        )

    def _scan(self, canary: Canary) -> Run:
        scan = self.guest.leaks(twice=False)
        run = self._watched(canary, lambda: (Ended.DONE, "") if scan.count >= 0 else (Ended.LOST, scan.text))
        return replace(run, kmemleak=scan)

    def _fault(self, canary: Canary) -> Run:
        return self._watched(canary, lambda: self._provoke(canary))

    def _provoke(self, canary: Canary) -> tuple[Ended, str]:
        """Plant a fault, hear what comes of it, and put things back."""
        before: list[tuple[str, str]] = []
        try:
            for path, value in canary.files:
                old = self.guest.read(path)
                why = "cannot be read" if old is None else self._write(path, value)
                if why:
                    return Ended.LOST, f"{path}: {why}"
                before.append((path, (old or "").strip()))
            why = self._write(PLANT, canary.name)
            if why:
                return Ended.LOST, f"it cannot be planted: {why}"
            if self.guest.reported(canary.title, canary.seconds * self.stretch):
                return Ended.FINDING, "reported"
            return Ended.LOST, f"not reported within {canary.seconds * self.stretch:.0f} s"
        finally:
            for path, value in ((PLANT, "stop"), *before):
                self._write(path, value)

    def _write(self, path: str, data: str) -> str:
        """Write to a file in the guest; return why that cannot be."""
        number = self.guest.write(path, data)
        if number is None and self.guest.gone is None:
            raise _DeafError
        return _why(number)
