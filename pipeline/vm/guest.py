"""A booted guest: wait for its agent, run programs in it, and tell how each came to its end.

One loop (`Guest._pump`) reads the three wires; everything else is a wait for something that it hears.
Every wait has a deadline, on a clock that stands still while the host does not let QEMU run
(pipeline/vm/pace.py), and all deadlines stretch with the profile's slowdown and with how long this
machine took to boot.
"""

import contextlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipeline import proc
from pipeline.declare import Detector, Program
from pipeline.findings import Finding, Kind, Scanner
from pipeline.progress import Progress
from pipeline.run import Ended, Line, Proof, Scan
from pipeline.verdict.evidence import prove
from pipeline.vm.agent import Agent, Message
from pipeline.vm.limits import LIMITS, Limits
from pipeline.vm.log import Log, texts
from pipeline.vm.qemu import Power, Qemu
from pipeline.vm.watch import Outcome, Watch

PANIC = b"Kernel panic - not syncing"
"""kernel/panic.c, panic()."""
SYSRQ = "ldw"
"""drivers/tty/sysrq.c: l backtrace of all active CPUs, d all locks held, w blocked tasks."""
TURN = 0.05
"""Seconds that one turn of the loop waits for the agent."""
KMEMLEAK = "/sys/kernel/debug/kmemleak"
TAIL = 4096
"""Bytes of the console's end in which marks are looked for."""


class GoneError(Exception):
    """The guest as a whole has ended; carries how."""

    def __init__(self, ended: Ended, detail: str) -> None:
        """Say how, and what was seen."""
        super().__init__(detail)
        self.ended = ended
        self.detail = detail


@dataclass(frozen=True, slots=True)
class _Report:
    """A finding, and when its report was whole on the guest's clock."""

    finding: Finding
    at: float


