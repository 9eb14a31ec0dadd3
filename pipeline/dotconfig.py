"""The ``.config`` of a tree: tinyconfig, the settings, olddefconfig, and every setting checked in what came out.

Kept by content (settings, tree, compiler).  Between two trees that do not differ in anything Kconfig
reads, the result is carried over and no make runs at all.
"""

import contextlib
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from pipeline.errors import UserError
from pipeline.kbuild import Workspace
from pipeline.kconfig import Kconfig, Mismatch, declared
from pipeline.progress import Progress
from pipeline.store import Store, key, write_atomic

KIND = "config"
"""What the store calls an entry: a folder with one ``.config``."""

_READ = re.compile(
    r"(?:.*/)?Kconfig[^/]*|scripts/.*|Makefile|arch/x86/Makefile[^/]*|arch/x86/configs/.*|kernel/configs/.*"
)
"""Paths that olddefconfig's result depends on; scripts/ because Kconfig runs what stands there."""

_MODULES = re.compile(r"^([ \t]+)modules[ \t]*$", re.MULTILINE)
"""The attribute of MODULES (scripts/kconfig/parser.y); kconfiglib 14.1 knows only ``option modules`` of old."""


def entry(kconfig: Kconfig, tree: str, compiler: str) -> str:
    """Return the key under which the resolved configuration is kept."""
    optional = " ".join(setting.symbol for setting in kconfig.settings if setting.optional)
    return key("config 1", kconfig.text(), optional, tree, compiler)


def kept(store: Store, name: str) -> str | None:
    """Return the resolved configuration `name`, if the store has it."""
    folder = store.find(KIND, name)
    return (folder / ".config").read_text() if folder else None


def resolve(
    store: Store,
    workspace: Workspace,
    kconfig: Kconfig,
    tree: str,
    compiler: str,
    changed: Callable[[str, str], Sequence[str] | None],
    progress: Progress,
) -> str:
    """Return the ``.config`` for the source in `workspace`, which is git tree `tree`, and put it in its place.

    `changed` says which paths differ between two trees, None when it cannot know.  Raises UserError for
    a symbol that the tree does not know and for a setting that did not survive, CompileError when the
    tree's Kconfig files cannot be read.
    """
    name = entry(kconfig, tree, compiler)
    text = kept(store, name)
    if text is None:
        state = workspace.state()
        before = kept(store, entry(kconfig, state.configured, compiler)) if state.configured else None
        paths = changed(state.configured, tree) if before is not None else None
        if before is not None and paths is not None and not any(_READ.fullmatch(path) for path in paths):
            text = before
        else:
            progress.begin("configure")
            text = _configure(workspace, kconfig)
            progress.end(f"{len(kconfig.settings)} settings, all there")
        with store.lock(KIND, name):
            if kept(store, name) is None:
                with store.make(KIND, name) as folder:
                    (folder / ".config").write_text(text)
        workspace.remember(replace(state, configured=tree))
    # Untouched when equal: a newer .config would make kbuild look at every symbol again.
    if not workspace.config.exists() or workspace.config.read_text() != text:
        write_atomic(workspace.config, text.encode())
    return text


def _configure(workspace: Workspace, kconfig: Kconfig) -> str:
    """Run tinyconfig and olddefconfig beside the configuration that is in use, and check the result."""
    wanted = kconfig.known(_symbols(workspace.src))
    workspace.obj.mkdir(parents=True, exist_ok=True)
    new = workspace.obj / ".config.new"
    env = {"KCONFIG_CONFIG": str(new)}
    workspace.make(["tinyconfig"], jobs=1, env=env)
    with new.open("a") as file:
        file.write(wanted.text())
    workspace.make(["olddefconfig"], jobs=1, env=env)
    text = new.read_text()
    new.unlink()
    mismatches = wanted.mismatches(text)
    if mismatches:
        explained = explain(workspace.src, text, mismatches)
        first = explained[0]
        raise UserError(
            str(first),
            where=first.setting.where,
            todo="add what it needs to the fragment, or leave it out" if first.reason else "leave it out",
            detail="\n".join(f"{one.setting.where}: {one}" for one in explained),
        )
    return text


def _symbols(src: Path) -> frozenset[str]:
    """Return every symbol that the tree's Kconfig files declare, for whatever architecture."""
    found: set[str] = set()
    for folder, folders, names in os.walk(src):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.startswith("Kconfig"):
                found |= declared(Path(folder, name).read_text(errors="replace"))
    return frozenset(found)


