"""The console parser: the table of rules, one golden log each, and what holds for any console whatever."""

import json
import re
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline import console_cli
from pipeline.errors import UserError
from pipeline.findings import Finding, Frame, Kind, Role, Scanner, same_bug, scan, scan_blocks
from pipeline.findings.known import find, known_issues
from pipeline.findings.line import LINE_LIMIT, parse
from pipeline.findings.plumbing import base, is_plumbing
from pipeline.findings.rules import RULES, Rule
from pipeline.findings.stack import frame
from pipeline.findings.tally import REPEATS, SIGHTINGS, TITLES, Tally
from pipeline.findings.title import TITLE_LIMIT, names, normalise

GOLDEN = Path(__file__).parent / "golden" / "console"
FUZZ = Path(__file__).parent / "golden" / "fuzz"
LOGS = sorted(GOLDEN.glob("*/*.log"))
NAMES = [f"{log.parent.name}/{log.stem}" for log in LOGS]
BOOT = {"reboot", "reboot-banner"}
"""Rules whose report means something only after what came before."""

# Pieces that consoles are made of, and what spoils them.
FRAGMENTS = [line for log in LOGS for line in log.read_bytes().splitlines(keepends=True)]
PIECES = st.one_of(
    st.sampled_from(FRAGMENTS),
    st.sampled_from(
        [b"\n", b"\r\n", b"\0", b"\x1b[31m", b"[    1.000000] ", b"[   12.5", b"BUG: ", b"WARNING: CPU: 1 "]
    ),
    st.binary(max_size=40),
)
CONSOLES = st.lists(PIECES, max_size=60).map(b"".join)


def expected(log: Path) -> dict[str, object]:
    """Return what a golden log's parser has to say; ``<name>.json`` for a log of another name than console.log."""
    name = "expected.json" if log.stem == "console" else f"{log.stem}.json"
    record: dict[str, object] = json.loads((log.parent / name).read_text())
    return record


def record(finding: Finding) -> dict[str, object]:
    """Return a finding as the golden files have it."""
    return {
        "title": finding.title,
        "alt_titles": list(finding.alt_titles),
        "type": finding.kind.value,
        "start_line": finding.start_line,
        "end_line": finding.end_line,
        "corrupted": finding.corrupted,
        "frame": finding.frame,
        "guilty_file": finding.guilty_file,
    }


def scanned(data: bytes, cuts: list[int]) -> list[Finding]:
    """Feed a console to a scanner in pieces."""
    scanner = Scanner()
    findings: list[Finding] = []
    last = 0
    for cut in sorted(min(cut, len(data)) for cut in cuts):
        findings += scanner.feed(data[last:cut])
        last = cut
    return findings + scanner.feed(data[last:]) + scanner.close()


def test_every_rule_has_its_golden_logs() -> None:
    """The table and the folder list the same names: neither can be forgotten."""
    assert {log.parent.name for log in LOGS} == {rule.name for rule in RULES}


def test_rules_are_distinct_and_say_where_they_come_from() -> None:
    """A name stands once; each row cites the kernel."""
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(re.search(r"\w+/\w|printk", rule.source) for rule in RULES)


def documented(rule: Rule) -> str:
    """Return the row of docs/titles.md for a rule."""
    title = rule.title.replace("{frame}", "f").replace("|", "\\|")
    return f"| {rule.name} | `{title}` | {rule.kind.value} | {rule.source} |"


def test_every_rule_is_documented() -> None:
    """docs/titles.md has the rows of the table: title, type, and where the kernel prints it."""
    page = (Path(__file__).parent.parent / "docs" / "titles.md").read_text().splitlines()
    assert [row for row in map(documented, RULES) if row not in page] == []


@pytest.mark.parametrize("log", LOGS, ids=NAMES)
def test_golden(log: Path) -> None:
    """Each golden log has one finding, made by the rule whose folder it lies in."""
    want = expected(log)
    want.pop("source")
    findings = scan(log.read_bytes())
    assert [record(finding) for finding in findings] == [want]
    assert findings[0].rule == log.parent.name


