"""The table of rules: every way in which a kernel complains, one row each.

Order matters only among rows with the same needle: the first whose pattern and body match is taken,
so special rows stand before general ones.
"""

from pipeline.findings.rules.faults import FAULTS
from pipeline.findings.rules.hangs import HANGS
from pipeline.findings.rules.locking import LOCKING
from pipeline.findings.rules.memory import MEMORY
from pipeline.findings.rules.row import Blame, Rule
from pipeline.findings.rules.warnings import WARNINGS

RULES: tuple[Rule, ...] = (*MEMORY, *LOCKING, *HANGS, *FAULTS, *WARNINGS)

__all__ = ["RULES", "Blame", "Rule"]
