"""KTAP version 1: what a program said about its tests.

Grammar (Documentation/dev-tools/ktap.rst, Linux 6.12; each level of nesting is indented further)::

    document    = block
    block       = version line, [ plan line ], { result line | diagnostic line | block | unknown line }
    version     = "KTAP version 1" | "TAP version 13" | "TAP version 14"
    plan        = "1.." N [ "# SKIP" reason ]
    result      = ( "ok" | "not ok" ) number [ description ] [ "#" [ directive ] [ text ] ]
    diagnostic  = "#" text          { key "=" value } in it are kept as figures

A block that is indented belongs to the next result line of the block around it.  A test is MISSING
until its result line was seen; whatever the plan promised and did not come is there as MISSING.  Any
text at all can be parsed: what is wrong with it is listed in `Report.problems`, nothing is raised.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

MOST_TESTS = 10_000
"""Tests that a plan may promise in one block; more is garbage that would fill our memory."""

DEEPEST = 16
"""Levels of nesting that are followed."""

_VERSION = re.compile(r"(?:KTAP version 1|TAP version 1[34])\s*")
_PLAN = re.compile(r"1\.\.(?P<count>\d{1,9})\s*(?:#\s*(?P<skip>skip)\b[:\s]*(?P<reason>.*))?", re.IGNORECASE | re.ASCII)
_RESULT = re.compile(r"(?P<bad>not )?ok (?P<number>\d{1,9})(?:\s+(?P<rest>.*))?", re.ASCII)
_DIRECTIVE = re.compile(r"(?P<word>skip|todo|xfail|timeout|error)\b[:\s]*(?P<text>.*)", re.IGNORECASE)
_FIGURE = re.compile(r"(?:^|\s)(?P<key>[A-Za-z_][\w.-]*)=(?P<value>-?\d{1,18}(?:\.\d{1,18})?)(?=\s|$)", re.ASCII)


class Status(Enum):
    """How a test ended."""

    MISSING = "missing"
    """Promised and not seen: the start value."""
    OK = "ok"
    NOT_OK = "not ok"
    SKIP = "skip"
    EXPECTED = "expected"
    """Not ok, and its author said so beforehand (TODO, XFAIL)."""


class Directive(Enum):
    """The keyword behind the hash sign of a result line."""

    NONE = ""
    SKIP = "SKIP"
    TODO = "TODO"
    XFAIL = "XFAIL"
    TIMEOUT = "TIMEOUT"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test; `note` is the text behind the hash sign, `diagnostics` the lines before its result."""

    __test__ = False  # a noun of KTAP, not something pytest should collect

    name: str
    number: int
    status: Status = Status.MISSING
    directive: Directive = Directive.NONE
    note: str = ""
    diagnostics: tuple[str, ...] = ()
    subtests: tuple["TestResult", ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """A whole document.

    problems   what is wrong with it as KTAP, one sentence each; empty means that every promise was kept
    skipped    reason of a plan ``1..0 # SKIP reason``, else empty
    figures    (key, value) of diagnostic lines, last one of a key wins
    trailing   diagnostic lines after the last result
    """

    tests: tuple[TestResult, ...]
    problems: tuple[str, ...]
    skipped: str = ""
    figures: tuple[tuple[str, float], ...] = ()
    trailing: tuple[str, ...] = ()

    def figure(self, key: str) -> float | None:
        """Return the last figure called `key`."""
        return dict(self.figures).get(key)

    def flat(self) -> Iterator[tuple[str, TestResult]]:
        """Yield every test with its path (``parent/child``), parents before their subtests."""
        stack = [("", test) for test in reversed(self.tests)]
        while stack:
            prefix, test = stack.pop()
            path = prefix + (test.name or str(test.number))
            yield path, test
            stack.extend((f"{path}/", sub) for sub in reversed(test.subtests))


@dataclass(slots=True)
class _Block:
    """A level of nesting that is being read."""

    indent: int
    planned: int | None = None
    skipped: str = ""
    tests: list[TestResult] = field(default_factory=list)


def parse(lines: Iterable[str]) -> Report:
    """Read a document.  Never raises, whatever the lines hold."""
    reader = _Reader()
    for line in lines:
        reader.take(line)
    return reader.report()


class _Reader:
    """The stack of open blocks, outermost first."""

    def __init__(self) -> None:
        self.blocks: list[_Block] = []
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.figures: dict[str, float] = {}
        self.pending: tuple[TestResult, ...] = ()

    def take(self, line: str) -> None:
        """Read one line."""
        text = line.strip()
        indent = len(line) - len(line.lstrip(" "))
        if _VERSION.fullmatch(text):
            self._open(indent)
        elif (plan := _PLAN.fullmatch(text)) is not None:
            self._plan(plan, indent)
        elif (result := _RESULT.fullmatch(text)) is not None:
            self._result(result, indent)
        elif text.startswith("#"):
            self._note(text.lstrip("# "))
        elif text.startswith("Bail out!"):
            self._problem(f"the program gave up: {text}")

    def _problem(self, text: str) -> None:
        # Garbage can hold a million result lines; the first few say enough.
        if len(self.problems) < 100:
            self.problems.append(text)

    def _open(self, indent: int) -> None:
        if self.blocks and indent <= self.blocks[-1].indent:
            self._problem("a version line where no block can begin")
        elif len(self.blocks) < DEEPEST:
            self.blocks.append(_Block(indent))
        else:
            self._problem(f"nested deeper than {DEEPEST} levels")

    def _plan(self, plan: re.Match[str], indent: int) -> None:
        count = int(plan["count"])
        block = next((x for x in self.blocks if x.indent == indent), None)
        if block is None:
            self._problem(f"plan 1..{count} before a version line")
        elif block.planned is not None:
            self._problem(f"a second plan 1..{count} after 1..{block.planned}")
        elif count > MOST_TESTS:
            self._problem(f"plan 1..{count} promises more than {MOST_TESTS} tests")
            block.planned = 0
        else:
            block.planned = count
            if plan["skip"]:
                block.skipped = plan["reason"].strip() or "no reason given"

    def _result(self, result: re.Match[str], indent: int) -> None:
        at = next((i for i, x in enumerate(self.blocks) if x.indent == indent), None)
        if at is None:
            self._problem(f"result {int(result['number'])} in no block")
            return
        self._close(at)
        block = self.blocks[at]
        expected = len(block.tests) + 1
        test = _test(result, tuple(self.notes), self.pending)
        self.notes, self.pending = [], ()
        if test.number != expected:
            self._problem(f"result {test.number} ({test.name}) where {expected} was due")
        if expected > MOST_TESTS:
            self._problem(f"more than {MOST_TESTS} results")
            return
        if test.status is Status.OK and any(x.status in {Status.NOT_OK, Status.MISSING} for x in test.subtests):
            self._problem(f"{test.name} is ok, yet a subtest of it is not")
        block.tests.append(test)

    def _close(self, at: int) -> None:
        """End every block inside block `at`; the one just inside it is what its next result sums up."""
        while len(self.blocks) > at + 1:
            tests = self._finish(self.blocks.pop())
            if len(self.blocks) == at + 1:
                self.pending = tests
            else:
                self._orphans(tests)

    def _orphans(self, tests: tuple[TestResult, ...]) -> None:
        """Keep the tests of a block whose own result never came."""
        self._problem("a block of subtests without a result")
        block = self.blocks[-1]
        block.tests.append(TestResult("", len(block.tests) + 1, subtests=tests))

    def _finish(self, block: _Block) -> tuple[TestResult, ...]:
        seen = len(block.tests)
        if block.planned is None:
            self._problem("no plan, so nobody knows whether results are missing")
        elif seen != block.planned:
            self._problem(f"plan 1..{block.planned}, {seen} results")
        missing = range(seen + 1, (block.planned or 0) + 1)
        return (*block.tests, *(TestResult("", number) for number in missing))

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.figures.update((x["key"], float(x["value"])) for x in _FIGURE.finditer(text))

    def report(self) -> Report:
        """Close what is open and return all of it."""
        if not self.blocks:
            self._problem("no KTAP version line")
            return Report((), tuple(self.problems), "", tuple(self.figures.items()), tuple(self.notes))
        self._close(0)
        if self.pending:
            self._orphans(self.pending)
        top = self.blocks[0]
        tests = self._finish(top)
        return Report(tests, tuple(self.problems), top.skipped, tuple(self.figures.items()), tuple(self.notes))


def _test(result: re.Match[str], notes: tuple[str, ...], subtests: tuple[TestResult, ...]) -> TestResult:
    name, _hash, note = (result["rest"] or "").partition("#")
    # TAP puts " - " before the description, and kselftest still does.
    name = name.strip().removeprefix("- ").strip()
    word = _DIRECTIVE.fullmatch(note.strip())
    directive = Directive(word["word"].upper()) if word else Directive.NONE
    text = word["text"].strip() if word else note.strip()
    return TestResult(
        name, int(result["number"]), _status(not result["bad"], directive), directive, text, notes, subtests
    )


def _status(said_ok: bool, directive: Directive) -> Status:
    match directive:
        case Directive.SKIP:
            return Status.SKIP
        case Directive.TIMEOUT | Directive.ERROR:
            return Status.NOT_OK  # "ok # TIMEOUT" contradicts itself; not proved good
        case Directive.TODO | Directive.XFAIL:
            return Status.OK if said_ok else Status.EXPECTED
        case Directive.NONE:
            return Status.OK if said_ok else Status.NOT_OK
