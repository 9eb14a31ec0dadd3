"""Verdicts: every row of the table, and that nothing without evidence passes."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.declare import Case, Detector, Expected
from pipeline.errors import BuildError, InfraError, TreeError
from pipeline.findings import Finding
from pipeline.machine import Accel
from pipeline.run import Boot, Ended, Proof, Run, Scan
from pipeline.verdict import (
    Asked,
    Blame,
    Evidence,
    Outcome,
    Reason,
    Start,
    Verdict,
    Why,
    Worth,
    broken,
    combine,
    judge,
    not_applied,
    not_built,
    prove,
    rate_bound,
    read_boot,
    read_run,
    unmet,
    warning,
)
from pipeline.verdict.expectation import held, impossible

GOOD = ("KTAP version 1", "1..2", "ok 1 setup", "ok 2 cycles_ran", "# cycles=120 per_second=4")
BAD = ("KTAP version 1", "1..2", "ok 1 setup", "# 3 left", "not ok 2 cycles_ran")
SKIPPED = ("KTAP version 1", "1..0 # SKIP needs /sys/fs/cgroup")
SPLAT = (
    "[   20.000000] ==================================================================",
    "[   20.000001] BUG: KASAN: slab-use-after-free in mem_cgroup_iter+0x1c4/0x2d0",
    "[   20.000002] Read of size 8 at addr ffff888003c4a0e8 by task memcg_churn/101",
    "[   20.000003] ",
    "[   20.000004] CPU: 1 UID: 0 PID: 101 Comm: memcg_churn Not tainted 6.12.0 #1",
    "[   20.000005] Call Trace:",
    "[   20.000006]  <TASK>",
    "[   20.000007]  dump_stack_lvl+0x4d/0x70",
    "[   20.000008]  print_report+0x170/0x4f0",
    "[   20.000009]  kasan_report+0xda/0x110",
    "[   20.000010]  mem_cgroup_iter+0x1c4/0x2d0",
    "[   20.000011]  shrink_node+0x2a7/0x1130",
    "[   20.000012]  try_to_free_mem_cgroup_pages+0x1d0/0x4a0",
    "[   20.000013]  </TASK>",
)
OTHER_SPLAT = tuple(line.replace("mem_cgroup_iter", "list_lru_add") for line in SPLAT)
# As /sys/kernel/debug/kmemleak prints it (mm/kmemleak.c, print_unreferenced).
KMEMLEAK = """\
unreferenced object 0xffff888003c4a0e8 (size 96):
  comm "memcg_churn", pid 101, jiffies 4294938000
  hex dump (first 32 bytes):
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
  backtrace (crc 0):
    kmemleak_alloc+0x4a/0x90
    __kmalloc_cache_noprof+0x1f0/0x2c0
    mem_cgroup_css_alloc+0x5d/0xb00
    cgroup_apply_control_enable+0x3a0/0xa10
"""
ASKED = Asked(("memcg_churn",), 1, ("kasan",))
ALIVE = (Proof("kasan", alive=True, evidence="KernelAddressSanitizer initialized"),)


def boot(cut: int, **changes: Any) -> Boot:
    """Return a boot that went well, but for `changes`."""
    fields: dict[str, Any] = {"ended": Ended.DONE, "argv": (), "cmdline": ()} | changes
    return Boot(cut=cut, kernel="k", guest="g", machine="2node", accel=Accel.TCG, **fields)


def run(cut: int, **changes: Any) -> Run:
    """Return a run that went well, but for `changes`."""
    fields: dict[str, Any] = {
        "program": "memcg_churn",
        "seed": 1,
        "number": 1,
        "ended": Ended.DONE,
        "seconds": 30.0,
        "exit_status": 0,
        "cycles": 120,
        "ktap": GOOD,
        "proofs": ALIVE,
    } | changes
    return Run(
        cut=cut, kernel="k", guest="g", machine="2node", accel=Accel.TCG, budget=30, argv=(), cmdline=(), **fields
    )


def evidence(*runs: Run, start: Boot | None = None) -> Evidence:
    """Return what a kernel showed in one boot."""
    first = start or boot(runs[0].cut)
    return Evidence((read_boot(first),), tuple(read_run(x) for x in runs))


BASE = evidence(run(0))


def verdict(patched: Evidence, base: Evidence = BASE, asked: Asked = ASKED) -> Verdict:
    """Judge with the defaults of these tests."""
    return judge(asked, base, patched)


def of(**changes: Any) -> Verdict:
    """Judge a patched run that differs in `changes` from one that went well, against a good base."""
    return verdict(evidence(run(2, **changes)))


def whys(result: Verdict) -> set[Why]:
    """Return what the reasons are about."""
    return {reason.why for reason in result.reasons}


def test_nothing_against_it_is_a_pass_that_says_what_it_is_worth() -> None:
    """Trials, seconds, cycles and the bound."""
    result = of()
    assert (result.outcome, result.reasons, result.known) == (Outcome.PASS, (), ())
    assert result.worth == (Worth("memcg_churn", 1, 30.0, 120),)
    assert result.bound == pytest.approx(0.95)


def test_a_report_the_base_does_not_show_fails() -> None:
    """With title, function, seed and the kernel's own text."""
    result = of(console=SPLAT, ended=Ended.FINDING, exit_status=None, ktap=GOOD[:2], first_line=100, log="console.log")
    assert result.outcome is Outcome.FAIL
    (reason,) = result.reasons
    assert reason.title == "KASAN: slab-use-after-free Read in mem_cgroup_iter"
    assert (reason.function, reason.program, reason.seed, reason.log) == (
        "mem_cgroup_iter",
        "memcg_churn",
        1,
        "console.log",
    )
    assert reason.line == 101
    assert "mem_cgroup_iter+0x1c4" in reason.report


