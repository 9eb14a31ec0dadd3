"""Books and what is made of them: leaks found, one-time costs and noise passed over, cut books seen as cut."""

import math
import random
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import ledger
from pipeline.ledger import LEDGERS, Book, Books, Leak, Rule, ledger_of
from pipeline.ledger.book import ROUNDS
from pipeline.ledger.leak import SPREAD, pace_text

REPOSITORY = Path(__file__).parents[1]
GOLDEN = sorted((Path(__file__).parent / "golden/books").glob("*.ktap"))


def printed(rows: Mapping[str, tuple[int, ...]], cycles: tuple[int, ...] = (0, 100, 200, 300)) -> list[str]:
    """Return the lines of books, as guest_tests/lib/ledger.c prints them."""
    lines = []
    for number, done in enumerate(cycles):
        words = [f"{name}={values[number]}" for name, values in rows.items() if values[number]]
        parts = range(0, max(1, len(words)), 3)
        lines += [f"# ledger {number} cycles={done} {' '.join(words[at : at + 3])}" for at in parts]
        lines.append(f"# ledger {number} end rows={len(words)} attempts=2 ms=700")
    return lines


def found(rows: Mapping[str, tuple[int, ...]], cycles: tuple[int, ...] = (0, 100, 200, 300)) -> dict[str, Leak]:
    """Return the leaks of books with these rows, by row."""
    books = ledger.parse(printed(rows, cycles))
    assert books.problems == ()
    return {leak.ledger: leak for leak in ledger.leaks(books)}


# --- reading ----------------------------------------------------------------------------


def test_books_are_read() -> None:
    """Over several lines, between whatever else a program says; a row that is not there is 0."""
    lines = printed({"slab.dentry": (5, 6, 7, 0), "node0.free": (100, 90, 80, 70), "shrinkers": (3, 3, 3, 3)})
    lines[2:2] = ["ok 1 setup", "# cycles=7 per_second=2", "ledger 9 is no book", "# ledger"]
    books = ledger.parse(lines)
    assert books.problems == ()
    assert [(book.round, book.cycles) for book in books.books] == [(0, 0), (1, 100), (2, 200), (3, 300)]
    assert [book["slab.dentry"] for book in books.books] == [5, 6, 7, 0]
    assert books.rows == ("slab.dentry", "node0.free", "shrinkers")
    assert ledger.without(lines) == ("ok 1 setup", "# cycles=7 per_second=2", "ledger 9 is no book", "# ledger")


def test_rows_that_did_not_come_to_rest() -> None:
    """They stand in the book by name."""
    lines = printed({"slab.dentry": (5, 6, 7, 8)})
    lines[-1:-1] = ["# ledger 3 unstable slab.dentry memory.current"]
    assert ledger.parse(lines).books[3].unstable == ("slab.dentry", "memory.current")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda lines: [], "no book was printed"),
        (lambda lines: lines[:-2], "the book of round 3 is missing"),
        (lambda lines: lines[:-1], "the book of round 3 has no end"),
        (lambda lines: [x for i, x in enumerate(lines) if i != 2], "the book of round 1 is cut: 0 of 1 rows"),
        (lambda lines: [*lines[:-1], lines[-1][:20]], "the book of round 3 does not say at its end how many rows"),
        (lambda lines: [*lines[:3], lines[2][:27], *lines[3:]], "the book of round 1 holds 'slab.'"),
        (lambda lines: [*lines[:3], lines[2], *lines[3:]], "the book of round 1 has two rows slab.dentry"),
        (lambda lines: [*lines, "# ledger 3 cycles=300 slab.inode=1"], "the book of round 3 goes on after its end"),
        (lambda lines: [x.replace(" cycles=200", "") for x in lines], "does not say after how many cycles"),
        (lambda lines: [*lines, "# ledger 4 cycles=1 a=1", "# ledger 4 end rows=1"], "a book of round 4"),
    ],
)
def test_a_book_that_is_not_whole(change: object, problem: str) -> None:
    """Whatever is missing is named, and nothing is judged by half."""
    assert callable(change)
    lines = change(printed({"slab.dentry": (5, 6, 7, 8)}))
    assert any(problem in x for x in ledger.parse(lines).problems), ledger.parse(lines).problems


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.text(), max_size=20), st.lists(st.integers(0, 30), max_size=20), st.randoms(use_true_random=False))
def test_any_text_can_be_read(noise: list[str], cuts: list[int], chance: random.Random) -> None:
    """Mangled as it may be, it is either the same books or has a problem; nothing is raised."""
    lines = printed({"slab.dentry": (5, 6, 7, 8), "cgroup.nr_descendants": (1, 1, 1, 1)})
    whole = ledger.parse(lines)
    mangled = list(lines)
    for cut in cuts:
        at = chance.randrange(len(mangled))
        mangled[at] = mangled[at][:cut]
    for text in noise:
        mangled.insert(chance.randrange(len(mangled) + 1), text)
    books = ledger.parse(mangled)
    ledger.leaks(books)
    assert books.problems or {b.round: (b.cycles, dict(b.rows)) for b in books.books} == {
        b.round: (b.cycles, dict(b.rows)) for b in whole.books
    }


