"""A detector that was not seen at work is not trusted, and what was planted to see it counts for nobody."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_vm import PATIENT, PROGRAM, SHORT, setting

from pipeline import catalog, trust, verdict
from pipeline.declare import By, Canary, Profile
from pipeline.kernel import KernelImage
from pipeline.machine import Accel
from pipeline.matrix import Trial as Asked
from pipeline.modules import Modules
from pipeline.progress import Silent
from pipeline.run import Ended, Run, Scan, run_from_json
from pipeline.verdict import Evidence, Outcome, Planted, Reason, Trial, Verdict, Why
from pipeline.vm.canaries import MODULE, PLANT
from pipeline.vm.session import Session, session

KASAN = Canary("kasan", By.FAULT, "^KASAN: slab-use-after-free Read in canary_kasan$", 5)
HUNG = Canary("hung-task", By.FAULT, "^INFO: task hung in canary_hang$", 9, (("/proc/sys/kernel/hung", "2"),))
LEAK = Canary("kmemleak", By.SCAN, "^memory leak in canary_kmemleak$", 60)
BOOKS = Canary("memcg", By.PROGRAM, "^leak: dying memory groups stay$", 60)

SPLAT = (
    "[    9.000000] BUG: KASAN: slab-use-after-free in canary_kasan+0x83/0xa0 [canary]",
    "[    9.000001] Read of size 1 at addr ffff88800858d710 by task canary-kasan/57",
    "[    9.000002] Call Trace:",
    "[    9.000003]  <TASK>",
    "[    9.000004]  canary_kasan+0x83/0xa0 [canary]",
    "[    9.000005]  kthread+0x2eb/0x3e0",
    "[    9.000006]  </TASK>",
)


def run(name: str, **changes: Any) -> Run:
    """Return what a canary left."""
    fixed: dict[str, Any] = {
        "cut": 1, "kernel": "k", "guest": "g", "machine": "m", "accel": Accel.TCG, "program": name, "seed": 1,
        "budget": 5.0, "number": 1, "argv": (), "cmdline": (), "ended": Ended.FINDING,
    }  # fmt: skip
    return Run(**fixed | changes)


def read(*runs: Run) -> tuple[Trial, ...]:
    """Return trials of runs."""
    return tuple(verdict.read_run(one) for one in runs)


# --- judging ---------------------------------------------------------------------------------------------


def test_a_canary_that_is_seen_is_no_reason() -> None:
    """PASS stays, and says what was seen."""
    found = verdict.trusted(Verdict(Outcome.PASS), (KASAN,), read(run("kasan", console=SPLAT)))
    assert found.outcome is Outcome.PASS
    assert found.reasons == found.known == ()
    assert found.canaries == (Planted("kasan", "KASAN: slab-use-after-free Read in canary_kasan"),)


@pytest.mark.parametrize("outcome", [Outcome.PASS, Outcome.SKIP, Outcome.BROKEN])
def test_one_that_is_not_seen_is_broken(outcome: Outcome) -> None:
    """Whatever else the verdict is: a detector that is blind shows nothing by silence."""
    quiet = run("kasan", ended=Ended.LOST, detail="not reported within 5 s", console=("[    9.0] kpv: canary kasan",))
    found = verdict.trusted(Verdict(outcome), (KASAN,), read(quiet))
    assert found.outcome is Outcome.BROKEN
    (reason,) = found.reasons
    assert (reason.why, reason.outcome) == (Why.CANARY, Outcome.BROKEN)
    assert reason.text == "canary kasan was not seen: not reported within 5 s"


def test_a_report_under_another_title_is_not_the_one() -> None:
    """What stands there instead is told."""
    other = tuple(line.replace("canary_kasan", "mem_cgroup_iter") for line in SPLAT)
    found = verdict.trusted(Verdict(Outcome.PASS), (KASAN,), read(run("kasan", console=other)))
    assert found.outcome is Outcome.BROKEN
    assert "KASAN: slab-use-after-free Read in mem_cgroup_iter" in found.reasons[0].text


def test_a_report_in_the_run_of_another_is_not_the_one() -> None:
    """Each is looked for where it was planted."""
    trials = read(run("kasan"), run("hung-task", console=SPLAT))
    found = verdict.trusted(Verdict(Outcome.PASS), (KASAN, HUNG), trials)
    assert [one.title for one in found.canaries] == ["", ""]
    assert len(found.reasons) == 2


def test_one_that_was_not_planted_is_broken() -> None:
    """With why, where somebody knows."""
    assert verdict.trusted(Verdict(Outcome.PASS), (KASAN,), ()).reasons[0].text.endswith("it was not planted")
    found = verdict.trusted(Verdict(Outcome.PASS), (KASAN,), (), "its module does not build")
    assert found.reasons[0].text == "canary kasan was not seen: its module does not build"


def test_a_failure_stays_one() -> None:
    """What one detector has shown is not undone by another, and behind a failure nothing is planted."""
    reason = Reason(Why.FINDING, Outcome.FAIL, title="KASAN: x", text="KASAN: x")
    failed = Verdict(Outcome.FAIL, (reason,))
    assert verdict.trusted(failed, (KASAN,), ()) == failed
    quiet = verdict.trusted(failed, (KASAN, HUNG), read(run("kasan", console=SPLAT)))
    assert (quiet.outcome, quiet.reasons) == (Outcome.FAIL, (reason,))
    assert [one.title != "" for one in quiet.canaries] == [True, False]


def test_leaks_are_seen_in_kmemleaks_file_and_in_the_books() -> None:
    """By what finds those of a trial, the second scan included."""
    text = (
        "unreferenced object 0xffff888008710c00 (size 512):\n"
        '  comm "canary-kmemleak", pid 44, jiffies 4294893956\n'
        "  backtrace (crc b73ac269):\n"
        "    __kmalloc_cache_noprof+0x2d4/0x3a0\n"
        "    canary_kmemleak+0x41/0x80 [canary]\n"
    )
    scanned = run("kmemleak", ended=Ended.DONE, kmemleak=Scan(1, text, text))
    books = tuple(
        line
        for turn in range(4)
        for line in (
            f"# ledger {turn} cycles={12 * turn} cgroup.nr_dying_subsys_memory={12 * turn}",
            f"# ledger {turn} end rows=1",
        )
    )
    counted = run("memcg", ended=Ended.DONE, ktap=("KTAP version 1", "1..1", *books, "ok 1 x"))
    found = verdict.trusted(Verdict(Outcome.PASS), (LEAK, BOOKS), read(scanned, counted))
    assert [one.title for one in found.canaries] == ["memory leak in canary_kmemleak", "leak: dying memory groups stay"]
    once = replace(scanned, kmemleak=Scan(1, text, ""))
    assert not verdict.trusted(Verdict(Outcome.PASS), (LEAK,), read(once)).canaries[0].title


@given(st.lists(st.text(max_size=80), max_size=8), st.sampled_from(list(Ended)))
def test_nothing_but_the_title_will_do(console: list[str], ended: Ended) -> None:
    """Whatever a console holds: no canary is seen without a report of its title."""
    found = verdict.trusted(Verdict(Outcome.PASS), (KASAN,), read(run("kasan", console=tuple(console), ended=ended)))
    assert (found.outcome is Outcome.PASS) == bool(found.canaries[0].title)
    assert not found.canaries[0].title or re.search(KASAN.title, found.canaries[0].title)


# --- planting ------------------------------------------------------------------------------------------------


@pytest.fixture
def planted(fakeqemu: Callable[..., None], tmp_path: Path) -> Callable[..., Session]:
    """Return a function that plays a session whose trials are followed by canaries."""

    def play(*canaries: Canary, trials: int = 1, **moments: object) -> Session:
        fakeqemu(**moments)
        plan = [Asked(number, PROGRAM, number, PROGRAM.budget) for number in range(1, trials + 1)]
        return session(
            setting(tmp_path), plan, tmp_path / "boot", Silent(), PATIENT, choose=lambda _runs: tuple(canaries)
        )

    return play


def profile(name: str) -> Profile:
    """Return a profile of the house."""
    return next(x for x in catalog.load().profiles if x.name == name)


@pytest.mark.parametrize("name", ["kasan", "kcsan", "plain"])
def test_every_canary_of_the_house_is_seen(name: str, planted: Callable[..., Session], tmp_path: Path) -> None:
    """Behind the trials and in the same guest; each is kept, and judged again from what was kept."""
    rows = profile(name).canaries
    found = planted(*rows)
    assert [one.ended for one in found.runs] == [Ended.DONE]
    assert [one.program for one in found.canaries] == [row.name for row in rows]
    kept = [
        run_from_json((tmp_path / "boot" / f"canary-{number}.json").read_text(), "")
        for number in range(1, len(rows) + 1)
    ]
    judged = verdict.trusted(Verdict(Outcome.PASS), rows, read(*kept))
    assert judged.outcome is Outcome.PASS, judged.reasons


def test_what_is_planted_is_no_part_of_a_trial(planted: Callable[..., Session]) -> None:
    """Neither its console nor its leaks: the trial's record ends before the first of them."""
    found = planted(*profile("kasan").canaries)
    (trial,) = read(*found.runs)
    assert not trial.findings
    assert not trial.leaks
    assert not any("canary" in line for line in trial.run.console)
    evidence = Evidence((verdict.read_boot(found.boot),), (trial,))
    base = Evidence(evidence.starts, (replace(trial, run=replace(trial.run, cut=0)),))
    assert verdict.judge(verdict.Asked((PROGRAM.name,), 1), base, evidence).outcome is Outcome.PASS