def test_a_report_the_base_shows_too_is_known() -> None:
    """Listed and not counted, when the program came to its end all the same; another report is not excused by it."""
    base = evidence(run(0, console=SPLAT))
    result = verdict(evidence(run(2, console=SPLAT)), base)
    assert result.outcome is Outcome.PASS
    assert [x.title for x in result.known] == ["KASAN: slab-use-after-free Read in mem_cgroup_iter"]
    assert verdict(evidence(run(2, console=OTHER_SPLAT)), base).outcome is Outcome.FAIL


def test_a_known_report_that_stops_every_trial_leaves_no_evidence() -> None:
    """A run that never came to its end is not a PASS because its killer is known."""
    ended: dict[str, Any] = {"console": SPLAT, "ended": Ended.FINDING, "exit_status": None, "ktap": GOOD[:2]}
    result = verdict(evidence(run(2, **ended)), evidence(run(0, **ended)))
    assert result.outcome is Outcome.BROKEN
    assert whys(result) == {Why.NOT_RUN}
    assert result.known


def test_a_failing_test() -> None:
    """FAIL with what the program said; known when the base fails it too; a subtest stands for its parent."""
    result = of(ktap=BAD, exit_status=1)
    assert result.outcome is Outcome.FAIL
    assert [(x.why, x.title) for x in result.reasons] == [(Why.TEST, "cycles_ran")]
    assert "3 left" in result.reasons[0].text
    known = verdict(evidence(run(2, ktap=BAD, exit_status=1)), evidence(run(0, ktap=BAD, exit_status=1)))
    assert (known.outcome, [x.title for x in known.known]) == (Outcome.PASS, ["cycles_ran"])
    nested = ("KTAP version 1", "1..1", "  KTAP version 1", "  1..1", "  not ok 1 sub", "not ok 1 parent")
    assert [x.title for x in of(ktap=nested, exit_status=1).reasons] == ["parent/sub"]


@pytest.mark.parametrize("status", [3, 1, -9])
def test_an_exit_status_that_the_tests_do_not_explain_fails(status: int) -> None:
    """Every test ok and yet a bad end: killed, or a failure that nobody reported."""
    assert of(exit_status=status).outcome is Outcome.FAIL


@pytest.mark.parametrize("ended", [Ended.PANIC, Ended.HANG, Ended.TRIPLE_FAULT])
def test_an_end_by_the_kernel_fails_unless_the_base_ends_so(ended: Ended) -> None:
    """Also when nothing, or only what is known, stands on the console."""
    bad: dict[str, Any] = {"ended": ended, "exit_status": None, "ktap": ()}
    assert of(**bad).outcome is Outcome.FAIL
    warned = evidence(run(0, console=SPLAT))
    assert verdict(evidence(run(2, console=SPLAT, **bad)), warned).outcome is Outcome.FAIL
    both = verdict(evidence(run(2, **bad)), evidence(run(0, **bad)))
    assert both.outcome is Outcome.BROKEN
    assert len(both.known) == 1


def test_a_panic_after_a_new_report_is_one_reason() -> None:
    """The report says it all."""
    result = of(console=SPLAT, ended=Ended.PANIC, exit_status=None, ktap=())
    assert [x.why for x in result.reasons] == [Why.FINDING]


@pytest.mark.parametrize("ended", [Ended.LOST, Ended.QEMU_DIED, Ended.TIMEOUT])
def test_a_lost_guest_fails_with_a_report_and_is_broken_without(ended: Ended) -> None:
    """Whose fault it is depends on what the kernel said before."""
    lost: dict[str, Any] = {"ended": ended, "exit_status": None, "ktap": ()}
    assert of(**lost).outcome is Outcome.BROKEN
    assert of(console=SPLAT, **lost).outcome is Outcome.FAIL


