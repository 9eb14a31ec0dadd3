"""Guests: every end is told apart, deadlines stretch, nothing outlives kpv.

QEMU is tests/fakeqemu.py, a real process.
"""

import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import running, soon
from hypothesis import given
from hypothesis import strategies as st

from pipeline import catalog, ledger, proc
from pipeline.declare import Detector, Profile, Program
from pipeline.errors import InfraError, PipelineError, UserError
from pipeline.findings import scan
from pipeline.machine import Accel, Machine, Node
from pipeline.matrix import Trial
from pipeline.progress import Silent
from pipeline.run import Ended, Run, Scan, boot_from_json, run_from_json
from pipeline.vm import probe
from pipeline.vm.agent import LINE_MOST, Agent, Message
from pipeline.vm.limits import LIMITS, Limits
from pipeline.vm.log import Log, texts
from pipeline.vm.pace import EVERY, SLOWEST, Pace
from pipeline.vm.qemu import LOG_MOST, Qemu, Wires
from pipeline.vm.session import Session, Setting, session
from pipeline.vm.watch import Watch

HERE = Path(__file__).parent
PROGRAM = Program("memcg_churn", "memcg_churn.c", "churn", budget=1, threads=1, needs=())
SHORT = Limits(
    connect=5.0,
    boot=1.0,
    boot_most=3.0,
    silence=1.0,
    standstill=0.5,
    watchdog=60.0,
    answer=2.0,
    mark=1.0,
    settle=0.2,
    storm=0.7,
    stacks=0.3,
)
"""Deadlines for a guest that answers at once; no test waits for one that does not fire."""
PATIENT = replace(SHORT.stretched(60), settle=SHORT.settle, storm=SHORT.storm, mark=SHORT.mark)
"""Deadlines that no test lives to see."""
DETECTORS = (
    Detector("kasan", "KernelAddressSanitizer initialized", "", "", ""),
    Detector("lockdep", "Lock dependency validator: ", "/proc/lockdep_stats", "^ debug_locks: +1$", "turning off"),
)


KMEMLEAK = Detector("kmemleak", "", "/sys/kernel/debug/kmemleak", "", "")


@pytest.fixture
def guest(fakeqemu: Callable[..., None], tmp_path: Path) -> Callable[..., Session]:
    """Return a function that plays a scenario through a whole session."""

    def play(
        trials: int = 1, limits: Limits = SHORT, detectors: tuple[Detector, ...] = DETECTORS, **moments: object
    ) -> Session:
        fakeqemu(**moments)
        plan = [Trial(number, PROGRAM, number, PROGRAM.budget) for number in range(1, trials + 1)]
        return session(setting(tmp_path, detectors), plan, tmp_path / "boot", Silent(), limits)

    return play


def setting(folder: Path, detectors: tuple[Detector, ...] = DETECTORS) -> Setting:
    """Return a setting whose kernel and initramfs are two small files."""
    for name in ("bzImage", "initramfs.cpio"):
        (folder / name).write_bytes(b"\0" * 512)
    profile = Profile("test", "for tests", (), 1.0, 1, (), detectors)
    machine = Machine("test", "small", (Node(512, 1),))
    return Setting(0, "k", folder / "bzImage", "g", folder / "initramfs.cpio", machine, Accel.TCG, profile)


def only(found: Session) -> Run:
    """Return the one run there is."""
    assert found.boot.ended is Ended.DONE, found.boot.detail
    (run,) = found.runs
    return run


# --- how it ended ------------------------------------------------------------------------------------


def test_a_program_that_ends_well(guest: Callable[..., Session], tmp_path: Path) -> None:
    """DONE: output, cycles, exit status and proofs are there, and both records can be read back."""
    found = guest(trials=2)
    assert [run.ended for run in found.runs] == [Ended.DONE, Ended.DONE]
    first, second = found.runs
    assert ledger.without(first.ktap) == ("KTAP version 1", "1..2", "ok 1 part 1", "ok 2 part 2", "# cycles=4711")
    assert (first.cycles, first.exit_status, first.detail) == (4711, 0, "")
    assert all(proof.alive for run in found.runs for proof in run.proofs)
    assert [proof.detector for proof in second.proofs] == ["kasan", "lockdep"]
    assert "kpv: ready" in found.boot.console[-1]
    assert "kpv: begin t1" in first.console[0]
    assert "kpv: end t1" in first.console[-1]
    assert "kpv: begin t2" in second.console[0]
    assert found.boot.release == "6.12.0"
    folder = tmp_path / "boot"
    assert boot_from_json((folder / "boot.json").read_text(), "boot") == found.boot
    assert [run_from_json((folder / f"run-{n}.json").read_text(), "run") for n in (1, 2)] == list(found.runs)
    log = (folder / "console.log").read_text().replace("\r", "").split("\n")
    assert log[second.first_line] == second.console[0]


