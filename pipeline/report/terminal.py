"""What is said at the end on a terminal: the verdict first, then why, what it is worth, where the rest is."""

from pipeline.report.summary import Summary
from pipeline.verdict import Outcome, Reason

_COLOUR = {Outcome.PASS: "1;32", Outcome.FAIL: "1;31", Outcome.BROKEN: "1;35", Outcome.SKIP: "1;33"}
_DIM = "2"
REPORT_LINES = 12
"""Lines of a kernel's or a compiler's own text; the files hold the rest."""
MOST_REASONS = 8
MOST_KNOWN = 5


def render(summary: Summary, *, colour: bool = False) -> str:
    """Return the lines; with `colour`, in the terminal's own colours and nothing else of its powers."""
    summary = summary.cleaned()
    verdict = summary.verdict

    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colour and text else text

    word = paint(verdict.outcome.value, _COLOUR[verdict.outcome])
    lines = [f"{word}  {summary.series} on {summary.base}: {summary.headline}"]
    for reason in verdict.reasons[:MOST_REASONS]:
        label = paint(f"{reason.outcome.value:<6}", _COLOUR[reason.outcome])
        lines += ["", f"  {label} {reason.why.value}: {_line(reason)}"]
        lines += [f"         {x}" for x in _facts(reason)]
        lines += [paint(f"         | {x}", _DIM) for x in _excerpt(reason.report)]
    if len(verdict.reasons) > MOST_REASONS:
        lines += ["", f"  and {len(verdict.reasons) - MOST_REASONS} more; see the files"]
    if verdict.known:
        lines += ["", "  known, on the base too, not counted:"]
        lines += [f"         {_line(x)}" for x in verdict.known[:MOST_KNOWN]]
        if len(verdict.known) > MOST_KNOWN:
            lines.append(f"         and {len(verdict.known) - MOST_KNOWN} more")
    if summary.worth:
        lines += ["", "  what was tried:", *(f"         {x}" for x in summary.worth)]
    if summary.canaries:
        lines += ["", f"  canaries: {summary.canaries}"]
    if summary.partial:
        lines += ["", f"  not complete: {summary.partial}"]
    ran_on = ", ".join(x for x in (summary.release, summary.profile, summary.machine, summary.accel) if x)
    lines += ["", paint(f"  {ran_on}; {_duration(summary.seconds)} in all", _DIM)]
    width = max((len(what) for what, _path in summary.files), default=0)
    lines += [paint(f"  {what:<{width}}  {path}", _DIM) for what, path in summary.files]
    if summary.reproduce:
        lines.append(paint(f"  again: {summary.reproduce}", _DIM))
    return "\n".join(lines) + "\n"


def _line(reason: Reason) -> str:
    first = reason.text.splitlines()[0] if reason.text else reason.title
    return first if reason.times == 1 else f"{first} ({reason.times} times)"


def _facts(reason: Reason) -> tuple[str, ...]:
    rows = (
        ("patch", reason.patch),
        ("function", reason.function),
        ("file", reason.file),
        ("ledger", reason.leak.ledger if reason.leak else ""),
        ("held by", reason.leak.pin if reason.leak else ""),
        ("program", f"{reason.program}, seed {reason.seed}" if reason.seed is not None else reason.program),
        ("console", reason.log if reason.line is None else f"{reason.log}:{reason.line + 1}" if reason.log else ""),
    )
    return tuple(f"{name:<9}{value}" for name, value in rows if value)


def _excerpt(report: str) -> list[str]:
    lines = report.splitlines()
    if len(lines) <= REPORT_LINES:
        return lines
    return [*lines[:REPORT_LINES], f"... {len(lines) - REPORT_LINES} more lines"]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
