"""From raw records to evidence: detectors proved, consoles and KTAP read."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pipeline import ktap, ledger, pin
from pipeline.declare import Detector
from pipeline.findings import Finding, scan
from pipeline.run import Boot, Proof, Run
from pipeline.verdict.types import Start, Trial
from pipeline.window import windows

_DYING = ("cgroup.nr_dying_descendants", "cgroup.nr_dying_subsys_memory", "cgroups.memory")
"""Rows of the books that count memcgs which are dying; the host has seen what holds those."""


def prove(detectors: Iterable[Detector], console: Sequence[str], files: Mapping[str, str]) -> tuple[Proof, ...]:
    """Say of each detector whether this guest shows it alive.

    `console` is all of it, from power-on to the end of the run; `files` holds what the agent read in the
    guest after the run, by path, and lacks what could not be read.
    """
    return tuple(_prove(detector, console, files) for detector in detectors)


def _prove(detector: Detector, console: Sequence[str], files: Mapping[str, str]) -> Proof:
    evidence = []
    if detector.console:
        seen = _first(detector.console, console)
        if seen is None:
            return Proof(detector.name, alive=False, evidence=f"no line of the console matches {detector.console!r}")
        evidence.append(seen)
    if detector.file:
        if detector.file not in files:
            return Proof(detector.name, alive=False, evidence=f"{detector.file} could not be read in the guest")
        match = re.search(detector.expect, files[detector.file], re.MULTILINE)
        if match is None:
            return Proof(detector.name, alive=False, evidence=f"{detector.file} has nothing like {detector.expect!r}")
        evidence.append(f"{detector.file}: {match[0].strip() or 'readable'}")
    if detector.off and (gone := _first(detector.off, console)) is not None:
        return Proof(detector.name, alive=False, evidence=f"gave up: {gone}")
    return Proof(detector.name, alive=bool(evidence), evidence="; ".join(evidence))


def _first(pattern: str, console: Sequence[str]) -> str | None:
    return next((line.strip() for line in console if re.search(pattern, line)), None)


def read_boot(boot: Boot) -> Start:
    """Read the kernel's reports out of a boot's console."""
    return Start(boot, _reports("\n".join(boot.console)))


def read_run(run: Run) -> Trial:
    """Read the kernel's reports out of a run's console and kmemleak's files, and the program's results and books."""
    found = _reports("\n".join(run.console))
    if run.kmemleak is not None and run.kmemleak.count > 0:
        found += _reports(_leak_console(ledger.seen_twice(run.kmemleak.text, run.kmemleak.again)))
    books = ledger.parse(run.ktap)
    # A kernel that has leaked may well hang a program after its last book: all of them tell, however it ended.
    leaks = (*_pins(run), *ledger.leaks(books))
    leaks = tuple(_pinned(leak, run) for leak in leaks)
    return Trial(run, found, ktap.parse(ledger.without(run.ktap)), books, leaks, windows(run.ktap))


def _pins(run: Run) -> tuple[ledger.Leak, ...]:
    """Return the references that grew over a trial and that nobody known holds."""
    return tuple(
        ledger.Leak(pin.LEDGER, held.title, held.count, run.cycles or 0, "references", held.text)
        for held in pin.leaks(run.looks)
    )


def _pinned(leak: ledger.Leak, run: Run) -> ledger.Leak:
    """Say what holds the groups that are dying, where the host has seen it."""
    if not run.looks or not leak.ledger.startswith(_DYING):
        return leak
    return replace(leak, pin=pin.sentence(run.looks[-1]))


def _reports(console: str) -> tuple[Finding, ...]:
    return tuple(finding for finding in scan(console.encode("utf-8", "replace")) if not finding.suppressed)


def _leak_console(text: str) -> str:
    """Put the line that begins a report before each object of kmemleak's file (mm/kmemleak.c:print_unreferenced)."""
    return re.sub(r"^(?=unreferenced object )", "BUG: memory leak\n", text, flags=re.MULTILINE)
