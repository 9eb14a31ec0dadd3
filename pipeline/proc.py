"""Processes that cannot outlive us: the only room that imports `subprocess`.

Every child leads a process group of its own and gets a signal from the kernel when kpv dies
(PR_SET_PDEATHSIG, set by util-linux' setpriv), even by ``kill -9``.  make asks its own children to
stop on SIGTERM, so that is what a build gets; everything else gets SIGKILL.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from pipeline.errors import InfraError

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL when a group is told to stop."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock, handed down so that nested waits share one limit."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Return the deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether the moment has passed."""
        return time.monotonic() >= self.at

    def sooner(self, seconds: float) -> "Deadline":
        """Return the nearer of this deadline and `seconds` from now."""
        return Deadline(min(self.at, time.monotonic() + seconds))


@dataclass(frozen=True, slots=True)
class Done:
    """A child that has ended; `status` is its exit status, or minus the signal that killed it."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether it exited with 0."""
        return self.status == 0

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are no UTF-8 become U+FFFD."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def complaint(self) -> str:
        """The last line of standard error that says something, for a one-line message."""
        lines = [x for x in self.stderr.decode("utf-8", "replace").splitlines() if x.strip()]
        return lines[-1].strip() if lines else f"exit status {self.status}"


class Child:
    """A running child and its process group; leaving the ``with`` block ends both."""

    def __init__(self, argv: tuple[str, ...], popen: "subprocess.Popen[bytes]", *, leads: bool) -> None:
        """Wrap a child that `start` made; `leads` says whether it has a group of its own."""
        self.argv = argv
        self._popen = popen
        self._leads = leads

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its group unless it is in the foreground."""
        return self._popen.pid

    @property
    def stdout(self) -> IO[bytes]:
        """The pipe from the child's standard output."""
        pipe = self._popen.stdout
        if pipe is None:
            message = f"{self.argv[0]} was started without a pipe"
            raise InfraError(message)
        return pipe

    def poll(self) -> int | None:
        """Return the exit status if the child has ended.

        It stays a zombie until `stop`: nobody else can get its number, and so nobody else the signal that
        is meant for what it left behind.
        """
        if self._popen.returncode is not None:
            return self._popen.returncode
        info = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if info is None:
            return None
        return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status

    def wait(self, deadline: Deadline) -> int | None:
        """Wait for the end; return the exit status, or None when the deadline came first."""
        pause = 0.001
        while (status := self.poll()) is None and not deadline.expired:
            time.sleep(min(pause, deadline.left))
            pause = min(2 * pause, 0.05)
        return status

    def stop(self, grace: float = GRACE) -> int:
        """End the whole group: SIGTERM, `grace` seconds, SIGKILL.  Return the exit status."""
        if self.poll() is None and grace > 0:
            self._signal(signal.SIGTERM)
            self.wait(Deadline.after(grace))
        # Even when the leader has gone: what it left behind in its group goes with it.
        self._signal(signal.SIGKILL)
        status = self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was still to be written to a pipe nobody reads
                    pipe.close()
        return status

    def __del__(self) -> None:
        """End a child that nobody owns: an interrupt came between `start` and the ``with`` around it."""
        with contextlib.suppress(ChildProcessError):
            if self._popen.returncode is None:
                self.stop(grace=0)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._leads:
                os.killpg(self._popen.pid, number)
            else:
                self._popen.send_signal(number)

    def __enter__(self) -> Self:
        """Own the child for a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, however the block ended."""
        self.stop(GRACE if kind is None else 0.5)


