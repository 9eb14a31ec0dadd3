"""Verdicts: whose fault it is, why, and what the answer is worth (docs/verdicts.md)."""

from pipeline.verdict.canaries import trusted
from pipeline.verdict.evidence import prove, read_boot, read_run
from pipeline.verdict.expectation import unmet
from pipeline.verdict.failures import (
    broken,
    not_applied,
    not_built,
    warning,
)
from pipeline.verdict.judge import judge
from pipeline.verdict.types import (
    Asked,
    Blame,
    Evidence,
    Outcome,
    Planted,
    Reason,
    Start,
    Trial,
    Verdict,
    Why,
    Worth,
    combine,
    rate_bound,
)

__all__ = [
    "Asked",
    "Blame",
    "Evidence",
    "Outcome",
    "Planted",
    "Reason",
    "Start",
    "Trial",
    "Verdict",
    "Why",
    "Worth",
    "broken",
    "combine",
    "judge",
    "not_applied",
    "not_built",
    "prove",
    "rate_bound",
    "read_boot",
    "read_run",
    "trusted",
    "unmet",
    "warning",
]
