"""KTAP: the kernel's own examples, every way of being short, and garbage."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ktap import DEEPEST, MOST_TESTS, Directive, Report, Status, parse

# The example of Documentation/dev-tools/ktap.rst.
NESTED = """\
KTAP version 1
1..1
  KTAP version 1
  1..3
    KTAP version 1
    1..1
    # test_1: initializing test_1
    ok 1 test_1
  ok 1 example_test_1
    KTAP version 1
    1..2
    ok 1 test_1 # SKIP test_1 skipped
    ok 2 test_2
  ok 2 example_test_2
    KTAP version 1
    1..3
    ok 1 test_1
    # test_2: FAIL
    not ok 2 test_2
    ok 3 test_3 # SKIP test_3 skipped
  not ok 3 example_test_3
not ok 1 main_test
"""


def read(text: str) -> Report:
    """Parse a document given as one text."""
    return parse(text.splitlines())


def statuses(text: str) -> list[tuple[str, Status]]:
    """Return path and status of every test."""
    return [(path, test.status) for path, test in read(text).flat()]


def test_the_kernels_example() -> None:
    """Three levels, with the hierarchy that its documentation describes."""
    report = read(NESTED)
    assert report.problems == ()
    assert [(path, test.status) for path, test in report.flat()] == [
        ("main_test", Status.NOT_OK),
        ("main_test/example_test_1", Status.OK),
        ("main_test/example_test_1/test_1", Status.OK),
        ("main_test/example_test_2", Status.OK),
        ("main_test/example_test_2/test_1", Status.SKIP),
        ("main_test/example_test_2/test_2", Status.OK),
        ("main_test/example_test_3", Status.NOT_OK),
        ("main_test/example_test_3/test_1", Status.OK),
        ("main_test/example_test_3/test_2", Status.NOT_OK),
        ("main_test/example_test_3/test_3", Status.SKIP),
    ]
    found = dict(report.flat())
    assert found["main_test/example_test_1/test_1"].diagnostics == ("test_1: initializing test_1",)
    assert found["main_test/example_test_3/test_3"].note == "test_3 skipped"


def test_diagnostics_belong_to_the_next_result_whatever_their_indentation() -> None:
    """As in the documentation's second example."""
    subtests = "  KTAP version 1\n  1..2\n  ok 1 test_1\n  not ok 2 test_2\n"
    text = f"KTAP version 1\n1..1\n{subtests}# example failed\nnot ok 1 example\n"
    report = read(text)
    assert report.problems == ()
    assert report.tests[0].diagnostics == ("example failed",)
    assert [x.name for x in report.tests[0].subtests] == ["test_1", "test_2"]


def test_what_the_plan_promised_and_did_not_come_is_missing() -> None:
    """A crash in the middle of a program leaves tests that nobody may take for passed."""
    report = read("KTAP version 1\n1..3\nok 1 a\n")
    assert [x.status for x in report.tests] == [Status.OK, Status.MISSING, Status.MISSING]
    assert [x.number for x in report.tests] == [1, 2, 3]
    assert report.problems == ("plan 1..3, 1 results",)


def test_a_parent_that_never_came_is_missing_with_its_subtests() -> None:
    """The subtests are kept below a test without a name."""
    report = read("KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  ok 1 sub\n")
    assert report.tests[0].status is Status.MISSING
    assert report.tests[0].subtests[0].name == "sub"
    assert report.problems


def test_nothing_is_an_error() -> None:
    """No lines, lines without a version, a version without a plan: each is said."""
    assert read("").problems == ("no KTAP version line",)
    assert "no KTAP version line" in read("ok 1 a\nhello\n").problems
    assert "no plan, so nobody knows whether results are missing" in read("KTAP version 1\nok 1 a\n").problems
    assert read("KTAP version 1\n1..0\n").problems == ()


def test_a_program_that_skips_as_a_whole() -> None:
    """`1..0 # SKIP` is how a program says that something it needs is not there."""
    report = read("KTAP version 1\n1..0 # SKIP needs /sys/fs/cgroup\n")
    assert (report.tests, report.problems, report.skipped) == ((), (), "needs /sys/fs/cgroup")
    assert read("KTAP version 1\n1..0 # skip\n").skipped == "no reason given"


