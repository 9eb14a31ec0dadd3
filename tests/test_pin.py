"""What holds a lost memcg, from stored looks to the verdict."""

from dataclasses import replace

from pipeline import pin, verdict
from pipeline.machine import Accel
from pipeline.pin import Holder, Look, Pin, Thing
from pipeline.run import Boot, Ended, Run, run_from_json, to_json
from pipeline.verdict import Asked, Evidence, Outcome

KTAP = ("KTAP version 1", "1..1", "ok 1 cycles_ran", "# cycles=90")
CACHE = Pin(Thing.MEMCG, Holder.PAGE_CACHE, 1, 3, "inode 12 log on ext4 ram0", "/x")
CSS = Pin(Thing.MEMCG, Holder.CSS, 2, 5, "", "/x")
OBJCG = Pin(Thing.OBJCG, Holder.OBJCG, 7, 8, "", "/")
BEFORE = Look(memcgs=3, ids=3, objcgs=2)
RUN = Run(
    cut=1,
    kernel="k",
    guest="g",
    machine="2node",
    accel=Accel.TCG,
    program="memcg_churn",
    seed=1,
    budget=10.0,
    number=1,
    argv=(),
    cmdline=(),
    ended=Ended.DONE,
    exit_status=0,
    cycles=90,
    ktap=KTAP,
    looks=(BEFORE, BEFORE),
)


def book(number: int, **rows: int) -> tuple[str, ...]:
    """Return one of a program's books."""
    told = " ".join(f"{name.replace('__', '.')}={value}" for name, value in rows.items())
    return (f"# ledger {number} cycles={30 * number} {told}", f"# ledger {number} end rows={len(rows)}")


def after(*pins: Pin) -> Run:
    """Return a run that left two dying memcgs, held so."""
    books = tuple(line for number in range(4) for line in book(number, cgroup__nr_dying_subsys_memory=number))
    return replace(RUN, ktap=KTAP + books, looks=(BEFORE, Look(memcgs=5, dying=2, ids=3, objcgs=2, pins=pins)))


def boot(cut: int) -> Boot:
    """Return a boot that went well."""
    return Boot(cut, "k", "g", "2node", Accel.TCG, (), (), ended=Ended.DONE)


def judged(run: Run) -> verdict.Verdict:
    """Judge a run against a base on which nothing stays."""
    base, patched = (
        Evidence((verdict.read_boot(boot(x.cut)),), (verdict.read_run(x),)) for x in (replace(RUN, cut=0), run)
    )
    return verdict.judge(Asked(programs=("memcg_churn",), trials=1), base, patched)


def test_looks_are_stored_and_read_back() -> None:
    """A stored run is judged again by its looks, so they are in it with all that was named."""
    run = after(CSS, CACHE, OBJCG)
    assert run_from_json(to_json(run), "run-1.json") == run


def test_a_reference_that_nobody_holds_is_the_leak_that_is_told() -> None:
    """It says more than the counters that it takes with it, which stand in its report."""
    found = judged(after(CSS, CACHE))
    assert found.outcome is Outcome.FAIL
    (told,) = found.reasons
    assert told.title == "leak: memcg pinned by css references that nothing known holds"
    assert "2 dying memcgs held by 5 css references that nothing known holds, the first is /x" in told.text
    assert "dying memory groups stay" in told.report
    assert told.leak is not None
    assert (told.leak.size, told.leak.cycles) == (5, 90)


def test_a_dying_group_is_told_with_what_holds_it() -> None:
    """Page cache alone is no leak of its own, but it is what a dying group is held by."""
    (told,) = judged(after(CACHE)).reasons
    assert told.title == "leak: dying memory groups stay"
    assert told.leak is not None
    assert told.leak.pin == "3 pages of page cache (inode 12 log on ext4 ram0)"


def test_an_objcg_that_never_dies_needs_no_dying_group() -> None:
    """No counter of the guest shows it; the host's look does."""
    run = replace(RUN, looks=(BEFORE, replace(BEFORE, objcgs=9, orphans=7, pins=(OBJCG,))))
    (told,) = judged(run).reasons
    assert told.title == "leak: objcg references that nothing known holds"
    assert "7 objcgs held by 8 objcg references that nothing known holds, the first is charged to /" in told.text


def test_ids_that_no_memcg_has_are_a_leak() -> None:
    """There are 65535 of them, and when they are gone no memcg can be made."""
    run = replace(RUN, looks=(BEFORE, replace(BEFORE, ids=8)))
    (told,) = judged(run).reasons
    assert told.title == "leak: memcg ids that no memcg has"
    assert "5 more than before; 8 ids for 3 memcgs" in told.text
    assert judged(replace(RUN, looks=(BEFORE, replace(BEFORE, ids=8, memcgs=8)))).outcome is Outcome.PASS


def test_what_stayed_from_the_trial_before_is_not_told_again() -> None:
    """Only growth over a trial counts."""
    left = replace(BEFORE, orphans=7, pins=(OBJCG,))
    assert judged(replace(RUN, looks=(left, left))).outcome is Outcome.PASS


def test_a_guest_that_cannot_be_looked_into_is_remarked() -> None:
    """The verdict stands, and a line says what is missing."""
    found = judged(replace(RUN, looks=(Look(unread="there is no types.o"),) * 2))
    assert found.outcome is Outcome.PASS
    (remark,) = found.reasons
    assert remark.outcome is Outcome.SKIP
    assert remark.text == "what holds a lost memcg cannot be named: there is no types.o"


def test_every_rule_is_about_a_holder_of_its_own() -> None:
    """A holder that is in two rules would be told twice."""
    holders = [rule.holder for rule in pin.RULES]
    assert len(set(holders)) == len(holders)
