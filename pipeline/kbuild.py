"""make in a kernel tree: a folder to work in, a clean environment, ccache, and what every object said.

A workspace is ``<store>/work/<key>/src`` with the objects in ``src/.obj``.  Below the source and not beside
it, because only then kbuild uses relative paths (Makefile, ``srctree := ..``): commands, warnings and
``__FILE__`` are the same in every workspace, so ccache knows them again, and WARN() prints
``mm/memcontrol.c`` and not where the cache stands.  The dot keeps the folder out of git's sight (the
kernel's .gitignore ignores ``.*``).

Warnings are kept by object.  An object that is not compiled again says nothing again, so what one
make prints is not what its tree has to say; all records together are.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from pipeline import diagnostic, proc
from pipeline.diagnostic import Warning as BuildWarning
from pipeline.errors import BuildError, InfraError, UserError
from pipeline.progress import Progress
from pipeline.store import Store, write_atomic

TARGET = "bzImage"
IMAGE = "arch/x86/boot/bzImage"
"""What QEMU boots: what to make, and where it then is below the objects."""

LOG = "build.log"

FIXED = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER": "kpv",
    "KBUILD_BUILD_HOST": "kpv",
    "KBUILD_BUILD_VERSION": "1",
    "LOCALVERSION": "",
    "LC_ALL": "C",
}
"""One tree, one configuration, one compiler: one image, bit for bit (Documentation/kbuild/reproducible-builds.rst)."""

KEPT_WORKSPACES = 4
"""Workspaces in the store, of two and a half gigabytes each; there is one a repository and set of settings."""

_INHERITED = ("PATH", "HOME", "TMPDIR")
_LINK_STEPS = 30
"""Lines of progress from vmlinux.a to bzImage, until a full build has counted them."""

_UNSAFE = re.compile(r"[\s:#$%'\"\\]")
_LAST_ARCHIVES = ("vmlinux.a", "vmlinux.o")


class CompileError(BuildError):
    """A tree does not build; `target` is what make was making (``mm/memcontrol.o``), `line` stands in `file`."""

    def __init__(self, failure: diagnostic.Failure, log: Path) -> None:
        """Take over what make said; `log` holds all of it."""
        self.target = failure.target
        self.line = failure.line
        self.log = log
        super().__init__(failure.text, file=failure.file, detail=failure.detail)
        if failure.line:
            self.args = (f"{failure.file}:{failure.line}: {failure.text}",)  # what str() gives


@dataclass(frozen=True, slots=True)
class State:
    """What a workspace remembers: the trees of its objects and of its ``.config``, warnings by target.

    `targets` counts those that the last make named, `link_steps` those from the last archive on.
    """

    built: str = ""
    configured: str = ""
    link_steps: int = _LINK_STEPS
    targets: int = 0
    warnings: tuple[tuple[str, tuple[BuildWarning, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Workspace:
    """A source folder and its objects, used by whoever holds `lock` (a descriptor that make inherits)."""

    folder: Path
    ccache: Path
    lock: int

    @property
    def src(self) -> Path:
        """The source."""
        return self.folder / "src"

    @property
    def obj(self) -> Path:
        """The objects."""
        return self.src / ".obj"

    @property
    def config(self) -> Path:
        """The configuration the objects are built with."""
        return self.obj / ".config"

    @property
    def log(self) -> Path:
        """What the last make of a kernel said."""
        return self.folder / LOG

    def command(self, targets: Sequence[str], jobs: int, env: Mapping[str, str] = {}) -> tuple[str, ...]:
        """Return make as a whole command, environment and all: nothing of the user's shell leaks in.

        The same command by hand, in the same folder, does the same.
        """
        kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        # No CCACHE_BASEDIR: paths are relative already.  The working folder stands in the debug
        # information only, where `symbols` does without it, so it need not be part of the hash.  Depend
        # mode takes the headers from the compiler's own -MMD: no preprocessor runs for a miss, which is
        # six per cent of a first build.
        cached = {"CCACHE_DIR": str(self.ccache), "CCACHE_NOHASHDIR": "1", "CCACHE_DEPEND": "1", "CCACHE_MAXSIZE": "5G"}
        pairs = [f"{name}={value}" for name, value in {**kept, **FIXED, **cached, **env}.items()]
        make = ("make", "-C", str(self.src), f"O={self.obj}", "CC=ccache gcc", f"-j{jobs}", "--output-sync=target")
        return ("env", "-i", *pairs, *make, *targets)

    def make(
        self,
        targets: Sequence[str],
        *,
        jobs: int,
        progress: Progress | None = None,
        env: Mapping[str, str] = {},
        log: str = LOG,
    ) -> tuple[str, ...]:
        """Make `targets` and return what was printed, in the file `log` too; `progress` is told of every target.

        Raises CompileError when the tree does not build, InfraError when the machine gave out.
        """
        said: list[str] = []
        count = 0

        def on_line(line: str) -> None:
            nonlocal count
            said.append(line)
            if progress is not None and (name := diagnostic.target(line)) is not None:
                count += 1
                progress.step(count, name)

        self.folder.mkdir(parents=True, exist_ok=True)
        command = self.command(targets, jobs, env)
        path = self.folder / log
        with path.open("wb") as file:
            # TERM: make then removes what it was just making, and its children end with it.
            done = proc.stream(command, on_line, log=file, pass_fds=(self.lock,), on_death="TERM")
        if done.ok:
            return tuple(said)
        failure = diagnostic.failure(said)
        if failure.machine:
            raise InfraError(f"this machine cannot build a kernel now: {failure.text}", detail=failure.detail)
        if done.status < 0:
            raise InfraError(f"make was killed by signal {-done.status}", where=str(self.src))
        raise CompileError(failure, path)

    def state(self) -> State:
        """Return what the workspace remembers; a new one remembers nothing."""
        try:
            raw = json.loads((self.folder / "state.json").read_text())
            records = tuple((name, tuple(BuildWarning(*row) for row in rows)) for name, rows in raw.pop("warnings"))
            return State(**raw, warnings=records)
        except (OSError, ValueError, TypeError, KeyError):  # not there, or another kpv's
            return State()

    def remember(self, state: State) -> None:
        """Keep `state`."""
        raw = {
            "built": state.built,
            "configured": state.configured,
            "link_steps": state.link_steps,
            "targets": state.targets,
            "warnings": [(name, [astuple(one) for one in rows]) for name, rows in state.warnings],
        }
        write_atomic(self.folder / "state.json", json.dumps(raw).encode())

    @contextlib.contextmanager
    def source_alone(self) -> Iterator[None]:
        """Take the objects out of the source for a block that changes it: a checkout cleans what it does not know."""
        aside = self.folder / "obj"
        if self.obj.exists():
            self.obj.rename(aside)
        try:
            yield
        finally:
            # Also those that a kpv killed in this very block has left aside.
            if aside.exists():
                self.src.mkdir(parents=True, exist_ok=True)
                aside.rename(self.obj)

    def expected(self, changed: Sequence[str] | None, full: int) -> int:
        """Estimate how many targets make will name; `full` is the count of a full build.

        `changed` are the paths that differ from the tree of the objects, None when that is not known.
        """
        if changed is None or not (self.obj / "vmlinux").exists():
            return full
        return self._affected(changed) + self.state().link_steps

    def build(self, target: str, tree: str, *, jobs: int, progress: Progress, log: str = LOG) -> State:
        """Make `target` from the source as it stands (git tree `tree`), record what was said; return the state after.

        Raises as `make` does.
        """
        before = self.state()
        self._drop_unrecorded()
        marker = self.folder / "building"
        marker.touch()
        try:
            said = self.make([target], jobs=jobs, progress=progress, log=log)
        except CompileError as error:
            self.remember(self._after(before, before.built, error.log.read_text(errors="replace").splitlines()))
            marker.unlink()
            raise
        after = self._after(before, tree, said)
        self.remember(after)
        marker.unlink()
        return after

    def _after(self, before: State, tree: str, said: Sequence[str]) -> State:
        """Replace the records of the targets that were made."""
        records = dict(before.warnings)
        seen: dict[str, tuple[BuildWarning, ...]] = {}
        for name, block in diagnostic.blocks(said):
            seen[name] = seen.get(name, ()) + diagnostic.warnings(block)
        records |= seen
        kept = ((name, tuple(one for one in rows if self._stands(one))) for name, rows in sorted(records.items()))
        return State(
            built=tree,
            configured=before.configured,
            link_steps=_steps_of_link(said) or before.link_steps,
            targets=sum(diagnostic.target(line) is not None for line in said),
            warnings=tuple((name, rows) for name, rows in kept if rows),
        )

    def _stands(self, warning: BuildWarning) -> bool:
        """Whether the file that a warning is about is still there: a patch may have removed it."""
        return any((root / warning.file).exists() for root in (self.src, self.obj))

    def _drop_unrecorded(self) -> None:
        """After a make that was killed, forget the objects whose warnings nobody read; ccache has them.

        Also what a power failure left half written.
        """
        marker = self.folder / "building"
        with contextlib.suppress(FileNotFoundError):
            since = marker.stat().st_mtime
            for path in self._files(".o"):
                if path.stat().st_mtime >= since:
                    path.unlink()

    def _affected(self, changed: Sequence[str]) -> int:
        """Count the objects and archives that `changed` makes out of date, from kbuild's ``.cmd`` files."""
        objects = {path.removesuffix(path[-2:]) + ".o" for path in changed if path.endswith((".c", ".S"))}
        found = {name for name in objects if (self.obj / name).exists()}
        headers = [f"../{path}".encode() for path in changed if path.endswith(".h")]
        if headers:
            any_header = re.compile(b"|".join(rb"\s" + re.escape(name) + rb"[\s)]" for name in headers))
            for path in self._files(".o.cmd"):
                if any_header.search(path.read_bytes()):
                    found.add(str(path.relative_to(self.obj).with_name(path.name[1:].removesuffix(".cmd"))))
        folders = {str(parent) for name in found for parent in Path(name).parents}
        return len(found) + len(folders)

    def _files(self, suffix: str) -> Iterator[Path]:
        for folder, _, names in os.walk(self.obj):
            for name in names:
                if name.endswith(suffix):
                    yield Path(folder, name)


