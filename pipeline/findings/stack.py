"""Stack traces: which lines are frames, which stack a frame belongs to, and how far to trust it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.findings.pattern import begins
from pipeline.findings.types import Frame, Role

_PC = r"\[ ?<?(?:0x)?[0-9a-f]{8,16}>?\]"
_NAME = r"[A-Za-z_$][\w.$]{0,200}"
_OFFSET = r"\+0x(?P<offset>[0-9a-f]{1,8})/0x(?P<size>[0-9a-f]{1,8})"
_FUNCTION = rf"(?P<function>{_NAME}){_OFFSET}"
_MODULE = r"(?: \[(?!inline)(?P<module>[\w-]+)(?: [0-9a-f]{16,40})?\])?"
_SOURCE = r"(?P<file>[\w./+-]{1,200}\.(?:[chS]|rs|inc)):(?P<line>\d{1,7})"
_DOUBT = r"(?P<doubt>\? +)?"
# Another of the CPU's stacks begins: on a line of its own since 4.10, before the frame until then.
_SWITCH = r"(?:<+(?:IRQ|EOI|NMI|EOE|UNK|TASK|#DF|#DB)>+ +)?"


def _frames(pattern: str) -> re.Pattern[str]:
    """Return a pattern with the groups of every frame: those that this kind does not have never match."""
    missing = (group for group in ("doubt", "offset", "size", "module") if f"(?P<{group}>" not in pattern)
    return re.compile(pattern + "".join(f"(?P<{group}>(?!))?" for group in missing))


# arch/x86/kernel/dumpstack.c:printk_stack_address, arch/arm64/kernel/stacktrace.c:dump_backtrace_entry,
# kernel/stacktrace.c:stack_trace_print.
_PLAIN = _frames(rf"{_SWITCH}(?:{_PC} *){{0,2}}{_DOUBT}{_FUNCTION}{_MODULE}(?: {_SOURCE})?(?: |\(|\)|$)")
# What a symboliser adds for a call that was inlined: no offset, but file and line.
_INLINED = _frames(rf"(?:\[< *inline *>\] +|{_PC} +)?{_DOUBT}(?P<function>{_NAME}) {_SOURCE}(?: \[inline\])?\s*$")
# 32-bit ARM, arch/arm/kernel/traps.c:dump_backtrace_entry: callee and caller in one line.
_ARM = _frames(
    rf"(?:{_PC} )?\(?(?P<function>{_NAME})(?:\+0x[0-9a-f]+/0x[0-9a-f]+)?\)? from"
    rf" (?:{_PC} )?\(?(?P<caller>{_NAME}){_OFFSET}\)?(?: {_SOURCE})?"
)
# Where a CPU stopped: __show_regs and its kin in arch/*/kernel/process*.c.
_REGISTERS = _frames(
    r"(?:RIP: [0-9a-f]{4}:|EIP: (?:[0-9a-f]{4}:)?|EIP is at |IP: |pc : |PC is at |epc : |NIP )"
    rf"(?:{_PC} *){{0,2}}{_FUNCTION}{_MODULE}(?: {_SOURCE})?"
)

# What stands above a stack, and says which one it is.
_MARKERS: tuple[tuple[Role, re.Pattern[str]], ...] = (
    (
        # mm/kasan/report.c:print_track, mm/slub.c:print_track, mm/kfence/report.c:kfence_print_stack,
        # mm/kmsan/report.c:kmsan_print_origin, mm/kmemleak.c:print_unreferenced
        Role.ALLOC,
        begins(
            r"Allocated(?: by task \d+.*|):",
            "Allocated by task",
            "allocated by task",
            "INFO: Allocated in",
            r"Allocated in \S+ age=",
            "Uninit was created at",
            "Local variable .*created at",
            r"backtrace(?: \([^)]*\)|):",
        ),
    ),
    (
        Role.FREE,
        begins(
            r"Freed(?: by task \d+.*|):",
            "Freed by task",
            "freed by task",
            "INFO: Freed in",
            r"Freed in \S+ age=",
        ),
    ),
    (
        # mm/kasan/report_generic.c:kasan_print_aux_stacks, mm/kmsan/report.c, kernel/kcsan/report.c
        Role.OTHER,
        begins(
            "Uninit was stored to memory at",
            "Last potentially related work creation",
            "Second to last potentially related",
            r"Last call_rcu\(\)",
            r"(?:read|write|read-write)(?: \([a-z, ]+\))? to 0x",
            "race at unknown origin",
        ),
    ),
    (
        # kernel/locking/lockdep.c
        Role.LOCK,
        begins(
            r"-> #\d+ \(",
            r"\.\.\. (?:key +at|acquired at|which became)",
            "the dependencies between",
            r"\{[A-Z-]+\} state was registered at",
            ".*(?:INITIAL USE|IN-[A-Z]+-[WR]|[A-Z]+-ON-[WR]) at:",
            "to a [A-Z-]+-irq-unsafe lock",
            "(?:hard|soft)irqs? last",
            "irq event stamp",
            "Preemption disabled at",
        ),
    ),
    (
        Role.CALL,
        begins(
            r".*\b[Cc]all [Tt]race(?::| \()",
            ".*Backtrace: ?$",
            ".*stack backtrace:?",
            r".*\bCPU: \d+ (?:UID: \d+ )?PID: \d+ Comm:",
            ".*NMI backtrace for cpu",
            ".*Sending NMI",
            r".*\btask:\S+ +state:",
        ),
    ),
)
# A cheap word that each of them holds.
_MARKED = re.compile(
    r"[Ll]located|[Ff]reed|created at|disabled at|stored to|work creation|to 0x|->|at:|[Tt]race|race at|acktrace"
    r"|CPU: |NMI|task:|last|the |to a|stamp|\.\.\. |call_rcu"
)
_SOURCE_LINE = re.compile(r"\.(?:[chS]|rs|inc):\d")
_ANNOUNCED = re.compile(r"[Cc]all [Tt]race:|Backtrace:|^ *backtrace(?: \(|:)|Allocated:|Allocated by|Freed:|Freed by")


@dataclass(frozen=True, slots=True)
class Stack:
    """The frames after one marker line. ``at`` is the index of the marker among the report's lines."""

    role: Role
    at: int
    marker: str
    frames: tuple[Frame, ...]


def frame(message: str) -> Frame | None:
    """Return the frame a line shows, or None. A frame of the registers has role REGS."""
    if "+0x" not in message and not _SOURCE_LINE.search(message):
        return None
    text = message.strip()
    if " from " in text and (match := _ARM.match(text)):
        return _frame(match, match["caller"], Role.CALL)
    if match := _PLAIN.match(text):
        return _frame(match, match["function"], Role.CALL)
    if match := _REGISTERS.match(text):
        return _frame(match, match["function"], Role.REGS)
    if match := _INLINED.match(text):
        return _frame(match, match["function"], Role.CALL)
    return None


def _callee(message: str) -> Frame | None:
    """Return the function a 32-bit ARM trace begins with: all others are named as the caller of the one before."""
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
    if not _MARKED.search(message):
        return None
    text = message.strip()
    for role, pattern in _MARKERS:
        if pattern.match(text):
            return role
    return None


def announces(message: str) -> bool:
    """Whether the line promises a stack: with no frame after it the report is damaged."""
    return _ANNOUNCED.search(message) is not None


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