def test_files_are_put_back(planted: Callable[..., Session], tmp_path: Path) -> None:
    """What was lowered for a canary has its own value again, also when nothing was reported."""
    limits = replace(HUNG, files=(("/proc/sys/kernel/hung_task_timeout_secs", "2"),), seconds=1)
    wrote = tmp_path / "wrote"
    write = {f"write:{limits.files[0][0]}": [["append", str(wrote), "{data}"]]}
    (one,) = planted(limits, **{"plant:hung-task": [["console", "quiet"]]}, **write).canaries
    assert (one.ended, one.detail) == (Ended.LOST, "not reported within 1 s")
    assert wrote.read_text().split() == ["2", "120"]


def test_a_file_that_is_not_there(planted: Callable[..., Session]) -> None:
    """The detector's knob is missing, so nothing is planted, and that is what is told."""
    (one,) = planted(HUNG).canaries
    assert (one.ended, one.detail) == (Ended.LOST, "/proc/sys/kernel/hung: cannot be read")


def test_a_module_that_does_not_load(planted: Callable[..., Session]) -> None:
    """No canary is planted, each says why."""
    found = planted(KASAN, HUNG, load=[["agent", "loaded {path} 2"]])
    assert [one.ended for one in found.canaries] == [Ended.LOST] * 2
    assert "the module that plants it cannot be loaded: No such file or directory" in found.canaries[0].detail