def start(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = subprocess.DEVNULL,
    stderr: int | IO[bytes] | None = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    on_death: str = "KILL",
    foreground: bool = False,
) -> Child:
    """Start a child that dies with us; use it in a ``with`` block.

    `env` is added to our own environment.  `on_death` names the signal it gets when kpv dies.  A child
    in the `foreground` stays in our process group, so that it owns the terminal and sees Ctrl-C itself.
    Raises InfraError when there is no such program or it cannot be started.
    """
    for program in (argv[0], "setpriv"):
        if shutil.which(program) is None:
            message = f"no program {program} on this machine"
            raise InfraError(message, todo="`make setup` installs it; `kpv doctor` lists what is missing")
    # An interrupt in the middle of Popen would leave a child that nobody knows, and that goes on writing.
    with _held():
        try:
            popen = subprocess.Popen(
                ("setpriv", "--pdeathsig", on_death, "--", *argv),
                cwd=cwd,
                env={**os.environ, **env} if env else None,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=pass_fds,
                start_new_session=not foreground,
            )
        except OSError as error:
            what = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
            message = f"{argv[0]} cannot be started: {what}"
            raise InfraError(message, detail=" ".join(argv)) from error
        child = Child(tuple(argv), popen, leads=not foreground)
    try:
        heed()
    except KeyboardInterrupt:
        child.stop(grace=0)
        raise
    return child


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    pass_fds: Sequence[int] = (),
    seconds: float = 600.0,
) -> Done:
    """Run a child to its end and return what it printed; a failing exit status is the caller's to judge.

    Raises InfraError when there is no such program, or when it is not through after `seconds`.
    """
    began = time.monotonic()
    with start(
        argv, cwd=cwd, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=pass_fds
    ) as child:
        try:
            out, err = child._popen.communicate(stdin, timeout=seconds)  # noqa: SLF001  same room
        except subprocess.TimeoutExpired:
            message = f"{argv[0]} was not through after {seconds:g} s"
            raise InfraError(message, detail=" ".join(argv)) from None
        status = child._popen.returncode  # noqa: SLF001
    return Done(tuple(argv), status, out, err, time.monotonic() - began)


def lines(child: Child) -> Iterator[str]:
    """Yield the child's output line by line, without line ends, as it comes."""
    for raw in child.stdout:
        yield raw.decode("utf-8", "replace").rstrip("\r\n")


def stream(
    argv: Sequence[str],
    on_line: Callable[[str], None],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
    on_death: str = "KILL",
) -> Done:
    """Run a child, hand each line of its output and errors (as one stream) to `on_line`, keep them in `log`.

    Raises InfraError as `start` does, and when the disk does not take the log.
    """
    began = time.monotonic()
    with start(
        argv, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=pass_fds, on_death=on_death
    ) as child:
        for line in lines(child):
            heed()
            if log is not None:
                _write(log, line.encode() + b"\n")
            on_line(line)
        status = child._popen.wait()  # noqa: SLF001
    return Done(tuple(argv), status, b"", b"", time.monotonic() - began)


def _write(log: IO[bytes], data: bytes) -> None:
    try:
        log.write(data)
    except OSError as error:
        message = f"the log cannot be written: {error.strerror}"
        raise InfraError(message, where=str(getattr(log, "name", ""))) from error


_interrupted = threading.Event()
"""Set from an interrupt until the block of `interrupts` has ended."""


_holding = threading.Event()
"""Set while an interrupt has to wait."""


@contextlib.contextmanager
def _held() -> Iterator[None]:
    """Let an interrupt wait for the end of the block, which is short; `heed` feels it then."""
    _holding.set()
    try:
        yield
    finally:
        _holding.clear()


@contextlib.contextmanager
def interrupts() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into KeyboardInterrupt, so that they unwind every ``with`` like Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def raiser(_number: int, _frame: object) -> None:
        _interrupted.set()
        if not _holding.is_set():
            raise KeyboardInterrupt

    numbers = [signal.SIGTERM, signal.SIGHUP]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
        numbers.append(signal.SIGINT)
    old = {n: signal.signal(n, raiser) for n in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        _interrupted.clear()


def heed() -> None:
    """Raise KeyboardInterrupt if there was an interrupt that nobody felt; for loops that can go on for long.

    Python drops what a signal handler raises while a finalizer or a callback of the garbage collector runs.
    """
    if _interrupted.is_set():
        raise KeyboardInterrupt
