"""The folder of one run: what went in and how to get it again (before the work), what came out (after it)."""

import contextlib
import os
import re
import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InfraError, UserError
from pipeline.series import Series
from pipeline.store import write_atomic

LATEST = "latest"
"""Symlink beside the runs to the one begun last: what a CI job collects."""


@dataclass(frozen=True, slots=True)
class Results:
    """One run's folder."""

    folder: Path
    made: tuple[Path, ...] = ()
    """Folders above it that were made for it, innermost first."""
    before: str = ""
    """What `latest` pointed to before."""

    def write(self, name: str, text: str) -> Path:
        """Write one file, whole or not at all."""
        return self._write(name, text.encode("utf-8", "backslashreplace"))

    def _write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        try:
            write_atomic(path, data)
        except OSError as error:
            raise UserError(f"cannot be written: {error.strerror}", where=str(path)) from error
        return path

    def keep(self, source: Path, name: str) -> None:
        """Keep a copy of a file that lives elsewhere; nothing when it is not there.  Raises InfraError."""
        try:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, self.folder / name)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise InfraError(f"cannot be kept: {error.strerror}", where=str(self.folder / name)) from error

    def keep_series(self, series: Series) -> None:
        """Keep the patches as they came, in the order in which they apply.  Raises UserError."""
        for patch in series.patches:
            slug = re.sub(r"[^A-Za-z0-9]+", "-", patch.subject).strip("-")[:60] or "patch"
            self._write(f"series/{patch.index:04}-{slug}.patch", patch.text)

    def reproducible(self, program: Sequence[str], argv: Sequence[str], about: str) -> None:
        """Write reproduce.sh: `program`, or ``$KPV``, with `argv` on the kept series, wherever this folder is moved.

        `about` is a line on what the arguments meant, for whoever runs it where they mean something else.
        """
        words = " \\\n\t".join(shlex.quote(word) for word in argv)
        script = self.write(
            "reproduce.sh",
            "#!/bin/sh\n"
            "# Runs this again: same kernel, series, configuration, machine and seeds.\n"
            f"# {' '.join(about.split())}\n"
            f'kpv() {{ if [ "${{KPV:-}}" ]; then "$KPV" "$@"; else {shlex.join(program)} "$@"; fi; }}\n'
            'here=$(cd "$(dirname "$0")" && pwd)\n'
            f'kpv {words} \\\n\t--series "$here/series" "$@"\n',
        )
        script.chmod(0o755)

    def discard(self) -> None:
        """Leave nothing: the run was a mistake in its arguments."""
        shutil.rmtree(self.folder, ignore_errors=True)
        latest = self.folder.parent / LATEST
        with contextlib.suppress(OSError):
            if latest.is_symlink() and str(latest.readlink()) == self.folder.name:
                latest.unlink()
                if self.before and (self.folder.parent / self.before).exists():
                    latest.symlink_to(self.before)
        _unmake(self.made)


def begin(out: Path, name: str) -> Results:
    """Make the folder of a run below `out`, named after the time and the series; `latest` points to it.

    Raises UserError when `out` cannot be written, before anything else is done, and then leaves nothing.
    """
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "series"
    made = tuple(folder for folder in (out, *out.parents) if not os.access(folder, os.F_OK))
    folder: Path | None = None
    try:
        out.mkdir(parents=True, exist_ok=True)
        latest = out / LATEST
        before = str(latest.readlink()) if latest.is_symlink() else ""
        folder = _new(out, f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}")
        _point(latest, folder.name)
    except OSError as error:
        if folder is not None:
            folder.rmdir()
        _unmake(made)
        message = f"results cannot be written here: {error.strerror}"
        raise UserError(message, where=str(out), todo="name another folder with --out") from error
    return Results(folder, made, before)


def _unmake(made: Sequence[Path]) -> None:
    """Remove folders that were made, innermost first, while they are empty."""
    for folder in made:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _new(out: Path, name: str) -> Path:
    """Make a folder of that name, with a number behind it when another kpv was begun in the same second."""
    turn = 1
    while True:
        folder = out / (name if turn == 1 else f"{name}.{turn}")
        try:
            folder.mkdir()
        except FileExistsError:
            turn += 1
        else:
            return folder


def _point(latest: Path, target: str) -> None:
    """Make `latest` point to `target`, so that at every moment it points somewhere."""
    link = latest.with_name(f".{LATEST}-{os.getpid()}")
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(target)
        link.replace(latest)
    finally:
        link.unlink(missing_ok=True)