def test_a_failing_program_keeps_its_status(guest: Callable[..., Session]) -> None:
    """The exit status is the program's, minus the signal when one killed it."""
    found = guest(trials=2, **{"run:1": [["begin"], ["done", 1]], "run:2": [["begin"], ["done", -1, 11]]})
    assert [run.exit_status for run in found.runs] == [1, -11]


def test_a_report_in_the_middle_ends_the_trial(guest: Callable[..., Session]) -> None:
    """FINDING: after the whole report and not before; what was to come is not run in this guest."""
    found = guest(trials=2, run=[["begin"], ["tick", 7], ["kasan"], ["stall"]])
    run = only(found)
    assert run.ended is Ended.FINDING
    assert "use-after-free" in run.detail
    assert run.exit_status is None
    assert run.cycles is not None
    (finding,) = scan("\n".join(run.console).encode())
    assert not finding.corrupted
    assert "Memory state around the buggy address" in finding.report


def test_a_report_in_two_halves_is_waited_for(guest: Callable[..., Session]) -> None:
    """The second half of a report comes when the kernel gets to it."""
    halves = [["begin"], ["kasan", 12], ["sleep", 0.1], ["rest_of_kasan", 12], ["stall"]]
    run = only(guest(run=halves))
    (finding,) = scan("\n".join(run.console).encode())
    assert (run.ended, finding.corrupted) == (Ended.FINDING, False)


def test_a_report_that_stops_short(guest: Callable[..., Session]) -> None:
    """A report whose end never comes ends the trial after a silence."""
    run = only(guest(run=[["begin"], ["kasan", 20], ["stall"]]))
    assert run.ended is Ended.FINDING
    assert scan("\n".join(run.console).encode())


def test_reports_without_end(guest: Callable[..., Session]) -> None:
    """Reports one upon another do not keep kpv listening."""
    run = only(guest(run=[["begin"], ["storm", 4.0], ["stall"]]))
    assert run.ended is Ended.FINDING


def test_a_report_as_the_program_ends(guest: Callable[..., Session]) -> None:
    """A report that began before `done` is the trial's end, and all of it is waited for."""
    run = only(guest(trials=2, run=[["begin"], ["kasan", 20], ["ktap", 1], ["done"]]))
    assert (run.ended, run.exit_status) == (Ended.FINDING, 0)


def test_a_report_behind_the_programs_back(guest: Callable[..., Session]) -> None:
    """A report that comes when the program has ended (a grace period later) is in its console."""
    late = [["raw", "console", ""], ["kasan"], ["leaks", 0, ""]]
    run = only(guest(detectors=(KMEMLEAK,), scan=late))
    assert [finding.title for finding in scan("\n".join(run.console).encode())] == [
        "KASAN: slab-use-after-free Read in mem_cgroup_iter"
    ]
    assert run.kmemleak is not None
    assert run.kmemleak.count == 0


def test_a_report_between_two_programs(guest: Callable[..., Session]) -> None:
    """The program that ran last has all of it, and the next one is not run in this guest."""
    answer = ["agent", "read /proc/lockdep_stats 0  debug_locks:  1"]
    late = [["kasan", 12], answer, ["sleep", 0.1], ["rest_of_kasan", 12]]
    run = only(guest(trials=2, **{"read:/proc/lockdep_stats": late}))
    assert (run.number, run.ended) == (1, Ended.DONE)
    (finding,) = scan("\n".join(run.console).encode())
    assert not finding.corrupted


def test_a_panic(guest: Callable[..., Session]) -> None:
    """PANIC: by pvpanic's event, with the console heard out."""
    run = only(guest(run=[["begin"], ["panic"]]))
    assert (run.ended, run.detail) == (Ended.PANIC, "the kernel panicked")
    assert any("end Kernel panic" in line for line in run.console)


