"""Consoles of real kernels that kpv built and booted: what each detector said, and what healthy guests said.

The logs are byte for byte what the guest printed, cut to the report (tests/golden/record.py made them); titles and
types in expected.json were read off the logs by a person, so a log that the parser misreads is marked as such.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import catalog
from pipeline.findings import Finding, Scanner, scan
from pipeline.verdict.evidence import _leak_console

REAL = Path(__file__).parent / "golden" / "real"
EXPECTED: dict[str, Any] = json.loads((REAL / "expected.json").read_text())
LOGS: dict[str, dict[str, Any]] = EXPECTED["logs"]
HEALTHY = sorted((REAL / "healthy").glob("*.log"))
PROFILES = {name: row["profile"] for name, row in EXPECTED["kernels"].items()}


def findings(name: str) -> tuple[Finding, ...]:
    """Read a log as kpv does: a console by itself, kmemleak's file with a headline for each object."""
    data = (REAL / name).read_bytes()
    return tuple(scan(_leak_console(data.decode()).encode() if name.endswith(".kmemleak") else data))


def rows() -> list[Any]:
    """Return the logs; one that is read wrongly has to become right some day, and then says so."""
    return [
        pytest.param(name, marks=pytest.mark.xfail(reason=row["misread"], strict=True)) if "misread" in row else name
        for name, row in LOGS.items()
    ]


def test_every_log_has_its_record() -> None:
    """The folder and expected.json list the same logs."""
    assert {path.name for path in REAL.iterdir() if path.suffix in {".log", ".kmemleak"}} == set(LOGS)


@pytest.mark.parametrize("name", rows())
def test_the_first_finding_is_what_the_kernel_said(name: str) -> None:
    """Title, type and corrupted flag of a log's first report."""
    row = LOGS[name]
    first = next(iter(findings(name)), None)
    assert first is not None
    assert (first.title, first.kind.value, first.corrupted) == (row["title"], row["type"], row["corrupted"])


@pytest.mark.parametrize("name", [name for name, row in LOGS.items() if row["type"] == "HANG"])
@pytest.mark.parametrize("said", [b"sysrq: Show", b"sysrq: SysRq : Show", b"SysRq : Show"])
def test_stacks_that_were_asked_for_change_no_hang(name: str, said: bytes) -> None:
    """Read while it runs, closed by silence before the keys of sysrq, or read again as a whole: the same findings."""
    console = (REAL / "rcu-stall-asked.log").read_bytes().replace(b"sysrq: Show", said)
    stamp = console.rindex(b"\n", 0, console.index(said)) + 1
    report = (REAL / name).read_bytes().partition(b"sysrq: ")[0]
    report, asked = report[: report.rindex(b"\n") + 1], console[stamp:]
    scanner = Scanner()
    live = [*scanner.feed(report), *scanner.close(), *scanner.feed(asked), *scanner.close()]
    assert live
    assert scan(report + asked) == sorted(live, key=lambda finding: finding.start_line)


def test_every_detector_has_a_log() -> None:
    """Each detector that a profile arms has spoken at least once, on that profile's kernel."""
    armed = {
        f"{profile.name}/{detector.name}"
        for profile in catalog.load().profiles
        if profile.name in {"kasan", "kcsan"}
        for detector in profile.detectors
    }
    recorded = {f"{PROFILES[row['kernel']]}/{row['detector']}" for row in LOGS.values() if row["detector"]}
    assert recorded == armed


@pytest.mark.parametrize("log", HEALTHY, ids=[log.stem for log in HEALTHY])
def test_a_healthy_guest_has_no_finding(log: Path) -> None:
    """A boot and every guest program, on a kernel with nothing wrong."""
    data = log.read_bytes()
    assert b"kpv: end" in data
    assert scan(data) == []
