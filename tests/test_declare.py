"""Declarations: the house's own files, and every way a file can be wrong."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import declare
from pipeline.errors import UserError

HOUSE = Path(__file__).parent.parent

PROFILE = """\
kasan:
  description: memory errors
  fragments: [base, kasan]
  slowdown: 2.5
  objects: 1500
  cmdline: [kasan_multi_shot, a=off]
  detectors:
    - {name: kasan, console: 'KernelAddressSanitizer initialized'}
    - {name: lockdep, file: /proc/lockdep_stats, expect: '^ debug_locks: +1$', off: turning off}
"""
PROGRAM = """\
programs:
  - name: memcg_churn
    source: memcg_churn.c
    description: churn
    budget: 30
    threads: 4
    needs: [/sys/fs/cgroup/memory.reclaim]
"""
MACHINE = """\
2node:
  description: two
  nodes:
    - {memory_mb: 768, cpus: 1}
    - {memory_mb: 768, cpus: 1}
  distances:
    - [10, 20]
    - [30, 10]
"""
CASE = """\
title: the iterator keeps a memcg without a reference
kernel: debian:6.12
discussion: memcg, remove memcg from the reclaim iterators (2013)
programs: [memcg_churn]
expect:
  outcome: FAIL
  title: use-after-free .* in mem_cgroup_iter
  patch: 2
"""


CANARIES = """
kasan:
  by: fault
  title: '^KASAN: '
  seconds: 5
hung:
  by: fault
  title: '^INFO: task hung'
  seconds: 12
  files:
    - [/proc/sys/kernel/hung_task_timeout_secs, 3]
