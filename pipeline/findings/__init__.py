"""Reads a kernel console: every way a kernel complains, as a Finding.

``scan`` reads a whole console, ``Scanner`` one that is still being written. The table of what is
recognised is in ``rules``; what a title looks like is in ``title``; whom it names in ``culprit``.
"""

from pipeline.findings.scan import Scanner, scan, scan_blocks
from pipeline.findings.types import Executor, Finding, Frame, Kind, Role, same_bug

__all__ = ["Executor", "Finding", "Frame", "Kind", "Role", "Scanner", "same_bug", "scan", "scan_blocks"]