def test_directives() -> None:
    """Each keyword, in either case, and a contradiction that is not taken for good."""
    text = """KTAP version 1
1..9
not ok 1 a # SKIP no swap
ok 2 b # skip
not ok 3 c # TODO broken since 6.1
ok 4 d # TODO
not ok 5 e # XFAIL
not ok 6 f # TIMEOUT 30 seconds
ok 7 g # ERROR out of memory
ok 8 check return code # rcode=0
not ok 9 h # SKIPPING is no directive
"""
    report = read(text)
    assert report.problems == ()
    assert [x.status for x in report.tests] == [
        Status.SKIP,
        Status.SKIP,
        Status.EXPECTED,
        Status.OK,
        Status.EXPECTED,
        Status.NOT_OK,
        Status.NOT_OK,
        Status.OK,
        Status.NOT_OK,
    ]
    assert (report.tests[5].directive, report.tests[5].note) == (Directive.TIMEOUT, "30 seconds")
    assert (report.tests[7].name, report.tests[7].note) == ("check return code", "rcode=0")


def test_numbers_out_of_turn_are_problems() -> None:
    """Twice the same, one left out, one too many, a second plan."""
    assert any("where 2 was due" in x for x in read("KTAP version 1\n1..2\nok 1 a\nok 1 a\n").problems)
    assert any("where 1 was due" in x for x in read("KTAP version 1\n1..2\nok 2 b\n").problems)
    assert read("KTAP version 1\n1..1\nok 1 a\nok 2 b\n").problems == ("plan 1..1, 2 results",)
    assert any("second plan" in x for x in read("KTAP version 1\n1..1\n1..1\nok 1 a\n").problems)
    assert any("gave up" in x for x in read("KTAP version 1\n1..1\nok 1 a\nBail out! no memory\n").problems)


def test_a_parent_cannot_be_better_than_its_subtests() -> None:
    """A test whose subtest failed fails."""
    text = "KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  not ok 1 sub\nok 1 parent\n"
    assert read(text).problems == ("parent is ok, yet a subtest of it is not",)


def test_figures() -> None:
    """Numbers in diagnostic lines are kept, the last of a key, and only numbers."""
    report = read(
        "KTAP version 1\n1..1\n# program=memcg_churn seed=1 budget=20\nok 1 a\n"
        "# cycles=10 per_second=0.5\n# cycles=1234 per_second=61.7\n# x=1e5 y=12ms =3 z=-4\n"
    )
    assert report.figures == (("seed", 1.0), ("budget", 20.0), ("cycles", 1234.0), ("per_second", 61.7), ("z", -4.0))
    assert report.figure("cycles") == 1234
    assert report.figure("nope") is None
    assert report.trailing[-1] == "x=1e5 y=12ms =3 z=-4"


def test_kselftest_dash_and_unknown_lines() -> None:
    """A dash before the description is TAP's, lines of another kind change nothing."""
    text = "TAP version 13\n1..1\nsome printk\n  indented noise\nok 1 - named\n"
    assert statuses(text) == [("named", Status.OK)]
    assert read(text).problems == ()


def test_numbers_nobody_can_hold() -> None:
    """A plan or a nesting made to fill memory is refused, in words."""
    report = read(f"KTAP version 1\n1..{MOST_TESTS + 1}\n")
    assert report.tests == ()
    assert "more than" in report.problems[0]
    read("KTAP version 1\n1.." + "9" * 5000 + "\nok " + "1" * 5000 + "\n")
    deep = "\n".join(" " * i + "KTAP version 1" for i in range(5000))
    assert any(f"deeper than {DEEPEST}" in x for x in read(deep).problems)
    flood = "KTAP version 1\n1..1\n" + "ok 1 a\n" * (MOST_TESTS + 10)
    assert len(read(flood).tests) <= MOST_TESTS
    assert len(read(flood).problems) <= 100


PIECES = st.sampled_from(
    [
        "KTAP version 1",
        "TAP version 13",
        "1..2",
        "1..0 # SKIP x",
        "ok 1 a",
        "ok 2 b",
        "not ok 1 c",
        "ok 1",
        "ok 3 # SKIP",
        "# k=1",
        "Bail out!",
    ]
)
LINES = st.one_of(st.text(max_size=40), st.builds(lambda n, x: " " * n + x, st.integers(0, 8), PIECES))


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(LINES, max_size=40))
def test_any_text_is_read_and_never_better_than_it_says(lines: list[str]) -> None:
    """Nothing raises; without a problem every planned test has a result line of its own."""
    report = parse(lines)
    list(report.flat())
    if not report.problems:
        assert all(test.status is not Status.MISSING for _path, test in report.flat())
        results = sum(1 for x in lines if x.strip().startswith(("ok ", "not ok ")))
        assert len(list(report.flat())) <= results