def test_a_panic_that_nobody_reports(guest: Callable[..., Session]) -> None:
    """PANIC: from the console alone, where the kernel does not get as far as pvpanic."""
    assert only(guest(run=[["begin"], ["panic", False]])).ended is Ended.PANIC


def test_a_panic_after_the_last_program(guest: Callable[..., Session]) -> None:
    """A guest that panics over the leak scan has not come through, though its program had."""
    run = only(guest(detectors=(KMEMLEAK,), scan=[["panic"]]))
    assert run.ended is Ended.PANIC
    assert run.detail.endswith("after the program had ended")


def test_a_panic_between_two_programs(guest: Callable[..., Session]) -> None:
    """The program that ran last is the one it is told of."""
    run = only(guest(trials=2, **{"read:/proc/lockdep_stats": [["panic"]]}))
    assert (run.number, run.ended) == (1, Ended.PANIC)


def test_a_triple_fault(guest: Callable[..., Session]) -> None:
    """TRIPLE_FAULT: a reset that nobody asked for."""
    run = only(guest(run=[["begin"], ["reset"]]))
    assert (run.ended, run.detail) == (Ended.TRIPLE_FAULT, "the CPU reset itself (triple fault)")


def test_power_off_by_itself(guest: Callable[..., Session]) -> None:
    """LOST: nobody asked for that, and it is no kernel's failure we know."""
    run = only(guest(run=[["begin"], ["off"]]))
    assert (run.ended, run.detail) == (Ended.LOST, "the guest powered itself off")


def test_qemu_dies_with_words(guest: Callable[..., Session]) -> None:
    """QEMU_DIED: with what it said last."""
    run = only(guest(run=[["begin"], ["die", "ABRT", "qemu: first\nqemu-system-x86_64: out of luck"]]))
    assert (run.ended, run.detail) == (Ended.QEMU_DIED, "QEMU died: out of luck")


def test_qemu_dies_without_a_word(guest: Callable[..., Session]) -> None:
    """QEMU_DIED: by whatever the kernel of the host did to it."""
    run = only(guest(run=[["begin"], ["die", "KILL"]]))
    assert (run.ended, run.detail) == (Ended.QEMU_DIED, "QEMU died: killed by SIGKILL")


def test_qemu_dies_before_it_answers(guest: Callable[..., Session]) -> None:
    """Nothing was booted: ours, not the kernel's."""
    with pytest.raises(InfraError, match="QEMU does not start: qemu: no such machine"):
        guest(start=[["exit", 1, "qemu: no such machine"]])


def test_qemu_never_answers(guest: Callable[..., Session]) -> None:
    """A QEMU that is there and says nothing is given up."""
    limits = SHORT.stretched(0.1)
    with pytest.raises(InfraError, match="QEMU does not start: it does not answer on QMP"):
        guest(limits=limits, start=[["mute"]])


def test_a_silent_guest_hangs_and_leaves_stacks(guest: Callable[..., Session], tmp_path: Path) -> None:
    """HANG: no tick and no console; stacks are asked for by sysrq and kept."""
    run = only(guest(run=[["begin"], ["tick", 3], ["hang"]]))
    assert run.ended is Ended.HANG
    assert "no word from the guest" in run.detail
    text = (tmp_path / "boot" / "console.log").read_text()
    assert text.count("sysrq: Show backtrace of all active CPUs") == len("ldw")
    assert "RIP=ffffffff81234567" in (tmp_path / "boot" / "registers.txt").read_text()
    assert any("mem_cgroup_iter+0x2f1" in line for line in run.console)


def test_a_program_that_stands_still_hangs(guest: Callable[..., Session]) -> None:
    """HANG: the agent ticks, the program's count does not move."""
    run = only(guest(run=[["begin"], ["ticks", 200, 0.05, 0]]))
    assert run.ended is Ended.HANG
    assert "made no progress" in run.detail


def test_a_hang_while_the_guest_powers_off(guest: Callable[..., Session]) -> None:
    """HANG: also where nothing of ours runs any more."""
    run = only(guest(poweroff=[["hang"]]))
    assert run.ended is Ended.HANG
    assert "while it powered off" in run.detail


def test_the_guests_watchdog(guest: Callable[..., Session]) -> None:
    """TIMEOUT: the agent says that it had to kill the program."""
    run = only(guest(run=[["begin"], ["tick", 5], ["done", -1, 9, "watchdog"]]))
    assert (run.ended, run.exit_status) == (Ended.TIMEOUT, -9)


