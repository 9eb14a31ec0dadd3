"""What the lines of a report look like, whatever the report: how the parser knows that one goes on."""

import re

# One row a kind of line, at the beginning of a message. A report that shows none of these for a while has ended.
_PARTS: tuple[tuple[str, str], ...] = (
    (
        "registers, arch/*/kernel/process*.c:__show_regs",
        r"[RE]?[A-D]X:|[RE]?[SDI][PI]:|[Rr]\d\d? ?:|[rx]\d\d? ?:|[CDFGES]S:|[CD]R\d|FS:|PKRU|Code:|pstate|sp :|lr :|pc :|epc :| ?ra :|PC is at|LR is at|Flags: |Control: |Register r",
    ),
    (
        "page tables, arch/*/mm/fault.c",
        r"PGD|pgd |\[[0-9a-f]{8,16}\] \*?pgd|#PF|Mem abort|Data abort|ESR|EC =|user pgtable|Oops|invalid opcode|Internal error",
    ),
    (
        "task, lib/dump_stack.c:dump_stack_print_info",
        r"CPU: |Hardware name|Modules linked|Workqueue|Tainted|Not tainted|task:|Process |comm |Comm:|\[Tainted\]",
    ),
    (
        "trace, arch/*/kernel/dumpstack.c",
        r"[Cc]all [Tt]race|Backtrace|</?(?:IRQ|TASK|NMI|EOI|SOFTIRQ|#DF)>|stack backtrace|backtrace|Exception stack|Stack:|\[<[0-9a-f]{8}|[0-9a-f]{4,16}: |[0-9a-f]{8,16} [0-9a-f]{8,16}",
    ),
    (
        "lockdep, kernel/locking/lockdep.c",
        r"other info|-{20,}|-> #|#\d+: |\d+ locks? held|no locks held|Possible|\*\*\* DEADLOCK|CPU\d +CPU\d|lock\(|is trying|but |already|which |the |and |\.\.\. |hardirqs|softirqs|irq event|stack_guard|in_atomic|preempt_count|Preemption disabled|caller is",
    ),
    (
        "sanitizers, mm/{kasan,kmsan,kfence}/report.c, kernel/kcsan/report.c",
        r"Read of size|Write of size|Read at|Write at|Memory state|Object |The buggy|Allocated|Freed|allocated|freed|Bytes |Uninit|Local variable|value changed|Reported by|read to|write to|race at|index |shift |load of|kfence|Pointer tag",
    ),
    (
        "allocators, mm/slub.c:print_trailer, mm/debug.c:__dump_page, mm/kmemleak.c",
        r"raw: |flags: |page|Slab |Redzone|Padding|FIX |INFO: |hex dump|unreferenced|(?:[0-9a-f]{2} ){8}|>?(?:0x)?[0-9a-f]{12,16}[: ]",
    ),
    (
        "stalls, kernel/rcu/tree_stall.h, kernel/hung_task.c, kernel/watchdog.c",
        r"\"echo 0|rcu:|\(t=|\(detected by|Tasks blocked|Task dump|NMI|Sending NMI|Showing|pool \d|workqueue |CPU#",
    ),
    ("panic, kernel/panic.c", r"Kernel |Dumping ftrace|---\[ end"),
)
_PART = re.compile(r" *(?:" + "|".join(pattern for _, pattern in _PARTS) + ")")

# The last line of a report: kernel/panic.c:print_oops_end_marker and panic, the frame of a sanitizer's report.
_END = re.compile(r" *(?:---\[ end (?:trace|Kernel panic)|={30,}$|Rebooting in \d+ seconds|Kernel Offset: )")


def is_part(message: str) -> bool:
    """Whether a line looks like a piece of some report: a frame, or one of the kinds above."""
    return "+0x" in message or _PART.match(message) is not None


def is_end(message: str) -> bool:
    """Whether nothing of the report comes after this line."""
    return _END.match(message) is not None