@pytest.mark.parametrize("log", LOGS, ids=NAMES)
def test_golden_without_stamps_tags_or_with_carriage_returns(log: Path) -> None:
    """Time stamps, caller tags and line ends are how a console is set up, not what it says."""
    if log.parent.name in BOOT:
        pytest.skip("a boot is told by its time stamps")
    data = log.read_bytes()
    title = expected(log)["title"]
    untagged = re.sub(rb"(?m)^(\[ *\d+\.\d+\])\[ *[TC]\d+\]", rb"\1", data)
    bare = re.sub(rb"(?m)^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?", b"", data)
    for variant in (
        untagged,
        bare,
        data.replace(b"\n", b"\r\n"),
        b"\x1b[0m" + data.replace(b"BUG", b"\x1b[31mB\x1b[0mUG"),
    ):
        assert title in {finding.title for finding in scan(variant)}, variant.decode(errors="replace")


def test_other_tasks_lines_are_not_part_of_a_report() -> None:
    """With caller tags, four reports that are printed at once are four findings, each with its own text."""
    picked = ["kasan-use-after-free-read", "warning", "sleeping-in-atomic", "null-deref"]
    logs = [(GOLDEN / name / "console.log").read_bytes().splitlines() for name in picked]
    longest = max(map(len, logs))
    mixed = [
        re.sub(rb"\[ *[TC]\d+\]", f"[{'T' + str(n + 1):>6}]".encode(), log[at])
        for at in range(longest)
        for n, log in enumerate(logs)
        if at < len(log)
    ]
    found = {x.title: x for x in scan(b"\n".join(mixed) + b"\n")}
    alone = [scan(b"\n".join(log) + b"\n")[0] for log in logs]
    assert set(found) == {x.title for x in alone}
    for finding in alone:
        # Of the lines above a report fewer are its own task's here.
        assert finding.report.endswith(found[finding.title].report)
        assert not found[finding.title].corrupted


@given(CONSOLES, st.lists(st.integers(0, 4000), max_size=12))
@settings(deadline=None)
@example(b"BUG: " * 2000 + b"\n" + b"[    1.000000] BUG: x\n", [3, 4096, 5000])
def test_chunking_changes_nothing(data: bytes, cuts: list[int]) -> None:
    """However the console is cut into pieces, the findings are the same."""
    assert scanned(data, cuts) == scanned(data, [])


@given(CONSOLES)
@settings(deadline=None)
def test_findings_are_within_the_log_and_found_again(data: bytes) -> None:
    """A finding has lines, and scanning from its first line finds it again."""
    lines = data.split(b"\n")
    for finding in scan(data):
        assert 0 <= finding.start_line < finding.end_line <= len(lines)
        assert finding.title
        assert finding.title == normalise(finding.title)
        if finding.kind is Kind.REBOOT:
            continue
        again = scan(b"\n".join(lines[finding.start_line :]))
        assert again
        assert again[0].start_line == 0
        assert again[0].rule == finding.rule or same_bug(again[0], finding) or again[0].corrupted != finding.corrupted


@given(st.one_of(st.text(), st.from_regex(r"[A-Za-z0-9 :+./#x-]{0,200}")))
def test_normalising_a_title_twice_changes_nothing(text: str) -> None:
    """A title is what it is: printable ASCII, short, and a fixed point."""
    once = normalise(text)
    assert normalise(once) == once
    assert len(once) <= TITLE_LIMIT
    assert once.isascii()
    assert once.isprintable()


@pytest.mark.parametrize(
    ("text", "title"),
    [
        (
            "KASAN: use-after-free in ip6_fragment+0x1052/0x2d80 at addr ffff88004ec29b58",
            "KASAN: use-after-free in ip6_fragment at addr ADDR",
        ),
        ("lockup on CPU#3, syz-executor3/123", "lockup on CPU, syz-executor"),
        ("from 10.0.2.15:8080 at fs/ext4/inode.c:123", "from IP at fs/ext4/inode.c:LINE"),
        ("age=1 cpu=2 pid=3", "age=NUM cpu=NUM pid=NUM"),
    ],
)
def test_normalise(text: str, title: str) -> None:
    """What differs from run to run is put into words."""
    assert normalise(text) == title