@pytest.mark.parametrize("ended", [Ended.LOST, Ended.QEMU_DIED, Ended.TIMEOUT])
def test_a_known_report_does_not_explain_a_lost_guest(ended: Ended) -> None:
    """One trial went well, the other was lost after what the base shows too: that is no PASS."""
    lost = run(2, seed=2, number=2, ended=ended, exit_status=None, ktap=(), console=SPLAT)
    result = verdict(evidence(run(2), lost), evidence(run(0, console=SPLAT)), replace(ASKED, trials=2))
    assert result.outcome is Outcome.BROKEN
    assert [x.title for x in result.known] == ["KASAN: slab-use-after-free Read in mem_cgroup_iter"]


@pytest.mark.parametrize("ended", [Ended.PANIC, Ended.HANG, Ended.FINDING, Ended.TIMEOUT])
def test_a_series_may_repair_what_breaks_its_base(ended: Ended) -> None:
    """A base that breaks down with a report is a base; that its guest proved no detector is no gap then."""
    base = evidence(
        run(0, proofs=() if ended is not Ended.TIMEOUT else ALIVE),
        run(0, ended=ended, exit_status=None, ktap=(), console=SPLAT, proofs=()),
    )
    assert verdict(evidence(run(2)), base).outcome is Outcome.PASS


def test_an_early_end_for_a_report_that_is_not_there_is_broken() -> None:
    """The rules that ended the run and those that judge it have to agree."""
    assert of(ended=Ended.FINDING, exit_status=None, ktap=()).outcome is Outcome.BROKEN


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"proofs": ()}, Why.DETECTOR),
        ({"proofs": (Proof("kasan", alive=False, evidence="no line"),)}, Why.DETECTOR),
        ({"ktap": GOOD[:3]}, Why.KTAP),
        ({"ktap": ()}, Why.KTAP),
        ({"ktap": ("KTAP version 1", "1..0")}, Why.KTAP),
        ({"exit_status": None}, Why.KTAP),
        ({"exit_status": 2}, Why.KTAP),
        ({"kmemleak": Scan(-1, "kmemleak is off")}, Why.LEDGER),
    ],
)
def test_what_was_not_proved_is_broken_on_either_kernel(changes: dict[str, Any], why: Why) -> None:
    """A detector, a plan, a ledger: on the patched kernel and on the base."""
    for result in (of(**changes), verdict(evidence(run(2)), evidence(run(0, **changes)))):
        assert result.outcome is Outcome.BROKEN
        assert whys(result) == {why}


def test_a_kmemleak_scan_that_was_asked_for_and_not_made() -> None:
    """One scan a guest is enough, none is not."""
    asked = replace(ASKED, kmemleak=True)
    scanned = evidence(run(0), run(0, kmemleak=Scan(0, "")))
    assert whys(verdict(evidence(run(2)), scanned, asked)) == {Why.LEDGER}
    assert verdict(evidence(run(2, kmemleak=Scan(0, ""))), scanned, asked).outcome is Outcome.PASS


ALWAYS = ("cgroups__memory", "shrinkers", "slab__file", "fs__dentries", "meminfo__KernelStack", "node0__free")
"""Rows that stand in every book of a real kernel."""


def kept(**rows: tuple[int, int, int, int]) -> tuple[str, ...]:
    """Return what a program prints that keeps books: 40 cycles a round, `rows` in each of the four books."""
    books = []
    rows = {**dict.fromkeys(ALWAYS, (9, 9, 9, 9)), **rows}
    for number in range(4):
        words = " ".join(f"{name.replace('__', '.')}={values[number]}" for name, values in rows.items())
        books += [f"# ledger {number} cycles={40 * number} {words}", f"# ledger {number} end rows={len(rows)}"]
    return (*GOOD[:3], *books, *GOOD[3:])


BOOKS = replace(ASKED, books=("memcg_churn",))
DYING = kept(cgroup__nr_dying_subsys_memory=(0, 5, 9, 14), slab__dentry=(500, 700, 900, 1100))


def test_a_leak_in_the_books() -> None:
    """Its title, size and slope, and what leaks along with it; the trial is no different else."""
    clean = evidence(run(0, ktap=kept(cgroup__nr_descendants=(3, 3, 3, 3))))
    result = verdict(evidence(run(2, ktap=DYING)), clean, BOOKS)
    assert (result.outcome, whys(result)) == (Outcome.FAIL, {Why.LEAK})
    (reason,) = result.reasons
    assert reason.title == "leak: dying memory groups stay"
    assert reason.leak is not None
    assert (reason.leak.size, reason.leak.cycles, reason.leak.unit) == (14, 120, "groups")
    assert "117 groups in 1000 cycles" in reason.text
    assert "slab objects of dentry" in reason.report
    assert verdict(evidence(run(2, ktap=kept(slab__dentry=(500, 700, 700, 700)))), clean, BOOKS).outcome is Outcome.PASS


