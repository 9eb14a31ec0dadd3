"""Reports: each format says what the verdict says, and no console gets anything past them."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from pipeline.ledger import Leak
from pipeline.report import Row, Stage, Summary, clean, html, junit, terminal
from pipeline.report import json as verdict_json
from pipeline.run import Ended
from pipeline.verdict import Outcome, Planted, Reason, Verdict, Why, Worth

SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).parent / "golden/junit/jenkins-junit.xsd"))

HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b]8;;http://evil\x1b\\link \x1bc\x9b2J\x1bPq\x1b\\"
    "</pre><script>alert(1)</script><img src=x onerror=alert(1)> ]]> <!-- &amp; {{ 7*7 }} {% raw %} "
    '"\'}{"outcome":"PASS"} \x00\x08\x7f\x85 \u202egnp.exe \ud800 \ufffe \r\nnext'
)
REASON = Reason(
    Why.FINDING,
    Outcome.FAIL,
    title="KASAN: slab-use-after-free Read in mem_cgroup_iter",
    text="KASAN: slab-use-after-free Read in mem_cgroup_iter; patch 2/2 touches it, frame 1",
    cut=2,
    program="memcg_churn",
    seed=7,
    times=2,
    patch="2/2 memcg: drop the invalidation",
    patch_number=2,
    function="mem_cgroup_iter",
    file="mm/memcontrol.c",
    report="\n".join(f"line {i}" for i in range(40)),
    log="console.log",
    line=99,
)
LEAK = Leak("cgroup.nr_dying_subsys_memory", "dying memory groups stay", 14, 120, "groups", "14 groups more", "a css")
LEAKING = replace(REASON, why=Why.LEAK, title=f"leak: {LEAK.title}", text=f"leak: {LEAK.text}", leak=LEAK)
WORTH = (Worth("memcg_churn", 3, 90.5, 4200),)
SUMMARY = Summary(
    version="0.1",
    started="2024-05-01T10:00:00Z",
    seconds=245.0,
    series="iter-generation",
    patches=("1/2 memcg: count", "2/2 memcg: drop the invalidation"),
    base="debian:6.12",
    release="6.12.43",
    profile="kasan",
    machine="2node",
    accel="tcg",
    programs=("memcg_churn", "fs_churn"),
    verdict=Verdict(Outcome.FAIL, (REASON,), (), WORTH),
    keys=(("base kernel", "aa11"), ("patched kernel", "bb22")),
    trials=(
        Row(0, 1, "memcg_churn", 7, Ended.DONE, 30.0, 1400, 5, 5, ()),
        Row(2, 1, "memcg_churn", 7, Ended.FINDING, 12.0, None, 1, 5, (REASON.title,)),
    ),
    stages=(Stage("build the base", 100.0, "kept from before"),),
    files=(("verdict", "verdict.json"), ("console", "patched/console.log")),
    reproduce="sh results/x/reproduce.sh",
)


def judged(outcome: Outcome, *reasons: Reason) -> Summary:
    """Return the summary of another verdict."""
    return replace(SUMMARY, verdict=Verdict(outcome, reasons, (), WORTH if outcome is Outcome.PASS else ()))


PASSED = judged(Outcome.PASS)
EVIL = replace(
    SUMMARY,
    series=HOSTILE,
    patches=(HOSTILE,),
    base=HOSTILE,
    release=HOSTILE,
    programs=(HOSTILE,),
    keys=((HOSTILE, HOSTILE),),
    files=((HOSTILE, HOSTILE),),
    stages=(Stage(HOSTILE, 1.0, HOSTILE),),
    reproduce=HOSTILE,
    partial=HOSTILE,
    trials=(replace(SUMMARY.trials[1], program=HOSTILE, findings=(HOSTILE,)),),
    verdict=Verdict(
        Outcome.FAIL,
        (
            replace(
                LEAKING,
                title=HOSTILE,
                text=HOSTILE,
                program=HOSTILE,
                patch=HOSTILE,
                report=HOSTILE,
                log=HOSTILE,
                leak=Leak(HOSTILE, HOSTILE, 1, 1, HOSTILE, HOSTILE, HOSTILE),
            ),
        ),
        (
            replace(
                REASON,
                title=HOSTILE,
                text=HOSTILE,
                report=HOSTILE,
                leak=Leak(HOSTILE, HOSTILE, 1, 1, HOSTILE, HOSTILE, HOSTILE),
            ),
        ),
        (Worth(HOSTILE, 1, 1.0, 1),),
    ),
)


class Page(HTMLParser):
    """The tags, attributes and text of a page, as a browser's tokeniser sees them."""

    def __init__(self, page: str) -> None:
        """Read the whole page."""
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag."""
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        """Keep text."""
        self.text += data


def suite(summary: Summary) -> etree._Element:
    """Render as JUnit, check it against the schema, return its only suite."""
    document = etree.fromstring(junit.render(summary).encode())
    SCHEMA.assertValid(document)
    (only,) = document.findall("testsuite")
    return only


def test_clean_takes_every_escape_and_keeps_the_text() -> None:
    """Colours, titles, links, cursor moves, controls; tabs and line ends stay."""
    assert clean("\x1b[1;31mBUG\x1b[0m: \x1b]0;t\x07x\x1b(B\ty\r\n") == "BUG: x\ty\n"
    assert clean("\x1b]8;;http://e\x1b\\k\x9b31mz\x1b") == "kz"
    assert clean("größe ✓") == "größe ✓"
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800]", clean(HOSTILE))


def test_json_has_a_version_the_outcome_and_every_reason() -> None:
    """What a program reads, with the bounds that are computed."""
    body = json.loads(verdict_json.render(SUMMARY))
    assert (body["format"], body["outcome"], body["exit_status"]) == (1, "FAIL", 1)
    (reason,) = body["verdict"]["reasons"]
    assert (reason["why"], reason["function"], reason["patch_number"]) == ("report by the kernel", "mem_cgroup_iter", 2)
    assert body["verdict"]["worth"][0]["bound"] == pytest.approx(1 - 0.05 ** (1 / 3))
    assert body["keys"] == {"base kernel": "aa11", "patched kernel": "bb22"}
    assert body["trials"][1]["ended"] == "finding"


def test_json_holds_a_hostile_console_as_text() -> None:
    """One object, pure ASCII, no angle bracket, no escape, even after it has been decoded."""
    text = verdict_json.render(EVIL)
    assert text.isascii()
    assert "<" not in text
    body = json.loads(text)
    assert body["outcome"] == "FAIL"
    assert "\x1b" not in body["series"]
    assert "<script>" in body["series"]


def test_junit_of_a_failure() -> None:
    """One failing case, with message and output; the program nobody ran is skipped."""
    only = suite(SUMMARY)
    cases = {case.get("name"): case for case in only}
    failure = cases["memcg_churn"].find("failure")
    assert failure is not None
    assert failure.get("message") == REASON.text
    assert "line 39" in (failure.text or "")
    assert (only.get("failures"), only.get("errors"), only.get("tests")) == ("1", "0", "6")
    assert cases["fs_churn"].find("skipped") is not None
    assert len(cases["applies"]) == len(cases["builds"]) == 0


def test_junit_of_a_pass_and_of_nothing() -> None:
    """A program without a trial is never shown as passed."""
    only = suite(PASSED)
    cases = {case.get("name"): [x.tag for x in case] for case in only if case.tag == "testcase"}
    ran = ["applies", "builds", "runs", "memcg_churn", "ledgers"]
    assert cases == {**{name: [] for name in ran}, "fs_churn": ["skipped"]}
    skip = Reason(Why.NOT_RUN, Outcome.SKIP, title="nothing ran", text="nothing ran")
    nothing = suite(replace(judged(Outcome.SKIP, skip), trials=()))
    assert all(case.find("skipped") is not None for case in nothing.findall("testcase"))


def test_junit_of_a_series_that_stops_early() -> None:
    """What comes after a step that failed was not reached."""
    reason = Reason(Why.BUILD, Outcome.FAIL, title="does not build", text="does not build", patch="1/2 x")
    only = suite(replace(judged(Outcome.FAIL, reason), trials=()))
    cases = {case.get("name"): [x.tag for x in case] for case in only.findall("testcase")}
    assert cases == {
        "applies": [],
        "builds": ["failure"],
        "runs": ["skipped"],
        "memcg_churn": ["skipped"],
        "fs_churn": ["skipped"],
        "ledgers": ["skipped"],
    }


def test_a_leak_in_every_format() -> None:
    """Name, size, slope and pin; in junit it fails the case of the ledgers and no program's."""
    summary = judged(Outcome.FAIL, LEAKING)
    row = json.loads(verdict_json.render(summary))["verdict"]["reasons"][0]["leak"]
    assert (row["ledger"], row["size"], row["unit"], row["pin"]) == (LEAK.ledger, 14, "groups", "a css")
    assert row["slope"] == pytest.approx(14 / 120)
    told = terminal.render(summary)
    assert "leak: 14 groups more" in told
    assert re.search(r"held by +a css\n", told)
    text = Page(html.render(summary)).text
    assert "14 groups in 120 cycles, 0.117 a cycle" in text
    assert "a css" in text
    cases = {case.get("name"): [x.tag for x in case] for case in suite(summary).findall("testcase")}
    assert cases["ledgers"] == ["failure"]
    assert cases["memcg_churn"] == ["skipped"]