# --- judging ------------------------------------------------------------------------------


def test_what_grows_with_the_cycles_is_a_leak() -> None:
    """With its size after the first round and its slope."""
    (leak,) = found({"slab.kmalloc-1k": (100, 1300, 2300, 3250)}).values()
    assert (leak.size, leak.cycles, leak.unit) == (1950, 200, "objects")
    assert leak.slope == pytest.approx(9.75)
    assert leak.title == "slab objects of kmalloc-1k grow"
    assert leak.text == f"{leak.title}: 1950 objects more than after the first round, 9.75 objects a cycle"


@pytest.mark.parametrize(
    "values",
    [
        (0, 5000, 5000, 5000),  # a one-time cost
        (0, 5000, 9000, 9010),  # made at the second round's first use
        (0, 0, 5000, 5000),
        (0, 4000, 6000, 6400),  # fills up
        (0, 5000, 4000, 6000),  # up and down
        (9000, 6000, 3000, 0),
        (100, 110, 120, 130),  # below the allowance
    ],
)
def test_what_is_made_once_or_settles_is_none(values: tuple[int, ...]) -> None:
    """Only growth in each round after the first, at one pace, counts."""
    assert found({"slab.dentry": values}) == {}


def test_growth_goes_with_the_cycles() -> None:
    """As many objects in a round of ten times the cycles is not a leak a cycle; the same a cycle is."""
    uneven = (0, 100, 200, 1200)
    assert found({"slab.dentry": (0, 1000, 2000, 3000)}, uneven) == {}
    assert set(found({"slab.dentry": (0, 1000, 2000, 12000)}, uneven)) == {"slab.dentry"}


def test_a_round_without_a_cycle_says_nothing() -> None:
    """There is nothing that growth could go with."""
    assert found({"slab.dentry": (0, 1000, 2000, 3000)}, (0, 100, 100, 200)) == {}


def test_what_has_to_return() -> None:
    """One dying memcg is enough, and the size is held against the start."""
    leaks = found({"cgroup.nr_dying_subsys_memory": (0, 0, 0, 1), "cgroup.nr_dying_descendants": (3, 3, 3, 3)})
    assert set(leaks) == {"cgroup.nr_dying_subsys_memory"}
    leak = leaks["cgroup.nr_dying_subsys_memory"]
    assert leak.text == "dying memory groups stay: 1 groups more than at the start, 3.33 groups in 1000 cycles"
    (leak,) = found({"cgroup.nr_dying_descendants": (3, 3, 3, 4)}).values()
    assert leak.title == "dying groups stay"


