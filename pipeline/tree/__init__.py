"""Kernel trees: where the sources come from, the series applied to them, work trees to build in."""

from pipeline.tree.apply import Cut, cuts
from pipeline.tree.load import load_series, series_from_range
from pipeline.tree.source import Source, changed_paths, is_git, open_source, show
from pipeline.tree.worktree import checkout, checkout_parts, objects

__all__ = [
    "Cut",
    "Source",
    "changed_paths",
    "checkout",
    "checkout_parts",
    "cuts",
    "is_git",
    "load_series",
    "objects",
    "open_source",
    "series_from_range",
    "show",
]
