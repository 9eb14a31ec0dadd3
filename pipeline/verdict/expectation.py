"""Whether a verdict is the one a case of the library has to get."""

import re

from pipeline.declare import Expected
from pipeline.verdict.types import Outcome, Reason, Verdict


def unmet(expected: Expected, verdict: Verdict) -> str:
    """Say in what `verdict` differs from what was `expected`; empty when it does not."""
    wanted = Outcome.FAIL if expected.fails else Outcome.PASS
    if verdict.outcome is not wanted:
        why = f": {verdict.reasons[0].text}" if verdict.reasons else ""
        return f"{verdict.outcome.value} where {wanted.value} is due{why}"
    if not expected.fails:
        return ""
    titled = [x for x in verdict.reasons if x.outcome is Outcome.FAIL and re.search(expected.title, x.title)]
    if not titled:
        seen = "; ".join(reason.title for reason in verdict.reasons)
        return f"no reason is titled {expected.title!r}, but: {seen}"
    if expected.patch and not any(reason.patch_number == expected.patch for reason in titled):
        return f"{titled[0].title}: patch {expected.patch} is due, {_named(titled[0])} is named"
    return ""


def _named(reason: Reason) -> str:
    return f"patch {reason.patch_number}" if reason.patch_number else "no patch"
