"""What kpv costs over doing it by hand: ratios, each of two things measured in turn in this very run.

Absolute times drift with a machine's load, so what is compared is run alternately (A B A B ...) and the
figure is the median of the pairs' ratios.  Seconds are printed beside it for the reader, not for judging.
"""

import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline import catalog, guest, kernel, proc, results, tree
from pipeline.declare import pick
from pipeline.errors import InfraError
from pipeline.findings import scan
from pipeline.kernel import KernelImage
from pipeline.machine import Accel
from pipeline.progress import Progress, Silent
from pipeline.series import Series, parse_mbox
from pipeline.store import Store
from pipeline.validate import Job, Request, run_job
from pipeline.vm.session import Setting, open_guest

PAIRS = 3
FILE = "mm/memcontrol.c"
"""What a memcg series touches most; every rebuild here compiles it anew."""
CLEAN_MB = 64
CRASH_MB = 16
CLEAN_LINE = b"[  %6d.%06d][   T%d] systemd[1]: Started session %d of user root, nothing of interest here.\n"


@dataclass(frozen=True, slots=True)
class Figure:
    """A line of the table: seconds of kpv and of the plain way, and the ratio asked of them (0: none)."""

    name: str
    ours: float
    theirs: float
    ratio: float
    at_most: float = 0.0

    def __str__(self) -> str:
        """Say it in one line."""
        asked = f"  (at most {self.at_most:g})" if self.at_most else ""
        return f"{self.name:<44} {self.ratio:6.3f}{asked:<16} {self.ours:8.2f} s against {self.theirs:.2f} s"


def pairs(name: str, ours: Callable[[], float], theirs: Callable[[], float], at_most: float = 0.0) -> Figure:
    """Measure two ways in turn; each returns its seconds."""
    rows = [(ours(), theirs()) for _ in range(PAIRS)]
    ratio = statistics.median(a / b for a, b in rows)
    return Figure(name, statistics.median(a for a, _ in rows), statistics.median(b for _, b in rows), ratio, at_most)


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def one_line_series(number: int, source: tree.Source) -> Series:
    """Make a series that adds a function nobody calls to `FILE`: new content, so nothing is kept of it."""
    text = tree.show(source, source.base, FILE) or b""
    lines = text.count(b"\n")
    last = text.rstrip(b"\n").rsplit(b"\n", 1)[-1].decode()
    name = secrets.token_hex(4)
    diff = (
        f"Subject: [PATCH] bench {number}\n\n---\n"
        f"diff --git a/{FILE} b/{FILE}\n--- a/{FILE}\n+++ b/{FILE}\n"
        f"@@ -{lines},1 +{lines},2 @@\n {last}\n+static int __maybe_unused kpv_bench_{name};\n"
    )
    return parse_mbox(f"From 0 Mon Sep 17 00:00:00 2001\nFrom: kpv <kpv@localhost>\n{diff}".encode(), "bench")


