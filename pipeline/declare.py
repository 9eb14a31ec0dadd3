"""What is declared in YAML: profiles, programs, machines and cases, read strictly.

YAML's own ideas about types are switched off: every scalar is the text that was written (``off``,
``6.10`` and ``1:30`` stay that) and becomes a number only where the field is declared as one.  A key
that stands twice, one that nobody knows, one that is missing and a value of another shape are refused
with file, line and column.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeVar

import yaml

from pipeline.errors import UserError, nearest
from pipeline.machine import Machine, Node

T = TypeVar("T")

DEEPEST = 8
"""Levels of lists and mappings; no declaration has more than five."""


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


def _place(file: str, mark: Any) -> str:
    """Return ``file:line:column``, counted from 1 as editors do."""
    return f"{file}:{mark.line + 1}:{mark.column + 1}" if mark is not None else file


@dataclass(frozen=True, slots=True)
class _At:
    """A YAML node and the file it came from."""

    node: yaml.Node
    file: str

    def wrong(self, what: str, todo: str = "") -> UserError:
        return UserError(what, where=_place(self.file, self.node.start_mark), todo=todo)

    def shape(self) -> str:
        if isinstance(self.node, yaml.ScalarNode):
            return f"{self.node.value!r}" if self.node.value else "nothing"
        return "a list" if isinstance(self.node, yaml.SequenceNode) else "a mapping"


Reader = Callable[[_At], T]


def _text(at: _At) -> str:
    if not isinstance(at.node, yaml.ScalarNode):
        raise at.wrong(f"expected text, found {at.shape()}")
    return str(at.node.value)


def _matching(pattern: str, what: str) -> Reader[str]:
    """Text that has to match `pattern` as a whole."""

    def read(at: _At) -> str:
        value = _text(at)
        if re.fullmatch(pattern, value) is None:
            raise at.wrong(f"expected {what}, found {at.shape()}")
        return value

    return read


_line = _matching(r"\S(?:[^\n]*\S)?", "one line of text")
_word = _matching(r"[^\s]+", "text without white space")
_profile_name = _matching(r"[a-z][a-z0-9-]*", "a name like kasan-2 (lower-case letters, digits, -)")
_program_name = _matching(r"[a-z][a-z0-9_]*", "a name like memcg_churn (lower-case letters, digits, _)")
_machine_name = _matching(r"[a-z0-9][a-z0-9_-]*", "a name like 2node (lower-case letters, digits, - and _)")
_path = _matching(r"/[^\s]*", "an absolute path without white space")
_source = _matching(r"[^/\s]+\.c", "a C file beside this one")
_suite = _matching(
    r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*", "a folder below tools/testing/selftests"
)
_hierarchy = _matching(r"v1|v2", "v1 or v2")
_outcome = _matching(r"PASS|FAIL", "PASS or FAIL")
_by = _matching(r"fault|scan|program", "fault, scan or program")


def _regex(at: _At) -> str:
    value = _text(at)
    try:
        re.compile(value)
    except re.error as error:
        raise at.wrong(f"{value!r} is no regular expression: {error}") from None
    return value


def _integer(low: int, high: int) -> Reader[int]:
    def read(at: _At) -> int:
        value = _text(at)
        if not re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
            raise at.wrong(f"expected a whole number, found {at.shape()}")
        if not low <= int(value) <= high:
            raise at.wrong(f"{value} is not between {low} and {high}")
        return int(value)

    return read


def _factor(at: _At) -> float:
    value = _text(at)
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value, re.ASCII):
        raise at.wrong(f"expected a number, found {at.shape()}")
    if float(value) < 1:
        raise at.wrong(f"{value} is below 1")
    return float(value)


def _listed(item: Reader[T]) -> Reader[tuple[T, ...]]:
    def read(at: _At) -> tuple[T, ...]:
        if not isinstance(at.node, yaml.SequenceNode):
            raise at.wrong(f"expected a list, found {at.shape()}")
        return tuple(item(_At(child, at.file)) for child in at.node.value)

    return read


def _keys(at: _At) -> dict[str, tuple[_At, _At]]:
    """Return key → (where the key stands, value) of a mapping whose keys all differ."""
    if not isinstance(at.node, yaml.MappingNode):
        raise at.wrong(f"expected a mapping, found {at.shape()}")
    found: dict[str, tuple[_At, _At]] = {}
    for key_node, value_node in at.node.value:
        key = _At(key_node, at.file)
        name = _text(key)
        if name in found:
            first = found[name][0].node.start_mark
            raise key.wrong(f"key {name} stands twice; the first is on line {first.line + 1}")
        found[name] = key, _At(value_node, at.file)
    return found


class _Fields:
    """The known keys of one mapping, taken one by one."""

    def __init__(self, at: _At, known: Mapping[str, bool]) -> None:
        """`known` says of each key whether it must be there."""
        self.at = at
        self.found = _keys(at)
        for name, (key, _value) in self.found.items():
            if name not in known:
                raise key.wrong(f"unknown key {name}", todo=nearest(name, known))
        for name, required in known.items():
            if required and name not in self.found:
                raise at.wrong(f"key {name} is missing")

    def get(self, name: str, reader: Reader[T]) -> T:
        return reader(self.found[name][1])

    def get_or(self, name: str, reader: Reader[T], default: T) -> T:
        return self.get(name, reader) if name in self.found else default


def _document(text: str, file: str) -> _At:
    """Return the root of the only document in `text`.

    Aliases and tags are refused: no file of ours needs them, and they are how a small file becomes
    large or a text becomes an object.
    """
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.BaseLoader):
            tag, anchor = getattr(event, "tag", None), getattr(event, "anchor", None)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if tag or anchor:
                what = f"tag {tag}" if tag else f"anchor or alias {anchor}"
                raise UserError(f"{what} is not allowed here", where=_place(file, event.start_mark))
            if depth > DEEPEST:
                raise UserError("nested too deeply", where=_place(file, event.start_mark))
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        where = _place(file, error.problem_mark or error.context_mark)
        raise UserError(f"not YAML: {error.problem or error.context}", where=where) from None
    except yaml.YAMLError as error:
        raise UserError(f"not YAML: {str(error).splitlines()[0]}", where=file) from None
    if root is None:
        raise UserError("nothing is declared in it", where=file)
    return _At(root, file)


def _rows(text: str, file: str, name: Reader[str], row: Callable[[str, _At], T]) -> tuple[T, ...]:
    """Read a mapping of name → row."""
    found = _keys(_document(text, file))
    return tuple(row(name(key), value) for key, value in found.values())


def canaries(text: str, file: str) -> tuple[Canary, ...]:
    """Read ``guest_tests/canary/canaries.yaml``.  Raises UserError."""
    return _rows(text, file, _profile_name, _canary)


def _canary(name: str, at: _At) -> Canary:
    fields = _Fields(at, {"by": True, "title": True, "seconds": True, "files": False})
    return Canary(
        name,
        By(fields.get("by", _by)),
        fields.get("title", _needle),
        fields.get("seconds", _integer(1, 3600)),
        fields.get_or("files", _listed(_setting), ()),
    )


def _setting(at: _At) -> tuple[str, str]:
    pair = _listed(_text)(at)
    if len(pair) != 2 or not pair[0].startswith("/"):
        raise at.wrong("expected an absolute path and what is written there")
    return pair[0], pair[1]


def profiles(text: str, file: str, planted: Sequence[Canary] = ()) -> tuple[Profile, ...]:
    """Read ``kconfigs/profiles.yaml``; `file` is what errors call it, `planted` the canaries there are.

    Raises UserError.
    """
    return _rows(text, file, _profile_name, lambda name, at: _profile(name, at, planted))


def _profile(name: str, at: _At, planted: Sequence[Canary]) -> Profile:
    known = ("description", "fragments", "slowdown", "objects", "cmdline", "detectors")
    fields = _Fields(at, dict.fromkeys(known, True) | {"canaries": False})
    detectors = fields.get("detectors", _listed(_detector))
    _distinct((x.name for x in detectors), fields.found["detectors"][1], "detector")
    names: tuple[str, ...] = fields.get_or("canaries", _listed(_word), ())
    if names:
        _distinct(names, fields.found["canaries"][1], "canary")
    rows = tuple(pick("canary", x, planted) for x in names)
    for detector in detectors:
        if (names or detector.canary) and detector.canary not in names:
            what = f"detector {detector.name} is shown at work by no canary of the profile"
            raise fields.found["detectors"][1].wrong(what, todo=nearest(detector.canary, names))
    return Profile(
        name,
        fields.get("description", _line),
        fields.get("fragments", _listed(_word)),
        fields.get("slowdown", _factor),
        fields.get("objects", _integer(1, 10**6)),
        fields.get("cmdline", _listed(_word)),
        detectors,
        rows,
    )


def _detector(at: _At) -> Detector:
    optional = ("console", "file", "expect", "off", "canary")
    fields = _Fields(at, {"name": True} | dict.fromkeys(optional, False))
    if "console" not in fields.found and "file" not in fields.found:
        raise at.wrong("a detector is seen in console or file; neither is here")
    if ("file" in fields.found) != ("expect" in fields.found):
        raise at.wrong("file and expect go together")
    return Detector(
        fields.get("name", _line),
        fields.get_or("console", _needle, ""),
        fields.get_or("file", _path, ""),
        fields.get_or("expect", _regex, ""),
        fields.get_or("off", _needle, ""),
        fields.get_or("canary", _profile_name, ""),
    )


def _needle(at: _At) -> str:
    """Read a pattern that does not match everything, or a dead detector would pass for a live one."""
    value = _regex(at)
    if re.search(value, "") is not None:
        raise at.wrong(f"{value!r} matches an empty line, so it proves nothing")
    return value


def _distinct(names: Iterable[str], at: _At, kind: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise at.wrong(f"{kind} {name} stands twice")
        seen.add(name)


def programs(text: str, file: str) -> tuple[Program, ...]:
    """Read ``guest_tests/programs.yaml``.  Raises UserError."""
    fields = _Fields(_document(text, file), {"programs": True})
    rows = fields.get("programs", _listed(_program))
    if not rows:
        raise fields.at.wrong("no program is declared")
    _distinct((x.name for x in rows), fields.found["programs"][1], "program")
    return rows


def _program(at: _At) -> Program:
    known = dict.fromkeys(("name", "source", "description", "budget", "threads", "needs"), True)
    known |= {"suite": False, "cgroup": False}
    fields = _Fields(at, known)
    return Program(
        fields.get("name", _program_name),
        fields.get("source", _source),
        fields.get("description", _line),
        fields.get("budget", _integer(1, 86400)),
        fields.get("threads", _integer(1, 64)),
        fields.get("needs", _listed(_path)),
        fields.get_or("suite", _suite, ""),
        fields.get_or("cgroup", _hierarchy, "v2") == "v1",
    )


def machines(text: str, file: str) -> tuple[Machine, ...]:
    """Read a file of machines, ours or the user's.  Raises UserError, also for one QEMU would not take."""
    return _rows(text, file, _machine_name, _machine)


