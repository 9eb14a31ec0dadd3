"""The main job, read from top to bottom in `run_job`: a series in, a verdict on real kernels out."""

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline import blame, guest, kernel, selftests, symbols, tree, trust, verdict
from pipeline.declare import Canary, Profile, Program
from pipeline.errors import InfraError, TreeError
from pipeline.findings import Finding, known
from pipeline.findings.known import KnownIssue
from pipeline.guest import GuestImage
from pipeline.kbuild import CompileError
from pipeline.kconfig import Kconfig
from pipeline.kernel import KernelImage
from pipeline.machine import Accel, Machine
from pipeline.matrix import Trial, plan
from pipeline.progress import Progress
from pipeline.results import Results
from pipeline.run import Ended, Run, boot_from_json, run_from_json
from pipeline.series import Series
from pipeline.store import Store, key
from pipeline.tree import Cut, Source
from pipeline.verdict import Evidence, Outcome, Reason, Verdict
from pipeline.vm import probe
from pipeline.vm.guest import KMEMLEAK
from pipeline.vm.probe import Probe
from pipeline.vm.session import Setting, session

Canaries = tuple[Canary, ...]

V1 = ("kpv.v1",)
"""What tells the agent to leave memory control off in cgroup v2 (guest_tests/agent.c, for_v1)."""

KEPT = (("kernels", 40), ("modules", 100), ("selftests", 50), ("guest", 50), ("evidence", 200))
"""How many entries of the cache stay; a kernel with its debug information is some 100 MB."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be validated, with every name already looked up; `accel` None is for kpv to find out."""

    kernel: str
    base: str | None
    series: Series
    profile: Profile
    kconfig: Kconfig
    machine: Machine
    programs: tuple[Program, ...]
    trials: int
    seed: int
    budget: int | None
    jobs: int
    accel: Accel | None
    every_cut: bool = False
    fresh: bool = False
    known: tuple[KnownIssue, ...] = ()
    again: tuple[str, ...] = ()
    """Arguments of kpv that make this request, without those for the series and the base."""

    @property
    def plan(self) -> tuple[Trial, ...]:
        """The trials, the same for base and patched kernel."""
        return plan(self.programs, self.trials, self.seed, self.budget)


@dataclass(slots=True)
class Job:
    """What is known so far of one run.

    The only record here that grows: a run that is interrupted is told from what it had reached.
    """

    request: Request
    source: Source | None = None
    cuts: tuple[Cut, ...] = ()
    images: dict[int, KernelImage] = field(default_factory=dict)
    guest: GuestImage | None = None
    guests: dict[int, GuestImage] = field(default_factory=dict)
    """The same by cut, with what its programs take from that very tree."""
    probe: Probe | None = None
    base: Evidence = field(default_factory=Evidence)
    patched: Evidence = field(default_factory=Evidence)
    planted: tuple[verdict.Trial, ...] = ()
    """What the canaries showed that were planted behind the trials of the patched kernel."""
    verdict: Verdict = field(default_factory=lambda: verdict.broken(InfraError("nothing was run")))
    stages: list[tuple[str, float]] = field(default_factory=list)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note how long a stage takes, and until it is over, that the run ended in it."""
        self.verdict = verdict.broken(InfraError(f"interrupted while it was at the stage: {name}"))
        began = time.monotonic()
        try:
            yield
        finally:
            self.stages.append((name, time.monotonic() - began))


def run_job(job: Job, store: Store, results: Results, progress: Progress) -> None:
    """Take a series to its verdict, which stands in `job` whatever ends the run.

    Only the user's mistakes (UserError) and an interrupt get out of it.
    """
    request = job.request
    results.keep_series(request.series)
    write_reproducer(job, results)
    try:
        with job.stage("source"):
            job.source = tree.open_source(store, request.kernel, request.base, progress)
            if job.source.dirty:
                progress.begin(request.kernel)
                progress.end("has changes that are not committed; they are not tested")
            write_reproducer(job, results)
        with job.stage("apply"):
            job.cuts = tree.cuts(store, job.source, request.series)
        with job.stage("guest"):
            programs = (*request.programs, trust.PROGRAM)
            job.guest = guest.build_guest(store, programs, with_shell=False, progress=progress)
        with job.stage("build"):
            build(job, store, results, progress)
        with job.stage("accelerator"):
            job.probe = accelerator(job, store, results, progress)
        with job.stage("base"):
            job.base = observe_base(job, store, results, progress)
        with job.stage("patched"):
            rows = trust.plantable(request.profile, job.images[request.series.total])
            job.patched = observe(job, request.series.total, results, progress, rows)
        with job.stage("canaries"):
            found, setting = judge(job), _setting(job, request.series.total)
            image = job.images[request.series.total]
            job.verdict = trust.judged(found, setting, image, job.planted, results.folder, progress)
        for kind, most in KEPT:
            store.trim(kind, most)
    except TreeError as error:
        job.verdict = verdict.not_applied(error)
    except CompileError as error:
        job.verdict = not_built(job, error, store, progress)
    except InfraError as error:
        job.verdict = verdict.broken(error)


def write_reproducer(job: Job, results: Results) -> None:
    """Write reproduce.sh: before any work as it was asked for, then with what a moving name turned out to be."""
    request, source = job.request, job.source
    base = source.base if source and tree.is_git(Path(request.kernel)) else request.base
    words = (*request.again, *(("--base", base) if base else ()))
    about = f"{request.kernel} was {source.version}, git tree {source.tree}" if source else request.kernel
    results.reproducible((sys.executable, "-m", "pipeline"), words, about)


def look(job: Job, store: Store, results: Results, progress: Progress) -> Evidence:
    """Build and run the last cut alone: what `kpv boot` shows; errors are the caller's to tell."""
    request = job.request
    job.source = tree.open_source(store, request.kernel, request.base, progress)
    job.cuts = tree.cuts(store, job.source, request.series)[-1:]
    job.guest = guest.build_guest(store, request.programs, with_shell=False, progress=progress)
    build(job, store, results, progress)
    job.probe = accelerator(job, store, results, progress)
    return observe(job, request.series.total, results, progress)