def test_free_pages_fall() -> None:
    """A leak of pages that nobody accounts for shows in what is free."""
    assert found({"node0.free": (90000, 80000, 81000, 82000)}) == {}
    (leak,) = found({"node1.free": (90000, 80000, 70000, 60000)}).values()
    assert leak.text.startswith("free pages of node1 fall: 20000 pages less than after the first round")


def test_the_cause_is_told_before_its_traces() -> None:
    """In the order of the table, and of one ledger the largest first."""
    rows = {
        "node0.free": (90000, 80000, 70000, 60000),
        "slab.kmalloc-64": (0, 1000, 2000, 3000),
        "slab.kmalloc-8k": (0, 2000, 4000, 6000),
        "cgroup.nr_dying_subsys_memory": (0, 10, 20, 30),
    }
    assert list(found(rows)) == ["cgroup.nr_dying_subsys_memory", "slab.kmalloc-8k", "slab.kmalloc-64", "node0.free"]


def test_half_the_books_are_not_judged() -> None:
    """What is missing makes a trial unreadable; it does not make a leak."""
    books = ledger.parse(printed({"slab.dentry": (0, 1000, 2000, 3000)})[:4])
    assert ledger.leaks(books) == ()


def test_noise_below_the_allowance_is_silent() -> None:
    """A thousand trials whose every row wanders within its allowance: not one leak."""
    chance = random.Random(1)
    judged = [x for x in LEDGERS if x.rule in {Rule.GROWS, Rule.FALLS} and x.allowance]
    for _ in range(1000):
        books = []
        values = dict.fromkeys(judged, 10**6)
        for number in range(ROUNDS + 1):
            rows = {EXAMPLES[x.name]: values[x] for x in judged}
            books.append(Book(number, 100 * number, rows))
            values = {x: value + chance.randint(-x.allowance, x.allowance) for x, value in values.items()}
        assert ledger.leaks(Books(tuple(books), ())) == ()


def test_a_rare_leak_is_mostly_seen() -> None:
    """What strikes eight times a round on average lies within the spread in all but few trials."""
    chance = random.Random(2)
    row = "cgroup.nr_descendants"
    seen = 0
    for _ in range(1000):
        steps = [sum(chance.random() < 0.08 for _ in range(100)) for _ in range(ROUNDS)]
        values = (0, steps[0], steps[0] + steps[1], sum(steps))
        seen += row in found({row: values})
    assert seen > 960


@pytest.mark.parametrize(
    ("size", "cycles", "text"),
    [
        (300, 100, "3 x a cycle"),
        (745472, 91, "8192 x a cycle"),
        (3, 100, "30 x in 1000 cycles"),
        (5, 0, "5 x a cycle"),
        (1, 30000, "0.0333 x in 1000 cycles"),
    ],
)
def test_a_slope_in_words(size: int, cycles: int, text: str) -> None:
    """By the cycle, or by a thousand where that is little."""
    assert pace_text(size, cycles, "x") == text


# --- the table -----------------------------------------------------------------------------

EXAMPLES = {
    next(x.name for x in LEDGERS if re.fullmatch(x.pattern, row)): row
    for row in (
        "memory.current",
        "memory.stat.kernel",
        "percpu.allocations",
        "meminfo.Percpu",
        "slab.kmalloc-8",
        "slab.dentry",
        "slabpages.dentry",
        "lru.sb-ext4:ram1.node0",
        "fs.dentries",
        "meminfo.VmallocUsed",
        "meminfo.KernelStack",
        "meminfo.PageTables",
        "socket.TCP.inuse",
        "node0.free",
    )
}
"""A row of each ledger that is judged by its growth and has an allowance."""


def test_every_row_of_a_real_kernel_has_its_ledger() -> None:
    """What the guest prints and no ledger knows would be a hole in the table."""
    assert GOLDEN
    for path in GOLDEN:
        assert ledger.unknown(ledger.parse(path.read_text().splitlines())) == (), path.name


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_healthy_base_is_silent(path: Path) -> None:
    """Whole books of real runs on a base without a patch: nothing leaks."""
    books = ledger.parse(path.read_text().splitlines())
    assert books.problems == ()
    assert [leak.text for leak in ledger.leaks(books)] == []