def test_canaries_in_every_format() -> None:
    """How many of how many, and what was reported of each or why nothing was; in junit one not seen is an error."""
    rows = (Planted("kasan", "KASAN: x in canary_kasan"), Planted("list", "", HOSTILE))
    reason = Reason(Why.CANARY, Outcome.BROKEN, title="canary list was not seen", text="canary list was not seen: gone")
    summary = replace(SUMMARY, verdict=Verdict(Outcome.BROKEN, (reason,), (), WORTH, rows))
    found = json.loads(verdict_json.render(summary))["verdict"]["canaries"]
    assert [(row["name"], row["title"]) for row in found] == [("kasan", "KASAN: x in canary_kasan"), ("list", "")]
    assert "canaries: 1 of 2 seen; not list" in terminal.render(summary)
    assert "canaries" not in terminal.render(PASSED)
    text = Page(html.render(summary)).text
    assert "Canaries: 1 of 2 seen; not list" in text
    assert "KASAN: x in canary_kasan" in text
    assert "script" not in Page(html.render(summary)).tags
    cases = {case.get("name"): [x.tag for x in case] for case in suite(summary).findall("testcase")}
    assert cases["runs"] == ["error"]


REASONS = st.builds(
    Reason,
    st.sampled_from(Why),
    st.sampled_from([Outcome.FAIL, Outcome.BROKEN, Outcome.SKIP]),
    title=st.text(),
    text=st.text(alphabet="ab \x00\x1b\n"),
    program=st.sampled_from(["", "memcg_churn", "fs_churn", "gone"]),
)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(REASONS, max_size=5), st.text(), st.booleans())
def test_junit_is_valid_and_tells_every_reason_once(reasons: list[Reason], series: str, ran: bool) -> None:
    """Whatever the texts are; red exactly when a reason is FAIL, and an error when one is BROKEN alone."""
    marked = [replace(reason, report=f"<{i}>") for i, reason in enumerate(reasons)]
    summary = replace(judged(Outcome.FAIL, *marked), series=series, trials=SUMMARY.trials if ran else ())
    only = suite(summary)
    told = [x.text or "" for case in only.findall("testcase") for x in case]
    assert all(sum(reason.report in text for text in told) == 1 for reason in marked)
    assert (int(only.get("failures", "")) > 0) == any(x.outcome is Outcome.FAIL for x in reasons)
    if any(x.outcome is Outcome.BROKEN for x in reasons):
        assert int(only.get("failures", "")) + int(only.get("errors", "")) > 0


