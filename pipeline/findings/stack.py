"""Stack traces: which lines are frames, which stack a frame belongs to, and how far to trust it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.findings.types import Frame, Role

_PC = r"\[ ?<?(?:0x)?[0-9a-f]{8,16}>?\]"
_SYM = r"(?P<function>[A-Za-z_$][\w.$]{0,200})\+0x(?P<offset>[0-9a-f]{1,8})/0x(?P<size>[0-9a-f]{1,8})"
_SRC = r"(?P<file>[\w./+-]{1,200}\.(?:[chS]|rs|inc)):(?P<line>\d{1,7})"
# Every kind of frame has the same groups; those it cannot have never match.
_NO_DOUBT = r"(?P<doubt>(?!))?"
_NO_MODULE = r"(?P<module>(?!))?"
_MODULE = r"(?: \[(?!inline)(?P<module>[\w-]+)(?: [0-9a-f]{16,40})?\])?"

# A plain frame. x86: arch/x86/kernel/dumpstack.c:printk_stack_address, arm64:
# arch/arm64/kernel/stacktrace.c:dump_backtrace_entry, lib/stacktrace.c:stack_trace_print.
_FRAME = re.compile(rf"(?:{_PC} *){{0,2}}(?P<doubt>\? +)?{_SYM}{_MODULE}(?: {_SRC})?(?: |\(|\)|$)")
# An inlined frame, as symbolisers add it: no offset, but file and line.
_INLINED = re.compile(
    rf"(?:\[< *inline *>\] +|{_PC} +)?(?P<doubt>\? +)?(?P<function>[A-Za-z_$][\w.$]*) {_SRC}(?: \[inline\])?(?P<offset>(?!))?(?P<size>(?!))?{_NO_MODULE}\s*$"
)
# 32-bit ARM, arch/arm/kernel/traps.c:dump_backtrace_entry: callee and caller in one line.
_ARM = re.compile(
    rf"(?:{_PC} )?\(?(?P<function>[A-Za-z_$][\w.$]*)(?:\+0x[0-9a-f]+/0x[0-9a-f]+)?\)? from"
    rf" (?:{_PC} )?\(?(?P<caller>[A-Za-z_$][\w.$]*)\+0x(?P<offset>[0-9a-f]+)/0x(?P<size>[0-9a-f]+)\)?(?: {_SRC})?{_NO_DOUBT}{_NO_MODULE}"
)
# The instruction a CPU stopped at: arch/x86/kernel/process_64.c:__show_regs,
# arch/arm64/kernel/process.c:__show_regs, arch/riscv, arch/powerpc.
_REGS = re.compile(
    rf"(?:RIP: [0-9a-f]{{4}}:|EIP: (?:[0-9a-f]{{4}}:)?|IP: |pc : |PC is at |epc : |NIP )(?:{_PC} *){{0,2}}{_SYM}{_MODULE}(?: {_SRC})?{_NO_DOUBT}"
)

_MARKERS: tuple[tuple[Role, re.Pattern[str]], ...] = (
    (
        Role.ALLOC,
        re.compile(
            r"Allocated(?: by task \d+.*|):|Allocated by task|allocated by task|INFO: Allocated in|Uninit was created at|Local variable .*created at|Allocated in \S+ age=|kmalloc-?.* allocated|\s*backtrace(?: \([^)]*\)|):"
        ),
    ),
    (Role.FREE, re.compile(r"Freed(?: by task \d+.*|):|Freed by task|freed by task|INFO: Freed in|Freed in \S+ age=")),
    (
        Role.OTHER,
        re.compile(
            r"Uninit was stored to memory at|Last potentially related work creation|Second to last potentially related|Last call_rcu\(\)|read(?:-write)? (?:\(marked\) )?to 0x|write (?:\(marked\) )?to 0x|race at unknown origin"
        ),
    ),
    (
        Role.LOCK,
        re.compile(
            r"-> #\d+ \(|\.\.\. (?:key +at|acquired at)|the dependencies between|stack_trace|hardirqs? last|softirqs? last|\{[A-Z-]+\} state was registered at|.*(?:INITIAL USE|IN-[A-Z]+-[WR]|[A-Z]+-ON-[WR]) at:|the first lock|irq event stamp|Preemption disabled at|\s*to a [A-Z-]+-irq-unsafe lock|\.\.\. which became"
        ),
    ),
    (
        Role.CALL,
        re.compile(
            r".*\b(?:Call [Tt]race:|Backtrace: ?$|stack backtrace:?|[Cc]all [Tt]race \(|CPU: \d+ (?:UID: \d+ )?PID: \d+ Comm:|NMI backtrace for cpu|Sending NMI|task:\S+ +state:)"
        ),
    ),
)
_MARK_NEEDLE = re.compile(
    r"[Ll]located|[Ff]reed|created at|disabled at|stored to|work creation|to 0x|->|at:|[Tt]race|race at|acktrace|CPU: |NMI|task:|last|the |stamp|which|call_rcu"
)
_SOURCE = re.compile(r"\.(?:[chS]|rs|inc):\d")
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
    if "+0x" not in message and not _SOURCE.search(message):
        return None
    text = message.strip()
    if " from " in text and (match := _ARM.match(text)):
        return _frame(match, match["caller"], Role.CALL)
    if match := _FRAME.match(text):
        return _frame(match, match["function"], Role.CALL)
    if match := _REGS.match(text):
        return _frame(match, match["function"], Role.REGS)
    if match := _INLINED.match(text):
        return _frame(match, match["function"], Role.CALL)
    return None


def _callee(message: str) -> Frame | None:
    """The function a 32-bit ARM trace begins with: all others are named as the caller of the one before."""
    match = _ARM.match(message.strip()) if " from " in message else None
    return Frame(match["function"], offset=0) if match else None


def _frame(match: re.Match[str], function: str, role: Role) -> Frame:
    doubt, offset, size, module, file, line = match.group("doubt", "offset", "size", "module", "file", "line")
    return Frame(
        function,
        role,
        doubt is None,
        module,
        file,
        int(line) if line else None,
        int(offset, 16) if offset else None,
        int(size, 16) if size else None,
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


def stacks(messages: Sequence[str], frames: Sequence[Frame | None]) -> tuple[Stack, ...]:
    """Every stack of a report, in order; ``frames`` are those of the lines.

    Frames before any marker form a stack of their own.
    """
    return tuple(_stacks(messages, frames))


def _stacks(messages: Sequence[str], frames: Sequence[Frame | None]) -> Iterator[Stack]:
    role, at, head = Role.AUX, 0, ""
    held: list[Frame] = []
    for index, (message, found) in enumerate(zip(messages, frames, strict=True)):
        if found is not None:
            if (callee := _callee(message)) and all(frame.role is Role.REGS for frame in held):
                held.append(replace(callee, role=role))
            held.append(found if found.role in (Role.REGS, role) else replace(found, role=role))
            continue
        begun = marker(message)
        if begun is None:
            continue
        if role is begun is Role.CALL and all(frame.role is Role.REGS for frame in held):
            # The registers of the CPU whose trace follows: one stack.
            head = message
            continue
        if held:
            yield Stack(role, at, head, tuple(held))
        role, at, head, held = begun, index, message, []
    if held:
        yield Stack(role, at, head, tuple(held))