def test_a_leak_of_a_trial_that_did_not_come_to_its_end() -> None:
    """Whole books tell, and so a guest that is lost afterwards is no riddle; half of them do not."""
    lost = {"ended": Ended.TIMEOUT, "exit_status": None, "detail": "not through"}
    result = of(ktap=DYING[:-1], **lost)
    assert (result.outcome, result.reasons[0].why) == (Outcome.FAIL, Why.LEAK)
    assert whys(of(ktap=DYING[:-4], **lost)) == {Why.TIMEOUT, Why.NOT_RUN}


def test_a_leak_of_the_base_is_known() -> None:
    """Compared by what leaks and not by how much; of two that leak only the new one counts."""
    base = evidence(run(0, ktap=kept(cgroup__nr_dying_subsys_memory=(0, 1, 2, 3))))
    result = verdict(evidence(run(2, ktap=DYING)), base, BOOKS)
    assert [reason.title for reason in result.reasons] == ["leak: slab objects of dentry grow"]
    assert [reason.title for reason in result.known] == ["leak: dying memory groups stay"]


def test_a_pin_stands_in_the_reason() -> None:
    """What holds a leak is told with it where somebody found out."""
    trial = read_run(run(2, ktap=DYING))
    pinned = replace(trial, leaks=tuple(replace(leak, pin="a css reference") for leak in trial.leaks))
    result = verdict(Evidence((read_boot(boot(2)),), (pinned,)))
    assert result.reasons[0].text.endswith("; held by a css reference")


@pytest.mark.parametrize(
    "ktap",
    [
        GOOD,
        DYING[:-4] + DYING[-2:],
        tuple(line.replace("rows=8", "rows=9") for line in DYING),
        tuple(line.replace("shrinkers=9 ", "").replace("rows=8", "rows=7") for line in DYING),
        (*DYING[:3], "# ledger 0 nobody.knows=1", *DYING[3:]),
        tuple(line.replace("slab.dentry", "nobody.knows") for line in DYING),
    ],
)
def test_books_that_cannot_be_read_are_broken(ktap: tuple[str, ...]) -> None:
    """None, one missing or cut, a row too few, one nobody knows: nobody can say that nothing leaks."""
    result = verdict(evidence(run(2, ktap=ktap)), evidence(run(0, ktap=kept())), BOOKS)
    assert Why.LEDGER in whys(result)
    assert result.outcome is not Outcome.PASS


def test_books_of_what_never_ran() -> None:
    """A program whose setup failed, that was skipped or that keeps none has none to show."""
    failed = ("KTAP version 1", "1..1", "not ok 1 setup")
    asked = replace(BOOKS, programs=("memcg_churn",))
    clean = evidence(run(0, ktap=kept()))
    assert whys(verdict(evidence(run(2, ktap=failed, exit_status=1)), clean, asked)) == {Why.TEST}
    both = evidence(run(0, ktap=SKIPPED, exit_status=4))
    assert Why.LEDGER not in whys(verdict(evidence(run(2, ktap=SKIPPED, exit_status=4)), both, asked))
    assert verdict(evidence(run(2))).outcome is Outcome.PASS


@pytest.mark.parametrize("reached", ["ok 2 windows_reached # SKIP a never met b (w)", "ok 2 windows_reached"])
def test_a_window_that_was_never_reached_is_broken(reached: str) -> None:
    """On either kernel: such a trial has shown nothing of what it is there for."""
    good = ("KTAP version 1", "1..2", "ok 1 setup", "ok 2 windows_reached", "# window w a=9 b=8 overlap=3")
    missed = (*good[:3], reached, "# window w a=9 b=0 overlap=0")
    assert verdict(evidence(run(2, ktap=good)), evidence(run(0, ktap=good))).outcome is Outcome.PASS
    for base, patched in ((good, missed), (missed, good)):
        result = verdict(evidence(run(2, ktap=patched)), evidence(run(0, ktap=base)))
        assert (result.outcome, whys(result)) == (Outcome.BROKEN, {Why.WINDOW})
        assert "a never met b (window w)" in result.reasons[0].text


def test_kmemleak() -> None:
    """Only what two scans saw is a leak, and what nobody can read is not taken for none."""
    result = of(kmemleak=Scan(1, KMEMLEAK, KMEMLEAK.replace("00 00", "01 01")))
    assert [(x.why, x.title) for x in result.reasons] == [(Why.LEAK, "memory leak in cgroup_apply_control_enable")]
    assert result.reasons[0].line is None
    assert of(kmemleak=Scan(1, KMEMLEAK)).outcome is Outcome.PASS
    other = KMEMLEAK.replace("jiffies 4294938000", "jiffies 4294938999")
    assert of(kmemleak=Scan(1, KMEMLEAK, other)).outcome is Outcome.PASS
    odd = of(kmemleak=Scan(3, "in words nobody knows"))
    assert (odd.outcome, whys(odd)) == (Outcome.FAIL, {Why.LEAK})


