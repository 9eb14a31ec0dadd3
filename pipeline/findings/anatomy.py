"""What the lines of a report look like, whatever the report: how the parser knows that one goes on."""

from pipeline.findings.pattern import begins

# A report that shows none of these for a while has ended.
_PART = begins(
    # Registers: arch/*/kernel/process*.c:__show_regs.
    r"[RE]?[A-D]X:|[RE]?[SDI][PI]:|[Rrx]\d\d? ?:|[CDFGES]S:|[CD]R\d|PKRU|Code:",
    r"pstate|sp :|lr :|pc :|epc :|ra :|PC is at|LR is at|Flags: |Control: |Register r",
    # Faults: arch/*/mm/fault.c.
    r"PGD|pgd |\[[0-9a-f]{8,16}\] \*?pgd|#PF|Mem abort|Data abort|ESR|EC =|user pgtable",
    r"Oops|invalid opcode|Internal error",
    # The task: lib/dump_stack.c:dump_stack_print_info.
    r"CPU: |Hardware name|Modules linked|Workqueue|Tainted|Not tainted|\[Tainted\]|task:|Process |comm |Comm:",
    # Traces: arch/*/kernel/dumpstack.c.
    r"[Cc]all [Tt]race|[Bb]acktrace|stack backtrace|</?(?:IRQ|TASK|NMI|EOI|SOFTIRQ|#DF)>|Exception stack|Stack:",
    r"\[<[0-9a-f]{8}|[0-9a-f]{4,16}: |[0-9a-f]{8,16} [0-9a-f]{8,16}",
    # Locks: kernel/locking/lockdep.c.
    r"other info|-{20,}|-> #|#\d+: |\d+ locks? held|no locks held|Possible|\*\*\* DEADLOCK|CPU\d +CPU\d|lock\(",
    r"is trying|but |already|which |the |and |\.\.\. |hardirqs|softirqs|irq event|stack_guard",
    r"in_atomic|preempt_count|Preemption disabled|caller is",
    # Sanitizers: mm/kasan/report.c, mm/kmsan/report.c, mm/kfence/report.c, kernel/kcsan/report.c.
    r"Read of size|Write of size|Read at|Write at|Memory state|Object |The buggy|Pointer tag",
    r"Allocated|Freed|allocated|freed|Bytes |Uninit|Local variable|value changed|Reported by|read to|write to|race at",
    r"index |shift |load of|kfence",
    # Allocators: mm/slub.c:print_trailer, mm/debug.c:__dump_page, mm/kmemleak.c:print_unreferenced.
    r"raw: |flags: |page|Slab |Redzone|Padding|FIX |INFO: |hex dump|unreferenced",
    r"(?:[0-9a-f]{2} ){8}|>?(?:0x)?[0-9a-f]{12,16}[: ]",
    # Stalls: kernel/rcu/tree_stall.h, kernel/hung_task.c, kernel/watchdog.c, kernel/workqueue.c.
    r"\"echo 0|rcu:|\(t=|\(detected by|Tasks blocked|Task dump|NMI|Sending NMI|Showing|pool \d|workqueue |CPU#",
    # The end: kernel/panic.c.
    r"Kernel |Dumping ftrace|---\[ end",
)

# The frame of a sanitizer's report.
_BORDER = begins(r"={30,}$")
# The last line: that, or kernel/panic.c:print_oops_end_marker and panic.
_END = begins(r"---\[ end (?:trace|Kernel panic)", r"={30,}$", r"Rebooting in \d+ seconds")
# After these nothing belongs to a report any more, in whatever task: the kernel is at its end, or somebody has
# asked it for stacks (drivers/tty/sysrq.c:__handle_sysrq; older kernels say "SysRq : ").
_LAST = begins(r"---\[ end Kernel panic", r"Rebooting in \d+ seconds", r"(?:sysrq: (?:SysRq : )?|SysRq : )Show ")


def is_part(message: str) -> bool:
    """Return whether a line looks like a piece of some report: a frame, or one of the kinds above."""
    return "+0x" in message or _PART.match(message) is not None


def is_end(message: str) -> bool:
    """Return whether nothing of the report comes after this line."""
    return _END.match(message) is not None


def is_border(message: str) -> bool:
    """Return whether a line is the upper or lower border of a report."""
    return _BORDER.match(message) is not None


def is_last(message: str) -> bool:
    """Return whether no open report goes on after this line."""
    return _LAST.match(message) is not None
