"""Kernels by content: a tree, a configuration and a compiler in, a KernelImage out, built once.

An image is ``<store>/kernels/<key>/`` with ``bzImage``, ``vmlinux`` (debug information and all),
``.config``, ``System.map``, ``build.log`` and ``meta.json``; what is built against it stands beside it
(`pipeline.modules`).
"""

import json
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from pipeline import diagnostic, dotconfig, kbuild, modules, tree
from pipeline.declare import Profile
from pipeline.diagnostic import Warning as BuildWarning
from pipeline.errors import InfraError, PipelineError
from pipeline.kbuild import CompileError, Workspace
from pipeline.kconfig import Kconfig
from pipeline.modules import Modules
from pipeline.progress import Progress
from pipeline.store import Store, key, require_space, write_atomic
from pipeline.tree import Cut, Source

KIND = "kernels"
"""What the store calls an image."""

FULL_BUILD = 3_000_000_000
"""Bytes a first build takes: 1.5 GB of source, 0.8 GB of objects, the image, what ccache adds (profile kasan)."""

REBUILD = 300_000_000
"""Bytes a rebuild in place takes: the image and what ccache adds."""


@dataclass(frozen=True, slots=True)
class KernelImage:
    """A built kernel; `warnings` is all its tree has to say, not what the last make happened to print."""

    key: str
    folder: Path
    release: str
    warnings: tuple[BuildWarning, ...]
    cached: bool
    modules: Modules | None = None
    """What is built against it: None only until `build` has returned it."""

    @property
    def bzimage(self) -> Path:
        """What QEMU boots."""
        return self.folder / "bzImage"

    @property
    def vmlinux(self) -> Path:
        """The ELF file with symbols and lines."""
        return self.folder / "vmlinux"

    @property
    def config_text_path(self) -> Path:
        """The resolved configuration."""
        return self.folder / ".config"

    @property
    def log(self) -> Path:
        """What the make that linked it said."""
        return self.folder / "build.log"


@dataclass(frozen=True, slots=True)
class Broken:
    """The first cut that does not build, and why; `cut.patch` did it."""

    cut: Cut
    error: CompileError


def build(
    store: Store, source: Source, cut: Cut, kconfig: Kconfig, profile: Profile, *, jobs: int, progress: Progress
) -> KernelImage:
    """Return the kernel of `cut`, from the store if it was ever built.

    Raises UserError for settings that the tree does not take and for want of disk space, CompileError
    when the tree does not build, InfraError when the machine is at fault.
    """
    compiler = kbuild.compiler()
    image = _kept(store, kconfig, cut.tree, compiler)
    if image is not None and image.modules is not None:
        progress.begin(f"kernel of cut {cut.index}")
        progress.end("kept from before")
        return image
    with workspace_of(store, source, kconfig, progress) as workspace:
        # Whoever held the workspace before us may have built this very kernel.
        image = _kept(store, kconfig, cut.tree, compiler)
        if image is not None and image.modules is not None:
            progress.end("built by another kpv")
            return image
        built = (workspace.obj / "vmlinux").exists()
        require_space(store.root, REBUILD if built else FULL_BUILD, "a kernel build")
        bench = _Bench(store, source, kconfig, compiler, workspace, jobs, progress)
        name = _key(cut.tree, bench.lay(cut), compiler)
        image = _find(store, name) or bench.make(cut, name, profile)
        return replace(image, modules=modules.build(store, image.key, workspace, jobs=jobs, progress=progress))


def first_broken_cut(
    store: Store,
    source: Source,
    cuts: Sequence[Cut],
    kconfig: Kconfig,
    profile: Profile,
    error: CompileError,
    *,
    jobs: int,
    progress: Progress,
) -> Broken:
    """Return the first of `cuts` that does not build, given that ``cuts[0]`` does and ``cuts[-1]`` fails with `error`.

    Each step makes only the object that failed; that the cut before it builds as a whole is then
    confirmed, and if it does not, the search goes on below it.
    """
    compiler = kbuild.compiler()
    good, bad = 0, len(cuts) - 1
    while True:
        low, high = good, bad
        with workspace_of(store, source, kconfig, progress) as workspace:
            bench = _Bench(store, source, kconfig, compiler, workspace, jobs, progress)
            while high - low > 1:
                middle = (low + high) // 2
                broken = bench.probe(cuts[middle], error.target)
                if broken:
                    high, error = middle, broken
                else:
                    low = middle
        if low == good:
            return Broken(cuts[high], error)
        try:
            build(store, source, cuts[low], kconfig, profile, jobs=jobs, progress=progress)
        except CompileError as earlier:
            bad, error = low, earlier
        else:
            return Broken(cuts[high], error)


def added_warnings(base: KernelImage, patched: KernelImage) -> tuple[BuildWarning, ...]:
    """Return the warnings that `patched` shows and `base` does not."""
    return diagnostic.added(base.warnings, patched.warnings)


