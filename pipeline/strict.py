"""Strict YAML: nothing is guessed, and what is wrong is said with file, line and column.

YAML's own ideas about types are switched off: every scalar is the text that was written (``off``,
``6.10`` and ``1:30`` stay that) and becomes a number only where a field is read as one.  A key that
stands twice, one that nobody knows, one that is missing and a value of another shape are refused.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml

from pipeline.errors import UserError, nearest

T = TypeVar("T")

DEEPEST = 8
"""Levels of lists and mappings; no declaration has more than five."""


def place(file: str, mark: Any) -> str:
    """Return ``file:line:column``, counted from 1 as editors do."""
    return f"{file}:{mark.line + 1}:{mark.column + 1}" if mark is not None else file


@dataclass(frozen=True, slots=True)
class At:
    """A YAML node and the file it came from."""

    node: yaml.Node
    file: str

    def wrong(self, what: str, todo: str = "") -> UserError:
        """Return the error that says what is wrong here."""
        return UserError(what, where=place(self.file, self.node.start_mark), todo=todo)

    def shape(self) -> str:
        """Say what is here, for an error."""
        if isinstance(self.node, yaml.ScalarNode):
            return f"{self.node.value!r}" if self.node.value else "nothing"
        return "a list" if isinstance(self.node, yaml.SequenceNode) else "a mapping"


Reader = Callable[[At], T]


def text_of(at: At) -> str:
    """Read any scalar, as it was written."""
    if not isinstance(at.node, yaml.ScalarNode):
        raise at.wrong(f"expected text, found {at.shape()}")
    return str(at.node.value)


def matching(pattern: str, what: str) -> Reader[str]:
    """Text that has to match `pattern` as a whole."""

    def read(at: At) -> str:
        value = text_of(at)
        if re.fullmatch(pattern, value) is None:
            raise at.wrong(f"expected {what}, found {at.shape()}")
        return value

    return read


def regex(at: At) -> str:
    """Read a regular expression that compiles."""
    value = text_of(at)
    try:
        re.compile(value)
    except re.error as error:
        raise at.wrong(f"{value!r} is no regular expression: {error}") from None
    return value


def integer(low: int, high: int) -> Reader[int]:
    """Read a whole number from `low` to `high`."""

    def read(at: At) -> int:
        value = text_of(at)
        if not re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
            raise at.wrong(f"expected a whole number, found {at.shape()}")
        if not low <= int(value) <= high:
            raise at.wrong(f"{value} is not between {low} and {high}")
        return int(value)

    return read


def factor(at: At) -> float:
    """Read a number from 1 up."""
    value = text_of(at)
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value, re.ASCII):
        raise at.wrong(f"expected a number, found {at.shape()}")
    if float(value) < 1:
        raise at.wrong(f"{value} is below 1")
    return float(value)


def listed(item: Reader[T]) -> Reader[tuple[T, ...]]:
    """Read a list of `item`s."""

    def read(at: At) -> tuple[T, ...]:
        if not isinstance(at.node, yaml.SequenceNode):
            raise at.wrong(f"expected a list, found {at.shape()}")
        return tuple(item(At(child, at.file)) for child in at.node.value)

    return read


def keys(at: At) -> dict[str, tuple[At, At]]:
    """Return key → (where the key stands, value) of a mapping whose keys all differ."""
    if not isinstance(at.node, yaml.MappingNode):
        raise at.wrong(f"expected a mapping, found {at.shape()}")
    found: dict[str, tuple[At, At]] = {}
    for key_node, value_node in at.node.value:
        key = At(key_node, at.file)
        name = text_of(key)
        if name in found:
            first = found[name][0].node.start_mark
            raise key.wrong(f"key {name} stands twice; the first is on line {first.line + 1}")
        found[name] = key, At(value_node, at.file)
    return found


class Fields:
    """The known keys of one mapping, taken one by one."""

    def __init__(self, at: At, known: Mapping[str, bool]) -> None:
        """`known` says of each key whether it must be there."""
        self.at = at
        self.found = keys(at)
        for name, (key, _value) in self.found.items():
            if name not in known:
                raise key.wrong(f"unknown key {name}", todo=nearest(name, known))
        for name, required in known.items():
            if required and name not in self.found:
                raise at.wrong(f"key {name} is missing")

    def get(self, name: str, reader: Reader[T]) -> T:
        """Read a key that is there."""
        return reader(self.found[name][1])

    def get_or(self, name: str, reader: Reader[T], default: T) -> T:
        """Read a key that may have been left out."""
        return self.get(name, reader) if name in self.found else default


def document(text: str, file: str) -> At:
    """Return the root of the only document in `text`.

    Aliases and tags are refused: no file of ours needs them, and they are how a small file becomes
    large or a text becomes an object.
    """
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.BaseLoader):
            tag, anchor = getattr(event, "tag", None), getattr(event, "anchor", None)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if tag or anchor:
                what = f"tag {tag}" if tag else f"anchor or alias {anchor}"
                raise UserError(f"{what} is not allowed here", where=place(file, event.start_mark))
            if depth > DEEPEST:
                raise UserError("nested too deeply", where=place(file, event.start_mark))
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        where = place(file, error.problem_mark or error.context_mark)
        raise UserError(f"not YAML: {error.problem or error.context}", where=where) from None
    except yaml.YAMLError as error:
        raise UserError(f"not YAML: {str(error).splitlines()[0]}", where=file) from None
    if root is None:
        raise UserError("nothing is declared in it", where=file)
    return At(root, file)


def rows(text: str, file: str, name: Reader[str], row: Callable[[str, At], T]) -> tuple[T, ...]:
    """Read a mapping of name → row."""
    found = keys(document(text, file))
    return tuple(row(name(key), value) for key, value in found.values())


def needle(at: At) -> str:
    """Read a pattern that does not match everything, or a dead detector would pass for a live one."""
    value = regex(at)
    if re.search(value, "") is not None:
        raise at.wrong(f"{value!r} matches an empty line, so it proves nothing")
    return value


def distinct(names: Iterable[str], at: At, kind: str) -> None:
    """Raise UserError when a name stands twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise at.wrong(f"{kind} {name} stands twice")
        seen.add(name)