def test_the_hosts_watchdog(guest: Callable[..., Session]) -> None:
    """TIMEOUT: the guest ticks and moves and does not come to an end."""
    limits = replace(SHORT, watchdog=-2.0, silence=0.5)
    run = only(guest(limits=limits, run=[["begin"], ["stall"]]))
    assert run.ended is Ended.TIMEOUT
    assert "outlived its watchdog" in run.detail


def test_a_boot_that_goes_quiet(guest: Callable[..., Session]) -> None:
    """HANG: the console stops before the agent is there."""
    found = guest(boot=[["alive"]])
    assert (found.boot.ended, found.runs) == (Ended.HANG, ())
    assert "while it booted" in found.boot.detail


def test_a_boot_that_talks_for_ever(guest: Callable[..., Session]) -> None:
    """TIMEOUT: a word now and then is no progress."""
    limits = replace(SHORT, boot_most=0.8)
    found = guest(limits=limits, boot=[["alive"], *([["console", "still here"], ["sleep", 0.05]] * 100)])
    assert found.boot.ended is Ended.TIMEOUT


@pytest.mark.parametrize(("action", "ended"), [("panic", Ended.PANIC), ("reset", Ended.TRIPLE_FAULT)])
def test_a_boot_that_breaks_down(guest: Callable[..., Session], action: str, ended: Ended) -> None:
    """A boot has the same ends as a program."""
    assert guest(boot=[["alive"], [action]]).boot.ended is ended


# --- what the agent says ------------------------------------------------------------------------------


def test_lines_without_the_nonce_are_noise(guest: Callable[..., Session]) -> None:
    """A line that does not begin with the nonce says nothing, whatever it says."""
    forged = [
        ["raw", "agent", "done t1 exit=0 signal=0 ms=1 why=end\n"],
        ["raw", "agent", "0123456789abcdef done t1 exit=0 signal=0 ms=1 why=end\n"],
        ["raw", "agent", "\xff\xfe\x00\n\n \n"],
        ["out", "x {nonce} done t1 exit=0 signal=0 ms=1 why=end\nsecond line"],
    ]
    run = only(guest(run=[["begin"], *forged, ["tick", 9], ["ktap", 1], ["done", 3]]))
    assert (run.ended, run.exit_status) == (Ended.DONE, 3)
    assert run.ktap[0] == "x {nonce} done t1 exit=0 signal=0 ms=1 why=end\nsecond line"


def test_firmware_before_the_agent(guest: Callable[..., Session]) -> None:
    """What stands on the line before the agent's first word does not hide it."""
    boot = [["alive"], ["raw", "agent", "SeaBIOS (version 1.16) "], ["ready"]]
    assert only(guest(boot=boot)).ended is Ended.DONE


@pytest.mark.parametrize(
    "words",
    [
        "tick {id}",
        "tick {id} \u00b2",
        "tick {id} --5",
        "tick {id} " + "9" * 5000,
        "tick",
        "out",
        "out {id}",
        "done",
        "started",
        "leaks",
        "read",
        "%",
        "out {id} %zz%f",
        "out {id} %FF%FE",
        "unheard of",
    ],
)
def test_messages_with_fields_missing(guest: Callable[..., Session], words: str) -> None:
    """A message that is not what it should be is passed over."""
    line = "{nonce} " + words.encode().decode("latin-1") + "\n"
    run = only(guest(run=[["begin"], ["raw", "agent", line], ["tick", 8], ["ktap", 1], ["done"]]))
    assert (run.ended, run.cycles) == (Ended.DONE, 8)


@given(st.lists(st.binary(max_size=40)))
def test_no_bytes_upset_the_host(lines: list[bytes]) -> None:
    """Whatever follows the nonce is a message or noise, and a trial takes any message."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        agent, watch = Agent(ours, "abc"), Watch("t1", "p", 0.0)
        theirs.sendall(b"".join(b"abc " + line + b"\nabc tick t1 " + line + b"\n" for line in lines))
        theirs.close()
        while not agent.gone:
            if (message := agent.receive(1.0)) is not None:
                watch.take(message, 1.0)
        watch.outcome(1.0)


def test_an_end_without_a_status_is_none(guest: Callable[..., Session]) -> None:
    """LOST: nobody said that the program ended well."""
    run = only(guest(run=[["begin"], ["agent", "done {id}"]]))
    assert (run.ended, run.exit_status) == (Ended.LOST, None)


def test_a_program_that_cannot_be_started(guest: Callable[..., Session]) -> None:
    """LOST: with the agent's words."""
    run = only(guest(run=[["agent", "error run t1: no program memcg_churn in this guest"]]))
    assert (run.ended, run.detail) == (
        Ended.LOST,
        "the agent says: run t1: no program memcg_churn in this guest",
    )