@dataclass(frozen=True, slots=True)
class _Bench:
    """A workspace with all that a cut needs to be laid out and made in it."""

    store: Store
    source: Source
    kconfig: Kconfig
    compiler: str
    workspace: Workspace
    jobs: int
    progress: Progress

    def lay(self, cut: Cut) -> str:
        """Check `cut` out, put its configuration in place and return it."""
        self.progress.begin(f"check out cut {cut.index}")
        with self.workspace.source_alone():
            tree.checkout(self.source, cut.commit, self.workspace.src)
        self.progress.end()
        args = (self.store, self.workspace, self.kconfig, cut.tree, self.compiler)
        return dotconfig.resolve(*args, self.changed, self.progress)

    def changed(self, old: str, new: str) -> tuple[str, ...] | None:
        """Return the paths that differ between two trees, None when the repository no longer has the old one."""
        try:
            return tree.changed_paths(self.source, old, new)
        except PipelineError:
            return None

    def make(self, cut: Cut, name: str, profile: Profile) -> KernelImage:
        """Build what is laid out and keep it as `name`."""
        before = self.workspace.state().built
        counted = self.store.root / "counts" / key(self.kconfig.text())
        full = _count(counted)
        expected = self.workspace.expected(self.changed(before, cut.tree) if before else None, full or profile.objects)
        self.progress.begin(f"build cut {cut.index}", expected)
        state = self.workspace.build(kbuild.TARGET, cut.tree, jobs=self.jobs, progress=self.progress)
        self.progress.end(f"{state.targets} targets")
        if state.targets > full:
            write_atomic(counted, str(state.targets).encode())
        config = self.workspace.config.read_text()
        if name != _key(cut.tree, config, self.compiler):
            raise InfraError("the build changed its own configuration", where=str(self.workspace.config))
        return _keep(self.store, name, self.workspace, state)

    def probe(self, cut: Cut, target: str) -> CompileError | None:
        """Return how `target` fails to build in `cut`, None when it builds; only an object can be made alone."""
        try:
            self.lay(cut)
            stem = target.removesuffix(".o")
            alone = target.endswith(".o") and any((self.workspace.src / (stem + end)).exists() for end in (".c", ".S"))
            self.progress.begin(f"try {target} of cut {cut.index}")
            self.workspace.build(
                target if alone else kbuild.TARGET,
                self.workspace.state().built,
                jobs=self.jobs,
                progress=self.progress,
            )
        except CompileError as error:
            self.progress.end("does not build")
            return error
        self.progress.end("builds")
        return None


def workspace_of(
    store: Store, source: Source, kconfig: Kconfig, progress: Progress
) -> AbstractContextManager[Workspace]:
    """Hold the folder in which every cut of `source` is built with `kconfig`."""
    return kbuild.workspace(store, _workspace_name(source, kconfig, kbuild.compiler()), progress)


def _workspace_name(source: Source, kconfig: Kconfig, compiler: str) -> str:
    return key("workspace 1", str(source.repo), kconfig.text(), compiler)


def _key(tree_hash: str, config: str, compiler: str) -> str:
    return key("kernel 1", tree_hash, config, compiler, *(f"{name}={value}" for name, value in kbuild.FIXED.items()))


def _kept(store: Store, kconfig: Kconfig, tree_hash: str, compiler: str) -> KernelImage | None:
    config = dotconfig.kept(store, dotconfig.entry(kconfig, tree_hash, compiler))
    return None if config is None else _find(store, _key(tree_hash, config, compiler))


def _find(store: Store, name: str) -> KernelImage | None:
    folder = store.find(KIND, name)
    if folder is None:
        return None
    meta = json.loads((folder / "meta.json").read_text())
    return KernelImage(
        key=name,
        folder=folder,
        release=meta["release"],
        warnings=tuple(BuildWarning(*row) for row in meta["warnings"]),
        cached=True,
        modules=modules.find(store, name),
    )


def _keep(store: Store, name: str, workspace: Workspace, state: kbuild.State) -> KernelImage:
    """Copy what was built into the store.

    Copies, not links: bzImage is written in place by the next make, and on filesystems that share
    blocks a copy of vmlinux costs nothing either.
    """
    warnings = tuple(one for _, rows in state.warnings for one in rows)
    release = (workspace.obj / "include/config/kernel.release").read_text().strip()
    # Two workspaces (two repositories that hold the same tree) may come here at the same time.
    with store.lock(KIND, name):
        image = _find(store, name)
        if image is not None:
            return image
        with store.make(KIND, name) as folder:
            for path in (kbuild.IMAGE, "vmlinux", ".config", "System.map"):
                shutil.copyfile(workspace.obj / path, folder / Path(path).name)
            shutil.copyfile(workspace.log, folder / "build.log")
            meta = {"release": release, "warnings": [astuple(one) for one in warnings]}
            (folder / "meta.json").write_text(json.dumps(meta, indent=1))
    return KernelImage(name, store.path(KIND, name), release, warnings, cached=False)


def _count(counted: Path) -> int:
    try:
        return int(counted.read_text())
    except (OSError, ValueError):
        return 0
