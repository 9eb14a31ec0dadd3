"""What a kernel is configured with: settings that remember where they were asked for.

A fragment is a piece of a ``.config`` as scripts/kconfig/merge_config.sh reads it: ``CONFIG_X=value``,
``# CONFIG_X is not set``, comments.  Two kinds of comment mean something for the setting below them::

    # override: why            it may disagree with an earlier fragment of the same profile
    # optional: why            a tree that does not know the symbol does without it

Fragments of one profile that disagree without `override` are a mistake in the profile; what a user adds
comes last and wins without ceremony, because that is what it was written for.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from pipeline.errors import UserError, nearest

_PREFIX = "CONFIG_"
_ASSIGNED = re.compile(r'CONFIG_(\w+)=(y|m|n|-?\d+|0[xX][0-9a-fA-F]+|"(?:[^"\\]|\\.)*")')
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")
_DECLARED = re.compile(r"^[ \t]*(?:menu)?config[ \t]+(\w+)[ \t]*(?:#.*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Setting:
    """One symbol asked for; `symbol` without ``CONFIG_``, `value` as a ``.config`` writes it, ``n`` for not set."""

    symbol: str
    value: str
    fragment: str
    line: int
    override: bool = False
    optional: bool = False

    @property
    def where(self) -> str:
        """``file:line`` of the request."""
        return f"{self.fragment}:{self.line}"

    @property
    def text(self) -> str:
        """The setting as a line of a ``.config``."""
        return _line(self.symbol, self.value)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A setting that did not survive olddefconfig: `got` came out, `reason` is what stands against it."""

    setting: Setting
    got: str
    reason: str = ""

    def __str__(self) -> str:
        """Say it in one line, without the place."""
        wanted = f"{_PREFIX}{self.setting.symbol}={self.setting.value} came out as {self.got}"
        return f"{wanted}: {self.reason}" if self.reason else wanted


@dataclass(frozen=True, slots=True)
class Kconfig:
    """Settings of one kernel, at most one a symbol, sorted by symbol: order of fragments is no part of it."""

    settings: tuple[Setting, ...]

    @classmethod
    def merge(cls, fragments: Iterable[tuple[Setting, ...]], user: tuple[Setting, ...] = ()) -> Self:
        """Merge the fragments of a profile, then what the user adds.

        Raises UserError, naming both places, when two fragments disagree and the later one does not say
        ``# override``.
        """
        merged: dict[str, Setting] = {}
        for fragment in fragments:
            for setting in fragment:
                before = merged.get(setting.symbol)
                if before is not None and before.value != setting.value and not setting.override:
                    message = f"{_PREFIX}{setting.symbol}={setting.value}, but {before.where} asks for {before.value}"
                    raise UserError(message, where=setting.where, todo="write `# override: why` above if it is meant")
                merged[setting.symbol] = setting
        merged |= {setting.symbol: setting for setting in user}
        return cls(tuple(sorted(merged.values(), key=lambda setting: setting.symbol)))

    def text(self) -> str:
        """Return the settings as lines to append to a ``.config``, the same for the same settings."""
        return "".join(setting.text + "\n" for setting in self.settings)

    def known(self, symbols: Collection[str]) -> Self:
        """Return what a tree that declares `symbols` can be asked for: all but unknown `optional` settings.

        Raises UserError for any other unknown symbol, with the nearest one the tree knows.
        """
        for setting in self.settings:
            if setting.symbol not in symbols and not setting.optional:
                message = f"this kernel has no {_PREFIX}{setting.symbol}"
                raise UserError(message, where=setting.where, todo=_close(setting.symbol, symbols))
        return type(self)(tuple(setting for setting in self.settings if setting.symbol in symbols))

    def mismatches(self, config: str) -> tuple[Mismatch, ...]:
        """Compare with the ``.config`` that came out; no mismatch means that every setting survived."""
        got = values(config)
        return tuple(
            Mismatch(setting, came)
            for setting in self.settings
            if not _same(setting.value, came := got.get(setting.symbol, "n"))
        )


def parse(text: str, fragment: str) -> tuple[Setting, ...]:
    """Read a fragment; `fragment` is its file name, for messages.

    Raises UserError with file and line for a line that is no setting, and for a symbol set twice to
    different values.
    """
    found: dict[str, Setting] = {}
    marks: set[str] = set()
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        match = _ASSIGNED.fullmatch(line) or _UNSET.fullmatch(line)
        if match is None:
            marks = _marks(line, marks, f"{fragment}:{number}")
            continue
        symbol, value = (*match.groups(), "n")[:2]
        setting = Setting(symbol, value, fragment, number, "override" in marks, "optional" in marks)
        marks = set()
        before = found.setdefault(symbol, setting)
        if before.value != value:
            message = f"{_PREFIX}{symbol}={value}, but line {before.line} asks for {before.value}"
            raise UserError(message, where=setting.where, todo="keep one of the two")
    return tuple(found.values())


def values(config: str) -> Mapping[str, str]:
    """Return symbol and value of each line of a ``.config``; symbols that are not set are not in it."""
    found = {}
    for line in config.splitlines():
        if line.startswith(_PREFIX):
            symbol, _, value = line.removeprefix(_PREFIX).partition("=")
            found[symbol] = value
    return found


def declared(kconfig: str) -> frozenset[str]:
    """Return the symbols that the text of one Kconfig file declares."""
    return frozenset(_DECLARED.findall(kconfig))


def _marks(line: str, marks: set[str], where: str) -> set[str]:
    """Return the marks that hold after a line which is no setting."""
    if not line:
        return set()
    if not line.startswith("#"):
        message = f"not a kconfig setting: {line[:60]}"
        raise UserError(message, where=where, todo="write CONFIG_X=value, or `# CONFIG_X is not set`")
    if re.match(r"#\s*CONFIG_\w+\s+is\b", line):
        message = f"almost a setting: {line[:60]}"
        raise UserError(message, where=where, todo="the kernel reads only `# CONFIG_X is not set`, to the letter")
    word = re.match(r"#\s*(override|optional):", line)
    return marks | {word.group(1)} if word else marks


def _line(symbol: str, value: str) -> str:
    return f"# {_PREFIX}{symbol} is not set" if value == "n" else f"{_PREFIX}{symbol}={value}"


def _same(wanted: str, got: str) -> bool:
    """Numbers compare as numbers (0x10 is 0X010), everything else as written."""
    if wanted[0] in "-0123456789" and got[0] in "-0123456789":
        return int(wanted, 16 if wanted[:2].lower() == "0x" else 10) == int(got, 16 if got[:2].lower() == "0x" else 10)
    return wanted == got


def _close(symbol: str, symbols: Collection[str]) -> str:
    """Return the nearest of the tree's symbols; there are too many to list."""
    clause, question, _ = nearest(symbol, symbols).partition("?")
    return clause + question if question else "no name in the tree's Kconfig files is near"
