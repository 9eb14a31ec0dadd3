"""What is declared in YAML: profiles, canaries, programs, machines and cases; pipeline/strict.py reads it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar

from pipeline import strict
from pipeline.errors import UserError, nearest
from pipeline.machine import Machine, Node


@dataclass(frozen=True, slots=True)
class Detector:
    """How a detector is seen alive in this very guest, or it does not count.

    `console` is searched in each line of the boot's console; `expect` (multi-line) in the content of
    `file`, which the agent reads in the guest when a run has ended; `off` matches the line of the console
    by which a detector gives up.  An empty string is one that was not given; one of `console` and
    `file` always is.  `canary` names the fault on purpose that it has to report.
    """

    name: str
    console: str
    file: str
    expect: str
    off: str
    canary: str = ""


class By(Enum):
    """What brings a canary's fault about, and so where it is reported."""

    FAULT = "fault"
    """canary.ko, when its name is written; on the console."""
    SCAN = "scan"
    """The same; in kmemleak's file."""
    PROGRAM = "program"
    """A guest program that leaks; in the books of its rounds."""


@dataclass(frozen=True, slots=True)
class Canary:
    """A fault on purpose that has to be reported, or a detector is not trusted.

    `title` is a regular expression that the title of a report has to match; `seconds` are of guest time;
    `files` are pairs of path and value that are written before and put back after.
    """

    name: str
    by: By
    title: str
    seconds: int
    files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """A pairing of kconfig fragments; `slowdown` stretches budgets, `objects` sizes the first progress bar.

    `canaries` are planted in this order.
    """

    name: str
    description: str
    fragments: tuple[str, ...]
    slowdown: float
    objects: int
    cmdline: tuple[str, ...]
    detectors: tuple[Detector, ...]
    canaries: tuple[Canary, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """A guest program; `budget` in seconds of guest time, `needs` are paths it skips without.

    `suite` is empty for a program of ours.  Otherwise it is a folder below ``tools/testing/selftests`` of the
    tree under test, whose tests this program runs; it then has a main() of its own.  `v1` says that it takes the
    memory controller to cgroup v1, and so needs a guest in which that was never on in v2.
    """

    name: str
    source: str
    description: str
    budget: int
    threads: int
    needs: tuple[str, ...]
    suite: str = ""
    v1: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """What a case must come to: PASS, or (`fails`) FAIL.

    For FAIL, `title` is a regular expression that a reason's title has to match, `function` one for the
    function it is put down to (empty: any), `patch` the number (from 1) of the patch that has to be named,
    0 when none has to be.
    """

    fails: bool
    title: str
    function: str
    patch: int


@dataclass(frozen=True, slots=True)
class Case:
    """A series the pipeline is proven on: ``patches/<name>/case.yaml``; `budget` 0 is each program's own."""

    name: str
    title: str
    kernel: str
    discussion: str
    profile: str
    machine: str
    programs: tuple[str, ...]
    trials: int
    budget: int
    expect: Expected


class Named(Protocol):
    """A row that has a name."""

    @property
    def name(self) -> str:
        """The name it is asked for by."""


N = TypeVar("N", bound=Named)


def pick(kind: str, name: str, rows: Iterable[N]) -> N:
    """Return the row called `name`; UserError with the nearest name when there is none."""
    table = {row.name: row for row in rows}
    if name not in table:
        raise UserError(f"unknown {kind} {name}", todo=nearest(name, table))
    return table[name]


_line = strict.matching(r"\S(?:[^\n]*\S)?", "one line of text")
_word = strict.matching(r"[^\s]+", "text without white space")
_profile_name = strict.matching(r"[a-z][a-z0-9-]*", "a name like kasan-2 (lower-case letters, digits, -)")
_program_name = strict.matching(r"[a-z][a-z0-9_]*", "a name like memcg_churn (lower-case letters, digits, _)")
_machine_name = strict.matching(r"[a-z0-9][a-z0-9_-]*", "a name like 2node (lower-case letters, digits, - and _)")
_path = strict.matching(r"/[^\s]*", "an absolute path without white space")
_source = strict.matching(r"[^/\s]+\.c", "a C file beside this one")
_suite = strict.matching(
    r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*", "a folder below tools/testing/selftests"
)
_hierarchy = strict.matching(r"v1|v2", "v1 or v2")
_outcome = strict.matching(r"PASS|FAIL", "PASS or FAIL")
_by = strict.matching(r"fault|scan|program", "fault, scan or program")


def canaries(text: str, file: str) -> tuple[Canary, ...]:
    """Read ``guest_tests/canary/canaries.yaml``.  Raises UserError."""
    return strict.rows(text, file, _profile_name, _canary)


def _canary(name: str, at: strict.At) -> Canary:
    fields = strict.Fields(at, {"by": True, "title": True, "seconds": True, "files": False})
    return Canary(
        name,
        By(fields.get("by", _by)),
        fields.get("title", strict.needle),
        fields.get("seconds", strict.integer(1, 3600)),
        fields.get_or("files", strict.listed(_setting), ()),
    )


def _setting(at: strict.At) -> tuple[str, str]:
    pair = strict.listed(strict.text_of)(at)
    if len(pair) != 2 or not pair[0].startswith("/"):
        raise at.wrong("expected an absolute path and what is written there")
    return pair[0], pair[1]


def profiles(text: str, file: str, planted: Sequence[Canary] = ()) -> tuple[Profile, ...]:
    """Read ``kconfigs/profiles.yaml``; `file` is what errors call it, `planted` the canaries there are.

    Raises UserError.
    """
    return strict.rows(text, file, _profile_name, lambda name, at: _profile(name, at, planted))


def _profile(name: str, at: strict.At, planted: Sequence[Canary]) -> Profile:
    known = ("description", "fragments", "slowdown", "objects", "cmdline", "detectors")
    fields = strict.Fields(at, dict.fromkeys(known, True) | {"canaries": False})
    detectors = fields.get("detectors", strict.listed(_detector))
    strict.distinct((x.name for x in detectors), fields.found["detectors"][1], "detector")
    names: tuple[str, ...] = fields.get_or("canaries", strict.listed(_word), ())
    if names:
        strict.distinct(names, fields.found["canaries"][1], "canary")
    rows = tuple(pick("canary", x, planted) for x in names)
    for detector in detectors:
        if (names or detector.canary) and detector.canary not in names:
            what = f"detector {detector.name} is shown at work by no canary of the profile"
            raise fields.found["detectors"][1].wrong(what, todo=nearest(detector.canary, names))
    return Profile(
        name,
        fields.get("description", _line),
        fields.get("fragments", strict.listed(_word)),
        fields.get("slowdown", strict.factor),
        fields.get("objects", strict.integer(1, 10**6)),
        fields.get("cmdline", strict.listed(_word)),
        detectors,
        rows,
    )


def _detector(at: strict.At) -> Detector:
    optional = ("console", "file", "expect", "off", "canary")
    fields = strict.Fields(at, {"name": True} | dict.fromkeys(optional, False))
    if "console" not in fields.found and "file" not in fields.found:
        raise at.wrong("a detector is seen in console or file; neither is here")
    if ("file" in fields.found) != ("expect" in fields.found):
        raise at.wrong("file and expect go together")
    return Detector(
        fields.get("name", _line),
        fields.get_or("console", strict.needle, ""),
        fields.get_or("file", _path, ""),
        fields.get_or("expect", strict.regex, ""),
        fields.get_or("off", strict.needle, ""),
        fields.get_or("canary", _profile_name, ""),
    )


def programs(text: str, file: str) -> tuple[Program, ...]:
    """Read ``guest_tests/programs.yaml``.  Raises UserError."""
    fields = strict.Fields(strict.document(text, file), {"programs": True})
    rows = fields.get("programs", strict.listed(_program))
    if not rows:
        raise fields.at.wrong("no program is declared")
    strict.distinct((x.name for x in rows), fields.found["programs"][1], "program")
    return rows


def _program(at: strict.At) -> Program:
    known = dict.fromkeys(("name", "source", "description", "budget", "threads", "needs"), True)
    known |= {"suite": False, "cgroup": False}
    fields = strict.Fields(at, known)
    return Program(
        fields.get("name", _program_name),
        fields.get("source", _source),
        fields.get("description", _line),
        fields.get("budget", strict.integer(1, 86400)),
        fields.get("threads", strict.integer(1, 64)),
        fields.get("needs", strict.listed(_path)),
        fields.get_or("suite", _suite, ""),
        fields.get_or("cgroup", _hierarchy, "v2") == "v1",
    )


def machines(text: str, file: str) -> tuple[Machine, ...]:
    """Read a file of machines, ours or the user's.  Raises UserError, also for one QEMU would not take."""
    return strict.rows(text, file, _machine_name, _machine)


def _machine(name: str, at: strict.At) -> Machine:
    fields = strict.Fields(at, {"description": True, "nodes": True, "distances": False})
    nodes = fields.get("nodes", strict.listed(_node))
    square: strict.Reader[tuple[tuple[int, ...], ...]] = strict.listed(strict.listed(strict.integer(0, 255)))
    distances = fields.get("distances", square) if "distances" in fields.found else ()
    description = fields.get("description", _line)
    try:
        return Machine(name, description, nodes, distances)
    except UserError as error:
        raise at.wrong(f"machine {name}: {error.what}") from None


def _node(at: strict.At) -> Node:
    fields = strict.Fields(at, {"memory_mb": True, "cpus": True})
    return Node(fields.get("memory_mb", strict.integer(0, 2**24)), fields.get("cpus", strict.integer(0, 255)))


def case(text: str, file: str, name: str) -> Case:
    """Read a ``case.yaml``; `name` is its folder's.  Raises UserError.

    Keys: title, kernel (``debian:6.12``), programs, expect; and, when it needs others than the
    defaults: discussion, profile, machine, trials, budget.
    """
    optional = ("discussion", "profile", "machine", "trials", "budget")
    known = dict.fromkeys(("title", "kernel", "programs", "expect"), True) | dict.fromkeys(optional, False)
    fields = strict.Fields(strict.document(text, file), known)
    asked = fields.get("programs", strict.listed(_program_name))
    if not asked:
        raise fields.found["programs"][1].wrong("a case without a program shows nothing")
    return Case(
        name,
        fields.get("title", _line),
        fields.get("kernel", _word),
        fields.get_or("discussion", _line, ""),
        fields.get_or("profile", _profile_name, "kasan"),
        fields.get_or("machine", _machine_name, "2node"),
        asked,
        fields.get_or("trials", strict.integer(1, 10**4), 1),
        fields.get_or("budget", strict.integer(0, 86400), 0),
        fields.get("expect", _expected),
    )


def _expected(at: strict.At) -> Expected:
    fields = strict.Fields(at, {"outcome": True, "title": False, "function": False, "patch": False})
    outcome = fields.get("outcome", _outcome)
    if outcome == "FAIL" and "title" not in fields.found:
        raise at.wrong("a case that must FAIL says with which title, or any failure would do")
    if outcome == "PASS" and len(fields.found) > 1:
        raise at.wrong("a case that must PASS has no title and names no patch")
    return Expected(
        outcome == "FAIL",
        fields.get_or("title", strict.needle, ""),
        fields.get_or("function", strict.needle, ""),
        fields.get_or("patch", strict.integer(1, 10**4), 0),
    )