class Guest:
    """A guest that runs; made by `open_guest`."""

    def __init__(
        self,
        qemu: Qemu,
        nonce: str,
        limits: Limits = LIMITS,
        on_console: Callable[[bytes], None] | None = None,
        detectors: Sequence[Detector] = (),
    ) -> None:
        """Watch `qemu`; `limits` are those of a machine that is not slow, lines about `detectors` are never dropped."""
        self._qemu = qemu
        self._agent = Agent(qemu.agent, nonce)
        self._plain = self._limits = limits
        self._on_console = on_console
        self._scanner = Scanner()
        self._pace = qemu.pace
        self._heard = self._said = self._pace.now()
        self._opened: float | None = None
        self._tail = b""
        self._reports: list[_Report] = []
        self._told = 0
        self._log = Log(pattern for x in detectors for pattern in (x.console, x.off) if pattern)
        self.errors: list[str] = []
        self.gone: GoneError | None = None

    @property
    def age(self) -> float:
        """Seconds since QEMU was started."""
        return time.monotonic() - self._qemu.started

    @property
    def seen(self) -> int:
        """Lines of the console so far."""
        return self._log.total

    def console(self, first: int = 0, end: int | None = None) -> tuple[Line, ...]:
        """Return the console's lines from `first` to before `end`; a flood of them is thinned out."""
        return self._log.lines(first, end)

    def stretch(self, factor: float) -> None:
        """Set how far deadlines stretch, once it is known how slow this machine is."""
        self._limits = self._plain.stretched(factor)

    def _pump(self) -> Message | None:
        """Hear all three wires once; raise GoneError when the guest has ended."""
        proc.heed()
        if self.gone is not None:
            raise self.gone
        message = self._agent.receive(TURN)
        said = self._listen()
        if message is not None and message.word == "error":
            self.errors.append(message.rest(0))
        if said or message is not None:
            self._heard = self._pace.now()
        power = self._qemu.power()
        if power is not Power.RUNNING or PANIC in self._tail:
            self.gone = self._post_mortem()
            raise self.gone
        return message

    def _listen(self) -> bool:
        """Take what the console has said; return whether that was anything."""
        data = self._qemu.read_console()
        if data:
            self._said = self._pace.now()
            self._take(data)
        return bool(data)

    def _take(self, data: bytes) -> None:
        if self._on_console is not None:
            self._on_console(data)
        # All of what is new, however much: what the last look did not see is seen by this one.
        self._tail = (self._tail + data)[-max(TAIL, len(data) + len(PANIC)) :]
        self._log.feed(data, self.age)
        self._note(self._scanner.feed(data))

    def _note(self, found: Sequence[Finding]) -> None:
        at = self._pace.now()
        for finding in found:
            # A line of room: the number of a line that was still unfinished may be off by one.
            self._log.protect(finding.start_line - 1, finding.end_line + 1)
            if not finding.suppressed:
                self._reports.append(_Report(finding, at))
        if not self._scanner.pending:
            self._opened = None
        elif self._opened is None:
            self._opened = at

    def _until_quiet(self, silence: float, most: float) -> None:
        """Hear the console until it has been silent for `silence` seconds, for `most` at the longest."""
        began = last = time.monotonic()
        while (now := time.monotonic()) - last < silence and now - began < most:
            proc.heed()
            if self._listen():
                last = time.monotonic()
            else:
                time.sleep(min(TURN, silence))

    def _post_mortem(self) -> GoneError:
        """Hear the console out, then say how the guest ended."""
        # A guest that QEMU has stopped prints nothing more; one that only says it panicked is not done yet.
        power = self._qemu.power()
        silence = self._limits.settle if power is Power.RUNNING else min(TURN, self._limits.settle)
        self._until_quiet(silence, 10 * self._limits.settle)
        power = self._qemu.power()
        if power is Power.PANICKED or PANIC in self._tail:
            return GoneError(Ended.PANIC, "the kernel panicked")
        if power is Power.RESET:
            return GoneError(Ended.TRIPLE_FAULT, "the CPU reset itself (triple fault)")
        if power is Power.DEAD:
            return GoneError(Ended.QEMU_DIED, f"QEMU died: {self._qemu.obituary}")
        return GoneError(Ended.LOST, "the guest powered itself off")

    def _hang(self, what: str, ended: Ended = Ended.HANG) -> GoneError:
        """Take stacks from a guest that hangs."""
        self.gone = GoneError(ended, what)
        self._take_stacks()
        return self.gone

    def _take_stacks(self) -> None:
        """Let the kernel itself say where everybody is, and QEMU what is in the registers."""
        self._take(b"\n")
        for key in SYSRQ:
            self._qemu.sysrq(key)
            self._until_quiet(min(1.0, self._limits.stacks), self._limits.stacks)
        self._qemu.registers()

    def new_report(self) -> bool:
        """Whether a report came since the last program began, and all of it is there.

        A report's end shows in the line after it; where no line comes, silence has to do.  Reports that
        follow one another without end are cut off after a while.
        """
        now = self._pace.now()
        opened = self._opened
        quiet = now - self._said > self._limits.settle
        if opened is not None and (quiet or now - opened > self._limits.storm):
            self._note(self._scanner.close())
        if len(self._reports) <= self._told:
            return False
        return not self._scanner.pending or now - self._reports[self._told].at > self._limits.storm

    def _settle(self) -> None:
        """Hear out a report that has begun."""
        while not self.new_report() and self._scanner.pending:
            self._pump()

    def troubled(self) -> bool:
        """Whether something came up since the last program ended; a report that has begun is heard out."""
        with contextlib.suppress(GoneError):
            self._settle()
        return self.gone is not None or self.new_report()

    def wait_ready(self, progress: Progress) -> Message:
        """Wait until the agent is ready; raise GoneError when that cannot be any more."""
        began = self._pace.now()
        while True:
            message = self._pump()
            if message is not None and message.word == "ready":
                self._await_mark("kpv: ready")
                self._settle()
                self._told = len(self._reports)
                return message
            now = self._pace.now()
            progress.step(self.age, last_line(self._tail))
            if now - self._heard > self._limits.boot:
                raise self._hang(f"no word from the guest for {now - self._heard:.0f} s while it booted")
            if now - began > self._limits.boot_most:
                raise self._hang(f"the guest was not ready after {now - began:.0f} s", Ended.TIMEOUT)

    def trial(self, ident: str, program: Program, seed: int, budget: int, progress: Progress) -> Outcome:
        """Run one program; its end is the program's, a finding's or the guest's."""
        watchdog = int(budget * 2 + self._limits.watchdog) + 1
        began, watch = time.monotonic(), Watch(ident, program.name, self._pace.now())
        self._agent.send("run", ident, program.name, seed, budget, watchdog)
        try:
            while watch.ended is None:
                message = self._pump()
                if message is not None and watch.take(message, self._pace.now()):
                    progress.step(self._pace.now() - watch.began, f"{watch.cycles or 0} cycles")
                self._decide(watch, budget, watchdog)
            if watch.ended in {Ended.DONE, Ended.TIMEOUT}:
                self._await_mark(f"kpv: end {ident} ")
                self._settle()
        except GoneError as gone:
            watch.end(gone.ended, gone.detail)
        if watch.ended is Ended.DONE and self.new_report():
            watch.end(Ended.FINDING, self._what_was_found())
        self._told = len(self._reports)
        return watch.outcome(time.monotonic() - began)

    def _decide(self, watch: Watch, budget: int, watchdog: int) -> None:
        """End a trial that will not end by itself; raise GoneError when the guest will not either."""
        if watch.ended is not None:
            return
        now, limits = self._pace.now(), self._limits
        if self.new_report():
            # The console is read at once and the agent line by line: what it said before comes first.
            while (message := self._agent.receive(0.0)) is not None:
                watch.take(message, now)
            self._agent.send("stop", watch.ident)
            if any(report.finding.kind is Kind.HANG for report in self._reports[self._told :]):
                self._take_stacks()
            watch.end(Ended.FINDING, self._what_was_found())
        elif now - self._heard > limits.silence:
            raise self._hang(f"no word from the guest for {now - self._heard:.0f} s")
        elif now - watch.moved > limits.standstill + budget:
            raise self._hang(f"{watch.program} made no progress for {now - watch.moved:.0f} s")
        elif now - watch.began > 2 * watchdog + limits.silence:
            raise self._hang(f"{watch.program} outlived its watchdog of {watchdog} s", Ended.TIMEOUT)

    def _what_was_found(self) -> str:
        """Name the report that ended a trial."""
        return f"a report stood on the console: {self._reports[self._told].finding.title}"

    def _await_mark(self, mark: str) -> None:
        """Hear the console up to the agent's mark: what the program caused stands before it."""
        began = self._pace.now()
        while b"\n" not in self._tail.partition(mark.encode())[2] and self._pace.now() - began < self._limits.mark:
            self._pump()

    def rest(self, seconds: float) -> None:
        """Let the guest run for a moment, and hear what it says."""
        began = self._pace.now()
        with contextlib.suppress(GoneError):
            while self._pace.now() - began < seconds:
                self._pump()

    def ask(self, answer: str, *command: str | int) -> Message | None:
        """Send a command and return the message that answers it; None when none comes or the guest is gone.

        An answer about another file than the one that was asked for is a late one, and is passed over.
        """
        began = self._pace.now()
        self._agent.send(*command)
        with contextlib.suppress(GoneError):
            while self._pace.now() - began < self._limits.answer:
                message = self._pump()
                if message is None or message.word not in {answer, "error"}:
                    continue
                if message.word == "error":
                    return None
                if len(command) < 2 or message.field(0) == str(command[1]):
                    return message
        return None

    def load(self, path: str) -> int | None:
        """Load a kernel module; return 0 or an errno, None when no answer came."""
        message = self.ask("loaded", "load", path)
        return message.integer(1) if message is not None else None

    def write(self, path: str, data: str) -> int | None:
        """Write to a file in the guest; return 0 or an errno, None when no answer came."""
        message = self.ask("wrote", "write", path, data)
        return message.integer(1) if message is not None else None

    def forget(self) -> None:
        """Read on as if the console began here: what was reported before explains nothing that comes now."""
        self._scanner = Scanner()
        self._opened = None
        self._told = len(self._reports)

    def reported(self, title: str, seconds: float) -> bool:
        """Hear the console until a report that matches `title` is whole, for `seconds` at the longest.

        Of a report whose end does not show, silence is the end.  Returns False too when the guest ends.
        """
        wanted = re.compile(title)
        began = self._pace.now()
        with contextlib.suppress(GoneError):
            while self._pace.now() - began < seconds:
                self._pump()
                if self._scanner.pending and self._pace.now() - self._said > self._limits.pause:
                    self._note(self._scanner.close())
                if any(wanted.search(row.finding.title) for row in self._reports[self._told :]):
                    return True
        return any(wanted.search(row.finding.title) for row in self._reports[self._told :])

    def read(self, path: str) -> str | None:
        """Return the text of a file in the guest, None when it cannot be read."""
        message = self.ask("read", "read", path)
        return message.rest(2) if message is not None and message.integer(1) == 0 else None

    def leaks(self, *, twice: bool = True) -> Scan:
        """Let kmemleak scan and return its report; a count of -1 when it cannot be read.

        What it finds is looked for once more after a wait: in the agent, for as long as kmemleak wants an object to
        stay unreferenced (agent.c, KMEMLEAK_AGE_MS).  Then kmemleak forgets it, so that nobody else is told.  Unless
        `twice`, one look stands for both: who knows what is lost need not ask whether it is.
        """
        first = self._scan()
        if first.count <= 0:
            return first
        second = self._scan() if twice else first
        self.ask("wrote", "write", KMEMLEAK, "clear")
        return replace(first, again=second.text) if second.count >= 0 else second

    def _scan(self) -> Scan:
        message = self.ask("leaks", "scan")
        if message is None:
            return Scan(-1, "no answer from the guest")
        count = message.integer(0)
        return Scan(-1 if count is None else max(-1, count), message.rest(1))

    def prove(self, detectors: Sequence[Detector]) -> tuple[Proof, ...]:
        """See each detector alive: in what it said on the console, and in what its file says now."""
        files = {detector.file: self.read(detector.file) for detector in detectors if detector.file}
        console = texts(self.console())
        return prove(detectors, console, {path: text for path, text in files.items() if text is not None})

    def start_shell(self) -> None:
        """Let the agent give the console to a shell."""
        self._agent.send("shell")

    def finish(self) -> None:
        """Power off, unless the guest has ended already; `gone` says what came of it."""
        if self.gone is not None:
            return
        self._agent.send("poweroff")
        began = self._pace.now()
        with contextlib.suppress(GoneError):
            while True:
                self._pump()
                now = self._pace.now()
                if now - self._heard > self._limits.silence and now - began > self._limits.silence:
                    raise self._hang(f"no word from the guest for {now - self._heard:.0f} s while it powered off")
                if now - began > self._limits.answer + self._limits.silence:
                    return


def last_line(tail: bytes) -> str:
    """Return the last whole line of a console's tail."""
    lines = tail.decode("utf-8", "replace").split("\n")
    return lines[-2].strip() if len(lines) > 1 else ""