def _machine(name: str, at: _At) -> Machine:
    fields = _Fields(at, {"description": True, "nodes": True, "distances": False})
    nodes = fields.get("nodes", _listed(_node))
    square: Reader[tuple[tuple[int, ...], ...]] = _listed(_listed(_integer(0, 255)))
    distances = fields.get("distances", square) if "distances" in fields.found else ()
    description = fields.get("description", _line)
    try:
        return Machine(name, description, nodes, distances)
    except UserError as error:
        raise at.wrong(f"machine {name}: {error.what}") from None


def _node(at: _At) -> Node:
    fields = _Fields(at, {"memory_mb": True, "cpus": True})
    return Node(fields.get("memory_mb", _integer(0, 2**24)), fields.get("cpus", _integer(0, 255)))


def case(text: str, file: str, name: str) -> Case:
    """Read a ``case.yaml``; `name` is its folder's.  Raises UserError.

    Keys: title, kernel (``debian:6.12``), programs, expect; and, when it needs others than the
    defaults: discussion, profile, machine, trials, budget.
    """
    optional = ("discussion", "profile", "machine", "trials", "budget")
    known = dict.fromkeys(("title", "kernel", "programs", "expect"), True) | dict.fromkeys(optional, False)
    fields = _Fields(_document(text, file), known)
    asked = fields.get("programs", _listed(_program_name))
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
        fields.get_or("trials", _integer(1, 10**4), 1),
        fields.get_or("budget", _integer(0, 86400), 0),
        fields.get("expect", _expected),
    )


def _expected(at: _At) -> Expected:
    fields = _Fields(at, {"outcome": True, "title": False, "function": False, "patch": False})
    outcome = fields.get("outcome", _outcome)
    if outcome == "FAIL" and "title" not in fields.found:
        raise at.wrong("a case that must FAIL says with which title, or any failure would do")
    if outcome == "PASS" and len(fields.found) > 1:
        raise at.wrong("a case that must PASS has no title and names no patch")
    return Expected(
        outcome == "FAIL",
        fields.get_or("title", _needle, ""),
        fields.get_or("function", _needle, ""),
        fields.get_or("patch", _integer(1, 10**4), 0),
    )