def build(job: Job, store: Store, results: Results, progress: Progress) -> None:
    """Build the base, the whole series, and the cuts between them when each was asked for."""
    assert job.source is not None
    assert job.guest is not None
    request = job.request
    wanted = job.cuts if request.every_cut else dict.fromkeys((job.cuts[0], job.cuts[-1]))
    for cut in wanted:
        image = kernel.build(
            store, job.source, cut, request.kconfig, request.profile, jobs=request.jobs, progress=progress
        )
        job.images[cut.index] = image
        job.guests[cut.index] = selftests.guest_of(
            store, job.source, cut, job.guest, jobs=request.jobs, progress=progress
        )
        job.guests[cut.index] = trust.packed(store, job.guests[cut.index], image)
        results.keep(image.log, f"build/cut-{cut.index}.log")
        results.keep(image.config_text_path, f"build/cut-{cut.index}.config")


def not_built(job: Job, error: CompileError, store: Store, progress: Progress) -> Verdict:
    """Find the patch that the build breaks at; the base itself may be to blame."""
    if 0 not in job.images or job.source is None:
        return verdict.not_built(error, cut=0)
    request = job.request
    try:
        found = kernel.first_broken_cut(
            store, job.source, job.cuts, request.kconfig, request.profile, error, jobs=request.jobs, progress=progress
        )
    except InfraError as trouble:
        return verdict.broken(trouble)
    label = found.cut.patch.label if found.cut.patch else ""
    return verdict.not_built(found.error, cut=found.cut.index, patch=label)


def accelerator(job: Job, store: Store, results: Results, progress: Progress) -> Probe:
    """Return what the user asked for, or what was found out by booting."""
    if job.request.accel is not None:
        return Probe(job.request.accel, "asked for")
    progress.begin("accelerator", probe.SECONDS)
    found = probe.remembered(store, next(iter(job.images.values())).bzimage, results.folder / "probe")
    progress.end(f"{found.accel.value}: {found.why}")
    return found


def observe(job: Job, cut: int, results: Results, progress: Progress, canaries: Canaries = ()) -> Evidence:
    """Boot the kernel of `cut` and run the plan in it, booting afresh after whatever ends a guest.

    `canaries` follow in the guest of the last trial, unless something speaks against the kernel by then.
    """
    setting = _setting(job, cut)
    # Those of v1 have guests of their own, and come first: canaries need memory control in v2.
    left = tuple(sorted(job.request.plan, key=lambda trial: not trial.program.v1))
    owed = bool(canaries) and all(trial.program.v1 for trial in left)
    evidence = Evidence()

    def choose(runs: tuple[Run, ...]) -> Canaries:
        so_far = Evidence(evidence.starts, (*evidence.trials, *(verdict.read_run(run) for run in runs)))
        return canaries if canaries and judge(replace(job, patched=so_far)).outcome is not Outcome.FAIL else ()

    while left or owed:
        name = f"boot-{cut}.{len(evidence.starts) + 1}"
        v1 = tuple(trial for trial in left if trial.program.v1)
        if v1:
            found = session(replace(setting, append=V1), v1, results.folder / name, progress)
        else:
            owed = False
            found = session(setting, left, results.folder / name, progress, choose=choose)
        start = verdict.read_boot(found.boot)
        trials = tuple(verdict.read_run(run) for run in found.runs)
        evidence = Evidence((*evidence.starts, start), (*evidence.trials, *trials))
        job.planted = tuple(verdict.read_run(run) for run in found.canaries)
        if found.boot.ended is not Ended.DONE:
            break
        left = left[len(found.runs) :]
    return evidence


