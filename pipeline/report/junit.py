"""junit.xml, for Jenkins, GitLab and the like.

One suite; a test case each for the steps that come before a boot, for the boot, for every program, and for
the ledgers of all of them.
A case carries at most one failure or error: servers show the first alone, and the strict schema wants
errors before failures while junit-xml writes them after.  Every reason stands in exactly one case.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from junit_xml import TestCase, TestSuite, to_xml_report_string

from pipeline.report.summary import Summary
from pipeline.verdict import Outcome, Reason, Why


@dataclass(frozen=True, slots=True)
class _Step:
    """A case that is no program: which reasons are its, by what they are about."""

    name: str
    about: frozenset[Why]


_LEDGERS = frozenset({Why.LEAK, Why.LEDGER})
"""What is about the books and about kmemleak, whatever program it was seen after."""

_STEPS = (
    _Step("applies", frozenset({Why.APPLY})),
    _Step("builds", frozenset({Why.BUILD, Why.WARNING})),
    _Step("runs", frozenset(Why) - {Why.APPLY, Why.BUILD, Why.WARNING} - _LEDGERS),
)
"""In the order they happen; each is reached only when the one before it went well."""


def render(summary: Summary) -> str:
    """Return the document, valid against the schema that Jenkins' xUnit plugin ships."""
    summary = summary.cleaned()
    rest = summary.verdict.reasons
    cases = []
    broke = False
    for step in _STEPS:
        mine = tuple(x for x in rest if x.why in step.about and x.program not in summary.programs)
        reached = not broke and (bool(mine) or bool(summary.trials) or _later(step, rest))
        cases.append(_case(summary, step.name, "kpv.series", mine, reached=reached, seconds=0.0))
        broke = broke or any(x.outcome is not Outcome.SKIP for x in mine if x.why is not Why.WARNING)
    tried = {row.program for row in summary.verdict.worth if row.trials}
    for program in summary.programs:
        mine = tuple(x for x in rest if x.program == program and x.why not in _LEDGERS)
        seconds = sum(row.seconds for row in summary.trials if row.program == program)
        place = f"kpv.{summary.profile}.{summary.machine}"
        cases.append(_case(summary, program, place, mine, reached=program in tried, seconds=seconds))
    mine = tuple(x for x in rest if x.why in _LEDGERS)
    cases.append(_case(summary, "ledgers", "kpv.series", mine, reached=bool(tried), seconds=0.0))
    suite = TestSuite(
        f"kpv {summary.series}",
        cases,
        timestamp=summary.started.removesuffix("Z").partition("+")[0],
        properties={
            "outcome": summary.verdict.outcome.value,
            "base": summary.base,
            "release": summary.release,
            "accel": summary.accel,
            "canaries": summary.canaries,
            "reproduce": summary.reproduce,
            **dict(summary.keys),
        },
    )
    return str(to_xml_report_string([suite], encoding="utf-8"))


def _later(step: _Step, reasons: Sequence[Reason]) -> bool:
    """Whether a later step has something to say, so that this one went well."""
    after = _STEPS[_STEPS.index(step) + 1 :]
    return any(reason.why in other.about for other in after for reason in reasons if reason.why is not Why.NOT_RUN)


def _case(
    summary: Summary, name: str, classname: str, reasons: Sequence[Reason], *, reached: bool, seconds: float
) -> TestCase:
    case = TestCase(name, classname=classname, elapsed_sec=seconds)
    for outcome, tell in ((Outcome.FAIL, case.add_failure_info), (Outcome.BROKEN, case.add_error_info)):
        mine = [x for x in reasons if x.outcome is outcome]
        if mine:
            # Both message and output, always: an element with neither is not written at all.
            tell(mine[0].text or mine[0].why.value, _output(reasons), mine[0].why.value)
            return case
    if reasons:
        case.add_skipped_info(reasons[0].text or reasons[0].why.value, _output(reasons))
    elif not reached:
        case.add_skipped_info(summary.partial or "not reached", "")
    return case


def _output(reasons: Sequence[Reason]) -> str:
    parts = (f"{x.outcome.value}: {x.text}\n{x.report}".rstrip() for x in reasons)
    return "\n\n".join(parts) + "\n"
