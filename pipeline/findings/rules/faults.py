"""Faults: what the CPU or the kernel's own assertions stopped at, and panics."""

from pipeline.findings.pattern import rx
from pipeline.findings.rules.row import Blame, Rule
from pipeline.findings.types import Kind

_BAD_ACCESS = ("bad-access in {frame}",)
_X86_FAULT = "arch/x86/mm/fault.c:show_fault_oops"
_ARM64_FAULT = "arch/arm64/mm/fault.c:die_kernel_fault"

_ASSERTIONS = (
    Rule(
        name="list-corruption",
        needle="kernel BUG at",
        source="lib/list_debug.c:__list_add_valid_or_report, __list_del_entry_valid_or_report",
        pattern=rx(r"kernel BUG at lib/list_debug\.c"),
        title="BUG: corrupted list in {frame}",
        alts=_BAD_ACCESS,
        kind=Kind.MEMORY_SAFETY,
    ),
    Rule(
        name="usercopy",
        needle="kernel BUG at",
        source="mm/usercopy.c:usercopy_abort",
        pattern=rx(r"kernel BUG at mm/usercopy\.c"),
        title="BUG: bad usercopy in {frame}",
        kind=Kind.BUG,
    ),
    Rule(
        name="kernel-bug",
        needle="kernel BUG at",
        source="lib/bug.c:__report_bug",
        pattern=rx(r"kernel BUG at (?P<src>\S+)"),
        title="kernel BUG in {frame}",
        kind=Kind.BUG,
    ),
)