@pytest.mark.parametrize(
    ("function", "known"),
    [
        ("list_lru_add", ("list_lru_add",)),
        ("SyS_rmdir", ("SyS_rmdir", "rmdir")),
        ("__se_sys_memfd_secret", ("__se_sys_memfd_secret", "sys_memfd_secret", "memfd_secret")),
        ("__x64_sys_exit_group", ("__x64_sys_exit_group", "sys_exit_group")),
        ("smp_call_function_single", ("smp_call_function_single", "smp_call_function")),
        ("_ZN3foo3barE", ("foo::bar",)),
    ],
)
def test_names_of_a_function(function: str, known: tuple[str, ...]) -> None:
    """A function goes by several names; the one for titles comes last."""
    assert names(function) == known


@pytest.mark.parametrize(
    ("message", "function", "trusted", "role"),
    [
        (" list_lru_add+0x5d/0x2a0", "list_lru_add", True, Role.CALL),
        (" ? list_lru_add.isra.0+0x5d/0x2a0 [foo]", "list_lru_add.isra.0", False, Role.CALL),
        (" [<ffffffff81d0010d>] dump_stack+0xc1/0x124", "dump_stack", True, Role.CALL),
        (" <EOI>  [<ffffffff81d0010d>] ? list_lru_add+0xc1/0x124", "list_lru_add", False, Role.CALL),
        ("RIP: 0010:list_lru_add+0x5d/0x2a0", "list_lru_add", True, Role.REGS),
        (
            "RIP: 0010:[<ffffffff8213c531>]  [<ffffffff8213c531>] list_lru_add+0x5d/0x2a0",
            "list_lru_add",
            True,
            Role.REGS,
        ),
        ("pc : list_lru_add+0x7cc/0x30a4", "list_lru_add", True, Role.REGS),
        ("[<80132060>] (copy_process.part.3) from [<801334b4>] (_do_fork+0xcc/0x428)", "_do_fork", True, Role.CALL),
        (" list_lru_add mm/list_lru.c:42 [inline]", "list_lru_add", True, Role.CALL),
    ],
)
def test_frames(message: str, function: str, trusted: bool, role: Role) -> None:
    """Every architecture prints a frame in its own way."""
    found = frame(message)
    assert found is not None
    assert (found.function, found.trusted, found.role) == (function, trusted, role)


@pytest.mark.parametrize(
    "name",
    ["list_lru_add", "memcg_reparent_list_lrus", "mem_cgroup_css_offline", "shrink_slab_memcg", "lru_gen_look_around"],
)
def test_what_kpv_is_about_is_never_plumbing(name: str) -> None:
    """A report about reclaim is named after reclaim."""
    assert not is_plumbing(base(name + ".isra.0"))


@pytest.mark.parametrize(
    "line",
    [
        "[    1.2] INFO: lockdep is turned off.",
        "[   95.445015] INFO: NMI handler (perf_event_nmi_handler) took too long to run: 1.356 msecs",
        "[    0.000000] Linux version 6.12.48 (kpv@build)",
        "[    0.000000] Command line: console=ttyS0 panic_on_warn=1 oops=panic",
        "[    1.230552] Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on",
        "[  131.879441] XFS (vda): WARNING: Reset corrupted AGFL on AG 0. 1 blocks leaked.",
        "[   36.852785] traps: prog[3615] general protection fault ip:7feb96eb56a1 sp:20000fd0 error:0 in prog[7+84]",
        "[   40.000000] memcg_churn invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
        "[   40.000001] Memory cgroup out of memory: Killed process 1207 (memcg_churn) total-vm:1048576kB",
        "[   41.000000] ODEBUG: selftest passed",
        "[    0.210000] Testing tracer nop: PASSED",
        "[    2.000000] kunit: WARNING expected in this test",
    ],
)
def test_lines_that_only_look_like_trouble(line: str) -> None:
    """A healthy boot, an expected OOM kill and a program's own words are no findings."""
    assert scan(line.encode() + b"\n") == []


