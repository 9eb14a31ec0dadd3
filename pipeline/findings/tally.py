"""The findings of one console that are kept, in little memory however many there are.

A user needs each bug's first sightings and how often it came. So of a title that comes again and again
only the first sightings are listed, the last of those with the number of all that followed; and where a
console has more titles than anybody reads, the rest is told apart by rule. Nothing goes uncounted.
"""

from dataclasses import dataclass, field, replace

from pipeline.findings.types import Finding

SIGHTINGS = 20
"""Findings of one title that are listed."""
TITLES = 4096
"""Titles that are told apart; of what comes then, each rule has one name."""
REPEATS = 4096
"""Findings that are listed, of all titles together, besides the first of each."""
FIRST_TEXT, REPEAT_TEXT = 16 << 20, 4 << 20
"""Bytes of text and frames that the first findings of their titles may hold, and all others."""
_FRAME = 200
"""Bytes that a frame takes."""


@dataclass(slots=True)
class _Group:
    """The findings under one name: how many were listed, how many only counted, where the last one is listed."""

    listed: int = 0
    counted: int = 0
    last: int = 0


@dataclass(slots=True)
class Tally:
    """What has been kept so far; `add` findings, then ask for those that are `listed`."""

    _listed: list[Finding] = field(default_factory=list)
    _groups: dict[str, _Group] = field(default_factory=dict)
    _first_text: int = FIRST_TEXT
    _repeat_text: int = REPEAT_TEXT
    _repeats: int = REPEATS

    def add(self, finding: Finding) -> None:
        """Keep a finding, as far as there is room: whole, without text and frames, or as a number."""
        group = self._group(finding)
        if group.listed and (group.listed == SIGHTINGS or not self._repeats):
            group.counted += 1
            return
        size = _size(finding)
        if not group.listed:
            fits = size <= self._first_text
            self._first_text -= size if fits else 0
        else:
            self._repeats -= 1
            fits = size <= self._repeat_text
            self._repeat_text -= size if fits else 0
        group.listed += 1
        group.last = len(self._listed)
        self._listed.append(finding if fits else replace(finding, report="", frames=()))

    def listed(self, *, panicked: bool, suppressed: bool) -> list[Finding]:
        """Return what was kept, in order of appearance; the flags are those of the console as a whole."""
        followers = {group.last: group.counted for group in self._groups.values()}
        whole = (
            replace(finding, panicked=panicked, suppressed=suppressed, again=followers.get(index, 0))
            for index, finding in enumerate(self._listed)
        )
        return sorted(whole, key=lambda finding: finding.start_line)

    def _group(self, finding: Finding) -> _Group:
        # A title never begins with a blank, so that a rule is not taken for one.
        title, rule = finding.title, f" {finding.rule}"
        name = title if title in self._groups or len(self._groups) < TITLES else rule
        return self._groups.setdefault(name, _Group())


def _size(finding: Finding) -> int:
    width = 1 if finding.report.isascii() else 4
    return len(finding.report) * width + len(finding.frames) * _FRAME