def explain(src: Path, config: str, mismatches: Sequence[Mismatch]) -> tuple[Mismatch, ...]:
    """Say for each mismatch what stands against it in the tree's Kconfig files.

    kconfiglib reads them.  Where it cannot (a construct of a newer kernel), what it stumbled over is
    the reason.
    """
    import kconfiglib  # noqa: PLC0415  only when something is wrong: it takes a while to load

    class Tree(kconfiglib.Kconfig):  # type: ignore[misc]  # it has no types
        """kconfiglib, reading an attribute that came after its last release as the one it replaced."""

        __slots__ = ()

        def _open(self, filename: str, mode: str) -> IO[str]:
            opened: IO[str] = super()._open(filename, mode)
            if not Path(filename).name.startswith("Kconfig"):
                return opened
            with opened:
                return io.StringIO(_MODULES.sub(r"\1option modules", opened.read()))

    with tempfile.NamedTemporaryFile("w", suffix=".config") as file, _environment(_kconfig_environment(src)):
        file.write(config)
        file.flush()
        try:
            tree = Tree("Kconfig", warn=False)
            tree.load_config(file.name)
        except (kconfiglib.KconfigError, OSError) as error:
            reason = f"why cannot be told, kconfiglib does not read this tree: {str(error).splitlines()[0]}"
            return tuple(replace(one, reason=reason) for one in mismatches)
        return tuple(replace(one, reason=_reason(kconfiglib, tree, one)) for one in mismatches)


def _reason(kconfiglib: Any, tree: Any, mismatch: Mismatch) -> str:
    """Return the first thing that explains a mismatch, as somebody who edits fragments would put it."""
    symbol, wanted = tree.syms[mismatch.setting.symbol], mismatch.setting.value
    selecting = [
        kconfiglib.expr_str(kconfiglib.split_expr(part, kconfiglib.AND)[0])
        for part in kconfiglib.split_expr(symbol.rev_dep, kconfiglib.OR)
        if kconfiglib.expr_value(part)
    ]
    limits = [(low.str_value, high.str_value) for low, high, when in symbol.ranges if kconfiglib.expr_value(when)]
    chosen = symbol.choice.selection if symbol.choice is not None else None
    prompts = [node.prompt[1] for node in symbol.nodes if node.prompt]
    unmet = _unmet(kconfiglib, symbol.direct_dep)
    hidden = ", ".join(_unmet(kconfiglib, condition) for condition in prompts)
    reasons = (
        (wanted == "n" and selecting, f"selected by {', '.join(selecting)}"),
        (unmet, f"depends on {unmet}"),
        (wanted == "m" and tree.modules.str_value == "n", "there are no modules in a guest: ask for y"),
        (wanted == "y" and chosen, f"the choice fell on {chosen.name if chosen else ''}"),
        (limits, f"the range is {', '.join(f'{low} to {high}' for low, high in limits)}"),
        (not prompts, "it has no prompt: only another symbol's select or its default sets it"),
        (hidden, f"asked only if {hidden}"),
    )
    return next((reason for holds, reason in reasons if holds), "")


def _unmet(kconfiglib: Any, condition: Any) -> str:
    """Return the parts of a condition that are n, with the values in them: ``FOO || BAR (FOO=n, BAR=n)``."""
    parts = [part for part in kconfiglib.split_expr(condition, kconfiglib.AND) if not kconfiglib.expr_value(part)]
    return ", ".join(_said(kconfiglib, part) for part in parts)


def _said(kconfiglib: Any, part: Any) -> str:
    values = {item.name: item.str_value for item in kconfiglib.expr_items(part) if item.name}
    return f"{kconfiglib.expr_str(part)} ({', '.join(f'{name}={value}' for name, value in sorted(values.items()))})"


def _kconfig_environment(src: Path) -> Mapping[str, str]:
    """Return what make exports to Kconfig (Makefile, scripts/kconfig/Makefile) on x86 with GNU tools."""
    named = ("LD", "AR", "NM", "STRIP", "OBJCOPY", "OBJDUMP", "PAHOLE", "RUSTC", "BINDGEN", "AS")
    empty = ("CLANG_FLAGS", "PAHOLE_FLAGS", "RUSTC_VERSION_TEXT")
    programs = {**{name: name.lower() for name in named}, "CC": "gcc", "HOSTCC": "gcc", "HOSTCXX": "g++"}
    tree = {"srctree": str(src), "ARCH": "x86", "SRCARCH": "x86", "KERNELVERSION": "unknown", "CC_VERSION_TEXT": "gcc"}
    return {**programs, **tree, **dict.fromkeys(empty, ""), "CONFIG_": "CONFIG_"}


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Hold `values` in our own environment: kconfiglib takes them from nowhere else."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
