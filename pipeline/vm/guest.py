"""A booted guest: wait for its agent, run programs in it, and tell how each came to its end.

One loop (`Guest._pump`) reads the three wires; everything else is a wait for something that it hears.
Every wait has a deadline, and all deadlines stretch with the profile's slowdown and with how long this
machine took to boot.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline import proc
from pipeline.declare import Detector, Program
from pipeline.findings import Scanner
from pipeline.progress import Progress
from pipeline.run import Ended, Line, Proof, Scan
from pipeline.verdict.evidence import prove
from pipeline.vm.agent import Agent, Message
from pipeline.vm.qemu import Power, Qemu

PANIC = b"Kernel panic - not syncing"
"""kernel/panic.c, panic()."""
SYSRQ = "ldw"
"""drivers/tty/sysrq.c: l backtrace of all active CPUs, d all locks held, w blocked tasks."""
NOMINAL_BOOT = 16.0
"""Seconds from QEMU's start to the agent on the machine that the limits below were chosen on."""
TURN = 0.05
"""Seconds that one turn of the loop waits for the agent."""
SETTLE = 1.5
"""Seconds of silence after which a report that could go on is taken to be whole."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines in seconds of the host, already stretched."""

    stretch: float

    @property
    def boot(self) -> float:
        """Without a word on the console for so long, a boot hangs."""
        return 90.0 * self.stretch

    @property
    def silence(self) -> float:
        """The agent ticks every second of guest time; without tick or console for so long, a guest hangs."""
        return 30.0 * self.stretch

    @property
    def standstill(self) -> float:
        """A program whose count of cycles stands still for so long hangs."""
        return 60.0 * self.stretch

    @property
    def answer(self) -> float:
        """How long the agent may take over a command that only reads."""
        return 60.0 * self.stretch


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one program came to its end."""

    ended: Ended
    detail: str
    output: tuple[str, ...]
    exit_status: int
    seconds: float
    cycles: int


class GoneError(Exception):
    """The guest as a whole has ended; carries how."""

    def __init__(self, ended: Ended, detail: str) -> None:
        """Say how, and what was seen."""
        super().__init__(detail)
        self.ended = ended
        self.detail = detail


class Guest:
    """A guest that runs; made by `boot`."""

    def __init__(self, qemu: Qemu, nonce: str, limits: Limits, on_console: Callable[[bytes], None] | None) -> None:
        """Watch `qemu`."""
        self._qemu = qemu
        self._agent = Agent(qemu.agent, nonce)
        self._limits = limits
        self._on_console = on_console
        self._scanner = Scanner()
        self._heard = self._said = time.monotonic()
        self._tail = self._half = b""
        self._found = 0
        self.console: list[Line] = []
        self.errors: list[str] = []
        self.gone: GoneError | None = None

    @property
    def age(self) -> float:
        """Seconds since QEMU was started."""
        return time.monotonic() - self._qemu.started

    def stretch(self, factor: float) -> None:
        """Set how far deadlines stretch, once it is known how slow this machine is."""
        self._limits = Limits(factor)

    def _pump(self) -> Message | None:
        """Hear all three wires once; raise GoneError when the guest has ended."""
        if self.gone is not None:
            raise self.gone
        message = self._agent.receive(TURN)
        data = self._qemu.read_console()
        now = time.monotonic()
        if data:
            self._said = now
            self._scan(data)
        if message is not None and message.word == "error":
            self.errors.append(message.content(0).decode("utf-8", "replace"))
        if data or message is not None:
            self._heard = now
        power = self._qemu.power()
        if power is not Power.RUNNING or PANIC in self._tail:
            self.gone = self._post_mortem(power)
            raise self.gone
        return message

    def _scan(self, data: bytes) -> None:
        if self._on_console is not None:
            self._on_console(data)
        self._tail = (self._tail + data)[-4096:]
        self._found += len(self._scanner.feed(data))
        *whole, self._half = (self._half + data).split(b"\n")
        at = time.monotonic() - self._qemu.started
        self.console += [Line(at, line.decode("utf-8", "replace").rstrip("\r")) for line in whole]

    def _post_mortem(self, power: Power) -> GoneError:
        """Hear the console out, then say how the guest ended."""
        deadline = proc.Deadline.after(10.0)
        while not deadline.expired and time.monotonic() - self._said < 1.0:
            if data := self._qemu.read_console():
                self._said = time.monotonic()
                self._scan(data)
            time.sleep(TURN)
        if power is Power.PANICKED or PANIC in self._tail:
            return GoneError(Ended.PANIC, "the kernel panicked")
        if power is Power.RESET:
            return GoneError(Ended.TRIPLE_FAULT, "the CPU reset itself (triple fault)")
        if power is Power.DEAD:
            return GoneError(Ended.QEMU_DIED, f"QEMU died: {self._qemu.last_words or 'it did not say why'}")
        return GoneError(Ended.LOST, "the guest powered itself off")

    def _hang(self, what: str) -> GoneError:
        """Take stacks from a guest that hangs."""
        self._scan(b"\n")
        self._scan(self._qemu.stacks(SYSRQ, seconds=20.0))
        self.gone = GoneError(Ended.HANG, what)
        return self.gone

    def _report_since(self, known: int) -> bool:
        """Whether a report came after the first `known` ones, and all of it is there.

        A report's end shows in the line after it; where no line comes, silence has to do.
        """
        begun = self._found > known or self._scanner.pending
        return begun and (not self._scanner.pending or time.monotonic() - self._said > SETTLE)

    def wait_ready(self, progress: Progress) -> Message:
        """Wait until the agent is ready; raise GoneError when that cannot be any more."""
        while True:
            message = self._pump()
            if message is not None and message.word == "ready":
                return message
            now = time.monotonic()
            progress.step(now - self._qemu.started, last_line(self._tail))
            if now - self._heard > self._limits.boot:
                raise self._hang(f"no word from the guest for {now - self._heard:.0f} s while it booted")

    def trial(self, ident: str, program: Program, seed: int, budget: int, progress: Progress) -> Outcome:
        """Run one program; its end is the program's, a finding's or the guest's."""
        began = time.monotonic()
        output: list[str] = []
        cycles = 0
        moved = began
        known, complaints = self._found, len(self.errors)
        watchdog = budget * 2 + 60
        limit = proc.Deadline.after(watchdog * 2 + self._limits.silence)

        def outcome(ended: Ended, detail: str, status: int = -1) -> Outcome:
            return Outcome(ended, detail, tuple(output), status, time.monotonic() - began, cycles)

        self._agent.send("run", ident, program.name, seed, budget, watchdog)
        try:
            while True:
                message = self._pump()
                now = time.monotonic()
                if message is not None and message.fields[:1] == (ident,):
                    if message.word == "out":
                        output.append(message.content(1).decode("utf-8", "replace"))
                    elif message.word == "tick":
                        count = int(message.fields[1]) if message.fields[1].isdigit() else cycles
                        moved, cycles = (now, count) if count != cycles else (moved, cycles)
                        progress.step(now - began, f"{cycles} cycles")
                    elif message.word == "done":
                        self._await_mark(f"kpv: end {ident} ")
                        status = message.number("exit") if not message.number("signal") else -message.number("signal")
                        if message.word_of("why") == "watchdog":
                            return outcome(Ended.TIMEOUT, f"{program.name} was not through after {watchdog} s", status)
                        return outcome(Ended.DONE, "", status)
                if self._report_since(known):
                    self._agent.send("stop", ident)
                    return outcome(Ended.FINDING, "a report stood on the console")
                if len(self.errors) > complaints:
                    return outcome(Ended.LOST, self.errors[-1])
                if now - self._heard > self._limits.silence:
                    raise self._hang(f"no word from the guest for {now - self._heard:.0f} s")
                if now - moved > self._limits.standstill + budget:
                    raise self._hang(f"{program.name} made no progress for {now - moved:.0f} s")
                if limit.expired:
                    raise self._hang(f"{program.name} outlived its watchdog")
        except GoneError as gone:
            return outcome(gone.ended, gone.detail)

    def _await_mark(self, mark: str) -> None:
        """Hear the console up to the agent's mark: what the program caused stands before it."""
        deadline = proc.Deadline.after(10.0)
        while mark.encode() not in self._tail and not deadline.expired:
            self._pump()

    def ask(self, answer: str, *command: str | int) -> Message | None:
        """Send a command and return the message that answers it; None when none comes or the guest is gone."""
        deadline = proc.Deadline.after(self._limits.answer)
        self._agent.send(*command)
        with contextlib.suppress(GoneError):
            while not deadline.expired:
                message = self._pump()
                if message is not None and message.word in {answer, "error"}:
                    return message if message.word == answer else None
        return None

    def read(self, path: str) -> str | None:
        """Return the text of a file in the guest, None when it cannot be read."""
        message = self.ask("read", "read", path)
        if message is None or message.fields[1:2] != ("0",):
            return None
        return message.content(2).decode("utf-8", "replace")

    def leaks(self) -> Scan:
        """Let kmemleak scan and return its report; a count of -1 when it cannot be read."""
        message = self.ask("leaks", "scan")
        if message is None or not message.fields or message.fields[0].startswith("-"):
            return Scan(-1, "" if message is None else message.content(1).decode("utf-8", "replace"))
        return Scan(int(message.fields[0]), message.content(1).decode("utf-8", "replace"))

    def prove(self, detectors: Sequence[Detector]) -> tuple[Proof, ...]:
        """See each detector alive: in what it said on the console, and in what its file says now."""
        files = {detector.file: self.read(detector.file) for detector in detectors if detector.file}
        console = [line.text for line in self.console]
        return prove(detectors, console, {path: text for path, text in files.items() if text is not None})

    def finish(self) -> None:
        """Power off, unless the guest has ended already."""
        if self.gone is None:
            self._agent.send("poweroff")
            deadline = proc.Deadline.after(self._limits.answer)
            with contextlib.suppress(GoneError):
                while not deadline.expired:
                    self._pump()


def last_line(tail: bytes) -> str:
    """Return the last whole line of a console's tail."""
    lines = tail.decode("utf-8", "replace").split("\n")
    return lines[-2].strip() if len(lines) > 1 else ""