def test_the_base_has_to_boot_and_run() -> None:
    """Without a base nothing is said about the series, even when it looks bad."""
    bad = evidence(run(2, console=SPLAT))
    for base in (
        Evidence(),
        Evidence((Start(boot(0, ended=Ended.PANIC, detail="VFS: no root")),)),
        Evidence((Start(boot(0)),)),
        evidence(run(0, ended=Ended.QEMU_DIED, exit_status=None)),
    ):
        for patched in (bad, evidence(run(2))):
            result = verdict(patched, base)
            assert result.outcome is Outcome.BROKEN
            assert Why.NO_BASE in whys(result)


def test_a_patched_kernel_that_does_not_boot() -> None:
    """FAIL when the kernel ended it, BROKEN when the guest was taken from us."""

    def booted(**changes: Any) -> Verdict:
        return verdict(Evidence((read_boot(boot(2, **changes)),)))

    assert booted(ended=Ended.PANIC).outcome is Outcome.FAIL
    assert booted(ended=Ended.TRIPLE_FAULT).outcome is Outcome.FAIL
    assert booted(ended=Ended.TIMEOUT, console=SPLAT).outcome is Outcome.FAIL
    assert booted(ended=Ended.QEMU_DIED).outcome is Outcome.BROKEN
    assert booted(ended=Ended.TIMEOUT).outcome is Outcome.BROKEN


def test_a_report_during_boot_counts() -> None:
    """A kernel that complains before the first program has complained."""
    assert verdict(evidence(run(2), start=boot(2, console=SPLAT))).outcome is Outcome.FAIL
    known = verdict(evidence(run(2), start=boot(2, console=SPLAT)), evidence(run(0), start=boot(0, console=SPLAT)))
    assert (known.outcome, len(known.known)) == (Outcome.PASS, 1)


def test_what_was_asked_for_and_not_run_is_broken() -> None:
    """A missing program and a missing trial; but not when an earlier one has failed."""
    both = Asked(("memcg_churn", "fs_churn"), 1, ("kasan",))
    base = evidence(run(0), run(0, program="fs_churn"))
    assert verdict(evidence(run(2)), base, both).outcome is Outcome.BROKEN
    assert verdict(evidence(run(2)), BASE, replace(ASKED, trials=3)).outcome is Outcome.BROKEN
    failed = verdict(evidence(run(2, console=SPLAT)), BASE, replace(ASKED, trials=3))
    assert (failed.outcome, whys(failed)) == (Outcome.FAIL, {Why.FINDING})


def test_nothing_ran_is_a_skip() -> None:
    """Nothing at all, or programs that had nothing to do on either kernel; a warning still fails."""
    assert judge(ASKED, Evidence(), Evidence()).outcome is Outcome.SKIP
    skips: dict[str, Any] = {"ktap": SKIPPED, "exit_status": 4}
    result = verdict(evidence(run(2, **skips)), evidence(run(0, **skips)))
    assert (result.outcome, whys(result)) == (Outcome.SKIP, {Why.SKIPPED})
    warned = warning(file="mm/memcontrol.c", line=7, text="unused variable 'x'", detail="", cut=2, patch="2/2 memcg: x")
    assert judge(ASKED, Evidence(), Evidence(), more=(warned,)).outcome is Outcome.FAIL


def test_a_test_that_ran_on_the_base_may_not_be_skipped() -> None:
    """A series that removes what a test needs does not pass it."""
    assert of(ktap=SKIPPED, exit_status=4).outcome is Outcome.BROKEN
    one = ("KTAP version 1", "1..2", "ok 1 setup", "ok 2 cycles_ran # SKIP no file")
    assert whys(of(ktap=one)) == {Why.SKIPPED}


def nested(end: str, *subtests: str) -> tuple[str, ...]:
    """Return one test with these subtests."""
    inner = ("KTAP version 1", f"1..{len(subtests)}", *subtests)
    return ("KTAP version 1", "1..1", *(f"    {line}" for line in inner), end)


def test_a_subtest_that_the_base_did_not_get_to_is_not_comparable() -> None:
    """A test that was cut short on the base says nothing of what would have come; what had come still counts."""
    base = evidence(run(0, ktap=nested("not ok 1 t # XFAIL TIMEOUT", "ok 1 a")))
    further = verdict(evidence(run(1, ktap=nested("not ok 1 t", "ok 1 a", "not ok 2 b"), exit_status=1)), base)
    assert further.outcome is Outcome.PASS
    assert [x.title for x in further.known] == ["t/b"]
    assert "did not get there" in further.known[0].text
    worse = verdict(evidence(run(1, ktap=nested("not ok 1 t", "not ok 1 a"), exit_status=1)), base)
    assert (worse.outcome, [x.title for x in worse.reasons]) == (Outcome.FAIL, ["t/a"])
    whole = evidence(run(0, ktap=nested("ok 1 t", "ok 1 a")))
    fresh = verdict(evidence(run(1, ktap=nested("not ok 1 t", "ok 1 a", "not ok 2 b"), exit_status=1)), whole)
    assert (fresh.outcome, [x.title for x in fresh.reasons]) == (Outcome.FAIL, ["t/b"])


