"""verdict.json, for programs.  docs/verdicts.md lists its keys; `FORMAT` is raised when one changes its meaning."""

import json
from typing import Any

from pipeline.report.summary import Summary
from pipeline.run import plain

FORMAT = 1


def render(summary: Summary) -> str:
    """Return one JSON object in pure ASCII, without ``<``, so that it may stand in a page as it is."""
    summary = summary.cleaned()
    verdict = summary.verdict
    body: dict[str, Any] = {
        "format": FORMAT,
        "outcome": verdict.outcome.value,
        "exit_status": verdict.outcome.exit_status,
    }
    body |= plain(summary)
    body["keys"] = dict(summary.keys)
    body["files"] = dict(summary.files)
    body["verdict"] |= {"bound": verdict.bound}
    for kind in ("reasons", "known"):
        for row, reason in zip(body["verdict"][kind], getattr(verdict, kind), strict=True):
            if reason.leak is not None:
                row["leak"]["slope"] = reason.leak.slope
    for row, worth in zip(body["verdict"]["worth"], verdict.worth, strict=True):
        row["bound"] = worth.bound
    return json.dumps(body, indent=1, allow_nan=False).replace("<", "\\u003c") + "\n"
