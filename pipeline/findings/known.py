"""Known issues: what is listed when it is seen, and not counted.

A row of the list says which titles it stands for, why they are not counted, where that is written up,
and until when. A row that has expired, or gives no reason, is an error: the list is to shrink.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from pipeline.errors import UserError, nearest
from pipeline.findings.types import Finding

_KEYS = ("title", "reason", "link", "expires")
# Titles of no kernel. A pattern that matches one of them would hide what nobody has seen yet.
_NOBODYS = ("", "Q", "KASAN: qqq Read in qqq", "WARNING in qqq", "BUG: qqq", "INFO: qqq in qqq", "qqq in qqq qqq")


@dataclass(frozen=True, slots=True)
class KnownIssue:
    """One row: `title` has to match a title of a finding, or an alternative one, from end to end."""

    title: re.Pattern[str]
    reason: str
    link: str
    expires: date

    def matches(self, finding: Finding) -> bool:
        """Return whether the finding is this issue."""
        return any(self.title.fullmatch(title) for title in finding.titles)


def known_issues(rows: object, *, today: date, where: str) -> tuple[KnownIssue, ...]:
    """Read the rows of a list of known issues, as YAML gives them; `where` is the file, for messages.

    Raises UserError for whatever is not as it should be, an expired row included.
    """
    if rows is None:
        return ()
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        raise UserError("not a list of known issues", where=where, todo=f"each row has {', '.join(_KEYS)}")
    return tuple(_issue(row, today, f"{where}, row {number}") for number, row in enumerate(rows, 1))


def find(finding: Finding, issues: Sequence[KnownIssue]) -> KnownIssue | None:
    """Return the first known issue that a finding is, if it is one."""
    return next((issue for issue in issues if issue.matches(finding)), None)


def _issue(row: object, today: date, where: str) -> KnownIssue:
    if not isinstance(row, Mapping):
        raise UserError("a known issue is a mapping", where=where, todo=f"give it {', '.join(_KEYS)}")
    for key in row:
        if key not in _KEYS:
            raise UserError(f"unknown key {str(key)[:40]!r}", where=where, todo=nearest(str(key), _KEYS))
    title, reason, link = (_text(row, key, where) for key in ("title", "reason", "link"))
    expires = _date(row.get("expires"), where)
    if expires < today:
        raise UserError(f"the known issue {title!r} expired on {expires}", where=where, todo="remove or review it")
    return KnownIssue(_pattern(title, where), reason, link, expires)


def _text(row: Mapping[object, object], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"a known issue without {key}", where=where, todo=f"say {key}: ...")
    return value.strip()


def _date(value: object, where: str) -> date:
    try:
        return value if isinstance(value, date) else date.fromisoformat(str(value))
    except ValueError:
        raise UserError("expires is not a date", where=where, todo="write it as 2027-01-31") from None


def _pattern(title: str, where: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(title)
    except re.error as error:
        raise UserError(f"the title {title!r} is not a pattern: {error}", where=where) from None
    if any(pattern.fullmatch(probe) for probe in _NOBODYS):
        raise UserError(f"the title {title!r} matches whatever comes", where=where, todo="name the function")
    return pattern
