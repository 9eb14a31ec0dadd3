"""One QEMU process and its three wires: console (ttyS0), agent (ttyS1), QMP.

QMP and the agent are socket pairs whose far ends QEMU inherits: no path on disk, nothing for others to
connect to, nothing left behind.  The console is a pair of FIFOs, gone from the disk as soon as QEMU has
opened them: printk waits ten milliseconds for a UART (8250_port.c, wait_for_lsr) and then overwrites what
it could not send, and a socket is full after some 280 writes of one byte, which is how QEMU writes.  A pipe
holds PIPE bytes of them, enough for a host that is busy elsewhere.  What it says is kept in console.log.
"""

import contextlib
import enum
import fcntl
import os
import select
import shutil
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from pipeline import proc
from pipeline.errors import InfraError, UserError
from pipeline.machine import quoted
from pipeline.vm.monitor import GONE, Monitor
from pipeline.vm.pace import Pace

PROGRAM = "qemu-system-x86_64"
CHUNK = 1 << 16
TAKE = 1 << 20
"""Bytes of console taken at once: a guest that prints faster than we read must not keep us reading."""
PIPE = 1 << 20
"""Bytes that a console may be ahead of us: what Linux lets anybody ask for (fs/pipe.c, pipe_max_size)."""
LOG_MOST = 256 << 20
"""Bytes of console.log; a guest that prints without end must not fill the disk."""
CONNECT_SECONDS = 30.0
"""How long QEMU may take to answer on QMP; it has not yet run a single guest instruction."""
ANSWER_SECONDS = 10.0
"""The same for one command later on."""


class Power(enum.Enum):
    """What QEMU says of the guest as a whole."""

    RUNNING = "running"
    OFF = "powered off"
    RESET = "reset itself"
    """The guest asked for a reset, or a triple fault forced one; kpv's guests never ask."""
    PANICKED = "panicked"
    """The kernel told the pvpanic device so; the console says why."""
    DEAD = "QEMU died"


_SHUTDOWN = {"guest-reset": Power.RESET, "guest-shutdown": Power.OFF, "guest-panic": Power.PANICKED}
"""Reasons of SHUTDOWN (qapi/run-state.json, ShutdownCause) that are the guest's; by the others QEMU ends itself."""


@dataclass(frozen=True, slots=True)
class Wires:
    """The console as a chardev backend, and the descriptors that QEMU inherits for the other two."""

    console: str
    agent: int
    qmp: int


def require(program: str = PROGRAM) -> None:
    """Raise UserError unless QEMU is installed: to be asked before the work that leads up to a guest."""
    if shutil.which(program) is None:
        message = f"no QEMU: there is no {program} on this machine"
        raise UserError(message, todo="`make setup` installs it; `kpv doctor` lists what is missing")