def test_a_guest_that_dies_of_a_canary(planted: Callable[..., Session]) -> None:
    """That one was seen by its report; those behind it were not planted, and the trials stand."""
    found = planted(KASAN, HUNG, **{"plant:kasan": [["reported"], ["panic"]]})
    assert found.runs[0].ended is Ended.DONE
    judged = verdict.trusted(Verdict(Outcome.PASS), (KASAN, HUNG), read(*found.canaries))
    assert [one.title != "" for one in judged.canaries] == [True, False]
    assert "panicked" in judged.canaries[1].why


def test_a_guest_that_goes_deaf(fakeqemu: Callable[..., None], tmp_path: Path) -> None:
    """It is not asked again for each canary that is left; what it had reported counts."""
    fakeqemu(**{"plant:kasan": [["reported"], ["hang"]]})
    plan = [Asked(1, PROGRAM, 1, PROGRAM.budget)]
    limits = replace(PATIENT, answer=1.0, silence=1.0)
    rows = (KASAN, HUNG, replace(HUNG, name="other"), replace(HUNG, name="another"))
    found = session(setting(tmp_path), plan, tmp_path / "boot", Silent(), limits, choose=lambda _runs: rows)
    judged = verdict.trusted(Verdict(Outcome.PASS), rows, read(*found.canaries))
    assert [one.title != "" for one in judged.canaries] == [True, False, False, False]
    assert {one.why for one in judged.canaries[1:]} == {"the guest does not answer any more"}