def test_a_programs_own_words_do_not_count() -> None:
    """Once the kernel stamps its lines, a line without a stamp is a program's."""
    stamped = b"[    5.000000] memcg_churn: pass 1\n"
    assert scan(stamped + b"WARNING: my own trouble\nBUG: not the kernel's\n") == []
    assert [x.title for x in scan(stamped + b"[    5.1] x\n[    5.200000] WARNING: the kernel's\n")] == [
        "WARNING: the kernel's"
    ]


def test_a_first_boot_is_no_reboot() -> None:
    """Firmware and boot loader may speak before the first kernel does."""
    boot = b"SeaBIOS (version 1.16.2)\nBooting the kernel.\n[    0.000000] Linux version 6.12.48\n"
    up = b"[   12.000000] memcg_churn: pass 1\n"
    assert scan(boot + up) == []
    assert [x.title for x in scan(boot + up + boot)] == ["unexpected kernel reboot"]


def test_a_reboot_after_a_panic_is_no_second_finding() -> None:
    """What brought the machine down has been reported."""
    panic = (GOLDEN / "panic" / "console.log").read_bytes()
    boot = b"Booting the kernel.\n[    0.000000] Linux version 6.12.48\n"
    assert len(scan(panic + boot)) == 1


def test_a_report_is_returned_as_soon_as_it_is_whole() -> None:
    """The runner learns that a report has begun, and gets it with its last line."""
    lines = (GOLDEN / "warning" / "console.log").read_bytes().splitlines(keepends=True)
    scanner = Scanner()
    seen: list[tuple[bool, int]] = []
    for line in lines:
        found = scanner.feed(line)
        seen.append((scanner.pending, len(found)))
    begin = next(n for n, line in enumerate(lines) if b"WARNING: " in line)
    end = next(n for n, line in enumerate(lines) if b"end trace" in line)
    assert seen[begin] == (True, 0)
    assert all(state == (True, 0) for state in seen[begin:end])
    assert seen[end] == (False, 1)
    assert scanner.close() == []


def test_panic_on_warn_does_not_make_a_second_finding() -> None:
    """The panic that a warning brings on belongs to the warning."""
    warning = (GOLDEN / "warning" / "console.log").read_bytes()
    panic = (GOLDEN / "panic-consequence" / "console.log").read_bytes()
    findings = scan(warning + panic)
    assert [x.rule for x in findings] == ["warning"]
    assert findings[0].panicked


@pytest.mark.parametrize(
    "data",
    [
        b"BUG: " * 200_000 + b"\n",
        b"[" * 1_000_000 + b"\n",
        b"\x1b[" * 300_000 + b"\nBUG: x\n",
        (b"[    1.000000] " * 60 + b"BUG: KASAN: x in y+0x1/0x2\n") * 1000,
        b"[    1.000000] BUG: KASAN: slab-out-of-bounds in f+0x1/0x2\n" + b"[    1.000000]  f+0x1/0x2\n" * 60_000,
        b"".join(b"[    1.000000][T%5d] BUG: KASAN: x in y+0x1/0x2\n" % n for n in range(3000)),
        b"0" * 3_000_000,
        b"\n" * 500_000,
    ],
    ids=["needles", "brackets", "escapes", "stamps", "frames", "tasks", "digits", "blank"],
)
def test_nothing_is_quadratic(data: bytes) -> None:
    """A console made to hurt takes seconds at most, and no exception."""
    scan(data)


def tallied(findings: list[Finding]) -> list[Finding]:
    """Return what is listed of findings."""
    tally = Tally()
    for finding in findings:
        tally.add(finding)
    return tally.listed(panicked=False, suppressed=False)