def test_a_program_that_skips_beside_one_that_runs() -> None:
    """The verdict stands on the one that ran, and says so."""
    both = Asked(("memcg_churn", "fs_churn"), 1, ("kasan",))

    def pair(cut: int) -> Evidence:
        return evidence(run(cut), run(cut, program="fs_churn", ktap=SKIPPED, exit_status=4))

    result = verdict(pair(2), pair(0), both)
    assert result.outcome is Outcome.PASS
    assert [x.outcome for x in result.reasons] == [Outcome.SKIP]
    assert [x.program for x in result.worth] == ["memcg_churn"]


def test_one_thing_seen_in_many_trials_is_one_reason() -> None:
    """With a count, however often one trial repeats it."""
    runs = [run(2, seed=seed, number=seed, console=SPLAT * 2) for seed in (1, 2, 3)]
    (reason,) = verdict(evidence(*runs), BASE, replace(ASKED, trials=3)).reasons
    assert (reason.times, reason.seed) == (3, 1)


def test_blame_stands_in_the_reason() -> None:
    """What ties a report to a patch is handed in."""

    def blame(finding: Finding) -> Blame:
        return Blame(2, "2/2 memcg: drop it", f"it touches {finding.frame}")

    (reason,) = judge(ASKED, BASE, evidence(run(2, console=SPLAT)), blame=blame).reasons
    assert (reason.patch, reason.patch_number) == ("2/2 memcg: drop it", 2)
    assert reason.text.endswith("it touches mem_cgroup_iter")


def test_a_series_that_does_not_apply_or_build() -> None:
    """FAIL naming patch and file; the base's own trouble is BROKEN."""
    result = not_applied(TreeError("does not apply", patch="2/7 memcg: x", file="mm/memcontrol.c", hunk="@@ -1 +1 @@"))
    assert (result.outcome, result.reasons[0].patch, result.reasons[0].file) == (
        Outcome.FAIL,
        "2/7 memcg: x",
        "mm/memcontrol.c",
    )
    error = BuildError("'x' undeclared", file="mm/memcontrol.c", detail="cc1: ...")
    result = not_built(error, cut=3, patch="3/7 memcg: y")
    assert (result.outcome, result.reasons[0].patch_number, result.reasons[0].file) == (
        Outcome.FAIL,
        3,
        "mm/memcontrol.c",
    )
    assert "3/7 memcg: y" in result.reasons[0].text
    assert not_built(error, cut=0).outcome is Outcome.BROKEN
    assert broken(InfraError("no space left")).outcome is Outcome.BROKEN


def test_exit_statuses() -> None:
    """As docs/verdicts.md has them; a SKIP is not a success."""
    assert {x.value: x.exit_status for x in Outcome} == {"PASS": 0, "FAIL": 1, "BROKEN": 3, "SKIP": 4}


def test_verdicts_combine() -> None:
    """FAIL over BROKEN over PASS over SKIP; trials add up."""
    passed = Verdict(Outcome.PASS, worth=(Worth("a", 2, 10.0, 5),))
    skip, fail, broke = (
        Verdict(x, (Reason(Why.TEST, x, "t", "t"),)) for x in (Outcome.SKIP, Outcome.FAIL, Outcome.BROKEN)
    )
    assert combine([]).outcome is Outcome.SKIP
    assert combine([skip, skip]).outcome is Outcome.SKIP
    assert combine([passed, skip]).outcome is Outcome.PASS
    assert combine([passed, broke, skip]).outcome is Outcome.BROKEN
    assert combine([broke, passed, fail]).outcome is Outcome.FAIL
    assert combine([passed, passed]).worth == (Worth("a", 4, 20.0, 10),)
    assert combine([broke, fail]).reasons[0].outcome is Outcome.FAIL


def test_the_bound_is_the_exact_rule_of_three() -> None:
    """(1 - p)^n = 5%, near 3/n for many trials, and no comfort for none."""
    assert rate_bound(0) == 1.0
    for trials in (1, 2, 10, 300):
        assert (1 - rate_bound(trials)) ** trials == pytest.approx(0.05)
    assert rate_bound(1000) == pytest.approx(3 / 1000, rel=0.01)


