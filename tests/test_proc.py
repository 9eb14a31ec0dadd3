"""Processes: what is started here ends here, whatever ends kpv."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import running, soon

from pipeline import proc
from pipeline.errors import InfraError
from pipeline.proc import Deadline

HOUSE = Path(__file__).parent.parent
STUBBORN = "trap '' TERM; echo started; while :; do sleep 0.05; done"
"""A shell that does not go when it is asked to."""


@contextlib.contextmanager
def kpv(script: str) -> Iterator["subprocess.Popen[str]"]:
    """Run Python that uses `proc`, as kpv would: an own process, which may be killed."""
    text = f"import os, sys, time\nfrom pipeline import proc\n{script}"
    with subprocess.Popen([sys.executable, "-c", text], cwd=HOUSE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def first_number(child: "subprocess.Popen[str]") -> int:
    """Return the process id that a script printed."""
    assert child.stdout is not None
    return int(child.stdout.readline())


def test_run_returns_what_was_printed() -> None:
    """Output, errors, exit status; a failing one is no exception."""
    done = proc.run(("sh", "-c", "cat; echo no >&2; exit 3"), stdin=b"hello")
    assert (done.status, done.stdout, done.complaint, done.ok) == (3, b"hello", "no", False)


def test_a_signal_is_a_negative_status() -> None:
    """As `subprocess` has it."""
    assert proc.run(("sh", "-c", "kill -9 $$")).status == -9
    with proc.start(("sh", "-c", "kill -15 $$")) as child:
        assert child.wait(Deadline.after(5)) == -15


def test_output_that_is_no_text() -> None:
    """Bytes that are no UTF-8 are replaced, not refused."""
    done = proc.run(("printf", "a\\377b"))
    assert (done.text, done.stdout) == ("a\N{REPLACEMENT CHARACTER}b", b"a\xffb")


def test_a_silent_failure_has_a_complaint() -> None:
    """A one-line message can be made of any end."""
    assert proc.run(("false",)).complaint == "exit status 1"


def test_no_such_program() -> None:
    """It is named, with what to do."""
    with pytest.raises(InfraError, match=r"no program quux-7 on this machine; `make setup`"):
        proc.run(("quux-7",))


def test_no_setpriv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The program that ties children to us is one that can be missing too."""
    (tmp_path / "true").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InfraError, match="no program setpriv"):
        proc.run(("true",))


def test_no_such_folder(tmp_path: Path) -> None:
    """A child that cannot be started is one line, not a traceback."""
    with pytest.raises(InfraError, match=r"true cannot be started: .*nowhere: No such file"):
        proc.run(("true",), cwd=tmp_path / "nowhere")


def test_run_has_a_limit() -> None:
    """What is not through in time is ended."""
    with pytest.raises(InfraError, match=r"sleep was not through after 0.1 s"):
        proc.run(("sleep", "60"), seconds=0.1)


def test_environment_is_added_to_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child sees ours and what it was given."""
    monkeypatch.setenv("KPV_OURS", "1")
    assert proc.run(("sh", "-c", "echo $KPV_OURS$KPV_MORE"), env={"KPV_MORE": "2"}).text == "12\n"


def test_stream_gives_lines_as_they_come() -> None:
    """Output and errors are one stream of lines; the log has them too."""
    said: list[str] = []
    with Path(os.devnull).open("wb") as log:
        done = proc.stream(("sh", "-c", "echo one; echo two >&2; printf three"), said.append, log=log)
    assert (said, done.status) == (["one", "two", "three"], 0)


def test_a_log_that_cannot_be_written() -> None:
    """A full disk is one line, and the child is ended."""
    with Path("/dev/full").open("wb", buffering=0) as log, pytest.raises(InfraError, match="No space left on device"):
        proc.stream(("sh", "-c", "echo one; sleep 60"), lambda _line: None, log=log)


def test_an_error_in_a_callback_ends_the_child(tmp_path: Path) -> None:
    """Whatever goes wrong on our side, the group goes with the block."""
    note = tmp_path / "pid"

    def fail(_line: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        proc.stream(("sh", "-c", f"echo $$ > {note}; echo go; sleep 60"), fail)
    assert not running(int(note.read_text()))


def test_stop_asks_first() -> None:
    """SIGTERM gives a child the chance to clean up."""
    script = "trap 'echo cleaned; exit 5' TERM; echo started; while :; do sleep 0.02; done"
    with proc.start(("sh", "-c", script), stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"started\n"
        pipe = os.dup(child.stdout.fileno())
        assert child.stop(grace=10) == 5
    with os.fdopen(pipe, "rb") as rest:
        assert rest.read() == b"cleaned\n"


def test_stop_does_not_ask_twice() -> None:
    """A child that ignores SIGTERM is killed."""
    with proc.start(("sh", "-c", STUBBORN), stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"started\n"
        assert child.stop(grace=0.1) == -9


def test_stop_takes_the_whole_group() -> None:
    """What a child has started goes with it, also when the child itself has ended before."""
    with proc.start(("sh", "-c", "sleep 60 & echo $!"), stdout=subprocess.PIPE) as child:
        grandchild = int(child.stdout.readline())
        assert child.wait(Deadline.after(5)) == 0
        assert running(grandchild)
    assert soon(lambda: not running(grandchild))


def test_a_child_that_has_ended_keeps_its_number() -> None:
    """Until `stop`: the number of a group that we will still signal must not become somebody else's."""
    with proc.start(("true",)) as child:
        assert child.wait(Deadline.after(5)) == 0
        assert child.poll() == 0
        os.kill(child.pid, 0)
        pid = child.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert child.poll() == 0
    assert child.stop() == 0


