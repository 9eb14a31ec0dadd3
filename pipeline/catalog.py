"""What can be asked for by name: profiles, fragments, machines, programs and cases, from the files beside the code."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import declare, kconfig
from pipeline.declare import Case, Profile, Program
from pipeline.errors import UserError, nearest
from pipeline.machine import Machine
from pipeline.verdict.expectation import impossible

HOUSE = Path(__file__).parent.parent
"""The checkout: kpv is installed in place, and its data stand beside its code."""
KCONFIGS = HOUSE / "kconfigs"
GUEST_TESTS = HOUSE / "guest_tests"
PATCHES = HOUSE / "patches"


def read(path: Path) -> str:
    """Return the text of a file the user or the house named; UserError when that cannot be done."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise UserError(f"is no UTF-8 text at byte {error.start}", where=str(path)) from error


@dataclass(frozen=True, slots=True)
class Catalog:
    """All rows of all tables."""

    profiles: tuple[Profile, ...]
    machines: tuple[Machine, ...]
    programs: tuple[Program, ...]
    fragments: tuple[str, ...]

    @property
    def usual(self) -> tuple[Program, ...]:
        """What is run when no program is named: all but the tree's own suites, which take as long as all the others."""
        return tuple(program for program in self.programs if not program.suite)


def load(machines: Path | None = None) -> Catalog:
    """Read the tables; `machines` is the user's own file, whose rows replace ours of the same name."""
    own = declare.machines(read(machines), str(machines)) if machines else ()
    ours = Path(__file__).with_name("machines.yaml")
    names = {machine.name for machine in own}
    kept = tuple(m for m in declare.machines(read(ours), ours.name) if m.name not in names)
    planted = GUEST_TESTS / "canary/canaries.yaml"
    canaries = declare.canaries(read(planted), "guest_tests/canary/canaries.yaml")
    return Catalog(
        profiles=declare.profiles(read(KCONFIGS / "profiles.yaml"), "kconfigs/profiles.yaml", canaries),
        machines=own + kept,
        programs=declare.programs(read(GUEST_TESTS / "programs.yaml"), "guest_tests/programs.yaml"),
        fragments=tuple(sorted(path.stem for path in KCONFIGS.glob("*.config"))),
    )


def configuration(profile: Profile, more: Sequence[str], own: Sequence[Path]) -> kconfig.Kconfig:
    """Merge the fragments of `profile`, `more` of ours by name and the user's `own` files, in this order."""
    known = {path.stem: path for path in KCONFIGS.glob("*.config")}
    for name in more:
        if name not in known:
            raise UserError(f"unknown fragment {name}", todo=nearest(name, known))
    names = (*profile.fragments, *more)
    ours = tuple(kconfig.parse(read(known[name]), f"kconfigs/{name}.config") for name in names)
    theirs = tuple(setting for path in own for setting in kconfig.parse(read(path), str(path)))
    return kconfig.Kconfig.merge(ours, theirs)


def cases(folder: Path = PATCHES, known: Catalog | None = None) -> tuple[Case, ...]:
    """Read every ``<name>/case.yaml`` of `folder`.

    Raises UserError for one that names what there is not, or expects what no detector of its profile can give.
    """
    known = known or load()
    files = sorted(folder.glob("*/case.yaml"))
    if not files:
        raise UserError("no case is here", where=str(folder), todo="a case is a folder with patches and case.yaml")
    return tuple(_case(path, known) for path in files)


def _case(path: Path, known: Catalog) -> Case:
    where = str(path.relative_to(HOUSE)) if path.is_relative_to(HOUSE) else str(path)
    case = declare.case(read(path), where, path.parent.name)
    try:
        profile = declare.pick("profile", case.profile, known.profiles)
        declare.pick("machine", case.machine, known.machines)
        for name in case.programs:
            declare.pick("program", name, known.programs)
    except UserError as error:
        raise UserError(error.what, where=where, todo=error.todo) from None
    trouble = impossible(case.expect, (detector.name for detector in profile.detectors))
    if trouble:
        armed = ", ".join(detector.name for detector in profile.detectors)
        todo = f"profile {profile.name} arms {armed}"
        raise UserError(f"expects {case.expect.title!r}, but {trouble}", where=where, todo=todo)
    return case
