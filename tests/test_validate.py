"""The order of a job: which trials share a guest, and when canaries follow."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline import catalog, results, validate
from pipeline.declare import Canary, Program, pick
from pipeline.guest import GuestImage
from pipeline.kernel import KernelImage
from pipeline.machine import Accel
from pipeline.matrix import Trial
from pipeline.modules import Modules
from pipeline.progress import Silent
from pipeline.run import Boot, Ended, Run
from pipeline.series import Series
from pipeline.tree import Cut
from pipeline.validate import Job, Request
from pipeline.vm.probe import Probe
from pipeline.vm.session import Session, Setting

NEW = Program("new", "new.c", "of v2", 1, 1, ())
OLD = Program("old", "old.c", "of v1", 1, 1, (), v1=True)
Guests = list[tuple[bool, tuple[int, ...], int]]
"""Of each guest: whether it is one of v1, the numbers of its trials, and how many canaries it was offered."""


@pytest.fixture
def guests(monkeypatch: pytest.MonkeyPatch) -> Guests:
    """Return what guests are asked for; each of them lets every trial come to its end."""
    seen: Guests = []

    def session(
        setting: Setting,
        trials: Sequence[Trial],
        _folder: Path,
        _progress: object,
        choose: Callable[[tuple[Run, ...]], tuple[Canary, ...]] = lambda _runs: (),
    ) -> Session:
        fixed: dict[str, Any] = {
            "cut": 0, "kernel": "k", "guest": "g", "machine": "2node", "accel": Accel.TCG, "argv": (), "cmdline": (),
            "ended": Ended.DONE,
        }  # fmt: skip
        runs = tuple(
            Run(program=x.program.name, seed=x.seed, budget=x.budget, number=x.number, exit_status=0, **fixed)
            for x in trials
        )
        seen.append(("kpv.v1" in setting.append, tuple(x.number for x in trials), len(choose(runs))))
        return Session(Boot(**fixed), runs)

    monkeypatch.setattr(validate, "session", session)
    return seen


def observe(folder: Path, programs: tuple[Program, ...], trials: int, canaries: tuple[Canary, ...]) -> list[int]:
    """Observe a base, and return the numbers of the trials in the order that they were run in."""
    known = catalog.load()
    profile = pick("profile", "kasan", known.profiles)
    request = Request(
        kernel="debian:6.12", base=None, series=Series("none", ()), profile=profile,
        kconfig=catalog.configuration(profile, (), ()), machine=pick("machine", "2node", known.machines),
        programs=programs, trials=trials, seed=1, budget=1, jobs=1, accel=None,
    )  # fmt: skip
    job = Job(request)
    job.cuts = (Cut(0, "c", "t", None),)
    job.images[0] = KernelImage("k", folder, "6.12", (), cached=True, modules=Modules(folder))
    job.guests[0] = GuestImage("g", folder / "initramfs", programs)
    job.probe = Probe(Accel.TCG, "asked for")
    found = validate.observe(job, 0, results.begin(folder / "out", "test"), Silent(), canaries)
    return [trial.run.number for trial in found.trials]


def planted() -> tuple[Canary, ...]:
    """Return one canary of the house."""
    return pick("profile", "kasan", catalog.load().profiles).canaries[:1]


def test_programs_of_v1_have_guests_of_their_own(tmp_path: Path, guests: Guests) -> None:
    """They come first, in a guest that never had memory control in v2, and the canaries are planted in one that has."""
    assert observe(tmp_path, (NEW, OLD), 2, planted()) == [2, 4, 1, 3]
    assert guests == [(True, (2, 4), 0), (False, (1, 3), 1)]


def test_canaries_have_a_guest_where_no_trial_has_one_for_them(tmp_path: Path, guests: Guests) -> None:
    """All programs are of v1: one more guest is booted, for the canaries alone, and none without them."""
    assert observe(tmp_path, (OLD,), 1, planted()) == [1]
    assert guests == [(True, (1,), 0), (False, (), 1)]
    guests.clear()
    assert observe(tmp_path, (OLD,), 1, ()) == [1]
    assert guests == [(True, (1,), 0)]


def test_without_programs_of_v1_there_is_one_guest(tmp_path: Path, guests: Guests) -> None:
    """As long as nothing ends it."""
    assert observe(tmp_path, (NEW,), 3, ()) == [1, 2, 3]
    assert guests == [(False, (1, 2, 3), 0)]