@contextlib.contextmanager
def workspace(store: Store, name: str, progress: Progress) -> Iterator[Workspace]:
    """Hold workspace `name` of the store, waiting for whoever has it.

    Raises UserError when the cache stands where make cannot work.
    """
    folder = store.path("work", name)
    if _UNSAFE.search(str(folder)):
        message = "make cannot work in a folder whose name has spaces, colons or quotes"
        raise UserError(message, where=str(store.root), todo="name another folder with KPV_CACHE")

    waited = []

    def wait() -> None:
        waited.append(True)
        progress.begin("wait for another kpv that builds in the same folder")

    with store.lock("work", name, wait) as lock:
        if waited:
            progress.end()
        if not folder.exists():
            _sweep(store)
        place = Workspace(folder, store.root / "ccache", lock)
        if place.obj.exists() and place.state() == State():
            # Objects without their records would hide warnings; ccache has both.
            shutil.rmtree(place.obj)
        yield place


class _BusyError(Exception):
    """Somebody works in the workspace."""


def _sweep(store: Store) -> None:
    """Remove the workspaces that were built in longest ago and that nobody is in, to make room for one more."""

    def busy() -> None:
        raise _BusyError

    there = [folder for folder in (store.root / "work").glob("*") if (folder / "state.json").exists()]
    there.sort(key=lambda folder: (folder / "state.json").stat().st_mtime, reverse=True)
    for folder in there[KEPT_WORKSPACES - 1 :]:
        with contextlib.suppress(_BusyError), store.lock("work", folder.name, busy):
            shutil.rmtree(folder, ignore_errors=True)


def compiler() -> str:
    """Return what tells one tool chain from another: the version lines of gcc and ld.

    Raises InfraError when one of the programs that make needs is not there.
    """
    for program in ("make", "ccache", "flex", "bison", "bc"):
        if shutil.which(program) is None:
            message = f"no program {program} on this machine"
            raise InfraError(message, todo="`make setup` installs it; `kpv doctor` lists what is missing")
    said = (proc.run([program, "--version"], seconds=30).text.partition("\n")[0] for program in ("gcc", "ld"))
    return "; ".join(said)


def _steps_of_link(said: Sequence[str]) -> int:
    """Count the targets from the last archive on; 0 when nothing was linked."""
    names = [name for line in said if (name := diagnostic.target(line)) is not None]
    starts = [index for index, name in enumerate(names) if name in _LAST_ARCHIVES]
    return len(names) - starts[0] if starts else 0