def test_wait_has_a_deadline() -> None:
    """None says that it still runs."""
    with proc.start(("sleep", "60")) as child:
        assert child.wait(Deadline.after(0.05)) is None
        assert child.poll() is None


def test_a_child_in_the_foreground_shares_our_group() -> None:
    """It owns the terminal; ending it does not end us."""
    with proc.start(("sleep", "60"), foreground=True) as child:
        assert os.getpgid(child.pid) == os.getpgid(0)
    with proc.start(("sleep", "60")) as child:
        assert os.getpgid(child.pid) == child.pid


def test_deadlines_nest() -> None:
    """The nearer limit holds."""
    far = Deadline.after(100)
    assert far.sooner(1).left <= 1
    assert Deadline.after(0).sooner(100).expired
    assert Deadline.after(-5).left == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda x: x.name)
def test_a_child_does_not_outlive_us(number: signal.Signals) -> None:
    """Not even by `kill -9`, and not even one that ignores SIGTERM."""
    script = f"""
try:
    with proc.interrupts(), proc.start(("sh", "-c", {STUBBORN!r})) as child:
        print(child.pid, flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
"""
    with kpv(script) as parent:
        child = first_number(parent)
        assert running(child)
        parent.send_signal(number)
        assert parent.wait(60) == (-9 if number is signal.SIGKILL else 130)
        assert soon(lambda: not running(child))


def test_a_build_is_asked_to_stop_when_we_are_killed() -> None:
    """`on_death` names the signal: make removes on SIGTERM what it was just making."""
    script = """
with proc.start(("sh", "-c", "trap 'echo asked; exit' TERM; echo $$; while :; do sleep 0.02; done"),
                stdout=sys.stdout, on_death="TERM"):
    time.sleep(60)
"""
    with kpv(script) as parent:
        child = first_number(parent)
        parent.kill()
        assert parent.stdout is not None
        assert parent.stdout.readline() == "asked\n"
        assert soon(lambda: not running(child))


def test_interrupts_are_put_back() -> None:
    """Outside the block the handlers are those from before."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), proc.interrupts():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


class Finalized:
    """Is interrupted while it goes away, which is where Python drops exceptions."""

    def __del__(self) -> None:
        """Deliver a signal here."""
        signal.raise_signal(signal.SIGTERM)


def test_an_interrupt_that_was_dropped_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes up again in the next long loop, and not after the block."""
    dropped: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: dropped.append(told.exc_type))
    proc.heed()
    with proc.interrupts():
        proc.heed()
        Finalized()
        assert dropped == [KeyboardInterrupt]
        with pytest.raises(KeyboardInterrupt):
            proc.heed()
        with pytest.raises(KeyboardInterrupt):
            proc.stream(("echo", "line"), lambda _line: None)
    proc.heed()


def test_an_ignored_interrupt_stays_ignored() -> None:
    """A shell that starts kpv in the background has its Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with proc.interrupts():
            signal.raise_signal(signal.SIGINT)
            proc.heed()
    finally:
        signal.signal(signal.SIGINT, before)