"""


def case(text: str) -> declare.Case:
    """Read a case called x."""
    return declare.case(text, "x.yaml", "x")


def read(kind: str, text: str) -> Any:
    """Read a document of one kind as x.yaml."""
    readers: dict[str, Any] = {
        "profile": declare.profiles,
        "program": declare.programs,
        "machine": declare.machines,
        "canary": declare.canaries,
    }
    return case(text) if kind == "case" else readers[kind](text, "x.yaml")


DOCUMENTS = {"profile": PROFILE, "program": PROGRAM, "machine": MACHINE, "case": CASE, "canary": CANARIES}


def test_what_is_written_is_what_comes_out() -> None:
    """Each kind, whole."""
    (profile,) = declare.profiles(PROFILE, "x.yaml")
    assert (profile.name, profile.fragments, profile.slowdown, profile.objects) == (
        "kasan",
        ("base", "kasan"),
        2.5,
        1500,
    )
    assert profile.cmdline == ("kasan_multi_shot", "a=off")
    assert profile.detectors == (
        declare.Detector("kasan", "KernelAddressSanitizer initialized", "", "", ""),
        declare.Detector("lockdep", "", "/proc/lockdep_stats", "^ debug_locks: +1$", "turning off"),
    )
    (program,) = declare.programs(PROGRAM, "x.yaml")
    assert (program.budget, program.threads, program.needs) == (30, 4, ("/sys/fs/cgroup/memory.reclaim",))
    assert program.suite == ""
    (other,) = declare.programs(f"{PROGRAM}    suite: mm/hmm\n", "x.yaml")
    assert other.suite == "mm/hmm"
    (machine,) = declare.machines(MACHINE, "x.yaml")
    assert (machine.cpus, machine.memory_mb, machine.distances) == (2, 1536, ((10, 20), (30, 10)))
    assert case(CASE).expect == declare.Expected(
        fails=True, title="use-after-free .* in mem_cgroup_iter", function="", patch=2
    )
    assert (case(CASE).profile, case(CASE).machine, case(CASE).trials, case(CASE).budget) == ("kasan", "2node", 1, 0)


def test_the_files_of_the_house_are_read() -> None:
    """Whoever edits one of them sees here that it is still right."""
    machines = declare.machines((HOUSE / "pipeline/machines.yaml").read_text(), "machines.yaml")
    assert [x.name for x in machines] == ["2node", "4node", "memoryless"]
    canaries = declare.canaries((HOUSE / "guest_tests/canary/canaries.yaml").read_text(), "canaries.yaml")
    profiles = declare.profiles((HOUSE / "kconfigs/profiles.yaml").read_text(), "profiles.yaml", canaries)
    assert {"kasan", "kcsan", "plain"} <= {x.name for x in profiles}
    programs = declare.programs((HOUSE / "guest_tests/programs.yaml").read_text(), "programs.yaml")
    assert all((HOUSE / "guest_tests" / x.source).is_file() for x in programs)
    for path in (HOUSE / "patches").glob("*/case.yaml"):
        found = declare.case(path.read_text(), str(path), path.parent.name)
        assert set(found.programs) <= {x.name for x in programs}


@pytest.mark.parametrize("written", ["off", "6.10", "1:30", "0x10", "1e3", "~", "null", "2001-01-01", "010", "yes"])
def test_nothing_is_coerced(written: str) -> None:
    """What YAML 1.1 would turn into a boolean, a float, a base-60 number, a date or nothing stays text."""
    assert case(CASE.replace("debian:6.12", written)).kernel == written
    assert declare.profiles(PROFILE.replace("a=off", written), "x.yaml")[0].cmdline[1] == written


@pytest.mark.parametrize(
    "written", ["off", "1:30", "0x10", "1e3", "~", "1_000", "", "[1]", "+1", "1.5", "\u0661", "9" * 50]
)
def test_a_number_is_written_as_one(written: str) -> None:
    """No base 60, no hexadecimal, no underscore, no digits of other scripts."""
    with pytest.raises(UserError, match=r"^x\.yaml:5:1[23]: "):
        declare.programs(PROGRAM.replace("budget: 30", f"budget: {written}"), "x.yaml")


@pytest.mark.parametrize(
    ("kind", "old", "new", "said"),
    [
        (
            "profile",
            "  objects: 1500",
            "  slowdown: 3",
            "x.yaml:5:3: key slowdown stands twice; the first is on line 4",
        ),
        ("profile", "  objects", "  object", "x.yaml:5:3: unknown key object; did you mean objects? known: canaries,"),
        ("profile", "  objects: 1500\n", "", "x.yaml:2:3: key objects is missing"),
        ("profile", "[base, kasan]", "base", "x.yaml:3:14: expected a list, found 'base'"),
        ("profile", "[base, kasan]", "", "x.yaml:3:13: expected a list, found nothing"),
        ("profile", "[base, kasan]", "[base, {a: b}]", "x.yaml:3:21: expected text, found a mapping"),
        ("profile", "2.5", "0.5", "x.yaml:4:13: 0.5 is below 1"),
        ("profile", "2.5", "fast", "x.yaml:4:13: expected a number, found 'fast'"),
        ("profile", "2.5", "nan", "x.yaml:4:13: expected a number"),
        ("profile", "kasan:", "KASAN:", "x.yaml:1:1: expected a name like kasan-2"),
        ("profile", "a=off", '"a b"', "expected text without white space"),
        ("profile", "memory errors", '"a\\nb"', "expected one line of text"),
        ("profile", "'KernelAddressSanitizer initialized'", "'('", "x.yaml:8:30: '(' is no regular expression"),
        ("profile", "'KernelAddressSanitizer initialized'", "'.*'", "matches an empty line, so it proves nothing"),
        (
            "profile",
            ", console: 'KernelAddressSanitizer initialized'",
            "",
            "x.yaml:8:7: a detector is seen in console or file",
        ),
        ("profile", ", expect: '^ debug_locks: +1$'", "", "x.yaml:9:7: file and expect go together"),
        ("profile", "/proc/lockdep_stats", "proc/x", "x.yaml:9:29: expected an absolute path"),
        ("profile", "name: lockdep", "name: kasan", "detector kasan stands twice"),
        ("program", "memcg_churn.c", "../x.c", "x.yaml:3:13: expected a C file beside this one"),
        ("program", "    needs:", "    suite: ../mm\n    needs:", "x.yaml:7:12: expected a folder below tools/testing"),
        ("program", "    needs:", "    suite: /mm\n    needs:", "x.yaml:7:12: expected a folder below tools/testing"),
        ("program", "budget: 30", "budget: 0", "x.yaml:5:13: 0 is not between 1 and 86400"),
        ("program", "programs:", "program:", "x.yaml:1:1: unknown key program; did you mean programs?"),
        ("program", "name: memcg_churn", "name: memcg-churn", "expected a name like memcg_churn"),
        ("machine", "[30, 10]", "[30, 12]", "x.yaml:2:3: machine 2node: distance of node 1 to itself is 12"),
        ("machine", "768, cpus: 1}", "768, cpu: 1}", "x.yaml:4:24: unknown key cpu; did you mean cpus?"),
        ("machine", "{memory_mb: 768, cpus: 1}", "768", "x.yaml:4:7: expected a mapping, found '768'"),
        ("case", "outcome: FAIL", "outcome: fail", "x.yaml:6:12: expected PASS or FAIL, found 'fail'"),
        ("case", "outcome: FAIL", "outcome: PASS", "a case that must PASS has no title and names no patch"),
        ("case", "  title: use-after-free .* in mem_cgroup_iter\n", "", "says with which title"),
        ("case", "[memcg_churn]", "[]", "x.yaml:4:11: a case without a program shows nothing"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(kind: str, old: str, new: str, said: str) -> None:
    """One line: file, line, column, what is wrong."""
    assert DOCUMENTS[kind].count(old) >= 1
    with pytest.raises(UserError) as error:
        read(kind, DOCUMENTS[kind].replace(old, new, 1))
    assert said in str(error.value)
    assert str(error.value).startswith("x.yaml:")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "x.yaml: nothing is declared in it"),
        ("# only a remark\n", "x.yaml: nothing is declared in it"),
        ("a: [1\n", "x.yaml:2:1: not YAML"),
        ("a: b: c\n", "x.yaml:1:5: not YAML"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2:1: not YAML"),
        ("\ta: 1\n", "x.yaml:1:1: not YAML"),
        ("a: \x01\n", "x.yaml: not YAML"),
        ("- a\n", "x.yaml:1:1: expected a mapping, found a list"),
        ("a: &x [*x]\n", "x.yaml:1:4: anchor or alias x is not allowed here"),
        ("a: !!python/object/apply:os.system [id]\n", "is not allowed here"),
        ("[" * 5000, "x.yaml:1:9: nested too deeply"),
        ("? [a, b]\n: c\n", "x.yaml:1:3: expected text, found a list"),
    ],
)
def test_what_is_no_declaration_at_all(text: str, said: str) -> None:
    """Broken YAML, aliases and tags: one line each, and nothing is built from them."""
    with pytest.raises(UserError) as error:
        declare.profiles(text, "x.yaml")
    assert said in str(error.value)


def test_a_wrong_name_gets_the_nearest() -> None:
    """As it is typed on the command line."""
    canaries = declare.canaries((HOUSE / "guest_tests/canary/canaries.yaml").read_text(), "canaries.yaml")
    rows = declare.profiles((HOUSE / "kconfigs/profiles.yaml").read_text(), "profiles.yaml", canaries)
    assert declare.pick("profile", "kasan", rows).name == "kasan"
    with pytest.raises(UserError, match=r"^unknown profile kasn; did you mean kasan\? known: "):
        declare.pick("profile", "kasn", rows)
    with pytest.raises(UserError, match=r"^unknown machine zzz; known: none$"):
        declare.pick("machine", "zzz", ())


PLANTED = """
toy:
  description: a toy
  fragments: [base]
  slowdown: 1
  objects: 9
  cmdline: []
  detectors:
    - name: kasan
      console: initialized
      canary: kasan
  canaries: [hung, kasan]