def test_a_complaint_that_ends_nothing(guest: Callable[..., Session]) -> None:
    """A cgroup that stays behind is no reason to lose the result."""
    said = ["agent", "error /sys/fs/cgroup/run-t1 stays: Device or resource busy"]
    assert only(guest(run=[["begin"], ["ktap", 1], said, ["done"]])).ended is Ended.DONE


def test_what_kmemleak_finds_is_looked_for_again(guest: Callable[..., Session]) -> None:
    """One scan more when there is something, and both texts are kept; none more when there is not."""
    found = {"scan:1": [["leaks", 2, "a and b"]], "scan:2": [["leaks", 1, "a"]], "scan:3": [["leaks", 9, "too many"]]}
    run = only(guest(detectors=(KMEMLEAK,), **found))
    assert run.kmemleak == Scan(2, "a and b", "a")
    clean = {"scan:1": [["leaks", 0, ""]], "scan:2": [["leaks", 9, "too many"]]}
    assert only(guest(detectors=(KMEMLEAK,), **clean)).kmemleak == Scan(0, "")


def test_a_second_scan_that_cannot_be_read(guest: Callable[..., Session]) -> None:
    """Half of the answer is none."""
    found = {"scan:1": [["leaks", 2, "a and b"]], "scan:2": [["agent", "leaks -1 Operation not permitted"]]}
    run = only(guest(detectors=(KMEMLEAK,), **found))
    assert run.kmemleak is not None
    assert run.kmemleak.count == -1


@pytest.mark.parametrize("answer", ["leaks x text", "leaks", "leaks -1 Operation not permitted", "error scan: no"])
def test_a_scan_that_cannot_be_read(guest: Callable[..., Session], answer: str) -> None:
    """It is told as unreadable, not as no leak."""
    run = only(guest(detectors=(KMEMLEAK,), scan=[["agent", answer]]))
    assert run.kmemleak is not None
    assert run.kmemleak.count == -1


def test_an_answer_about_another_file(guest: Callable[..., Session]) -> None:
    """A late answer to an earlier question does not prove a detector."""
    late = [["agent", "read /proc/other 0  debug_locks:  1"], ["agent", "read /proc/lockdep_stats 0  debug_locks:  0"]]
    run = only(guest(**{"read:/proc/lockdep_stats": late}))
    assert [proof.alive for proof in run.proofs] == [True, False]


def test_a_truncated_plan_stays_truncated(guest: Callable[..., Session]) -> None:
    """What a program promised and did not print is not filled in."""
    run = only(guest(run=[["begin"], ["ktap", 5, 2], ["done"]]))
    assert run.ktap == ("KTAP version 1", "1..5", "ok 1 part 1", "ok 2 part 2", "# cycles=4711")


def test_a_long_line_is_read_once() -> None:
    """A line of a MiB that comes in small pieces costs what its length costs, not the square of it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        agent = Agent(ours, "abc")
        pid = os.fork()
        if not pid:
            theirs.sendall(b"abc leaks 1 " + b"%41" * (1 << 20) + b"\n")
            theirs.sendall(b"abc bye\n")
            os._exit(0)
        before = time.process_time()
        messages: list[Message] = []
        while len(messages) < 2:
            messages += [message] if (message := agent.receive(0.05)) else []
        assert time.process_time() - before < 5, "a pattern would take minutes"
        os.waitpid(pid, 0)
    assert len(messages[0].rest(1)) == 1 << 20
    assert messages[1].word == "bye"


def test_a_line_without_end_is_dropped() -> None:
    """Garbage without a line end does not fill our memory."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        agent = Agent(ours, "abc")
        theirs.settimeout(0)
        sent = 0
        while sent < 2 * LINE_MOST:
            try:
                sent += theirs.send(b"x" * 65536)
            except BlockingIOError:
                assert agent.receive(0) is None
        theirs.settimeout(None)
        while agent.receive(0.01) is not None or agent.noise == 0:
            pass
        assert len(agent._spawn.buffer) <= LINE_MOST + 65536
        theirs.sendall(b"\nabc tick t1 5\n")
        messages = [agent.receive(0.2) for _ in range(4)]
    assert [message.word for message in messages if message] == ["tick"]


