"""Progress on standard error: a live bar on a terminal, a line now and then in a CI log."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

EVERY = 15.0
"""Seconds between two lines of one stage where there is no terminal."""
QUICK = 0.3
"""A stage that took less says nothing, unless it has an outcome to tell."""


def printable(text: str) -> str:
    """Replace what a terminal would obey: text from a console or a patch is data."""
    return "".join(c if c.isprintable() or c == " " else "\N{REPLACEMENT CHARACTER}" for c in text)


class Terminal:
    """Shows stages as they go; one at a time.  Implements `pipeline.progress.Progress`."""

    def __init__(self, *, quiet: bool = False) -> None:
        """Print nothing but the end of long stages when `quiet`."""
        self._console = Console(stderr=True, highlight=False)
        self._live = self._console.is_terminal and not quiet
        self._quiet = quiet
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._what = ""
        self._total: float | None = None
        self._began = self._said = time.monotonic()
        self.stages: list[tuple[str, float]] = []

    def begin(self, what: str, total: float | None = None) -> None:
        """Start a stage."""
        if self._what:
            self.end()
        self._what, self._total = printable(what), total
        self._began = self._said = time.monotonic()
        if self._live:
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=total, note="")

    def step(self, done: float, note: str = "") -> None:
        """Move the bar, or print a line when the last one is long ago."""
        note = printable(note)
        if self._task is not None:
            self._bar.update(self._task, completed=done, note=note[:60])
            return
        now = time.monotonic()
        if self._quiet or now - self._said < EVERY:
            return
        self._said = now
        share = f" {min(100.0, 100 * done / self._total):.0f}%" if self._total else ""
        self.line(f"  {self._what}{share} {now - self._began:.0f} s {note}")

    def end(self, outcome: str = "") -> None:
        """End the stage; say how long it took when that is worth a line."""
        if not self._what:
            return
        took = time.monotonic() - self._began
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._bar.stop()
            self._task = None
        self.stages.append((self._what, took))
        if not self._quiet and (outcome or took > QUICK):
            self.line(f"  {self._what}: {printable(outcome) or 'done'} ({took:.1f} s)")
        self._what = ""

    def line(self, text: str) -> None:
        """Print one line above the bar."""
        self._console.print(Text(printable(text)), soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal as it was found."""
        if self._live:  # a bar that never was would leave an empty line
            self._bar.stop()
        sys.stderr.flush()

    def __enter__(self) -> Self:
        """Own the terminal for a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the bar, however the block ended."""
        self.close()
