"""Locks: lockdep, the debug forms of spinlocks and rwlocks, atomic context."""

from dataclasses import replace

from pipeline.findings.pattern import rx
from pipeline.findings.rules.row import Blame, Rule
from pipeline.findings.types import Kind, Role

_LOCKDEP = "kernel/locking/lockdep.c"
# "[ INFO: text ]" and "[ BUG: text ]" until 4.11, "WARNING: text" since.
_SAYS = r"(?:\[ *(?:INFO|BUG|WARNING): |(?:INFO|BUG|WARNING): )"

# Wrappers around one lock: the bug is in who takes it.
_TAKES_LOCK = rx(r"\w*_(?:un)?lock(?:_\w+)?")

_DEADLOCK = tuple(
    Rule(
        name=name,
        needle=needle,
        source=f"{_LOCKDEP}:{function}",
        pattern=rx(_SAYS + needle),
        body=rx(r"^.* is trying to acquire lock|^.*\band this task is already holding|^.*is trying to acquire"),
        title="possible deadlock in {frame}",
        kind=Kind.LOCKDEP,
        roles=(Role.CALL, Role.LOCK),
        lock=True,
    )
    for name, needle, function in (
        ("lockdep-circular", "possible circular locking dependency detected", "print_circular_bug_header"),
        ("lockdep-recursive", "possible recursive locking detected", "print_deadlock_bug"),
    )
)

