"""Programs that misbehave, on the real base kernel: each is reported as what it is, and the job goes on."""

import shutil
from pathlib import Path

import pytest

from pipeline import catalog, guest, results, tree, validate, verdict
from pipeline.cli import cache
from pipeline.declare import Program, pick
from pipeline.progress import Silent
from pipeline.run import Ended
from pipeline.series import Series
from pipeline.validate import Job, Request
from pipeline.verdict import Outcome, Why

pytestmark = pytest.mark.real

PROGRAMS = Path(__file__).parent.parent / "programs"

SAYS = {
    "segfault": (Why.TEST, "was killed by signal 11"),
    "hang": (Why.TIMEOUT, "watchdog"),
    "noplan": (Why.KTAP, "no KTAP version line"),
}
"""Program → what the verdict has to say of it."""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Return a job whose base ran all of them, and a good program after them."""
    folder = tmp_path_factory.mktemp("guest")
    shutil.copy(guest.GUEST_TESTS / guest.AGENT, folder)
    shutil.copytree(guest.GUEST_TESTS / "lib", folder / "lib")
    for source in (*PROGRAMS.glob("*.c"), guest.GUEST_TESTS / "memcg_churn.c"):
        shutil.copy(source, folder)
    known = catalog.load()
    profile = pick("profile", "kasan", known.profiles)
    bad = [Program(x.stem, x.name, "misbehaves", 3, 2, ()) for x in sorted(PROGRAMS.glob("*.c"))]
    asked = Request(
        kernel="debian:6.12",
        base=None,
        series=Series("none", ()),
        profile=profile,
        kconfig=catalog.configuration(profile, (), ()),
        machine=pick("machine", "2node", known.machines),
        programs=(*bad, pick("program", "memcg_churn", known.programs)),
        trials=1,
        seed=1,
        budget=3,
        jobs=2,
        accel=None,
    )
    store, progress = cache(), Silent()
    found = Job(asked)
    out = results.begin(tmp_path_factory.mktemp("results"), "bad")
    found.source = tree.open_source(store, asked.kernel, None, progress)
    found.cuts = tree.cuts(store, found.source, asked.series)
    found.guest = guest.build_guest(store, asked.programs, with_shell=False, progress=progress, folder=folder)
    validate.build(found, store, out, progress)
    found.probe = validate.accelerator(found, store, out, progress)
    found.base = found.patched = validate.observe(found, 0, out, progress)
    found.verdict = validate.judge(found)
    return found


def test_the_job_goes_on_to_its_last_program(job: Job) -> None:
    """Every program had its trial, and the good one behind them came through."""
    assert [x.run.program for x in job.patched.trials] == [x.name for x in job.request.programs]
    assert "memcg_churn" in {row.program for row in job.verdict.worth}


@pytest.mark.parametrize("name", sorted(SAYS))
def test_what_is_wrong_is_named(job: Job, name: str) -> None:
    """The reason says which program did what."""
    why, words = SAYS[name]
    everything = (*job.verdict.reasons, *job.verdict.known)
    said = [f"{x.program}: {x.why.value}: {x.text}" for x in everything]
    assert any(x.program == name and x.why is why and words in x.text for x in everything), said
    assert name not in {row.program for row in job.verdict.worth}, "it is no evidence"


def test_a_program_that_misbehaves_is_not_the_series_fault(job: Job) -> None:
    """It does the same on the base: no FAIL, and no PASS either."""
    assert job.verdict.outcome is Outcome.BROKEN


def test_a_flood_and_a_full_disk_are_survived(job: Job) -> None:
    """What they say is kept, what they leave is gone with their guest or in nobody's way."""
    runs = {trial.run.program: trial.run for trial in job.patched.trials}
    assert runs["flood"].ended is Ended.DONE
    assert len(runs["flood"].ktap) < 200_000
    full = runs["fill"].cycles
    assert full is not None
    assert full > 1000, "some 64 MB at the least were written"
    assert verdict.read_run(runs["memcg_churn"]).findings == ()
