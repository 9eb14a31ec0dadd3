"""A job told to others: its Summary, and the files of its results folder."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline import __version__
from pipeline.errors import UserError
from pipeline.progress import Progress
from pipeline.report import html, json, junit
from pipeline.report.summary import Row, Stage, Summary
from pipeline.results import Results
from pipeline.store import Store
from pipeline.validate import Job, run_job

RENDERERS = (("verdict.json", json.render), ("junit.xml", junit.render), ("report.html", html.render))
"""File and what writes it: one row a format."""


@dataclass(frozen=True, slots=True)
class Clock:
    """When the job was begun: ISO 8601 in UTC, and how many seconds it took."""

    started: str
    seconds: float


def carry_out(
    job: Job, store: Store, results: Results, progress: Progress, told: Callable[[Summary], None] = lambda _: None
) -> None:
    """Run `job` and write what came of it, of an interrupted one too; `told` gets it last.

    Raises UserError, and then leaves nothing, and KeyboardInterrupt.
    """
    began, started = time.monotonic(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def tell(partial: str = "") -> None:
        summary = summarise(job, results, Clock(started, time.monotonic() - began), partial)
        write(summary, results)
        told(summary)

    try:
        run_job(job, store, results, progress)
    except UserError:
        results.discard()
        raise
    except KeyboardInterrupt:
        tell(job.verdict.reasons[0].text)
        raise
    tell()


def summarise(job: Job, results: Results, clock: Clock, partial: str = "") -> Summary:
    """Return all that is known of `job`; `partial` says why there is no more."""
    request = job.request
    source = job.source
    evidence = (*job.base.trials, *job.patched.trials)
    boots = [start.boot for start in (*job.patched.starts, *job.base.starts) if start.boot.release]
    keys = [("base tree", source.tree)] if source else []
    keys += [(f"kernel of cut {cut}", image.key) for cut, image in sorted(job.images.items())]
    keys += [("guest", job.guest.key)] if job.guest else []
    folder = os.path.relpath(results.folder)
    names = [(name.partition(".")[0], f"{folder}/{name}") for name, _ in RENDERERS]
    return Summary(
        version=__version__,
        started=clock.started,
        seconds=clock.seconds,
        series=request.series.name,
        patches=tuple(patch.label for patch in request.series.patches),
        base=f"{request.kernel} ({source.version})" if source else request.kernel,
        release=boots[0].release if boots else "",
        profile=request.profile.name,
        machine=request.machine.name,
        accel=f"{job.probe.accel.value} ({job.probe.why})" if job.probe else "",
        programs=tuple(program.name for program in request.programs),
        verdict=job.verdict,
        keys=tuple(keys),
        trials=tuple(Row.of(trial) for trial in evidence),
        stages=tuple(Stage(name, seconds) for name, seconds in job.stages),
        files=(*names, ("consoles", f"{folder}/boot-*/console.log"), ("build logs", f"{folder}/build/")),
        reproduce=f"{folder}/reproduce.sh",
        partial=partial,
    )


def write(summary: Summary, results: Results) -> None:
    """Write every format."""
    for name, render in RENDERERS:
        results.write(name, render(summary))