def test_detectors_are_proved_by_console_and_file_and_disproved_by_giving_up() -> None:
    """Each way of being dead says why."""
    lockdep = Detector(
        "lockdep", "Lock dependency validator", "/proc/lockdep_stats", r"^ debug_locks: +1$", "turning off"
    )
    console = ("[    0.000000] Lock dependency validator: Copyright (c) 2006 Red Hat",)
    stats = {"/proc/lockdep_stats": " lock-classes: 1\n debug_locks:                             1\n"}

    def alive(console: tuple[str, ...], files: dict[str, str], detector: Detector = lockdep) -> bool:
        (proof,) = prove((detector,), console, files)
        assert proof.evidence or not proof.alive
        return proof.alive

    assert alive(console, stats)
    assert not alive((), stats)
    assert not alive(console, {})
    assert not alive(console, {"/proc/lockdep_stats": " debug_locks:      0\n"})
    assert not alive((*console, "turning off the locking correctness validator."), stats)
    assert not alive((), {}, Detector("none", "", "", "", ""))
    assert alive((), {"/sys/kernel/debug/kmemleak": ""}, Detector("k", "", "/sys/kernel/debug/kmemleak", "", ""))


def test_a_case_gets_the_verdict_it_is_there_for() -> None:
    """Outcome, title and patch all have to be right."""
    due = Expected(fails=True, title="use-after-free .* in mem_cgroup_iter", function="", patch=2)
    right = Reason(Why.FINDING, Outcome.FAIL, "KASAN: slab-use-after-free Read in mem_cgroup_iter", "t", patch_number=2)
    assert unmet(due, Verdict(Outcome.FAIL, (right,))) == ""
    assert unmet(replace(due, patch=0), Verdict(Outcome.FAIL, (replace(right, patch_number=None),))) == ""
    assert "PASS where FAIL" in unmet(due, Verdict(Outcome.PASS))
    assert "BROKEN where FAIL is due: t" in unmet(due, Verdict(Outcome.BROKEN, (right,)))
    assert "patch 2 is due, patch 1" in unmet(due, Verdict(Outcome.FAIL, (replace(right, patch_number=1),)))
    assert "patch 2 is due, no patch" in unmet(due, Verdict(Outcome.FAIL, (replace(right, patch_number=None),)))
    assert "no reason is titled" in unmet(due, Verdict(Outcome.FAIL, (replace(right, title="WARNING in x"),)))
    passing = Expected(fails=False, title="", function="", patch=0)
    assert unmet(passing, Verdict(Outcome.PASS)) == ""
    assert "FAIL where PASS is due: t" in unmet(passing, Verdict(Outcome.FAIL, (right,)))


def test_a_case_names_the_function_too() -> None:
    """A title may be right by luck; the function it is put down to is asked for as well."""
    due = Expected(fails=True, title="use-after-free", function="^mem_cgroup_iter$", patch=0)
    reason = Reason(Why.FINDING, Outcome.FAIL, "KASAN: use-after-free in x", "t", function="mem_cgroup_iter")
    assert unmet(due, Verdict(Outcome.FAIL, (reason,))) == ""
    wrong = replace(reason, function="css_put")
    assert unmet(due, Verdict(Outcome.FAIL, (wrong,))).endswith("css_put is named")
    assert unmet(due, Verdict(Outcome.FAIL, (wrong, reason))) == ""


@pytest.mark.parametrize(
    ("title", "possible"),
    [
        ("KASAN: .* in mem_cgroup_iter", True),
        ("KCSAN: data-race", False),
        ("KCSAN: data-race|KASAN: slab", True),
        ("KMSAN: uninit", False),
        ("WARNING in page_counter_cancel", True),
        ("memory leak in alloc_mem", False),
    ],
)
def test_a_case_cannot_expect_what_no_detector_reports(title: str, possible: bool) -> None:
    """The title names its detector where it can only be one."""
    expected = Expected(fails=True, title=title, function="", patch=0)
    assert bool(impossible(expected, ("kasan", "lockdep"))) is not possible


RUNS = st.builds(
    run,
    st.just(2),
    ended=st.sampled_from(Ended),
    exit_status=st.sampled_from([None, 0, 1, 2, 4, -9]),
    ktap=st.sampled_from([GOOD, BAD, SKIPPED, GOOD[:3], ()]),
    console=st.sampled_from([(), SPLAT, OTHER_SPLAT]),
    proofs=st.sampled_from([ALIVE, ()]),
)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(RUNS, max_size=3), st.lists(RUNS, max_size=3))
def test_pass_is_never_given_away(patched: list[Run], base: list[Run]) -> None:
    """PASS needs a trial on each kernel that ended well and proved itself, and no reason against it."""
    on_base = [replace(x, cut=0) for x in base]
    result = verdict(
        Evidence((Start(boot(2)),), tuple(read_run(x) for x in patched)),
        Evidence((Start(boot(0)),), tuple(read_run(x) for x in on_base)),
    )
    if result.outcome is Outcome.PASS:
        assert any(x.ended is Ended.DONE and x.proofs and x.ktap in (GOOD, BAD) for x in patched)
        assert base
        assert not any(x.outcome in {Outcome.FAIL, Outcome.BROKEN} for x in result.reasons)
    else:
        assert result.reasons
    assert all(x.text and x.title for x in (*result.reasons, *result.known))


