"""One boot and one trial as data: what was seen, before anybody judges it.

Both are written as JSON when they end and can be read back, so that a stored run is judged again when a
rule changes.  Everything starts as the worst it could be (`Ended.LOST`) and is proved to be better.
"""

import json
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pipeline.errors import UserError
from pipeline.machine import Accel
from pipeline.pin import Look

T = TypeVar("T")

FORMAT = 3
"""Version of the JSON form; raised when a field changes its meaning."""


class Ended(Enum):
    """How a boot or a trial came to its end."""

    LOST = "lost"
    """Nobody knows: the start value."""
    DONE = "done"
    """A boot: the agent was ready.  A trial: the program ended and the agent said so."""
    FINDING = "finding"
    """Ended early by us, because a whole report stood on the console."""
    PANIC = "panic"
    """The kernel said so, through pvpanic or on the console."""
    HANG = "hang"
    """No progress: neither the console nor the agent moved, or a watchdog of the kernel spoke up."""
    TRIPLE_FAULT = "triple-fault"
    """The guest reset although nothing in it reboots."""
    QEMU_DIED = "qemu-died"
    """QEMU went away on its own."""
    TIMEOUT = "timeout"
    """The host's watchdog fired while the guest still moved: too slow, or a program that does not end."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a console as the host saw it; `at` in seconds since QEMU was started."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Proof:
    """Whether `detector` was seen alive in this guest; `evidence` is the line that shows it, or what was missing."""

    detector: str
    alive: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class Scan:
    """What kmemleak told: `count` of unreferenced objects (-1: it could not be read), `text` its file.

    `again` is the file after a wait and another scan, for as long as the first had something in it.
    """

    count: int
    text: str
    again: str = ""


@dataclass(frozen=True, slots=True)
class Boot:
    """One start of a guest, up to where the agent was ready.

    `cut` 0 is the base.  `console` is every line until the agent was ready, or all of them when it never
    was; `seconds` is the time that took on the host.
    """

    cut: int
    kernel: str
    guest: str
    machine: str
    accel: Accel
    argv: tuple[str, ...]
    cmdline: tuple[str, ...]
    ended: Ended = Ended.LOST
    detail: str = ""
    seconds: float = 0.0
    release: str = ""
    console: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """One trial: one program, one seed, in one guest.

    kernel, guest      content keys
    budget, seconds    of guest time asked for, of host time used
    number             of the trial, from 1; base and patched trial of one number have the same seed
    ktap               the program's lines (stdout and stderr), without the agent's framing
    console            the console's lines from the end mark of the run before it to this run's own; the last one's go
                       on to the end of the console, since a report may come late
    first_line         0-based number of ``console[0]`` in the boot's console file `log`
    exit_status        None when the program was not seen to end; minus the signal when one killed it
    cycles             the last count the program gave, None when it gave none
    proofs             one a detector of the profile
    kmemleak           None when no scan was asked for
    looks              at memory control from the host, before and after; one fewer when the guest had ended
    """

    cut: int
    kernel: str
    guest: str
    machine: str
    accel: Accel
    program: str
    seed: int
    budget: float
    number: int
    argv: tuple[str, ...]
    cmdline: tuple[str, ...]
    ended: Ended = Ended.LOST
    detail: str = ""
    seconds: float = 0.0
    exit_status: int | None = None
    cycles: int | None = None
    ktap: tuple[str, ...] = ()
    console: tuple[str, ...] = ()
    first_line: int = 0
    log: str = ""
    proofs: tuple[Proof, ...] = ()
    kmemleak: Scan | None = None
    looks: tuple[Look, ...] = ()


def to_json(record: Boot | Run) -> str:
    """Return the stored form of a boot or a run: one JSON object, keys in the order of the fields."""
    body = {"format": FORMAT, "type": type(record).__name__.lower(), **plain(record)}
    return json.dumps(body, indent=1, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Return `value` as JSON knows it: records are objects, tuples lists, enums their value."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def run_from_json(text: str, where: str) -> Run:
    """Read a stored run; `where` is what errors call the file.  Raises UserError."""
    return _from_json(Run, text, where)


def boot_from_json(text: str, where: str) -> Boot:
    """Read a stored boot.  Raises UserError."""
    return _from_json(Boot, text, where)


def _from_json(kind: type[T], text: str, where: str) -> T:
    name = kind.__name__.lower()
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(f"no stored {name}: it is not JSON", where=where) from None
    if not isinstance(body, dict) or body.pop("type", None) != name:
        raise UserError(f"no stored {name}", where=where)
    if (version := body.pop("format", None)) != FORMAT:
        raise UserError(f"stored {name} of format {version!r}; this kpv reads {FORMAT}", where=where)
    try:
        return typed(kind, body, name)  # type: ignore[no-any-return]  # decided by `kind`
    except ValueError as error:
        raise UserError(f"damaged: {error}", where=where) from None


def typed(hint: Any, value: Any, name: str) -> Any:
    """Turn JSON into the type `hint` says; ValueError names the field that is something else.

    Knows what the records of this pipeline are made of: frozen dataclasses, tuples of one type, enums,
    ``X | None``, str, bool, int and float.
    """
    if get_origin(hint) is UnionType:
        inner = next(x for x in get_args(hint) if x is not type(None))
        return None if value is None else typed(inner, value, name)
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{name} is no list")
        return tuple(typed(get_args(hint)[0], item, f"{name}[{i}]") for i, item in enumerate(value))
    if is_dataclass(hint):
        return _record(hint, value, name)
    if issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError:
            raise ValueError(f"{name} is {value!r}") from None
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ValueError(f"{name} is no {hint.__name__}")
    return value


def _record(hint: Any, value: Any, name: str) -> Any:
    hints = get_type_hints(hint)
    if not isinstance(value, dict) or set(value) != set(hints):
        odd = sorted(set(hints) ^ set(value)) if isinstance(value, dict) else ["its shape"]
        raise ValueError(f"{name} differs in {', '.join(odd)}")
    return hint(**{key: typed(hints[key], item, f"{name}.{key}") for key, item in value.items()})