_ROWS = (
    *_DEADLOCK,
    Rule(
        name="lockdep-circular-cut",
        needle="possible circular locking dependency detected",
        source=_LOCKDEP,
        pattern=rx(_SAYS + r"(?P<text>possible circular locking dependency detected)"),
        title="WARNING: {text}",
        kind=Kind.WARNING,
        corrupted=True,
        blame=Blame.NOBODY,
    ),
    Rule(
        name="lockdep-recursive-cut",
        needle="possible recursive locking detected",
        source=_LOCKDEP,
        pattern=rx(_SAYS + r"(?P<text>possible recursive locking detected)"),
        title="WARNING: {text}",
        kind=Kind.WARNING,
        corrupted=True,
        blame=Blame.NOBODY,
    ),
    Rule(
        name="lockdep-irq-inversion",
        needle="possible irq lock inversion dependency detected",
        source=f"{_LOCKDEP}:print_irq_inversion_bug",
        pattern=rx(_SAYS + r"possible irq lock inversion dependency detected"),
        title="possible deadlock in {frame}",
        kind=Kind.LOCKDEP,
        lock=True,
    ),
    Rule(
        name="lockdep-irq-order",
        needle="lock order detected",
        source=f"{_LOCKDEP}:print_bad_irq_dependency",
        pattern=rx(_SAYS + r".*-safe -> .*-unsafe lock order detected"),
        title="possible deadlock in {frame}",
        kind=Kind.LOCKDEP,
        roles=(Role.LOCK, Role.CALL),
    ),
    Rule(
        name="lockdep-inconsistent-state",
        needle="inconsistent lock state",
        source=f"{_LOCKDEP}:print_usage_bug",
        pattern=rx(_SAYS + r"inconsistent lock state"),
        title="inconsistent lock state in {frame}",
        kind=Kind.LOCKDEP,
    ),
    Rule(
        name="lockdep-wait-context",
        needle="Invalid wait context",
        source=f"{_LOCKDEP}:print_lock_invalid_wait_context",
        pattern=rx(r"\[ *BUG: Invalid wait context"),
        title="WARNING: locking bug in {frame}",
        kind=Kind.LOCKDEP,
    ),
    Rule(
        name="lockdep-unlock-balance-warning",
        needle="bad unlock balance detected",
        source=f"{_LOCKDEP}:print_unlock_imbalance_bug",
        pattern=rx(r"WARNING: bad unlock balance detected"),
        title="WARNING: bad unlock balance in {frame}",
        kind=Kind.LOCKDEP,
    ),
    Rule(
        name="lockdep-unlock-balance",
        needle="bad unlock balance detected",
        source=f"{_LOCKDEP}:print_unlock_imbalance_bug before 4.11",
        pattern=rx(r"BUG: bad unlock balance detected"),
        title="BUG: bad unlock balance in {frame}",
        kind=Kind.LOCKDEP,
    ),
    Rule(
        name="lockdep-held-at-exit-warning",
        needle="still has locks held",
        source=f"{_LOCKDEP}:print_held_locks_bug",
        pattern=rx(r"WARNING: .* still has locks held"),
        title="WARNING: still has locks held in {frame}",
        kind=Kind.LOCKDEP,
        lock=True,
    ),
    Rule(
        name="lockdep-held-at-exit",
        needle="still has locks held",
        source=f"{_LOCKDEP}:print_held_locks_bug before 4.11",
        pattern=rx(r"BUG: .* still has locks held"),
        title="BUG: still has locks held in {frame}",
        kind=Kind.LOCKDEP,
        lock=True,
    ),
    Rule(
        name="lockdep-held-at-return-warning",
        needle="lock held when returning to user space",
        source=f"{_LOCKDEP}:lockdep_sys_exit",
        pattern=rx(r"WARNING: lock held when returning to user space"),
        title="WARNING: lock held when returning to user space in {frame}",
        kind=Kind.LOCKDEP,
        stack=False,
        lock=True,
    ),
    Rule(
        name="lockdep-held-at-return",
        needle="lock held when returning to user space",
        source=f"{_LOCKDEP}:lockdep_sys_exit before 4.11",
        pattern=rx(r"BUG: lock held when returning to user space"),
        title="BUG: lock held when returning to user space in {frame}",
        kind=Kind.UNKNOWN,
        stack=False,
        lock=True,
    ),
    Rule(
        name="lockdep-held-lock-freed",
        needle="held lock freed",
        source=f"{_LOCKDEP}:print_freed_lock_bug",
        pattern=rx(r"(?P<level>WARNING|BUG): held lock freed"),
        title="{level}: held lock freed in {frame}",
        kind=Kind.LOCKDEP,
    ),
    Rule(
        name="lockdep-nest-lock",
        needle="ested lock was not taken",
        source=f"{_LOCKDEP}:print_lock_nested_lock_not_held",
        pattern=rx(r"WARNING: [Nn]ested lock was not taken"),
        title="WARNING: nested lock was not taken in {frame}",
        kind=Kind.LOCKDEP,
    ),
    Rule(
        name="lockdep-non-static-key",
        needle="trying to register non-static key",
        source=f"{_LOCKDEP}:assign_lock_key",
        pattern=rx(r"INFO: trying to register non-static key"),
        title="INFO: trying to register non-static key in {frame}",
        kind=Kind.UNKNOWN,
    ),
    Rule(
        name="suspicious-rcu-warning",
        needle="suspicious RCU usage",
        source=f"{_LOCKDEP}:lockdep_rcu_suspicious",
        pattern=rx(r"WARNING: suspicious RCU usage"),
        body=rx(r"(?:[Cc]all [Tt]race|[Bb]acktrace:?)"),
        title="WARNING: suspicious RCU usage in {frame}",
        kind=Kind.LOCKDEP,
    ),
    Rule(
        name="suspicious-rcu-cut",
        needle="suspicious RCU usage",
        source=f"{_LOCKDEP}:lockdep_rcu_suspicious",
        pattern=rx(r"WARNING: suspicious RCU usage"),
        title="WARNING: suspicious RCU usage",
        kind=Kind.WARNING,
        corrupted=True,
        blame=Blame.NOBODY,
    ),
    Rule(
        name="suspicious-rcu",
        needle="suspicious RCU usage",
        source=f"{_LOCKDEP}:lockdep_rcu_suspicious before 4.11",
        pattern=rx(r"INFO: suspicious RCU usage"),
        title="INFO: suspicious RCU usage in {frame}",
        kind=Kind.UNKNOWN,
    ),
    Rule(
        name="lockdep-table-full",
        needle="too low!",
        source=f"{_LOCKDEP}:print_lockdep_off",
        pattern=rx(r"BUG: (?P<text>MAX_[A-Z_]+ too low!)"),
        title="BUG: {text}",
        kind=Kind.UNKNOWN,
        blame=Blame.NOBODY,
        stack=False,
    ),
    Rule(
        name="spinlock-debug",
        needle=" on CPU#",
        source="kernel/locking/spinlock_debug.c:spin_dump",
        pattern=rx(
            r"BUG: (?P<bug>spinlock (?:lockup suspected|already unlocked|recursion|bad magic|wrong owner|wrong CPU"
            r"|cpu recursion|trylock failure on UP|uninitialized)) on CPU"
        ),
        title="BUG: {bug} in {frame}",
        kind=Kind.LOCKDEP,
        skip=_TAKES_LOCK,
    ),
    Rule(
        name="rwlock-debug",
        needle=" on CPU#",
        source="kernel/locking/spinlock_debug.c:rwlock_bug",
        pattern=rx(
            r"BUG: (?P<bug>rw-?lock (?:lockup|already unlocked|recursion|bad magic|wrong owner|wrong CPU"
            r"|cpu recursion|trylock failure on UP|uninitialized)) on CPU"
        ),
        title="BUG: {bug} in {frame}",
        kind=Kind.LOCKDEP,
        skip=_TAKES_LOCK,
    ),
    Rule(
        name="sleeping-in-atomic",
        needle="sleeping function called from invalid context",
        source="kernel/sched/core.c:__might_resched",
        pattern=rx(r"BUG: sleeping function called from invalid context"),
        title="BUG: sleeping function called from invalid context in {frame}",
        kind=Kind.ATOMIC_SLEEP,
    ),
    Rule(
        name="scheduling-while-atomic",
        needle="scheduling while atomic",
        source="kernel/sched/core.c:__schedule_bug",
        pattern=rx(r"BUG: scheduling while atomic"),
        title="BUG: scheduling while atomic in {frame}",
        kind=Kind.ATOMIC_SLEEP,
    ),
    Rule(
        name="preemptible-per-cpu",
        needle="in preemptible",
        source="lib/smp_processor_id.c:check_preemption_disabled",
        pattern=rx(r"BUG: using (?P<what>\w+\(\)) in preemptible"),
        title="BUG: using {what} in preemptible code in {frame}",
        kind=Kind.LOCKDEP,
    ),
)

# The stack is the last thing that any of these prints; on x86 it says where it ends
# (arch/x86/kernel/dumpstack.c:show_trace_log_lvl).
LOCKING: tuple[Rule, ...] = tuple(replace(row, ends=rx(r"^ *</TASK>")) for row in _ROWS)