def test_no_canary_in_a_guest_that_is_not_sane(planted: Callable[..., Session]) -> None:
    """Behind a report, or a trial that did not end, nothing that comes could be told from what came of it."""
    for moments in (
        {"run": [["begin"], ["tick", 3], ["kasan"], ["tick", 5], ["stall"]]},
        {"run": [["begin"], ["tick", 3], ["ktap", 2], ["done"], ["kasan"]]},
        {"run": [["begin"], ["tick", 3], ["panic"]]},
    ):
        assert planted(KASAN, **moments).canaries == ()


def test_canaries_see_the_runs_before_them(fakeqemu: Callable[..., None], tmp_path: Path) -> None:
    """Who chooses gets every run, the last one with its console and its scan, before anything is planted."""
    seen: list[tuple[Run, ...]] = []
    fakeqemu()
    plan = [Asked(number, PROGRAM, number, PROGRAM.budget) for number in (1, 2)]

    def none(runs: tuple[Run, ...]) -> tuple[Canary, ...]:
        seen.append(runs)
        return ()

    found = session(setting(tmp_path), plan, tmp_path / "boot", Silent(), SHORT, choose=none)
    assert [[one.number for one in runs] for runs in seen] == [[1, 2]]
    assert found.canaries == ()
    assert seen[0][-1].console


# --- a guest of their own -------------------------------------------------------------------------------------


def image(folder: Path, *, builds: bool = True) -> KernelImage:
    """Return a kernel with the module, or with why there is none."""
    made = Modules(folder / "modules")
    made.folder.mkdir(exist_ok=True)
    made.canary.write_bytes(b"module")
    if not builds:
        made.canary.unlink()
        made.canary.with_name("canary.ko.why").write_text("canary.c:3: no such thing")
    return KernelImage("k", folder, "6.12.0", (), cached=False, modules=made)


def judged(folder: Path, outcome: Outcome, kernel: KernelImage, trials: tuple[Trial, ...] = ()) -> Verdict:
    """Judge a job with the canaries of profile kasan."""
    ready = replace(setting(folder), profile=replace(profile("kasan"), slowdown=1.0))
    return trust.judged(Verdict(outcome), ready, kernel, trials, folder, Silent())


def test_they_get_a_guest_when_none_was_sane(fakeqemu: Callable[..., None], tmp_path: Path) -> None:
    """Its records stand beside those of the trials."""
    fakeqemu()
    found = judged(tmp_path, Outcome.PASS, image(tmp_path))
    assert found.outcome is Outcome.PASS, found.reasons
    assert json.loads((tmp_path / "canaries" / "canary-1.json").read_text())["program"] == "memcg"


def test_a_guest_that_does_not_come_up(fakeqemu: Callable[..., None], tmp_path: Path) -> None:
    """Nothing was seen, and that is why."""
    fakeqemu(boot=[["alive"], ["panic"]])
    found = judged(tmp_path, Outcome.PASS, image(tmp_path))
    assert found.outcome is Outcome.BROKEN
    assert all("did not come up: the kernel panicked" in reason.text for reason in found.reasons)


def test_no_guest_for_a_failure_or_without_a_module(tmp_path: Path) -> None:
    """There is no QEMU here that could be started."""
    assert judged(tmp_path, Outcome.FAIL, image(tmp_path)) == Verdict(Outcome.FAIL)
    found = judged(tmp_path, Outcome.PASS, image(tmp_path, builds=False))
    assert found.outcome is Outcome.BROKEN
    assert "its module does not build: canary.c:3: no such thing" in found.reasons[0].text


def test_the_guest_gets_the_module(tmp_path: Path) -> None:
    """In an archive of its own behind the guest's, under the guest's key; without a module the guest is as it was."""
    from pipeline.guest import GuestImage  # here: only this test is about files
    from pipeline.store import Store

    (tmp_path / "initramfs.cpio").write_bytes(b"070701first" + bytes(501))
    plain = GuestImage("g", tmp_path / "initramfs.cpio", ())
    packed = trust.packed(Store(tmp_path / "cache"), plain, image(tmp_path))
    data = packed.initramfs.read_bytes()
    assert packed.key == plain.key
    assert data.startswith(plain.initramfs.read_bytes())
    assert MODULE.encode() in data
    assert b"module" in data
    assert trust.packed(Store(tmp_path / "cache"), plain, image(tmp_path, builds=False)) is plain
    assert PLANT.endswith("/canary/plant")