def test_a_wire_that_is_reset(tmp_path: Path) -> None:
    """A far end that goes away with something unread is an end, not a traceback."""
    ours, theirs = socket.socketpair()
    with ours:
        agent = Agent(ours, "abc")
        agent.send("run", "t1")
        theirs.close()
        assert agent.receive(0.1) is None
        assert agent.gone
        agent.send("stop", "t1")


# --- floods -----------------------------------------------------------------------------------------------

MEMORY = """\
import json, re, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_vm import *
found = session(setting(Path({folder!r})), [Trial(1, PROGRAM, 1, 1)], Path({folder!r}) / "boot", Silent(), PATIENT)
run = found.runs[0]
peak = 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(json.dumps([run.ended.value, peak, len(run.console), run.console[-1]]))
"""


def test_a_flood_does_not_fill_our_memory(fakeqemu: Callable[..., None], tmp_path: Path) -> None:
    """A flood: the run ends as it should, in less than 200 MB, with both ends of it kept."""
    fakeqemu(run=[["begin"], ["tick", 1], ["flood", 50_000_000], ["tick", 2], ["ktap", 1], ["done"]])
    script = MEMORY.format(here=str(HERE), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=HERE.parent, check=False)
    assert done.returncode == 0, done.stderr
    ended, peak, lines, _ = json.loads(done.stdout)
    assert ended == "done"
    assert peak < 200e6
    assert lines > 1000
    assert (tmp_path / "boot" / "console.log").stat().st_size > 50_000_000


def test_a_report_in_a_flood(guest: Callable[..., Session]) -> None:
    """A report with a flood before and after it is kept whole."""
    flooded = [["begin"], ["flood", 20_000_000], ["kasan"], ["flood", 20_000_000], ["stall"]]
    run = only(guest(limits=PATIENT, run=flooded))
    assert run.ended is Ended.FINDING
    (finding,) = scan("\n".join(run.console).encode())
    assert not finding.corrupted


def test_console_log_has_an_end(fakeqemu: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """console.log stops growing at its limit and says so."""
    assert LOG_MOST <= 1 << 30
    monkeypatch.setattr("pipeline.vm.qemu.LOG_MOST", 100_000)
    fakeqemu(run=[["begin"], ["flood", 1_000_000], ["ktap", 1], ["done"]])
    plan = [Trial(1, PROGRAM, 1, 1)]
    run = only(session(setting(tmp_path), plan, tmp_path / "boot", Silent(), SHORT))
    text = (tmp_path / "boot" / "console.log").read_text()
    assert run.ended is Ended.DONE
    assert len(text) < 101_000
    assert text.endswith("kpv: the rest of the console is not kept\n")


def test_a_full_disk_is_ours(guest: Callable[..., Session], tmp_path: Path) -> None:
    """A console that the disk does not take is BROKEN, in one line."""
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / "console.log").symlink_to("/dev/full")
    with pytest.raises(InfraError, match="the console cannot be kept: No space left on device"):
        guest()


def test_log_keeps_both_ends_and_what_matters() -> None:
    """Between the ends only lines that were asked for and those of reports stay; gaps are told."""
    log = Log(keep=("detector off",), head=2000, tail=2000, picked=2000)
    for number in range(1000):
        log.feed(b"line %d%s\n" % (number, b" detector off" if number == 300 else b""), 0.5)
        if number == 400:
            log.protect(399, 401)
    lines = texts(log.lines())
    assert lines[0] == "line 0"
    assert lines[-1] == "line 999"
    assert "line 300 detector off" in lines
    assert {"line 399", "line 400"} <= set(lines)
    assert len(lines) < 30
    told = sum(int(line.split()[1]) for line in lines if line.startswith("kpv: "))
    assert told + len([x for x in lines if x.startswith("line")]) == 1000