def test_a_few_findings_are_all_listed_whole() -> None:
    """What any usual console shows goes through the tally as it is."""
    findings = [x for log in LOGS for x in scan(log.read_bytes())]
    findings = [replace(x, start_line=n, panicked=False, suppressed=False) for n, x in enumerate(findings)]
    assert tallied(findings) == findings


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=300), st.integers(1, 4), st.integers(1, 30))
def test_nothing_goes_uncounted(seen: list[tuple[int, int]], titles: int, repeats: int) -> None:
    """However many findings come: each is listed or counted, and of each title the first is listed if there is room."""
    findings = [
        Finding(f"WARNING in f{title}", Kind.WARNING, f"rule{rule}", line, line + 1)
        for line, (title, rule) in enumerate(seen)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.findings.tally.TITLES", titles)
        tally = Tally(_repeats=repeats)
        for finding in findings:
            tally.add(finding)
    listed = tally.listed(panicked=False, suppressed=False)
    assert sum(1 + x.again for x in listed) == len(findings)
    assert [x.start_line for x in listed] == sorted({x.start_line for x in listed})
    known = set(list(dict.fromkeys(x.title for x in findings))[:titles])
    assert known <= {x.title for x in listed}
    assert {x.rule for x in findings if x.title not in known} <= {x.rule for x in listed}


def test_sightings_are_counted_by_title() -> None:
    """The last sighting that is listed says how many came after it."""
    often = b"[    1.000000] BUG: Bad rss-counter state mm:0 idx:0 val:1\n" * 1000
    once = b"[    2.000000] BUG: Dentry 0000000012345678{i=1,n=x}  still in use (1) [unmount of tmpfs tmpfs]\n"
    listed = scan(often + once)
    assert Counter(x.title for x in listed) == {
        "BUG: Bad rss-counter state": SIGHTINGS,
        "BUG: Dentry still in use in unmount": 1,
    }
    assert [x.again for x in listed] == [0] * (SIGHTINGS - 1) + [1000 - SIGHTINGS, 0]


def flood() -> Iterator[Finding]:
    """Give more findings than anybody reads: many titles, long reports, each title several times."""
    frames = tuple(Frame(f"function_{n}", offset=n, size=0x400) for n in range(100))
    for n in range(3 * TITLES):
        for line in (4 * n, 4 * n + 1, 4 * n + 2):
            yield Finding(
                f"WARNING in f{n}",
                Kind.WARNING,
                "warning",
                line,
                line + 1,
                report="x" * 20_000 + str(line),
                frames=frames,
            )


def test_a_flood_of_findings_takes_little_memory() -> None:
    """Tens of megabytes, whatever the console; 700 MB of reports go in here."""
    tracemalloc.start()
    tally = Tally()
    for finding in flood():
        tally.add(finding)
    listed = tally.listed(panicked=False, suppressed=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60 << 20
    assert TITLES < len(listed) <= TITLES + REPEATS + len(RULES)
    assert sum(1 + x.again for x in listed) == 3 * 3 * TITLES
    assert listed[0].report
    assert listed[0].frames


def test_pieces_of_a_console_list_the_same() -> None:
    """What is listed and what is only counted does not depend on how the console is cut."""
    console = b"".join(log.read_bytes() for log in LOGS) * 25
    assert any(x.again for x in scan(console))
    assert scan_blocks(console[n : n + 3001] for n in range(0, len(console), 3001)) == scan(console)


def test_a_long_line_is_cut() -> None:
    """What is beyond the limit of a line was never there, in one piece or in two."""
    line = b"[    1.000000] " + b"x" * LINE_LIMIT + b" BUG: KASAN: slab-out-of-bounds in f+0x1/0x2\n"
    assert scan(line) == []
    assert scanned(line, [LINE_LIMIT, LINE_LIMIT + 10]) == []


def test_a_line_is_taken_apart() -> None:
    """Level, stamp, caller and message; a prompt may stand before them."""
    line = parse(b"isob2 login: [  709.689951][ T1207] INFO: x", 7)
    assert (line.number, line.message, line.caller, line.stamped) == (7, "INFO: x", "T1207", True)
    assert parse(b"<6>[    1.000000] x", 0).message == "x"
    assert parse(b"<6>x", 0).message == "x"
    assert parse(b"x\0\x1b[31my\x1b]0;title\x07\x9b1m\xff", 0).message.isprintable()


def test_same_bug() -> None:
    """Two findings are one when a title of one is among those of the other."""
    kasan, kfence = (
        scan((GOLDEN / name / "console.log").read_bytes())[0] for name in ("kasan-use-after-free-write", "null-deref")
    )
    assert same_bug(kasan, kasan)
    assert not same_bug(kasan, kfence)


GOOD = {
    "title": "KASAN: .* in list_lru_add",
    "reason": "being fixed",
    "link": "https://example.org/1",
    "expires": "2027-01-31",
}
TODAY = date(2026, 11, 20)


def test_known_issues() -> None:
    """A row stands for the findings with its title, or that title among the alternative ones."""
    finding = scan((GOLDEN / "kasan-use-after-free-write" / "console.log").read_bytes())[0]
    issues = known_issues([{**GOOD, "title": "WARNING in foo"}, GOOD], today=TODAY, where="known.yaml")
    assert find(finding, issues) is issues[1]
    assert find(finding, issues[:1]) is None
    assert known_issues(None, today=TODAY, where="known.yaml") == ()
    assert known_issues([{**GOOD, "expires": TODAY}], today=TODAY, where="known.yaml")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**GOOD, "title": ".*"}, "matches whatever comes"),
        ({**GOOD, "title": "(KASAN|WARNING|BUG).*"}, "matches whatever comes"),
        ({**GOOD, "title": "("}, "is not a pattern"),
        ({**GOOD, "reason": " "}, "without reason"),
        ({key: GOOD[key] for key in ("title", "reason", "expires")}, "without link"),
        ({**GOOD, "expires": "2026-11-19"}, "expired"),
        ({**GOOD, "expires": "soon"}, "not a date"),
        ({**GOOD, "until": "2027-01-31"}, "unknown key"),
        ("KASAN", "is a mapping"),
    ],
)
def test_known_issues_refused(row: object, message: str) -> None:
    """The list is to shrink: what has expired, gives no reason or hides everything is an error that says where."""
    with pytest.raises(UserError, match=message) as raised:
        known_issues([row], today=TODAY, where="known.yaml")
    assert "known.yaml, row 1" in str(raised.value)