class Bench:
    """The job all figures are taken on: the default kernel, profile and machine."""

    def __init__(self, store: Store, progress: Progress) -> None:
        """Make sure that source, base kernel and guest are there, so that none of that is measured."""
        known = catalog.load()
        self.store, self.progress = store, progress
        self.profile = pick("profile", "kasan", known.profiles)
        self.machine = pick("machine", "2node", known.machines)
        self.kconfig = catalog.configuration(self.profile, (), ())
        self.programs = known.usual
        self.jobs = len(os.sched_getaffinity(0))
        self.source = tree.open_source(store, "debian:6.12", None, progress)
        self.base = self.build(tree.cuts(store, self.source, Series("base", ()))[0])
        self.guest = guest.build_guest(store, self.programs, with_shell=False, progress=progress)
        self.turn = 0

    def build(self, cut: tree.Cut) -> KernelImage:
        """Build a cut as `kpv validate` does."""
        return kernel.build(self.store, self.source, cut, self.kconfig, self.profile, jobs=self.jobs, progress=Silent())

    def our_rebuild(self) -> float:
        """Rebuild for a series that touches one file: applying, checking out, make, keeping the image."""
        self.turn += 1
        series = one_line_series(self.turn, self.source)
        return timed(lambda: self.build(tree.cuts(self.store, self.source, series)[-1]))

    def bare_rebuild(self) -> float:
        """Rebuild in the same folder with the same arguments by make alone, after the same sort of change."""
        with kernel.workspace_of(self.store, self.source, self.kconfig, self.progress) as workspace:
            path = workspace.src / FILE
            text = path.read_text()
            path.write_text(f"{text}static int __maybe_unused kpv_bench_{secrets.token_hex(4)};\n")
            argv = workspace.command(("bzImage",), self.jobs)
            return timed(lambda: self._run(argv))

    def _run(self, argv: tuple[str, ...]) -> None:
        done = proc.run(argv, seconds=3600)
        if not done.ok:
            raise InfraError(f"bare make failed: {done.complaint}")

    def setting(self) -> Setting:
        """Return what is booted."""
        return Setting(
            cut=0,
            kernel=self.base.key,
            bzimage=self.base.bzimage,
            guest=self.guest.key,
            initramfs=self.guest.initramfs,
            machine=self.machine,
            accel=Accel.TCG,
            profile=self.profile,
        )

    def our_boot(self) -> float:
        """Boot until the agent is ready, as a session does."""
        with tempfile.TemporaryDirectory(prefix="kpv-bench-") as folder:
            began = time.perf_counter()
            qemu, booted = open_guest(self.setting(), Path(folder), secrets.token_hex(8), self.profile.slowdown)
            with qemu:
                booted.wait_ready(Silent())
                return time.perf_counter() - began

    def bare_boot(self) -> float:
        """Boot QEMU alone with the same arguments until the agent's file says that it is ready."""
        with tempfile.TemporaryDirectory(prefix="kpv-bench-") as name:
            said = Path(name, "agent")
            setting = self.setting()
            argv = setting.argv(
                setting.cmdline(secrets.token_hex(8)), f"file,path={name}/console", f"file,path={said}", "null"
            )
            began = time.perf_counter()
            with proc.start(argv) as child:
                while not (said.exists() and b" ready " in said.read_bytes()):
                    if child.poll() is not None:
                        raise InfraError("bare QEMU ended before its agent was ready")
                    time.sleep(0.02)
                return time.perf_counter() - began

    def whole(self) -> Iterable[str]:
        """Take a new series through the whole job and yield its stages."""
        request = Request(
            kernel="debian:6.12",
            base=None,
            series=tree.load_series(catalog.PATCHES / "iter-lock"),
            profile=self.profile,
            kconfig=self.kconfig,
            machine=self.machine,
            programs=self.programs,
            trials=1,
            seed=1,
            budget=None,
            jobs=self.jobs,
            accel=None,
        )
        job = Job(request)
        with tempfile.TemporaryDirectory(prefix="kpv-bench-") as folder:
            run_job(job, self.store, results.begin(Path(folder), "bench"), self.progress)
        total = sum(seconds for _, seconds in job.stages)
        yield f"a whole run, {job.verdict.outcome.value}: {total:.0f} s"
        for stage, seconds in job.stages:
            yield f"  {stage:<14} {seconds / total:6.1%} {seconds:8.1f} s"
        yield "cycles of each program in a second of its rounds"
        for trial in job.patched.trials:
            yield f"  {trial.run.program:<14} {trial.tests.figure('per_second') or 'none'}"


def start_up() -> Figure:
    """Measure `kpv --help` against a python that does nothing."""

    def runs(*argv: str) -> Callable[[], float]:
        return lambda: timed(lambda: proc.run((sys.executable, *argv)))

    return pairs("kpv --help against python -c pass", runs("-m", "pipeline", "--help"), runs("-c", "pass"))


def parser() -> Iterable[str]:
    """Measure the console parser: a clean console and one crash after another, both against counting lines."""
    lines = (CLEAN_LINE % (i // 100, i % 10**6, i % 9999, i) for i in range(10**6))
    block = b"".join(lines)[: 1 << 24]
    yield _parsing("console parser on a clean console", block, CLEAN_MB)
    logs = sorted((catalog.HOUSE / "tests" / "golden").rglob("*.log"))
    crashes = b"".join(path.read_bytes() for path in logs)
    yield _parsing("console parser on the golden crash logs", crashes, CRASH_MB)
    one = timed(lambda: proc.run((sys.executable, "-m", "pipeline", "parse-console", str(logs[0]))))
    yield f"{'kpv parse-console of one small log, all in all':<44} {one:6.2f} s"


def _parsing(what: str, block: bytes, megabytes: int) -> str:
    data = block * (megabytes * 1_000_000 // len(block) + 1)
    seconds = timed(lambda: scan(data))
    counting = timed(lambda: data.count(b"\n"))
    return f"{what:<44} {len(data) / seconds / 1e6:6.0f} MB/s  ({seconds / counting:.0f} times counting its lines)"


def run(store: Store, progress: Progress) -> Iterable[str]:
    """Yield the table line by line, as it is measured."""
    yield f"ratios are medians of {PAIRS} pairs run in turn"
    yield str(start_up())
    yield from parser()
    bench = Bench(store, progress)
    bench.our_rebuild()  # warms the page cache for both
    yield str(pairs("rebuild by kpv against bare make", bench.our_rebuild, bench.bare_rebuild, 1.05))
    yield str(pairs("boot to agent by kpv against bare QEMU", bench.our_boot, bench.bare_boot, 1.05))
    yield from bench.whole()