def test_log_cuts_lines_and_joins_pieces() -> None:
    """A line that comes in pieces is one line; one without end is cut; bytes that are no text are replaced."""
    log = Log()
    for piece in (b"ab", b"c\r\nd", b"\xff\n", b"x" * 200_000, b"\nend\n", b"half"):
        log.feed(piece, 0.0)
    lines = texts(log.lines())
    assert lines[:2] == ("abc", "d\N{REPLACEMENT CHARACTER}")
    assert (len(lines[2]), lines[3:], log.total) == (1 << 16, ("end",), 4)
    assert texts(log.lines(1, 2)) == lines[1:2]


# --- clocks -------------------------------------------------------------------------------------------------


def test_limits_stretch_as_a_whole() -> None:
    """A slow machine gets more of every deadline."""
    for name in LIMITS.__slots__:
        assert getattr(LIMITS.stretched(3), name) == 3 * getattr(LIMITS, name)


def test_pace_does_not_count_what_qemu_had_to_wait(tmp_path: Path) -> None:
    """A thread that is ready and does not get a CPU stops the clock; one that sleeps does not."""
    threads = [tmp_path / "7" / "task" / str(n) / "schedstat" for n in (7, 8)]
    now = 100.0

    def figures(*waited: float) -> None:
        for file, seconds in zip(threads, waited, strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"123 {int(seconds * 1e9)} 5\n")

    figures(5.0, 1.0)
    pace = Pace(7, tmp_path, lambda: now)
    now += 10
    assert pace.now() == pytest.approx(10)
    figures(11.0, 1.0)
    now += 10
    assert pace.now() == pytest.approx(14)
    figures(21.0, 5.0)
    now += 10
    assert pace.now() == pytest.approx(14 + 10 * SLOWEST), "a hang on a starved host is still found"
    shutil.rmtree(tmp_path / "7")
    before = pace.now()
    now += 10
    assert pace.now() == pytest.approx(before + 10), "it has ended: there is nobody to wait for"
    now += EVERY / 2
    assert pace.now() >= before + 10


def test_pace_of_this_very_process() -> None:
    """The figures of the real kernel are read without complaint."""
    pace = Pace(os.getpid())
    first = pace.now()
    time.sleep(EVERY)
    assert 0 <= first < pace.now() <= EVERY + 5


# --- QEMU itself ----------------------------------------------------------------------------------------------


def test_no_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without QEMU is the user's to mend, and nothing is made before that is known."""
    ready = setting(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"no QEMU: there is no qemu-system-x86_64.*make setup"):
        session(ready, [], tmp_path / "boot", Silent())
    assert not (tmp_path / "boot").exists()


def test_a_folder_that_cannot_be_written(fakeqemu: Callable[..., None], tmp_path: Path) -> None:
    """It is named."""
    (tmp_path / "boot").write_text("a file")
    with pytest.raises(UserError, match=r"boot: cannot write here.*--out"):
        session(setting(tmp_path), [], tmp_path / "boot", Silent())


def test_typing_to_a_guest_that_does_not_read(fakeqemu: Callable[..., None], tmp_path: Path) -> None:
    """A paste that nobody takes neither blocks nor fails."""
    fakeqemu(start=[["mute"]])
    ready = setting(tmp_path)

    def argv(w: Wires) -> tuple[str, ...]:
        return ready.argv(("a=b",), w.console, f"socket,fd={w.agent}", f"socket,fd={w.qmp}")

    with Qemu(argv, tmp_path / "boot") as qemu:
        qemu.type_console(b"x" * 5_000_000)
        assert qemu.command("query-status") is None


