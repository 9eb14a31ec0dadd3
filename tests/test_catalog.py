"""The tables beside the code: that they read, agree with each other, and refuse what does not exist."""

from pathlib import Path

import pytest

from pipeline import catalog
from pipeline.errors import UserError
from pipeline.matrix import plan


def test_every_profile_has_its_fragments() -> None:
    """Each profile's fragments exist and merge without two of them wanting different things."""
    known = catalog.load()
    for profile in known.profiles:
        assert set(profile.fragments) <= set(known.fragments)
        assert catalog.configuration(profile, (), ()).settings


def test_every_fragment_is_of_use() -> None:
    """No fragment lies about that no profile has and the help does not offer."""
    known = catalog.load()
    used = {name for profile in known.profiles for name in profile.fragments}
    assert set(known.fragments) - used == {"fs-btrfs", "fs-xfs", "net"}


def test_every_case_names_what_there_is() -> None:
    """Each case has patches, and its programs, profile and machine exist."""
    known = catalog.load()
    assert {case.expect.fails for case in catalog.cases()} == {True, False}, "cases that pass and cases that fail"
    for case in catalog.cases():
        assert sorted((catalog.PATCHES / case.name).glob("*.patch"))
        assert set(case.programs) <= {program.name for program in known.programs}
        assert case.profile in {profile.name for profile in known.profiles}
        assert case.machine in {machine.name for machine in known.machines}


def test_every_program_has_a_source() -> None:
    """programs.yaml and the C files beside it list the same programs."""
    sources = {path.name for path in catalog.GUEST_TESTS.glob("*.c")} - {"agent.c", "canary.c", "selftest.c"}
    assert {program.source for program in catalog.load().programs} == sources


def test_every_detector_is_shown_at_work() -> None:
    """Each has a canary, in the profile's list, and each list is one of rows that there are."""
    for profile in catalog.load().profiles:
        names = [canary.name for canary in profile.canaries]
        assert len(set(names)) == len(names)
        assert {detector.canary for detector in profile.detectors} <= set(names)


def test_every_fault_is_one_of_the_module() -> None:
    """What canaries.yaml names is in canary.c, where the kernel does it."""
    source = (catalog.GUEST_TESTS / "canary/canary.c").read_text()
    for profile in catalog.load().profiles:
        for canary in profile.canaries:
            assert f'{{ "{canary.name}",' in source


def test_users_machine_replaces_ours(tmp_path: Path) -> None:
    """A machine of the user's has precedence over ours of the same name, and ours stay."""
    own = tmp_path / "mine.yaml"
    own.write_text("2node:\n  description: mine\n  nodes:\n    - {memory_mb: 1024, cpus: 2}\n")
    machines = {machine.name: machine for machine in catalog.load(own).machines}
    assert machines["2node"].description == "mine"
    assert "4node" in machines


def test_unknown_fragment_is_named_with_the_nearest() -> None:
    """A misspelt --fragment is the user's mistake, with a hint."""
    profile = catalog.load().profiles[0]
    with pytest.raises(UserError, match="unknown fragment fs-xsf; did you mean fs-xfs"):
        catalog.configuration(profile, ("fs-xsf",), ())


def test_plan_gives_each_round_its_seed() -> None:
    """Rounds come one after another, numbers count up, and a budget replaces each program's own."""
    programs = catalog.load().programs
    rows = plan(programs, 2, 7, 5)
    assert [row.number for row in rows] == list(range(1, 2 * len(programs) + 1))
    assert [row.seed for row in rows] == [7] * len(programs) + [8] * len(programs)
    assert {row.budget for row in rows} == {5}
    assert plan(programs, 1, 1)[0].budget == programs[0].budget
