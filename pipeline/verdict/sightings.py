"""What speaks against a kernel in its evidence: reports, failing tests, leaks and bad ends."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from pipeline import ledger, pin
from pipeline.findings.types import Finding, Kind, same_bug
from pipeline.ktap import Status, TestResult
from pipeline.run import Boot, Ended, Run
from pipeline.verdict.types import Blame, Evidence, Outcome, Reason, Start, Trial, Why

_KERNELS_END = {Ended.PANIC: Why.PANIC, Ended.HANG: Why.HANG, Ended.TRIPLE_FAULT: Why.TRIPLE_FAULT}
"""Ends that the kernel itself brought about; the others take the guest from us."""

EXIT_OK, EXIT_FAILED, EXIT_BAD_ARGUMENTS, EXIT_SKIPPED = 0, 1, 2, 4
"""Exit statuses of a guest program; the last is kselftest's KSFT_SKIP."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """Something bad that was seen; `finding` when the kernel reported it."""

    reason: Reason
    finding: Finding | None = None

    def same(self, other: "Sighting") -> bool:
        """Whether two sightings are of one thing."""
        if self.finding is not None and other.finding is not None:
            return same_bug(self.finding, other.finding)
        if self.finding is not None or other.finding is not None:
            return False
        mine, its = self.reason, other.reason
        return (mine.why, mine.title, mine.program) == (its.why, its.title, its.program)

    def because(self, excuse: str) -> "Sighting":
        """Return the sighting with why it is not counted, when there is a why."""
        text = f"{self.reason.text}; known issue: {excuse}"
        return replace(self, reason=replace(self.reason, text=text)) if excuse else self

    def told(self, blame: Blame | None) -> Reason:
        """Return the reason, with what ties it to the series, or that nothing does."""
        if blame is None:
            far = "; no frame of it is near the series" if self.finding is not None else ""
            return replace(self.reason, text=f"{self.reason.text}{far}")
        text = f"{self.reason.text}; {blame.text}"
        return replace(self.reason, text=text, patch=blame.patch, patch_number=blame.number, blame=blame.text)


@dataclass(frozen=True, slots=True)
class Source:
    """One boot or trial: what it shows, and the end the kernel gave it if it was a bad one."""

    things: tuple[Sighting, ...]
    end: Sighting | None


def sources(evidence: Evidence) -> Iterator[Source]:
    """Yield what every boot and every trial of one kernel shows."""
    for start in evidence.starts:
        yield Source(_distinct(_finding(x, start.boot) for x in start.findings), _end(start))
    for trial in evidence.trials:
        things = (
            *(_finding(x, trial.run) for x in trial.findings),
            # A leak says what it is, and the test that fails for it only that something is wrong.
            *_leaks(trial),
            *_failing_tests(trial),
        )
        yield Source(_distinct(things), _end(trial))


def _distinct(things: Iterable[Sighting]) -> tuple[Sighting, ...]:
    """Return each thing once, however often one trial shows it."""
    kept: list[Sighting] = []
    for thing in things:
        if not any(thing.same(x) for x in kept):
            kept.append(thing)
    return tuple(kept)


def everything(evidence: Evidence) -> tuple[Sighting, ...]:
    """Return all that one kernel shows, ends too."""
    return tuple(x for source in sources(evidence) for x in (*source.things, source.end) if x is not None)


def add(to: list[Sighting], new: Sighting) -> None:
    """Add a sighting to a list, or count it with the same one that is there."""
    for i, old in enumerate(to):
        if old.same(new):
            to[i] = replace(old, reason=replace(old.reason, times=old.reason.times + 1))
            return
    to.append(new)