def test_probe_falls_back_when_kvm_fails_at_once(
    fakeqemu: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that opens proves nothing; QEMU's words are what is told."""
    fakeqemu(start=[["exit", 1, "qemu: failed to initialize kvm: Permission denied"]])
    monkeypatch.setattr(probe, "DEVICE", Path("/dev/null"))
    kernel = setting(tmp_path).bzimage
    found = probe.probe(kernel, tmp_path / "probe")
    assert found.accel is Accel.TCG
    assert "failed to initialize kvm: Permission denied" in found.why


def test_probe_falls_back_when_the_guest_is_silent(
    fakeqemu: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest that stops at its firmware is no accelerator."""
    fakeqemu(boot=[["console", "Booting from ROM..."]])
    monkeypatch.setattr(probe, "DEVICE", Path("/dev/null"))
    monkeypatch.setattr(probe, "SECONDS", 0.5)
    found = probe.probe(setting(tmp_path).bzimage, tmp_path / "probe")
    assert (found.accel, "printed nothing in 0.5 s" in found.why) == (Accel.TCG, True)


def test_probe_believes_a_banner(
    fakeqemu: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that prints its first line runs."""
    fakeqemu(boot=[["alive"]])
    monkeypatch.setattr(probe, "DEVICE", Path("/dev/null"))
    assert probe.probe(setting(tmp_path).bzimage, tmp_path / "probe").accel is Accel.KVM


# --- nothing outlives us ----------------------------------------------------------------------------------------

STAGES = {
    "before the greeting": {"start": [["touch", "{at}"], ["mute"]]},
    "boot": {"boot": [["alive"], ["touch", "{at}"]]},
    "a trial": {"run": [["begin"], ["touch", "{at}"], ["stall"]]},
    "a flood": {"run": [["begin"], ["touch", "{at}"], ["flood", 10**9]]},
    "the scan": {"scan": [["touch", "{at}"]]},
    "stacks": {"run": [["begin"], ["hang"]], "sysrq:l": [["touch", "{at}"]]},
    "power-off": {"poweroff": [["touch", "{at}"]]},
}
"""Where an interrupt comes, and what is played up to there."""


def child(folder: Path, limits: Limits, detectors: tuple[Detector, ...]) -> int:
    """Start a process of our own that runs a session, its standard error in ``folder/errors``; return its id."""
    pid = os.fork()
    if pid:
        return pid
    status = 99
    # The test runner's garbage, and whoever it calls when some is collected, are not kpv's.
    gc.callbacks.clear()
    gc.freeze()
    try:
        os.dup2(os.open(folder / "errors", os.O_WRONLY | os.O_CREAT), 2)
        sys.stderr = sys.__stderr__
        warnings.simplefilter("always")
        with proc.interrupts():
            session(setting(folder, detectors), [Trial(1, PROGRAM, 1, 1)], folder / "boot", Silent(), limits)
        status = 0
    except KeyboardInterrupt:
        status = 130
    except PipelineError as error:
        status = error.exit_status
    finally:
        gc.collect()  # what asyncio has to say of tasks that are left, it says now
        sys.stderr.flush()
        os._exit(status)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda x: x.name)
@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupt_leaves_nothing(
    fakeqemu: Callable[..., None], tmp_path: Path, stage: str, number: signal.Signals
) -> None:
    """At once kpv and QEMU are gone, with not a word on standard error, whatever was going on."""
    reached = tmp_path / "reached"
    fakeqemu(**json.loads(json.dumps(STAGES[stage]).replace("{at}", str(reached))))
    limits = replace(PATIENT, silence=0.3) if stage == "stacks" else PATIENT
    pid = child(tmp_path, limits, (KMEMLEAK,))
    try:
        assert soon(lambda: reached.exists() and reached.read_text() != "", 20), "the stage was not reached"
        qemu = int(reached.read_text())
        assert running(qemu)
        os.kill(pid, number)
        assert soon(lambda: not running(pid) and not running(qemu), 60)
    finally:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == (-9 if number is signal.SIGKILL else 130)
    assert (tmp_path / "errors").read_text() == ""


ENDS: dict[str, tuple[dict[str, object], int]] = {
    "well": ({}, 0),
    "QEMU killed": ({"run": [["begin"], ["die", "KILL"]]}, 0),
    "QEMU does not start": ({"start": [["exit", 1, "no"]]}, 3),
    "QEMU does not answer": ({"start": [["mute"]]}, 3),
}
"""How a session can end: what is played, and the exit status."""


@pytest.mark.parametrize("end", ENDS)
def test_a_session_says_nothing_on_standard_error(fakeqemu: Callable[..., None], tmp_path: Path, end: str) -> None:
    """No library's complaint about loops and tasks reaches the user, even with all of Python's warnings on."""
    moments, expected = ENDS[end]
    fakeqemu(**moments)
    pid = child(tmp_path, replace(SHORT, connect=0.5 if "answer" in end else 5.0), DETECTORS)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == expected
    assert (tmp_path / "errors").read_text() == ""


def test_every_profile_is_proved_by_the_fake_guest(guest: Callable[..., Session]) -> None:
    """The fake plays every detector that is declared, so that tests of the whole way need no real kernel."""
    detectors = tuple(x for profile in catalog.load().profiles for x in profile.detectors)
    run = only(guest(detectors=detectors))
    assert [proof for proof in run.proofs if not proof.alive] == []