@pytest.mark.parametrize(
    ("name", "first", "least", "more"),
    [
        (
            "css-never-put",
            "cgroup.nr_dying_descendants",
            50,
            {"percpu.allocations", "memory.current", "slab.kmalloc-2k"},
        ),
        ("list-of-a-dead-memcg", "dead.unlisted", 600, {"memory.stat.slab_reclaimable", "fs.dentries"}),
        ("files-that-stay", "memory.current", 700_000, {"memory.stat.shmem"}),
    ],
)
def test_a_real_leak_is_found(name: str, first: str, least: int, more: set[str]) -> None:
    """Books of kernels (and of a program) that leak: what is told first, how much of it, and what goes with it."""
    books = ledger.parse((GOLDEN[0].parent / f"leaking/{name}.ktap").read_text().splitlines())
    leaks = ledger.leaks(books)
    assert leaks[0].ledger == first
    assert leaks[0].size >= least
    assert more <= {leak.ledger for leak in leaks}


@pytest.mark.parametrize("row", LEDGERS, ids=lambda row: row.name)
def test_each_ledger_is_a_whole_row(row: ledger.Ledger) -> None:
    """A reason for its allowance, where its figure comes from, and a name that is in the docs."""
    assert len(row.reason) > 20
    assert row.source
    assert row.allowance >= 0
    assert sum(x.name == row.name for x in LEDGERS) == 1
    page = (REPOSITORY / "docs/ledgers.md").read_text()
    assert f"| {row.name} |" in page


def test_the_page_has_the_allowances_of_the_table() -> None:
    """docs/ledgers.md is the table for people; its figures are the table's."""
    page = (REPOSITORY / "docs/ledgers.md").read_text()
    for row in LEDGERS:
        (line,) = [x for x in page.splitlines() if x.startswith(f"| {row.name} |")]
        cells = [x.strip() for x in line.strip("|").split("|")]
        assert cells[2] == row.rule.value
        if row.rule is not Rule.NOTED:
            assert cells[3] == f"{row.allowance} {row.unit}"


def test_the_library_has_as_many_rounds() -> None:
    """The guest's constant and the host's are one."""
    text = (REPOSITORY / "guest_tests/lib/gt.h").read_text()
    assert f"#define GT_ROUNDS\t{ROUNDS}\n" in text


def test_the_spread_is_what_its_comment_says() -> None:
    """Poisson, twice: how often two rounds of one leak lie further apart than the spread."""

    def apart(mean: float) -> float:
        chances = [math.exp(-mean) * mean**k / math.factorial(k) for k in range(60)]
        pairs = ((one, two) for one in range(60) for two in range(60) if max(one, two) > SPREAD * min(one, two))
        return sum(chances[one] * chances[two] for one, two in pairs)

    assert apart(8) == pytest.approx(0.02, abs=0.005)
    assert apart(2) == pytest.approx(0.25, abs=0.05)


def test_what_could_not_be_read_is_told_from_nothing() -> None:
    """A kernel without a free page, a dentry or a slab object is one that nobody looked at."""
    whole = ledger.parse(GOLDEN[0].read_text().splitlines())
    assert ledger.absent(whole) == ()
    blind = tuple(Book(x.round, x.cycles, {k: v for k, v in x.rows.items() if "slab" not in k}) for x in whole.books)
    assert ledger.absent(Books(blind, ())) == ("slab objects",)
    assert "shrinkers" in ledger.absent(ledger.parse(printed({"slab.dentry": (1, 1, 1, 1)})))


def test_a_row_that_nobody_knows() -> None:
    """It belongs to no ledger, and is named."""
    assert ledger_of("no such row", LEDGERS) is None
    books = ledger.parse(printed({"strange": (1, 1, 1, 1), "slab.dentry": (1, 1, 1, 1)}))
    assert ledger.unknown(books) == ("strange",)