def folded(things: Iterable[Sighting]) -> list[Sighting]:
    """Return what was seen with the leaks of a program as one: a lost memcg shows in dozens of counters.

    The one that is told is the first by the table of ledgers; the others stand in its report.
    """
    seen = list(things)
    kept: list[Sighting] = []
    for thing in seen:
        of_program = [x for x in seen if x.reason.leak is not None and x.reason.program == thing.reason.program]
        if thing.reason.leak is None:
            kept.append(thing)
        elif thing is of_program[0]:
            first, *others = sorted(of_program, key=lambda x: _rank(x.reason.leak))
            told = [str(x.reason.leak) for x in others]
            report = "\n".join(("with it:", *told)) if told else ""
            kept.append(replace(first, reason=replace(first.reason, report=report)))
    return kept


def _rank(leak: ledger.Leak | None) -> tuple[bool, int]:
    """Order leaks: what holds a lost memcg says more than all that it takes with it."""
    return leak is None or leak.ledger != pin.LEDGER, ledger.rank(leak)


def _reason(record: Boot | Run, why: Why, title: str, text: str) -> Reason:
    reason = Reason(why, Outcome.FAIL, title=title, text=text, cut=record.cut)
    if isinstance(record, Run):
        return replace(reason, program=record.program, seed=record.seed, log=record.log)
    return reason


def _finding(finding: Finding, record: Boot | Run) -> Sighting:
    why = Why.LEAK if finding.kind is Kind.LEAK else Why.FINDING
    text = f"{finding.title} (the report is cut short or mixed up)" if finding.corrupted else finding.title
    # kmemleak's file is no part of the console, so its lines have no number there.
    offset = None if why is Why.LEAK else finding.start_line + (record.first_line if isinstance(record, Run) else 0)
    reason = replace(
        _reason(record, why, finding.title, text),
        function=finding.frame or "",
        file=finding.guilty_file or "",
        report=finding.report,
        line=offset,
    )
    return Sighting(reason, finding)


def _failing_tests(trial: Trial) -> Iterator[Sighting]:
    failed = [(path, test) for path, test in trial.tests.flat() if test.status is Status.NOT_OK]
    for path, test in failed:
        # A parent fails with its subtest; the subtest says more.
        if any(sub.status is Status.NOT_OK for sub in test.subtests):
            continue
        reason = _reason(trial.run, Why.TEST, path, f"{trial.run.program}: {path} is not ok{_because(test)}")
        yield Sighting(replace(reason, report="\n".join(test.diagnostics)))
    status = trial.run.exit_status
    excused = (EXIT_OK, EXIT_BAD_ARGUMENTS, EXIT_SKIPPED, *((EXIT_FAILED,) if failed else ()))
    if trial.run.ended is Ended.DONE and status is not None and status not in excused:
        how = f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
        yield Sighting(_reason(trial.run, Why.TEST, f"exit status {status}", f"{trial.run.program} {how}"))


def _because(test: TestResult) -> str:
    said = test.note or (test.diagnostics[-1] if test.diagnostics else "")
    return f": {said}" if said else ""


def _leaks(trial: Trial) -> Iterator[Sighting]:
    for leak in trial.leaks:
        yield Sighting(replace(_reason(trial.run, Why.LEAK, f"leak: {leak.title}", f"leak: {leak}"), leak=leak))
    scan = trial.run.kmemleak
    text = ledger.seen_twice(scan.text, scan.again) if scan is not None and scan.count > 0 else ""
    if text and not any(x.kind is Kind.LEAK for x in trial.findings):
        title = "kmemleak: unreferenced objects"
        yield Sighting(replace(_reason(trial.run, Why.LEAK, title, f"{title} after {trial.run.program}"), report=text))


def _end(source: Start | Trial) -> Sighting | None:
    record = source.boot if isinstance(source, Start) else source.run
    why = _KERNELS_END.get(record.ended)
    if why is None:
        return None
    during = f"in {record.program}" if isinstance(record, Run) else "during boot"
    title = f"{why.value} {during}"
    return Sighting(_reason(record, why, title, f"{title}: {record.detail}" if record.detail else title))