_ACCESSES = (
    Rule(
        name="page-fault",
        needle="nable to handle",
        source=_X86_FAULT + "; arch/powerpc/mm/fault.c:bad_page_fault",
        pattern=rx(
            r"BUG: unable to handle (?:kernel paging request at|page fault for address)"
            r"|BUG: Unable to handle kernel (?:data access|instruction fetch)"
        ),
        title="BUG: unable to handle kernel paging request in {frame}",
        alts=_BAD_ACCESS,
        kind=Kind.MEMORY_SAFETY,
        absorbs=rx(r"PANIC: double fault"),
    ),
    Rule(
        name="null-deref",
        needle="NULL pointer dereference",
        source=_X86_FAULT,
        pattern=rx(r"BUG: (?:unable to handle )?[kK]ernel NULL pointer dereference"),
        title="BUG: unable to handle kernel NULL pointer dereference in {frame}",
        alts=_BAD_ACCESS,
        kind=Kind.NULL_DEREF,
    ),
    Rule(
        name="fault-cut",
        needle="nable to handle",
        source=_X86_FAULT,
        pattern=rx(r"BUG: unable to handle kernel"),
        title="BUG: unable to handle kernel",
        kind=Kind.UNKNOWN,
        corrupted=True,
        blame=Blame.NOBODY,
    ),
    Rule(
        name="page-fault-arm",
        needle="Unable to handle kernel",
        source=_ARM64_FAULT,
        pattern=rx(
            r"Unable to handle kernel (?:paging request|pointer dereference|execut\w+ .*"
            r"|write to read-only memory|read from unreadable memory) ?(?:at|in) virtual (?:address|kernel address)"
        ),
        title="BUG: unable to handle kernel paging request in {frame}",
        alts=_BAD_ACCESS,
        kind=Kind.MEMORY_SAFETY,
    ),
    Rule(
        name="null-deref-arm",
        needle="Unable to handle kernel",
        source=_ARM64_FAULT,
        pattern=rx(r"Unable to handle kernel NULL pointer dereference"),
        title="BUG: unable to handle kernel NULL pointer dereference in {frame}",
        alts=_BAD_ACCESS,
        kind=Kind.NULL_DEREF,
    ),
    Rule(
        name="user-access",
        needle="Unable to handle kernel",
        source="arch/arm64/mm/fault.c:do_page_fault; arch/riscv/mm/fault.c:handle_page_fault",
        pattern=rx(r"Unable to handle kernel access to user memory"),
        title="BUG: unable to handle kernel access to user memory in {frame}",
        alts=_BAD_ACCESS,
        kind=Kind.UNKNOWN,
    ),
    Rule(
        name="general-protection-fault",
        needle="general protection fault",
        source="arch/x86/kernel/traps.c:exc_general_protection",
        pattern=rx(
            r"general protection fault: [0-9a-f]{4} \[#\d+\]|general protection fault,? (?:probably )?for non-canonical"
            r"|^(?:Oops: )?general protection fault(?:,|:| for)"
        ),
        title="general protection fault in {frame}",
        alts=_BAD_ACCESS,
        kind=Kind.DOS,
    ),
    Rule(
        name="stack-guard-page",
        needle="stack guard page was hit",
        source="arch/x86/kernel/traps.c:handle_stack_overflow",
        pattern=rx(r"BUG: (?:\S+ )?stack guard page was hit"),
        title="BUG: stack guard page was hit in {frame}",
        alts=("stack-overflow in {frame}",),
        kind=Kind.UNKNOWN,
        blame=Blame.LOOP,
        absorbs=rx(r"BUG: (?:\S+ )?stack guard page was hit"),
    ),
    Rule(
        name="double-fault",
        needle="double fault",
        source="arch/x86/kernel/doublefault_32.c, arch/x86/kernel/traps.c:exc_double_fault",
        pattern=rx(r"PANIC: double fault|^(?:Oops: )?double fault: [0-9a-f]{4} \[#"),
        title="PANIC: double fault in {frame}",
        kind=Kind.DOS,
        absorbs=rx(r"double fault: "),
    ),
    Rule(
        name="divide-error",
        needle="divide error",
        source="arch/x86/kernel/traps.c:exc_divide_error",
        pattern=rx(r"divide error: [0-9a-f]{4} \[#\d+\]|^(?:Oops: )?divide error:"),
        title="divide error in {frame}",
        kind=Kind.DOS,
    ),
    Rule(
        name="stack-segment",
        needle="stack segment",
        source="arch/x86/kernel/traps.c:exc_stack_segment",
        pattern=rx(r"stack segment: [0-9a-f]{4} \[#\d+\]|^(?:Oops: )?stack segment:"),
        title="stack segment fault in {frame}",
        kind=Kind.DOS,
    ),
    Rule(
        name="alignment-check",
        needle="alignment check",
        source="arch/x86/kernel/traps.c:exc_alignment_check",
        pattern=rx(r"alignment check: [0-9a-f]{4} \[#\d+\]|^(?:Oops: )?alignment check:"),
        title="alignment check in {frame}",
        kind=Kind.DOS,
    ),
    Rule(
        name="invalid-opcode",
        needle="invalid opcode",
        source="arch/x86/kernel/traps.c:handle_invalid_op",
        pattern=rx(r"invalid opcode: [0-9a-f]{4} \[#\d+\]|^(?:Oops: )?invalid opcode:"),
        title="invalid opcode in {frame}",
        kind=Kind.DOS,
        follows=True,
    ),
    Rule(
        name="unhandled-fault",
        needle="Unhandled fault",
        source="arch/arm/mm/fault.c:do_DataAbort",
        pattern=rx(r"Unhandled (?:prefetch abort|fault): "),
        title="Unhandled fault in {frame}",
        alts=_BAD_ACCESS,
        kind=Kind.DOS,
    ),
    Rule(
        name="alignment-trap",
        needle="Alignment trap",
        source="arch/arm/mm/alignment.c:do_alignment",
        pattern=rx(r"Alignment trap: not handling instruction"),
        title="Alignment trap in {frame}",
        kind=Kind.DOS,
        absorbs=rx(r"Unhandled fault: "),
    ),
    Rule(
        name="internal-error",
        needle="Internal error",
        source="arch/arm64/kernel/traps.c:__die; arch/arm/kernel/traps.c:__die",
        pattern=rx(r"Internal error: "),
        title="Internal error in {frame}",
        alts=_BAD_ACCESS,
        kind=Kind.DOS,
        follows=True,
    ),
    Rule(
        name="oops",
        needle="Oops",
        source="arch/x86/kernel/dumpstack.c:__die_header; arch/riscv/kernel/traps.c:die",
        pattern=rx(
            r"^(?:Oops: [0-9a-f]{4} (?:ilc:\d )?\[#\d+\]|Oops: [A-Z][\w ]+, sig: \d+ \[#\d+\]"
            r"|Oops(?: - [\w ]+)? \[#\d+\])"
        ),
        title="Oops in {frame}",
        kind=Kind.DOS,
        follows=True,
    ),
    Rule(
        name="die",
        needle=" [#",
        source="arch/x86/kernel/traps.c, whatever else it hands to die()",
        pattern=rx(r"^(?:Oops: )?(?P<what>[a-z][a-z0-9 /-]{2,40}): [0-9a-f]{4} \[#\d+\]"),
        title="{what} in {frame}",
        kind=Kind.DOS,
        follows=True,
    ),
)

