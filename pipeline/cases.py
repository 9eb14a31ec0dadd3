"""The library of cases run on real kernels: what each comes to, held against what it has to come to.

A case is an ordinary job; the kernels, the guests and what the base showed are shared through the store.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline import account, catalog, results, tree
from pipeline.catalog import Catalog
from pipeline.declare import Case, pick
from pipeline.machine import Accel
from pipeline.progress import Progress
from pipeline.results import Results
from pipeline.store import Store
from pipeline.validate import Job, Request
from pipeline.verdict.expectation import Held, held


def chosen(known: Sequence[Case], names: Sequence[str]) -> tuple[Case, ...]:
    """Return the cases called `names`, by folder too (``patches/x/``); all when none is named.  Raises UserError."""
    return tuple(pick("case", Path(name).name, known) for name in names) or tuple(known)


def request(case: Case, folder: Path, known: Catalog, *, jobs: int, accel: Accel | None, fresh: bool) -> Request:
    """Return the job that a case stands for; its series is in `folder`."""
    profile = pick("profile", case.profile, known.profiles)
    series = folder / case.name
    programs = tuple(pick("program", name, known.programs) for name in case.programs)
    words = ["validate", "--kernel", case.kernel, "--profile", case.profile, "--machine", case.machine]
    words += [word for name in case.programs for word in ("--program", name)]
    words += ["--trials", str(case.trials), *(("--budget", str(case.budget)) if case.budget else ())]
    return Request(
        kernel=case.kernel,
        base=None,
        series=tree.load_series(series),
        profile=profile,
        kconfig=catalog.configuration(profile, (), ()),
        machine=pick("machine", case.machine, known.machines),
        programs=programs,
        trials=case.trials,
        seed=1,
        budget=case.budget or None,
        jobs=jobs,
        accel=accel,
        fresh=fresh,
        again=tuple(words),
    )


def run(case: Case, asked: Request, store: Store, out: Path, progress: Progress) -> tuple[Held, Results]:
    """Take one case to its verdict, written below `out` as any other run's.  Raises UserError."""
    folder = results.begin(out, case.name)
    job = Job(asked)
    account.carry_out(job, store, folder, progress)
    return held(case, job.verdict, job.base, job.patched), folder


def table(rows: Sequence[Held]) -> Iterator[str]:
    """Yield the lines of a Markdown table: expected against seen, and the seconds of guest time to detection."""
    yield "| case | due | seen | shown | seconds to detection: median, slowest | title |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in rows:
        due = "FAIL" if row.case.expect.fails else "PASS"
        shown = f"{len(row.shown)} of {len(row.detections)}" if row.case.expect.fails else ""
        times = f"{row.shown[len(row.shown) // 2]:.1f}, {row.shown[-1]:.1f}" if row.shown else ""
        told = row.unmet or row.title
        yield f"| {row.case.name} | {due} | {row.outcome.value} | {shown} | {times} | {told.replace('|', '/')} |"
