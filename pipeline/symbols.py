"""Frames to source lines: what ``list_lru_add+0x5d/0x2a0`` is in the source, inlined callers included.

One process does a whole log: binutils' addr2line reads the debug information once and answers all
addresses. A frame is found by its name in the symbol table of vmlinux, so it does not matter where the
kernel was loaded (KASLR).
"""

import posixpath
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline import proc
from pipeline.errors import UserError
from pipeline.findings import Finding, Frame, Role, scan
from pipeline.findings.line import parse
from pipeline.findings.stack import frame as frame_of

_ROOT = "start_kernel", "init/main.c"
"""A function of every kernel and its file: what stands before that in a path is where the tree was built."""


@dataclass(frozen=True, slots=True)
class Place:
    """A function and where it is in the source."""

    function: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Symbols:
    """The symbol table of a vmlinux: for each name the addresses it has, and every address in order."""

    vmlinux: Path
    by_name: dict[str, tuple[int, ...]]
    addresses: tuple[int, ...]

    def address(self, frame: Frame) -> int | None:
        """Return where a frame is; None if this kernel has no such function of that size."""
        if frame.offset is None or frame.module is not None:
            return None
        for address in self.by_name.get(frame.function, ()):
            # The size in a frame is the distance to the next symbol: kernel/kallsyms.c:get_symbol_pos.
            after = bisect_right(self.addresses, address)
            size = self.addresses[after] - address if after < len(self.addresses) else None
            if frame.size is None or size is None or abs(size - frame.size) < _PADDING:
                return address + frame.offset
        return None


_PADDING = 64
"""How much a symbol's size may differ: kallsyms counts the padding before the next function in, or not."""


def load(vmlinux: Path) -> Symbols:
    """Read the symbol table of a vmlinux. Raises UserError if that is no such file."""
    done = proc.run(("nm", "--numeric-sort", "--defined-only", str(vmlinux)))
    if not done.ok or not done.stdout:
        raise UserError("not a kernel with symbols", where=str(vmlinux), todo="give the vmlinux of the build")
    by_name: dict[str, list[int]] = defaultdict(list)
    for line in done.text.splitlines():
        address, kind, name = line.split(" ", 2)
        if kind in "tTwW":
            by_name[name].append(int(address, 16))
    addresses = tuple(sorted({address for found in by_name.values() for address in found}))
    return Symbols(vmlinux, {name: tuple(found) for name, found in by_name.items()}, addresses)


def places(symbols: Symbols, frames: Sequence[Frame]) -> tuple[tuple[Place, ...], ...]:
    """Return for each frame its places, the innermost inlined function first; none where it is unknown.

    Raises UserError if the kernel was built without debug information.
    """
    wanted = [_instruction(symbols, frame) for frame in frames]
    root = symbols.by_name.get(_ROOT[0], (0,))[0]
    asked = sorted({address for address in wanted if address is not None} | {root})
    answers = _addr2line(symbols.vmlinux, asked)
    base = next((x.file.removesuffix(_ROOT[1]) for x in answers[root] if x.file.endswith(_ROOT[1])), None)
    if base is None:
        raise UserError(
            "no line numbers in it", where=str(symbols.vmlinux), todo="build the kernel with CONFIG_DEBUG_INFO"
        )
    short = {at: tuple(replace(x, file=x.file.removeprefix(base)) for x in found) for at, found in answers.items()}
    return tuple(short[address] if address is not None else () for address in wanted)


def _instruction(symbols: Symbols, frame: Frame) -> int | None:
    """Return the address to ask for: a stack holds return addresses, and the call stands before that."""
    address = symbols.address(frame)
    return address if address is None or frame.role is Role.REGS or not frame.offset else address - 1


def _addr2line(vmlinux: Path, addresses: Sequence[int]) -> dict[int, tuple[Place, ...]]:
    """Ask for all addresses at once. The answer to each is its address, then function and place by turns."""
    asked = "".join(f"{address:#x}\n" for address in addresses).encode()
    done = proc.run(("addr2line", "--addresses", "--functions", "--inlines", "--exe", str(vmlinux)), stdin=asked)
    if not done.ok:
        raise UserError(done.complaint, where=str(vmlinux), todo="give the vmlinux of the build")
    answers: dict[int, list[Place]] = {address: [] for address in addresses}
    here: list[Place] = []
    lines = iter(done.text.splitlines())
    for line in lines:
        if line.startswith("0x"):
            here = answers.setdefault(int(line, 16), [])
            continue
        file, _, number = next(lines, "").partition(" ")[0].rpartition(":")
        if number.isdigit() and not file.startswith("?"):
            here.append(Place(line, posixpath.normpath(file), int(number)))
    return {address: tuple(found) for address, found in answers.items()}


def symbolize(symbols: Symbols, lines: Iterable[str]) -> list[str]:
    """Return the lines of a log, each frame with its file and line and its inlined callers above it.

    The form is that of the kernel community's bots: ``func+0x1/0x2 mm/file.c:3``, and for what was inlined
    ``func mm/file.c:3 [inline]``. Lines that have a place already, and all others, stay as they are.
    """
    text = list(lines)
    frames = [frame_of(parse(line.encode(), 0).message) for line in text]
    known = [frame for frame in frames if frame is not None and frame.file is None]
    found = iter(places(symbols, known))
    done: list[str] = []
    for line, frame in zip(text, frames, strict=True):
        at = next(found) if frame is not None and frame.file is None else ()
        done += _lines(line, frame, at) if frame is not None else [line]
    return done


def _lines(line: str, frame: Frame, at: Sequence[Place]) -> list[str]:
    if not at:
        return [line]
    head = line[: line.index(frame.function)]
    inlined = [f"{head}{place.function} {place.file}:{place.line} [inline]" for place in at[:-1]]
    return [*inlined, f"{line.rstrip()} {at[-1].file}:{at[-1].line}"]


def symbolized(finding: Finding, symbols: Symbols) -> Finding:
    """Return a finding with places in its report and frames, and the guilty file that follows from them."""
    report = "\n".join(symbolize(symbols, finding.report.splitlines()))
    again = next((x for x in scan(report.encode() + b"\n") if x.rule == finding.rule), None)
    if again is None:
        return replace(finding, report=report)
    return replace(finding, report=report, frames=again.frames, guilty_file=again.guilty_file)
