"""What a stage tells whoever watches: it began, how far it is, how it ended.

A pure protocol, so that every room can report without knowing who prints.
"""

from typing import Protocol


class Progress(Protocol):
    """One line of progress at a time; stages do not nest."""

    def begin(self, what: str, total: float | None = None) -> None:
        """Start stage `what`; `total` in whatever unit `step` counts, None when not known."""

    def step(self, done: float, note: str = "") -> None:
        """Say that `done` (absolute, not a difference) of the total is over; `note` is what is being done."""

    def end(self, outcome: str = "") -> None:
        """End the stage; `outcome` is what a reader wants to remember (``kept from before``, ``2313 objects``)."""


class Silent:
    """Progress that nobody watches."""

    def begin(self, what: str, total: float | None = None) -> None:
        """Say nothing."""

    def step(self, done: float, note: str = "") -> None:
        """Say nothing."""

    def end(self, outcome: str = "") -> None:
        """Say nothing."""
