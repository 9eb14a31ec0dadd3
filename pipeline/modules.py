"""What is built against a kernel beside it: the module that plants faults, and an object that holds its types.

An entry is ``<store>/modules/<key>/`` with ``canary.ko``, ``types.o`` and, for each of the two that this
kernel's tree does not take, ``<name>.why``.  Its key is that of the kernel and the sources, so that an edited
source costs no kernel.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.kbuild import CompileError, Workspace
from pipeline.progress import Progress, Silent
from pipeline.store import Store, key

SOURCES = Path(__file__).parent.parent / "guest_tests" / "canary"
"""Kbuild and the C files it names."""

KIND = "modules"
LOG = "modules.log"
"""What make says here is no part of what it said of the kernel."""
PREPARE = "modules_prepare"
"""What makes a tree fit for modules of others (Documentation/kbuild/modules.rst)."""

_PARTS = (("canary.ko", "modules"), ("types.o", "types.o"))
"""What is kept, and the target that makes it; each by itself, since one may fail where the other does not."""


@dataclass(frozen=True, slots=True)
class Modules:
    """An entry of the store."""

    folder: Path

    @property
    def canary(self) -> Path:
        """The module, where `why` has nothing to say against it."""
        return self.folder / "canary.ko"

    @property
    def types(self) -> Path:
        """The object with the types of memory control as this kernel has them, under the same condition."""
        return self.folder / "types.o"

    def why(self, part: Path) -> str:
        """Return why there is no `canary` or no `types`; empty when there is."""
        try:
            return part.with_name(part.name + ".why").read_text()
        except FileNotFoundError:
            return ""


def find(store: Store, kernel: str) -> Modules | None:
    """Return what was built against the kernel of that key, by the sources as they are now."""
    folder = store.find(KIND, _name(kernel))
    return None if folder is None else Modules(folder)


def build(store: Store, kernel: str, workspace: Workspace, *, jobs: int, progress: Progress) -> Modules:
    """Build for the kernel of key `kernel`, whose source and configuration are laid out in `workspace`.

    A source that does not compile is no error here: it is kept as what it is.  Raises InfraError when the
    machine gave out.
    """
    name = _name(kernel)
    with store.lock(KIND, name):
        if (there := find(store, kernel)) is not None:
            return there
        progress.begin("modules")
        with store.make(KIND, name) as folder:
            _prepare(folder, workspace, jobs)
        made = Modules(store.path(KIND, name))
        progress.end(made.why(made.canary))
    return made


def _name(kernel: str) -> str:
    return key("modules 1", kernel, *(part for path in _sources() for part in (path.name, path.read_bytes())))


def _sources() -> Sequence[Path]:
    return sorted(path for path in SOURCES.iterdir() if path.name == "Kbuild" or path.suffix in {".c", ".h"})


def _prepare(folder: Path, workspace: Workspace, jobs: int) -> None:
    try:
        workspace.build(PREPARE, workspace.state().built, jobs=jobs, progress=Silent(), log=LOG)
    except CompileError as error:
        for part, _target in _PARTS:
            (folder / f"{part}.why").write_text(_told(error))
        return
    # A copy: kbuild puts what it makes beside its sources.
    beside = workspace.folder / "modules"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    for path in _sources():
        shutil.copyfile(path, beside / path.name)
    for part, target in _PARTS:
        _make(folder, beside, part, target, workspace, jobs)
    shutil.rmtree(beside)


def _make(folder: Path, beside: Path, part: str, target: str, workspace: Workspace, jobs: int) -> None:
    try:
        # A symbol that this kernel does not export is found when the module is loaded, by that very kernel; here
        # the list of symbols may be another cut's, or not be there yet.
        workspace.make([f"M={beside}", target], jobs=jobs, env={"KBUILD_MODPOST_WARN": "1"}, log=LOG)
        shutil.copyfile(beside / part, folder / part)
    except CompileError as error:
        (folder / f"{part}.why").write_text(_told(error))
    except FileNotFoundError:
        (folder / f"{part}.why").write_text(f"make made no {part}")


def _told(error: CompileError) -> str:
    """Return one line."""
    return " ".join(str(error).split())
