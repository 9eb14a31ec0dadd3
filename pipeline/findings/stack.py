"""Stack traces: which lines are frames, which stack a frame belongs to, and how far to trust it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.findings.types import Frame, Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PC = r"\[ ?<?(?:0x)?[0-9a-f]{8,16}>?\]"
_SYM = r"(?P<function>[A-Za-z_$][\w.$]{0,200})\+0x(?P<offset>[0-9a-f]{1,8})/0x(?P<size>[0-9a-f]{1,8})"
_SRC = r"(?P<file>[\w./+-]{1,200}\.(?:[chS]|rs|inc)):(?P<line>\d{1,7})"
_MODULE = r"(?: \[(?!inline)(?P<module>[\w-]+)(?: [0-9a-f]{16,40})?\])?"

# A plain frame. x86: arch/x86/kernel/dumpstack.c:printk_stack_address, arm64:
# arch/arm64/kernel/stacktrace.c:dump_backtrace_entry, lib/stacktrace.c:stack_trace_print.
_FRAME = re.compile(rf"(?:{_PC} *){{0,2}}(?P<doubt>\? +)?{_SYM}{_MODULE}(?: {_SRC})?(?: |\(|\)|$)")
# An inlined frame, as symbolisers add it: no offset, but file and line.
_INLINED = re.compile(rf"(?:\[< *inline *>\] +|{_PC} +)?(?P<doubt>\? +)?(?P<function>[A-Za-z_$][\w.$]*) {_SRC}(?: \[inline\])?\s*$")
# 32-bit ARM, arch/arm/kernel/traps.c:dump_backtrace_entry: callee and caller in one line.
_ARM = re.compile(
    rf"(?:{_PC} )?\(?(?P<function>[A-Za-z_$][\w.$]*)(?:\+0x[0-9a-f]+/0x[0-9a-f]+)?\)? from"
    rf" (?:{_PC} )?\(?(?P<caller>[A-Za-z_$][\w.$]*)\+0x(?P<offset>[0-9a-f]+)/0x(?P<size>[0-9a-f]+)\)?(?: {_SRC})?"
)
# The instruction a CPU stopped at: arch/x86/kernel/process_64.c:__show_regs,
# arch/arm64/kernel/process.c:__show_regs, arch/riscv, arch/powerpc.
_REGS = re.compile(rf"(?:RIP: [0-9a-f]{{4}}:|EIP: (?:[0-9a-f]{{4}}:)?|IP: |pc : |PC is at |epc : |NIP )(?:{_PC} *){{0,2}}{_SYM}{_MODULE}(?: {_SRC})?")

_MARKERS: tuple[tuple[Role, re.Pattern[str]], ...] = (
    (Role.ALLOC, re.compile(r"Allocated(?: by task \d+.*|):|Allocated by task|allocated by task|INFO: Allocated in|Uninit was created at|Local variable .*created at|Allocated in \S+ age=|kmalloc-?.* allocated|\s*backtrace(?: \([^)]*\)|):")),
    (Role.FREE, re.compile(r"Freed(?: by task \d+.*|):|Freed by task|freed by task|INFO: Freed in|Freed in \S+ age=")),
    (Role.OTHER, re.compile(r"Uninit was stored to memory at|Last potentially related work creation|Second to last potentially related|Last call_rcu\(\)|read(?:-write)? (?:\(marked\) )?to 0x|write (?:\(marked\) )?to 0x|race at unknown origin")),
    (Role.LOCK, re.compile(r"-> #\d+ \(|\.\.\. (?:key +at|acquired at)|the dependencies between|stack_trace|hardirqs? last|softirqs? last|\{[A-Z-]+\} state was registered at|.*(?:INITIAL USE|IN-[A-Z]+-[WR]|[A-Z]+-ON-[WR]) at:|the first lock|irq event stamp|Preemption disabled at|\s*to a [A-Z-]+-irq-unsafe lock|\.\.\. which became")),
    (Role.CALL, re.compile(r".*\b(?:Call [Tt]race:|Backtrace: ?$|stack backtrace:?|[Cc]all [Tt]race \(|CPU: \d+ (?:UID: \d+ )?PID: \d+ Comm:|NMI backtrace for cpu|Sending NMI|task:\S+ +state:)")),
)
_MARK_NEEDLE = re.compile(r"[Ll]located|[Ff]reed|created at|disabled at|stored to|work creation|to 0x|->|at:|[Tt]race|race at|acktrace|CPU: |NMI|task:|last|the |stamp|which|call_rcu")
_TRACE = re.compile(r"[Cc]all [Tt]race:|Backtrace:|^ *backtrace(?: \(|:)|Allocated:|Allocated by|Freed:|Freed by")


@dataclass(frozen=True, slots=True)
class Stack:
    """The frames after one marker line. ``at`` is the index of the marker among the report's lines."""

    role: Role
    at: int
    marker: str
    frames: tuple[Frame, ...]


def frame(message: str) -> Frame | None:
    """The frame a line shows, or None. A frame of the registers has role REGS."""
    text = message.strip()
    if "+0x" not in text and ".c:" not in text and ".h:" not in text and ".S:" not in text and ".rs:" not in text:
        return None
    if " from " in text and (match := _ARM.match(text)):
        return replace(_frame(match, Role.CALL), function=match["caller"])
    if match := _FRAME.match(text):
        return _frame(match, Role.CALL)
    if match := _REGS.match(text):
        return _frame(match, Role.REGS)
    if match := _INLINED.match(text):
        return _frame(match, Role.CALL)
    return None


def _callee(message: str) -> Frame | None:
    """The function a 32-bit ARM trace begins with: all others are named as the caller of the one before."""
    match = _ARM.match(message.strip()) if " from " in message else None
    return Frame(match["function"], offset=0) if match else None


def _frame(match: re.Match[str], role: Role) -> Frame:
    found = match.groupdict()
    return Frame(
        function=match["function"],
        role=role,
        trusted=not found.get("doubt"),
        module=found.get("module"),
        file=found.get("file"),
        line=int(found["line"]) if found.get("line") else None,
        offset=int(found["offset"], 16) if found.get("offset") else None,
        size=int(found["size"], 16) if found.get("size") else None,
    )


def marker(message: str) -> Role | None:
    """Which stack begins after this line, or None if no stack does."""
    if not _MARK_NEEDLE.search(message):
        return None
    text = message.strip()
    for role, pattern in _MARKERS:
        if pattern.match(text):
            return role
    return None


def announces(message: str) -> bool:
    """Whether the line promises a stack: with no frame after it the report is damaged."""
    return _TRACE.search(message) is not None


def stacks(messages: Sequence[str]) -> tuple[Stack, ...]:
    """Every stack of a report, in order. Frames before any marker form a stack of their own."""
    return tuple(_stacks(messages))


def _stacks(messages: Sequence[str]) -> Iterator[Stack]:
    role, at, head = Role.AUX, 0, ""
    frames: list[Frame] = []
    for index, message in enumerate(messages):
        found = frame(message)
        if found is not None:
            if (callee := _callee(message)) and all(held.role is Role.REGS for held in frames):
                frames.append(replace(callee, role=role))
            frames.append(found if found.role is Role.REGS else replace(found, role=role))
            continue
        begun = marker(message)
        if begun is None:
            continue
        if role is begun is Role.CALL and all(held.role is Role.REGS for held in frames):
            # The registers of the CPU whose trace follows: one stack.
            head = message
            continue
        if frames:
            yield Stack(role, at, head, tuple(frames))
        role, at, head, frames = begun, index, message, []
    if frames:
        yield Stack(role, at, head, tuple(frames))