def observe_base(job: Job, store: Store, results: Results, progress: Progress) -> Evidence:
    """Observe the base, or take what it showed before: the same kernel, guest, machine, programs and seeds.

    Only a base whose every trial came to its end is kept, so that bad luck is not.
    """
    setting = _setting(job, 0)
    rows = [f"{x.number} {x.program.name} {x.seed} {x.budget}" for x in job.request.plan]
    told = (setting.kernel, setting.guest, repr(setting.machine), setting.accel.value, *setting.profile.cmdline)
    name = key("evidence 3", *told, *rows)
    kept = store.find("evidence", name)
    if kept is not None and not job.request.fresh:
        progress.begin("base")
        shutil.copytree(kept, results.folder, dirs_exist_ok=True)
        evidence = evidence_of(results.folder, 0)
        progress.end(f"{len(evidence.trials)} trials kept from before (--fresh runs them again)")
        return evidence
    evidence = observe(job, 0, results, progress)
    if len(evidence.trials) == len(rows) and all(trial.run.ended is Ended.DONE for trial in evidence.trials):
        with store.lock("evidence", name):
            store.drop("evidence", name)
            with store.make("evidence", name) as folder:
                for boot in results.folder.glob("boot-0.*"):
                    shutil.copytree(boot, folder / boot.name)
    return evidence


def evidence_of(folder: Path, cut: int) -> Evidence:
    """Read stored boots and runs of a cut back and judge them by today's rules."""
    boots = sorted(folder.glob(f"boot-{cut}.*/boot.json"), key=lambda x: int(x.parent.name.rpartition(".")[2]))
    runs = sorted(
        (run_from_json(x.read_text(), str(x)) for boot in boots for x in boot.parent.glob("run-*.json")),
        key=lambda run: run.number,
    )
    starts = tuple(verdict.read_boot(boot_from_json(x.read_text(), str(x))) for x in boots)
    return Evidence(starts, tuple(verdict.read_run(run) for run in runs))


def _setting(job: Job, cut: int) -> Setting:
    assert job.probe is not None
    image, packed = job.images[cut], job.guests[cut]
    assert image.modules is not None
    no_types = image.modules.why(image.modules.types)
    return Setting(
        cut=cut,
        kernel=image.key,
        bzimage=image.bzimage,
        guest=packed.key,
        initramfs=packed.initramfs,
        machine=job.request.machine,
        accel=job.probe.accel,
        profile=job.request.profile,
        types=None if no_types else image.modules.types,
        no_types=no_types,
    )


def judge(job: Job) -> Verdict:
    """Hold the patched kernel against the base."""
    request = job.request
    asked = verdict.Asked(
        programs=tuple(program.name for program in request.programs),
        trials=request.trials,
        detectors=tuple(detector.name for detector in request.profile.detectors),
        kmemleak=any(detector.file == KMEMLEAK for detector in request.profile.detectors),
        # The selftests of a tree have a main() of their own and keep none.
        books=tuple(program.name for program in request.programs if not program.suite),
    )
    return verdict.judge(
        asked,
        with_places(job.base, job.images[0]),
        with_places(job.patched, job.images[request.series.total]),
        blame=blame.blamer(request.series),
        pardon=lambda finding: pardon(finding, request.known),
        more=new_warnings(job),
    )


def pardon(finding: Finding, issues: Sequence[KnownIssue]) -> str:
    """Return why a finding is not counted, when one of the user's known issues is it."""
    issue = known.find(finding, issues)
    return f"{issue.reason} ({issue.link}, until {issue.expires})" if issue else ""


def with_places(evidence: Evidence, image: KernelImage) -> Evidence:
    """Give every frame of every finding its source line, by the kernel that printed it."""
    if not any(x.findings for x in evidence.starts) and not any(x.findings for x in evidence.trials):
        return evidence
    table = symbols.load(image.vmlinux)

    def placed(findings: Sequence[Finding]) -> tuple[Finding, ...]:
        return tuple(symbols.symbolized(finding, table) for finding in findings)

    starts = tuple(replace(start, findings=placed(start.findings)) for start in evidence.starts)
    return Evidence(starts, tuple(replace(trial, findings=placed(trial.findings)) for trial in evidence.trials))


def new_warnings(job: Job) -> tuple[Reason, ...]:
    """Return a reason for each compiler warning that the series adds, with the first built cut that gives it."""
    last = job.cuts[-1]
    added = kernel.added_warnings(job.images[0], job.images[last.index])
    rows = []
    for warning in added:
        giving = (i for i in sorted(job.images) if i and warning in kernel.added_warnings(job.images[0], job.images[i]))
        first = next(giving, last.index)
        # Only a cut whose predecessor was built too convicts a patch.
        sure = first == 1 or first - 1 in job.images
        patch = job.cuts[first].patch
        rows.append(
            verdict.warning(
                file=warning.file,
                line=warning.line,
                text=warning.text,
                detail=warning.detail,
                cut=first,
                patch=patch.label if patch and sure else "",
            )
        )
    return tuple(rows)