def test_known_issues_are_a_list() -> None:
    """Anything else is refused."""
    with pytest.raises(UserError, match="not a list"):
        known_issues({"title": "x"}, today=TODAY, where="known.yaml")


def test_cli_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a log, one a line in jsonl; the exit status says whether there are findings."""
    logs = [str(GOLDEN / name / "console.log") for name in ("warning", "panic")]
    assert console_cli.main(["parse-console", "--format", "jsonl", *logs]) == 1
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [x["file"] for x in objects] == logs
    assert objects[0]["findings"][0]["title"] == "WARNING in mem_cgroup_css_offline"
    assert set(expected(Path(logs[0]))) - {"source"} <= set(objects[0]["findings"][0])


def test_cli_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is known is shown and does not count; an expired row is a user error."""
    log = str(GOLDEN / "warning" / "console.log")
    known = tmp_path / "known.yaml"
    known.write_text("- {title: WARNING in mem_cgroup_.*, reason: r, link: l, expires: 2999-01-01}\n")
    assert console_cli.main(["parse-console", "--known", str(known), log]) == 0
    assert "known: r" in capsys.readouterr().out
    known.write_text("- {title: WARNING in mem_cgroup_.*, reason: r, link: l, expires: 1999-01-01}\n")
    assert console_cli.main(["parse-console", "--known", str(known), log]) == 2
    assert "expired" in capsys.readouterr().err


def test_cli_text_cannot_reach_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Text from a console is data: no escape sequence survives."""
    log = tmp_path / "x.log"
    log.write_bytes(b"[    1.000000] BUG: evil\x1b[2J\x1b]0;owned\x07 \xc2\x9b31m \xe2\x80\xae\n")
    assert console_cli.main(["parse-console", str(log)]) == 1
    assert "".join(capsys.readouterr().out.splitlines()).isprintable()


def test_cli_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is the user's mistake, told in one line."""
    assert console_cli.main(["parse-console", "/nowhere/x.log"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("seed", sorted(FUZZ.glob("*")), ids=lambda path: path.name[:12])
def test_what_the_fuzzer_found(seed: Path) -> None:
    """Every input that reached something new goes through without an exception, whole and in pieces."""
    data = seed.read_bytes()
    assert scanned(data, [len(data) // 3, len(data) // 2]) == scanned(data, [])
