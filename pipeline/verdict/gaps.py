"""What was asked for and is not in the evidence: each gap makes a verdict BROKEN, never PASS."""

from collections.abc import Iterable, Iterator

from pipeline import ledger, window
from pipeline.ktap import Status
from pipeline.run import Ended, Run
from pipeline.verdict.sightings import EXIT_BAD_ARGUMENTS, EXIT_SKIPPED
from pipeline.verdict.types import Asked, Evidence, Outcome, Reason, Trial, Why

_LOST = {
    Ended.LOST: (Why.LOST, "the guest was lost"),
    Ended.QEMU_DIED: (Why.LOST, "QEMU died"),
    Ended.TIMEOUT: (Why.TIMEOUT, "the time was over while the guest still moved"),
    Ended.FINDING: (Why.LOST, "ended early for a report that the rules do not find"),
}
"""Ends that say nothing about the kernel unless a report comes with them."""


SETUP = "setup"
"""The library's first test: whether a program could prepare what it needs."""

_NO_WORD = (Ended.LOST, Ended.QEMU_DIED, Ended.TIMEOUT)
"""Ends that are not the kernel's doing."""


def skipped(trial: Trial) -> bool:
    """Whether a program said that it had nothing to do here."""
    tests = trial.tests.tests
    return trial.run.ended is Ended.DONE and (
        bool(trial.tests.skipped)
        or trial.run.exit_status == EXIT_SKIPPED
        or (bool(tests) and all(test.status is Status.SKIP for test in tests))
    )


def counts(trial: Trial, asked: Asked) -> bool:
    """Whether a trial is evidence: it came to its end, was not skipped, and has no gap."""
    return trial.run.ended is Ended.DONE and not skipped(trial) and not any(of_trial(trial, asked, explained=False))


def _gap(why: Why, text: str, run: Run | None = None, program: str = "", cut: int | None = None) -> Reason:
    if run is None:
        return Reason(why, Outcome.BROKEN, title=text, text=text, program=program, cut=cut)
    kernel = "base" if run.cut == 0 else "patched"
    return Reason(
        why,
        Outcome.BROKEN,
        title=text,
        text=f"{kernel}, {run.program}, seed {run.seed}: {text}",
        cut=run.cut,
        program=run.program,
        seed=run.seed,
        log=run.log,
    )


def of_trial(trial: Trial, asked: Asked, *, explained: bool) -> Iterator[Reason]:
    """Yield what is missing in one trial; `explained`: its reports account for a guest that was lost."""
    run = trial.run
    if run.ended in _LOST:
        # We ended it for its report ourselves, so any report will do there.
        if not (trial.findings and (explained or run.ended is Ended.FINDING)):
            why, text = _LOST[run.ended]
            yield _gap(why, f"{text}: {run.detail}" if run.detail else text, run)
        return
    if run.ended is not Ended.DONE:
        return
    yield from _silent_detectors(run, asked)
    yield from _unsaid(trial)
    if not skipped(trial):
        yield from _unread_books(trial, asked)
        yield from _missed_windows(trial)
    yield from _unread_kmemleak(run)


def _silent_detectors(run: Run, asked: Asked) -> Iterator[Reason]:
    proofs = {proof.detector: proof for proof in run.proofs}
    for name in asked.detectors:
        if name not in proofs:
            yield _gap(Why.DETECTOR, f"detector {name} was not looked for", run)
        elif not proofs[name].alive:
            yield _gap(Why.DETECTOR, f"detector {name} is not alive: {proofs[name].evidence}", run)


def _unsaid(trial: Trial) -> Iterator[Reason]:
    if trial.run.exit_status is None:
        yield _gap(Why.KTAP, "the program was not seen to end", trial.run)
    elif trial.run.exit_status == EXIT_BAD_ARGUMENTS:
        yield _gap(Why.KTAP, "the program did not take its arguments", trial.run)
    for problem in trial.tests.problems:
        yield _gap(Why.KTAP, problem, trial.run)
    if not trial.tests.tests and not trial.tests.skipped and not trial.tests.problems:
        yield _gap(Why.KTAP, "not one test", trial.run)


def _unread_books(trial: Trial, asked: Asked) -> Iterator[Reason]:
    """Yield what is wrong with the books; a program whose setup failed had no round to keep books of."""
    failed = any(test.name == SETUP and test.status is Status.NOT_OK for test in trial.tests.tests)
    if trial.run.program not in asked.books or failed:
        return
    for problem in trial.books.problems:
        yield _gap(Why.LEDGER, f"the books cannot be read: {problem}", trial.run)
    for name in ledger.absent(trial.books):
        yield _gap(Why.LEDGER, f"the books cannot be read: no row of {name}", trial.run)
    strange = ledger.unknown(trial.books)
    if strange:
        yield _gap(Why.LEDGER, f"no ledger knows the row {strange[0]} of the books", trial.run)


def _missed_windows(trial: Trial) -> Iterator[Reason]:
    """Yield each window whose sides never met: such a trial has shown nothing of what it is there for."""
    missed = [x for x in trial.windows if not x.overlap]
    for x in missed:
        yield _gap(Why.WINDOW, f"{x.sides[0]} never met {x.sides[1]} (window {x.name})", trial.run)
    said = any(test.name == window.REACHED and test.status is not Status.OK for test in trial.tests.tests)
    # A program whose setup failed skips that test, and its failing test says more.
    if said and not missed and not any(test.status is Status.NOT_OK for test in trial.tests.tests):
        yield _gap(Why.WINDOW, "a window was never reached", trial.run)