_PANICS = (
    Rule(
        name="panic-stack-protector",
        needle="Kernel panic - not syncing",
        source="kernel/panic.c:__stack_chk_fail",
        pattern=rx(
            r"Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: "
            r"(?P<fn>(?![0-9a-f]{8,16}$)[A-Za-z_][\w.$]+|)"
        ),
        title="kernel panic: stack is corrupted in {frame}",
        kind=Kind.DOS,
        blame=Blame.HEADER,
    ),
    Rule(
        name="panic-stack-end",
        needle="Kernel panic - not syncing",
        source="kernel/sched/core.c:schedule_debug",
        pattern=rx(r"Kernel panic - not syncing: corrupted stack end detected inside scheduler"),
        title="kernel panic: corrupted stack end in {frame}",
        kind=Kind.DOS,
    ),
    Rule(
        name="panic-init-killed",
        needle="Kernel panic - not syncing",
        source="kernel/exit.c:do_exit",
        pattern=rx(r"Kernel panic - not syncing: (?P<text>Attempted to kill init!)"),
        title="kernel panic: {text}",
        kind=Kind.DOS,
        blame=Blame.NOBODY,
        stack=False,
    ),
    Rule(
        name="panic-tty",
        needle="Kernel panic - not syncing",
        source="drivers/tty/tty_ldisc.c:tty_ldisc_restore before 4.13",
        pattern=rx(r"Kernel panic - not syncing: (?P<text>(?P<what>[Cc]ouldn't open N_TTY ldisc) for \S+ --- error.*)"),
        title="kernel panic: {what}",
        alts=("kernel panic: {text}",),
        kind=Kind.DOS,
        blame=Blame.NOBODY,
        stack=False,
    ),
    Rule(
        name="panic-out-of-memory",
        needle="Kernel panic - not syncing",
        source="mm/oom_kill.c:out_of_memory",
        pattern=rx(
            r"Kernel panic - not syncing: (?P<text>(?:Out of memory and no killable processes"
            r"|System is deadlocked on memory|[Oo]ut of memory: .*?panic_on_oom is enabled))"
        ),
        title="kernel panic: {text}",
        kind=Kind.DOS,
        blame=Blame.NOBODY,
        stack=False,
    ),
    Rule(
        name="panic-consequence",
        needle="Kernel panic - not syncing",
        source="kernel/panic.c:panic, for a report that came before",
        pattern=rx(
            r"Kernel panic - not syncing: (?:kernel: )?(?P<text>(?:KASAN: |KFENCE: |UBSAN: |KCSAN: )?panic_on_warn set"
            r"|panic_on_kmsan set|kmsan\.panic set|(?:.*: )?Fatal exception(?: in interrupt)?|hung_task: blocked tasks"
            r"|softlockup: hung tasks|Hard LOCKUP|RCU Stall|panic_on_rcu_stall|scheduling while atomic|Machine halted"
            r"|BUG!)"
        ),
        title="kernel panic: {text}",
        kind=Kind.DOS,
        corrupted=True,
        blame=Blame.NOBODY,
        follows=True,
        aftermath=True,
    ),
    Rule(
        name="panic",
        needle="Kernel panic - not syncing",
        source="kernel/panic.c:panic",
        pattern=rx(r"Kernel panic - not syncing: (?P<text>.*)"),
        title="kernel panic: {text}",
        kind=Kind.DOS,
        blame=Blame.NOBODY,
        stack=False,
        follows=True,
    ),
)

# CHECK_DATA_CORRUPTION, include/linux/bug.h: the words come first, then what CONFIG_BUG_ON_DATA_CORRUPTION made of it.
_CORRUPTION = rx(r"WARNING: |kernel BUG at")

_FILE_SYSTEMS = (
    Rule(
        name="vfs-file-count",
        needle="VFS: Close: file count is ",
        source="fs/open.c:filp_flush",
        pattern=rx(r"^VFS: Close: file count is (?:0|zero)"),
        title="VFS: Close: file count is zero (use-after-free)",
        kind=Kind.DOS,
        blame=Blame.NOBODY,
        stack=False,
        absorbs=_CORRUPTION,
    ),
    Rule(
        name="vfs-busy-inodes",
        needle="VFS: Busy inodes after unmount",
        source="fs/super.c:generic_shutdown_super",
        pattern=rx(r"^VFS: Busy inodes after unmount"),
        title="VFS: Busy inodes after unmount (use-after-free)",
        kind=Kind.DOS,
        blame=Blame.NOBODY,
        stack=False,
        absorbs=_CORRUPTION,
    ),
    Rule(
        name="dentry-in-use",
        needle="BUG: Dentry",
        source="fs/dcache.c:umount_check",
        pattern=rx(r"BUG: Dentry .* still in use \(\d+\) (?P<where>\[unmount of [^\]]*\])"),
        title="BUG: Dentry still in use in unmount",
        alts=("BUG: Dentry still in use {where}",),
        kind=Kind.UNKNOWN,
        blame=Blame.NOBODY,
        absorbs=rx(r"WARNING: "),
    ),
)

FAULTS: tuple[Rule, ...] = (*_ASSERTIONS, *_ACCESSES, *_PANICS, *_FILE_SYSTEMS)
