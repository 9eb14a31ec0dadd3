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

from pipeline.errors import UserError
from pipeline.series import Series
from pipeline.store import write_atomic

LATEST = "latest"
"""Symlink beside the runs to the one begun last: what a CI job collects."""


@dataclass(frozen=True, slots=True)
class Results:
    """One run's folder."""

    folder: Path

    def write(self, name: str, text: str) -> Path:
        """Write one file, whole or not at all."""
        path = self.folder / name
        try:
            write_atomic(path, text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise UserError(f"cannot be written: {error.strerror}", where=str(path)) from error
        return path

    def keep(self, source: Path, name: str) -> None:
        """Keep a copy of a file that lives elsewhere; nothing when it is not there."""
        with contextlib.suppress(FileNotFoundError):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, self.folder / name)

    def keep_series(self, series: Series) -> None:
        """Keep the patches as they came, in the order in which they apply."""
        for patch in series.patches:
            slug = re.sub(r"[^A-Za-z0-9]+", "-", patch.subject).strip("-")[:60] or "patch"
            path = self.folder / "series" / f"{patch.index:04}-{slug}.patch"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(patch.text)

    def reproducible(self, program: Path, argv: Sequence[str], about: str) -> None:
        """Write reproduce.sh: `program` with `argv` on the kept series, wherever this folder is moved.

        `about` is a line on what the arguments meant, for whoever runs it where they mean something else.
        """
        words = " \\\n\t".join(shlex.quote(word) for word in argv)
        script = self.write(
            "reproduce.sh",
            "#!/bin/sh\n"
            "# Runs this again: same kernel, series, configuration, machine and seeds.\n"
            f"# {' '.join(about.split())}\n"
            f"kpv=${{KPV:-{shlex.quote(str(program))}}}\n"
            'here=$(cd "$(dirname "$0")" && pwd)\n'
            f'exec "$kpv" {words} \\\n\t--series "$here/series" "$@"\n',
        )
        script.chmod(0o755)

    def discard(self) -> None:
        """Leave nothing: the run was a mistake in its arguments."""
        shutil.rmtree(self.folder, ignore_errors=True)
        latest = self.folder.parent / LATEST
        if latest.is_symlink() and not latest.exists():
            latest.unlink()
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()  # only when it is empty, and so ours


def begin(out: Path, name: str) -> Results:
    """Make the folder of a run below `out`, named after the time and the series; `latest` points to it.

    Raises UserError when `out` cannot be written, before anything else is done.
    """
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "series"
    stamp = time.strftime("%Y%m%d-%H%M%S")
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = out / f"{stamp}-{slug}"
        turn = 1
        while True:
            try:
                folder.mkdir()
                break
            except FileExistsError:
                turn += 1
                folder = out / f"{stamp}-{slug}.{turn}"
        link = out / f".{LATEST}-{os.getpid()}"
        link.symlink_to(folder.name)
        link.replace(out / LATEST)
    except OSError as error:
        message = f"results cannot be written here: {error.strerror}"
        raise UserError(message, where=str(out), todo="name another folder with --out") from error
    return Results(folder)