def test_a_known_issue_is_listed_and_not_counted() -> None:
    """What the user's list pardons does not fail the series, and is told with the reason."""
    seen = evidence(run(2, ended=Ended.FINDING, console=SPLAT))
    plain = verdict(seen)
    assert plain.outcome is Outcome.FAIL
    assert "no frame of it is near the series" in plain.reasons[0].text
    title = plain.reasons[0].title
    pardoned = judge(ASKED, BASE, seen, pardon=lambda x: "told upstream" if x.title == title else "")
    assert title in [x.title for x in pardoned.known]
    assert "known issue: told upstream" in pardoned.known[0].text
    assert not any(x.outcome is Outcome.FAIL for x in pardoned.reasons)


def measured(cut: int, *lines: str, **changes: Any) -> Run:
    """Return a run whose program measured something."""
    return run(cut, **({"ktap": (*GOOD, *lines)} | changes))


@pytest.mark.parametrize(
    ("base", "patched", "fails"),
    [
        ("0.60 0.01 0.15", "1.00 0.02 0.15", True),
        ("0.60 0.01 0.15", "0.70 0.01 0.15", False),  # sure, and too little to matter
        ("0.60 0.10 0.15", "1.00 0.10 0.15", False),  # much, and within the error
        ("1.00 0.01 0.15", "0.60 0.01 0.15", False),  # better
        ("0.00 0.00 0.25", "0.26 0.00 0.25", True),
    ],
)
def test_a_figure_fails_when_it_is_surely_and_much_worse(base: str, patched: str, *, fails: bool) -> None:
    """Both the error and the least difference have a say, and less is never worse."""
    result = judge(
        ASKED,
        evidence(measured(0, f"# figure walk_share {base}")),
        evidence(measured(2, f"# figure walk_share {patched}")),
    )
    assert result.outcome is (Outcome.FAIL if fails else Outcome.PASS)
    assert whys(result) == ({Why.FIGURE} if fails else set())
    if fails:
        assert result.reasons[0].title == "walk_share is worse than the base's"
        assert result.reasons[0].program == "memcg_churn"


def test_trials_that_differ_more_than_they_say_are_the_error() -> None:
    """What each trial is sure of is worth nothing where the next one is sure of something else."""
    base = evidence(*(measured(0, f"# figure spread {x} 0.001 0.1") for x in (0.1, 0.9)))
    patched = evidence(*(measured(2, f"# figure spread {x} 0.001 0.1") for x in (0.7, 0.9)))
    assert judge(ASKED, base, patched).outcome is Outcome.PASS
    steady = evidence(*(measured(0, f"# figure spread {x} 0.001 0.1") for x in (0.1, 0.11)))
    sure = evidence(*(measured(2, f"# figure spread {x} 0.001 0.1") for x in (0.8, 0.81)))
    assert judge(ASKED, steady, sure).outcome is Outcome.FAIL


@pytest.mark.parametrize("line", ["# figure spread none 1 repetition is too few", "# figure spread 0.1 nan 0.1", "#"])
def test_a_figure_that_was_not_measured_is_no_pass(line: str) -> None:
    """On either kernel: said to be missing, no number, or not a word of it."""
    good = "# figure spread 0.1 0.01 0.1"
    for base, patched in ((good, line), (line, good)):
        result = judge(ASKED, evidence(measured(0, base)), evidence(measured(2, patched)))
        assert (result.outcome, whys(result)) == (Outcome.BROKEN, {Why.FIGURE})
        assert "spread was not measured" in result.reasons[0].title


def test_a_trial_cut_short_measured_nothing() -> None:
    """What a guest said before it was lost is no figure, and its loss is reason enough."""
    base = evidence(measured(0, "# figure spread 0.1 0.01 0.1"))
    lost = measured(2, "# figure spread 0.9 0.01 0.1", ended=Ended.LOST)
    result = judge(ASKED, base, evidence(lost))
    assert result.outcome is Outcome.BROKEN
    assert Why.FIGURE not in whys(result)


def test_a_case_sees_each_trial_beside_the_base() -> None:
    """A trial shows a figure only when it alone is worse than the base."""
    base = evidence(measured(0, "# figure spread 0.1 0.01 0.1"))
    patched = evidence(*(measured(2, f"# figure spread {x} 0.01 0.1", number=i) for i, x in enumerate((0.9, 0.1), 1)))
    case = Case(
        "c",
        "t",
        "k",
        "",
        "kasan",
        "2node",
        ("memcg_churn",),
        2,
        0,
        Expected(fails=True, title="spread", function="", patch=0),
    )
    result = held(case, judge(ASKED, base, patched), base, patched)
    assert [x.shown for x in result.detections] == [True, False]