def test_junit_holds_a_hostile_console_as_text() -> None:
    """Valid against the schema, and nothing of it became an element."""
    only = suite(EVIL)
    assert {x.tag for x in only.iter()} <= {
        "testsuite",
        "properties",
        "property",
        "testcase",
        "failure",
        "skipped",
    }
    (failure,) = only.findall("testcase/failure")
    assert "<script>alert(1)</script>" in (failure.text or "")
    assert "\x1b" not in (failure.text or "")


def test_terminal_says_the_verdict_first_and_stays_short() -> None:
    """Verdict, reason with function, patch, program and seed, some of the report, the files."""
    lines = terminal.render(SUMMARY).splitlines()
    assert lines[0].startswith(
        "FAIL  iter-generation on debian:6.12: KASAN: slab-use-after-free Read in mem_cgroup_iter"
    )
    text = "\n".join(lines)
    for said in ("2/2 memcg: drop the invalidation", "mem_cgroup_iter", "seed 7", "console.log:100", "(2 times)"):
        assert said in text
    assert "line 11" in text
    assert "line 12\n" not in text
    assert "28 more lines" in text
    assert text.index("FAIL") < text.index("memcg_churn: 3 trials") < text.index("verdict.json")
    assert "such trials" not in text
    assert "63.2% of such trials" in terminal.render(PASSED)
    many = judged(Outcome.FAIL, *(replace(REASON, title=f"t{i}", text=f"t{i}") for i in range(50)))
    assert "and 42 more" in terminal.render(many)


def test_terminal_colours_are_ours_alone() -> None:
    """No escape without colour; with it, nothing but SGR, and the same text."""
    plain = terminal.render(EVIL)
    assert "\x1b" not in plain
    coloured = terminal.render(EVIL, colour=True)
    rest = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert rest == plain
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", rest)


def test_html_is_one_file_that_fetches_nothing_and_runs_nothing() -> None:
    """No script, no link, no source, no handler, whatever a console says."""
    ours = Page(html.render(SUMMARY))
    evil = Page(html.render(EVIL))
    for page in (ours, evil):
        assert not {"script", "img", "link", "iframe", "a", "object", "form"} & set(page.tags)
        assert not [
            name for name, _value in page.attributes if name.startswith("on") or name in {"src", "href", "style"}
        ]
    assert "<script>alert(1)</script>" in evil.text
    assert "{{ 7*7 }}" in evil.text
    assert "\x1b" not in evil.text
    assert "url(" not in html.render(SUMMARY)


def test_html_says_it_all() -> None:
    """Banner, reason with the whole report, trials, stages, keys and the way to get it again."""
    text = Page(html.render(SUMMARY)).text
    for said in ("FAIL", REASON.text, "line 39", "1/5", "kept from before", "bb22", "reproduce.sh", "console.log:100"):
        assert said in text
    assert "nothing speaks against it" in Page(html.render(PASSED)).text


@settings(deadline=None)  # a busy machine is no failure
@given(st.text())
def test_no_text_breaks_a_renderer(text: str) -> None:
    """Every format takes any text."""
    summary = replace(
        judged(Outcome.FAIL, replace(REASON, title=text, text=text, report=text)), series=text, partial=text
    )
    json.loads(verdict_json.render(summary))
    suite(summary)
    assert "\x1b" not in terminal.render(summary)
    assert "script" not in Page(html.render(summary)).tags