class Qemu:
    """A running QEMU; leaving the ``with`` block ends it."""

    def __init__(self, argv_of: Callable[[Wires], Sequence[str]], folder: Path) -> None:
        """Start the QEMU that `argv_of` describes for given wires; console.log and qemu.log go to `folder`.

        Raises UserError when there is no QEMU or `folder` cannot be written.
        """
        require()
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._log: IO[bytes] = (folder / "console.log").open("wb")
            self._typed, self._printed = self._fifos()
        except OSError as error:
            message = f"cannot write here: {error.strerror}"
            raise UserError(message, where=str(folder), todo="name another folder with --out") from error
        self._kept = 0
        pairs = [socket.socketpair() for _ in range(2)]
        theirs = [pair[1] for pair in pairs]
        self.agent, self._qmp_wire = (pair[0] for pair in pairs)
        self._power = Power.RUNNING
        self._monitor: Monitor | None = None
        try:
            wires = Wires(f"pipe,path={quoted(str(self._fifo))}", *(end.fileno() for end in theirs))
            self.argv = tuple(argv_of(wires))
            with (folder / "qemu.log").open("wb") as errors:
                self._child = proc.start(self.argv, stdout=errors, stderr=errors, pass_fds=(wires.agent, wires.qmp))
        except BaseException:
            self._log.close()
            self._close_wires()
            raise
        finally:
            for end in theirs:
                end.close()
        self.started = time.monotonic()
        self.pace = Pace(self._child.pid)

    def connect(self, seconds: float = CONNECT_SECONDS) -> None:
        """Open QMP.  Raises InfraError, with what QEMU said, when it is gone before it answers."""
        self._monitor = Monitor()
        try:
            self._monitor.connect(self._qmp_wire, seconds)
        except GONE as error:
            ended = self._child.wait(proc.Deadline.after(1.0)) is not None
            why = self.obituary if ended else f"it does not answer on QMP ({str(error) or f'after {seconds:g} s'})"
            raise InfraError(f"QEMU does not start: {why}", detail=" ".join(self.argv)) from error
        self._unlink_fifos()

    @property
    def _fifo(self) -> Path:
        """What QEMU's pipe backend adds .in and .out to."""
        return self.folder / "tty"

    def _fifos(self) -> tuple[int, int]:
        """Make the console's FIFOs; return our ends, to type into and to read from."""
        self._unlink_fifos()
        for suffix in (".in", ".out"):
            os.mkfifo(self._fifo.with_suffix(suffix), 0o600)
        typed = os.open(self._fifo.with_suffix(".in"), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        printed = os.open(self._fifo.with_suffix(".out"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(PermissionError):  # a host that allows less: then the default holds less
            fcntl.fcntl(printed, fcntl.F_SETPIPE_SZ, PIPE)
        return typed, printed

    def _unlink_fifos(self) -> None:
        for suffix in (".in", ".out"):
            self._fifo.with_suffix(suffix).unlink(missing_ok=True)

    def _close_wires(self) -> None:
        self._unlink_fifos()
        for end in (self._typed, self._printed):
            os.close(end)
        for wire in (self.agent, self._qmp_wire):
            wire.close()

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._child.pid

    @property
    def last_words(self) -> str:
        """The last error QEMU itself printed, else its last line; empty when it said nothing."""
        with contextlib.suppress(OSError), (self.folder / "qemu.log").open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - CHUNK))
            text = file.read().decode("utf-8", "replace")
            lines = [line.strip().removeprefix(f"{PROGRAM}: ") for line in text.split("\n") if line.strip()]
            # An assertion that fails after an error says less than the error.
            return next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1] if lines else "")
        return ""

    @property
    def obituary(self) -> str:
        """Why QEMU is gone: its last words, else how it ended."""
        status = self._child.poll()
        if self.last_words or status is None:
            return self.last_words or "it did not say why"
        return f"killed by {_signal_name(-status)}" if status < 0 else f"exit status {status}, without a word"

    def read_console(self) -> bytes:
        """Return what the console has said since the last call, TAKE bytes at the most, and keep it in console.log.

        Does not wait.  Raises InfraError when the disk does not take it.
        """
        parts = []
        size = 0
        with contextlib.suppress(BlockingIOError):
            while size < TAKE and (part := os.read(self._printed, CHUNK)):
                parts.append(part)
                size += len(part)
        data = b"".join(parts)
        if data:
            self._keep(data)
        return data

    def _keep(self, data: bytes) -> None:
        room = LOG_MOST - self._kept
        self._kept += len(data)
        if room <= 0:
            return
        try:
            self._log.write(data[:room])
            if len(data) > room:
                self._log.write(b"\nkpv: the rest of the console is not kept\n")
            self._log.flush()
        except OSError as error:
            message = f"the console cannot be kept: {error.strerror}"
            raise InfraError(message, where=str(self.folder / "console.log")) from error

    def type_console(self, data: bytes) -> None:
        """Type on the guest's console; what a guest does not take within a second is dropped."""
        deadline = proc.Deadline.after(1.0)
        while data and not deadline.expired:
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(self._typed, data) :]
            if data:
                select.select([], [self._typed], [], deadline.left)

    def command(self, name: str, **arguments: object) -> Any:
        """Run a QMP command; None when QEMU cannot answer any more."""
        if self._monitor is None or self._power is Power.DEAD:
            return None
        try:
            return self._monitor.execute(name, arguments, ANSWER_SECONDS)
        except GONE:
            return None

    def memory(self, address: int, size: int) -> bytes:
        """Return physical memory of the guest; fewer bytes, or none, when QEMU does not give it."""
        path = (self.folder / "memory.part").absolute()
        try:
            if self.command("pmemsave", val=address, size=size, filename=str(path)) is None:
                return b""
            return path.read_bytes()
        except OSError:
            return b""
        finally:
            path.unlink(missing_ok=True)

    def power(self) -> Power:
        """Return what has become of the guest; a state other than RUNNING is final."""
        if self._power is not Power.RUNNING:
            return self._power
        ended = self._child.poll() is not None
        if self._monitor is not None:
            # The last events of a QEMU that is gone may still be on their way to us.
            for event in self._monitor.events(0.05 if ended else 0.0):
                self._power = _after(self._power, event)
        if ended and self._power is Power.RUNNING:
            self._power = Power.DEAD
        return self._power

    def sysrq(self, key: str) -> None:
        """Send a break and a sysrq key on ttyS0.

        drivers/tty/serial/8250 takes the key when it comes within five seconds (SYSRQ_TIMEOUT).
        """
        self.command("chardev-send-break", id="console")
        self.type_console(key.encode())

    def registers(self) -> None:
        """Write QEMU's own view of every CPU to registers.txt: a kernel with interrupts off answers no key."""
        said = self.command("human-monitor-command", **{"command-line": "info registers -a"})
        if isinstance(said, str):
            with contextlib.suppress(OSError):
                (self.folder / "registers.txt").write_text(said)

    def close(self) -> None:
        """End QEMU and close the wires; what the console still held is kept."""
        # Not through QMP's `quit`: a QEMU that hangs would hang us, and nothing in the guest is worth saving.
        self._child.stop(grace=0)
        with contextlib.suppress(InfraError):
            while self.read_console():
                pass
        if self._monitor is not None:
            self._monitor.close()
        self._close_wires()
        with contextlib.suppress(OSError):
            self._log.close()

    def __enter__(self) -> Self:
        """Own QEMU for a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End QEMU."""
        self.close()


def _after(power: Power, event: Mapping[str, Any]) -> Power:
    """Return what a guest is after an event: the first that ends it counts."""
    if power is not Power.RUNNING:
        return power
    if event.get("event") == "GUEST_PANICKED":
        return Power.PANICKED
    data = event.get("data")
    reason = data.get("reason") if event.get("event") == "SHUTDOWN" and isinstance(data, dict) else None
    return _SHUTDOWN.get(str(reason), power)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