"""


def test_canaries_are_read_and_stand_in_a_profile_in_its_order() -> None:
    """A value that is written is text, whatever it looks like."""
    rows = declare.canaries(CANARIES, "canaries.yaml")
    assert rows[1] == declare.Canary(
        "hung", declare.By.FAULT, "^INFO: task hung", 12, (("/proc/sys/kernel/hung_task_timeout_secs", "3"),)
    )
    (profile,) = declare.profiles(PLANTED, "profiles.yaml", rows)
    assert profile.canaries == (rows[1], rows[0])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[hung, kasan]", "[hung, kasn]", "did you mean kasan"),
        ("[hung, kasan]", "[hung]", "detector kasan is shown at work by no canary of the profile"),
        ("      canary: kasan\n", "", "detector kasan is shown at work by no canary of the profile"),
        ("  canaries: [hung, kasan]\n", "", "detector kasan is shown at work by no canary of the profile"),
        ("[hung, kasan]", "[kasan, kasan]", "canary kasan stands twice"),
    ],
)
def test_a_detector_without_a_canary_is_refused(old: str, new: str, said: str) -> None:
    """Or nobody would ever see that one at work."""
    assert old in PLANTED
    with pytest.raises(UserError, match=said):
        declare.profiles(PLANTED.replace(old, new), "profiles.yaml", declare.canaries(CANARIES, "canaries.yaml"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("by: fault", "by: magic", "expected fault, scan or program, found 'magic'"),
        ("'^KASAN: '", "'.*'", "matches an empty line"),
        ("[/proc/sys/kernel/hung_task_timeout_secs, 3]", "[hung, 3]", "an absolute path"),
        ("[/proc/sys/kernel/hung_task_timeout_secs, 3]", "[/proc/x]", "an absolute path"),
        ("seconds: 5", "seconds: 0", "0 is not between 1 and 3600"),
    ],
)
def test_a_wrong_canary_is_refused(old: str, new: str, said: str) -> None:
    """With what would have been right."""
    assert old in CANARIES
    with pytest.raises(UserError, match=said):
        declare.canaries(CANARIES.replace(old, new, 1), "canaries.yaml")


@settings(deadline=None)  # a busy machine is no failure
@given(st.sampled_from(sorted(DOCUMENTS)), st.integers(0, 400), st.text(max_size=6))
def test_a_damaged_file_is_read_or_refused(kind: str, at: int, junk: str) -> None:
    """Nothing but UserError comes out, and its line is one line."""
    text = DOCUMENTS[kind]
    try:
        read(kind, text[:at] + junk + text[at + 1 :])
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017  not raising is as good
