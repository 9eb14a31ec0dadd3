"""The table of ledgers: what each row of a book means, how it is judged, and how much of it is nothing.

A row of a book belongs to the first ledger whose pattern matches its whole name.  Their order is that in which leaks
are told: what names the cause comes before what only shows its size.  docs/ledgers.md is this table with
where each figure is read, and a test holds the two together.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Rule(Enum):
    """What speaks against a row."""

    RETURNS = "returns"
    """At the end it stands higher than at the start, by more than the allowance."""
    GROWS = "grows"
    """It grew by more than the allowance in every round after the first, at one pace."""
    FALLS = "falls"
    """It fell so."""
    NOTED = "noted"
    """Nothing: it is in the book for a person to read, and the reason says why."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """One kind of row.

    name       what it is called here
    pattern    a regular expression for its rows; what its group ``what`` matches stands in the title
    title      of a leak, with ``{what}``
    unit       of the row's figure
    rule       what counts as a leak
    allowance  in `unit`: in all (RETURNS) or a round (GROWS, FALLS)
    reason     why that much, or why it is not judged
    source     kernel file and function that the figure comes from
    """

    name: str
    pattern: str
    title: str
    unit: str
    rule: Rule
    allowance: int
    reason: str
    source: str

    def titled(self, row: str) -> str:
        """Return the title of a leak in `row`."""
        match = re.fullmatch(self.pattern, row)
        what = match.groupdict().get("what", "") if match else ""
        return self.title.format(what=what or "")


def ledger_of(row: str, table: Sequence[Ledger]) -> Ledger | None:
    """Return the ledger that a row belongs to."""
    return next((x for x in table if re.fullmatch(x.pattern, row) is not None), None)


LEDGERS: tuple[Ledger, ...] = (
    Ledger(
        "dying memcgs",
        r"cgroup\.nr_dying_(descendants|subsys_(?P<what>\w+))",
        "dying {what} groups stay",
        "groups",
        Rule.RETURNS,
        0,
        "whatever may pin one for good reason (page cache, swap, cached objects, charges kept by CPUs) has been drained",
        "kernel/cgroup/cgroup.c:cgroup_stat_show",
    ),
    Ledger(
        "groups",
        r"cgroup\.nr_(descendants|subsys_(?P<what>\w+))",
        "{what} groups grow",
        "groups",
        Rule.GROWS,
        0,
        "x",
        "y",
    ),
    Ledger("slab", r"slab\.(?P<what>\S+)", "slab objects of {what} grow", "objects", Rule.GROWS, 64, "x", "y"),
)
