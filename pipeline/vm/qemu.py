"""One QEMU process and its three wires: console (ttyS0), agent (ttyS1), QMP.

The wires are socket pairs whose far ends QEMU inherits: no path on disk, nothing for others to connect
to, nothing left behind.  What the console says is kept in a file as it arrives.
"""

import asyncio
import contextlib
import enum
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from qemu.qmp import QMPError
from qemu.qmp.legacy import QEMUMonitorProtocol

from pipeline import proc
from pipeline.errors import InfraError, UserError

CHUNK = 1 << 16
CONNECT_SECONDS = 30.0
"""How long QEMU may take to answer on QMP; it has not yet run a single guest instruction."""


class Power(enum.Enum):
    """What QEMU says of the guest as a whole."""

    RUNNING = "running"
    OFF = "powered off"
    RESET = "reset itself"
    """The guest asked for a reset, or a triple fault forced one; kpv's guests never ask."""
    PANICKED = "panicked"
    """The kernel told the pvpanic device so; the console says why."""
    DEAD = "QEMU died"


@dataclass(frozen=True, slots=True)
class Wires:
    """The descriptors that QEMU inherits, one a wire."""

    console: int
    agent: int
    qmp: int


class Qemu:
    """A running QEMU; leaving the ``with`` block ends it."""

    def __init__(self, argv_of: Callable[[Wires], Sequence[str]], folder: Path) -> None:
        """Start the QEMU that `argv_of` describes for given wires; console.log and qemu.log go to `folder`."""
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._log: IO[bytes] = (folder / "console.log").open("wb")
        except OSError as error:
            message = f"cannot write here: {error.strerror}"
            raise UserError(message, where=str(folder), todo="name another folder with --out") from error
        pairs = [socket.socketpair() for _ in range(3)]
        theirs = [pair[1] for pair in pairs]
        self._console, self.agent, self._qmp_wire = (pair[0] for pair in pairs)
        self._console.settimeout(0)
        wires = Wires(*(end.fileno() for end in theirs))
        self.argv = tuple(argv_of(wires))
        self._power = Power.RUNNING
        self._qmp: QEMUMonitorProtocol | None = None
        try:
            with (folder / "qemu.log").open("wb") as errors:
                self._child = proc.start(
                    self.argv, stdout=errors, stderr=errors, pass_fds=(wires.console, wires.agent, wires.qmp)
                )
        finally:
            for end in theirs:
                end.close()
        self.started = time.monotonic()

    def connect(self) -> None:
        """Open QMP.  Raises InfraError, with what QEMU said, when it is gone before it answers."""
        monitor = QEMUMonitorProtocol(self._qmp_wire)
        monitor.settimeout(CONNECT_SECONDS)
        try:
            monitor.connect()
        except (QMPError, OSError, TimeoutError) as error:
            self._child.wait(proc.Deadline.after(1.0))
            message = f"QEMU does not start: {self.last_words or error}"
            raise InfraError(message, detail=" ".join(self.argv)) from error
        self._qmp = monitor

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._child.pid

    @property
    def last_words(self) -> str:
        """The last thing QEMU itself printed, empty when nothing."""
        with contextlib.suppress(OSError):
            lines = (self.folder / "qemu.log").read_text("utf-8", "replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ""

    def read_console(self) -> bytes:
        """Return what the console has said since the last call, without waiting; keep it in console.log."""
        parts = []
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while part := self._console.recv(CHUNK):
                parts.append(part)
        data = b"".join(parts)
        if data:
            self._log.write(data)
            self._log.flush()
        return data

    def type_console(self, data: bytes) -> None:
        """Type on the guest's console."""
        with contextlib.suppress(ConnectionError):
            self._console.sendall(data)

    def command(self, name: str, **arguments: object) -> Any:
        """Run a QMP command; None when QEMU cannot answer any more."""
        if self._qmp is None:
            return None
        try:
            return self._qmp.cmd(name, **arguments)
        except (QMPError, OSError, TimeoutError):
            return None

    def power(self) -> Power:
        """Return what has become of the guest; a state other than RUNNING is final."""
        if self._power is not Power.RUNNING:
            return self._power
        with contextlib.suppress(QMPError, OSError, TimeoutError, EOFError):
            while self._qmp is not None and (event := self._qmp.pull_event()) is not None:
                if event.get("event") == "GUEST_PANICKED":
                    self._power = Power.PANICKED
                elif event.get("event") == "SHUTDOWN" and self._power is Power.RUNNING:
                    data = event.get("data")
                    reason = data.get("reason") if isinstance(data, dict) else None
                    self._power = Power.RESET if reason == "guest-reset" else Power.OFF
        if self._power is Power.RUNNING and self._child.poll() is not None:
            self._power = Power.DEAD
        return self._power

    def stacks(self, keys: str, seconds: float) -> bytes:
        """Ask the hung kernel itself for stacks (break and a sysrq key on ttyS0 for each of `keys`).

        Return what the console says to it, followed by QEMU's own view of every CPU's registers: a
        kernel with interrupts off answers no key.
        """
        said = [self.read_console()]
        for key in keys:
            # drivers/tty/serial/8250: a break, then a key within five seconds (SYSRQ_TIMEOUT).
            self.command("chardev-send-break", id="console")
            self.type_console(key.encode())
            deadline = proc.Deadline.after(seconds)
            quiet = 0
            while not deadline.expired and quiet < 10:
                time.sleep(0.1)
                data = self.read_console()
                quiet = 0 if data else quiet + 1
                said.append(data)
        registers = self.command("human-monitor-command", **{"command-line": "info registers -a"})
        if isinstance(registers, str):
            (self.folder / "registers.txt").write_text(registers)
        return b"".join(said)

    def close(self) -> None:
        """End QEMU and close the wires; what the console still held is kept."""
        # Not through QMP's `quit`: a QEMU that hangs would hang us, and nothing in the guest is worth saving.
        self._child.stop(grace=0)
        self.read_console()
        if self._qmp is not None:
            with contextlib.suppress(QMPError, OSError, TimeoutError, EOFError, asyncio.CancelledError):
                self._qmp.close()
        for end in (self._console, self.agent, self._qmp_wire):
            end.close()
        self._log.close()

    def __enter__(self) -> Self:
        """Own QEMU for a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End QEMU."""
        self.close()