def _unread_kmemleak(run: Run) -> Iterator[Reason]:
    if run.kmemleak is not None and run.kmemleak.count < 0:
        yield _gap(Why.LEDGER, f"kmemleak could not be read: {run.kmemleak.text.strip()}", run)


def _unscanned(asked: Asked, kernel: str, trials: tuple[Trial, ...]) -> Iterator[Reason]:
    """Yield a gap when kmemleak was to scan a guest that came to its end and nobody asked it."""
    ended = trials and all(trial.run.ended is Ended.DONE for trial in trials)
    if asked.kmemleak and ended and all(trial.run.kmemleak is None for trial in trials):
        yield _gap(Why.LEDGER, f"kmemleak was not asked to scan on the {kernel} kernel")


def of_base(asked: Asked, base: Evidence) -> Iterator[Reason]:
    """Yield why the base is nothing to compare with, or less than it should be."""
    if not any(start.boot.ended is Ended.DONE for start in base.starts):
        last = base.starts[-1].boot if base.starts else None
        how = f"the base does not boot: {last.ended.value}; {last.detail}" if last else "the base was not booted"
        yield _gap(Why.NO_BASE, how.removesuffix("; "), cut=0)
        return
    broke_down = any(trial.run.ended is not Ended.DONE and trial.run.ended not in _NO_WORD for trial in base.trials)
    for program in asked.programs:
        trials = base.of(program)
        if not trials:
            yield _gap(Why.NO_BASE, f"{program} was not run on the base", program=program, cut=0)
        elif all(trial.run.ended in _LOST and not trial.findings for trial in trials):
            text = f"no trial of {program} on the base came to an end that says anything"
            yield _gap(Why.NO_BASE, text, program=program, cut=0)
        for trial in trials:
            # A base that breaks down cannot prove its detectors, and may be what the series repairs.
            found = of_trial(trial, asked, explained=True)
            yield from (gap for gap in found if not (broke_down and gap.why is Why.DETECTOR))
    yield from _unscanned(asked, "base", base.trials)


def of_patched(asked: Asked, base: Evidence, patched: Evidence, *, failed: bool) -> Iterator[Reason]:
    """Yield what is missing on the patched kernel; `failed`: something speaks against it, so a short run is no gap."""
    starts = patched.starts
    booted = any(start.boot.ended is Ended.DONE for start in starts)
    if starts and not booted and starts[-1].boot.ended in _LOST and not starts[-1].findings:
        why, text = _LOST[starts[-1].boot.ended]
        yield _gap(why, f"patched kernel, boot: {text}; {starts[-1].boot.detail}".removesuffix("; "))
    for program in asked.programs:
        trials = patched.of(program)
        for trial in trials:
            # A guest that broke down cannot prove its detectors any more, and need not: one has spoken.
            found = of_trial(trial, asked, explained=failed)
            yield from (gap for gap in found if not (failed and gap.why is Why.DETECTOR))
        if len(trials) < asked.trials and not failed:
            text = f"{program}: {len(trials)} of {asked.trials} trials were run on the patched kernel"
            yield _gap(Why.NOT_RUN, text, program=program)
        elif trials and all(trial.run.ended is not Ended.DONE for trial in trials) and not failed:
            text = f"no trial of {program} came to its end on the patched kernel"
            yield _gap(Why.NOT_RUN, text, program=program)
        yield from _skips(program, base.of(program), trials)
    yield from _unscanned(asked, "patched", patched.trials)
    yield from _unseen(patched.trials)


def _unseen(trials: Iterable[Trial]) -> Iterator[Reason]:
    """Remark that the host could not look into the guest's memory, so that no leak's holder is named."""
    whys = dict.fromkeys(look.unread for trial in trials for look in trial.run.looks if look.unread)
    for why in whys:
        text = f"what holds a lost memcg cannot be named: {why}"
        yield Reason(Why.LEDGER, Outcome.SKIP, title=text, text=text)


def _skips(program: str, base: tuple[Trial, ...], patched: tuple[Trial, ...]) -> Iterator[Reason]:
    """Yield a test that ran on the base and not here; and, as a remark, a program that skips on both."""
    ran = {path for trial in base for path, test in trial.tests.flat() if test.status is Status.OK}
    whole = [trial for trial in patched if skipped(trial)]
    if whole and not ran:
        why = whole[0].tests.skipped or "nothing to do here"
        text = f"{program} is skipped: {why}"
        yield Reason(Why.SKIPPED, Outcome.SKIP, title=text, text=text, program=program)
        return
    if whole:
        yield _gap(Why.SKIPPED, f"{program} ran on the base and is skipped on the patched kernel", program=program)
    told = set()
    for trial in patched:
        for path, test in trial.tests.flat():
            if test.status is Status.SKIP and path in ran and path not in told and path != window.REACHED:
                told.add(path)
                text = f"{program}: {path} ran on the base and is skipped on the patched kernel"
                yield _gap(Why.SKIPPED, text, program=program)
