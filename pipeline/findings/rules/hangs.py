"""Time: what takes too long, or never ends."""

from __future__ import annotations

from pipeline.findings.rules.row import Blame, Rule, rx
from pipeline.findings.types import Kind

_STALL = ("stall in {frame}",)

HANGS: tuple[Rule, ...] = (
    Rule(
        name="soft-lockup", needle="BUG: soft lockup", source="kernel/watchdog.c:watchdog_timer_fn",
        pattern=rx(r"BUG: soft lockup"),
        title="BUG: soft lockup in {frame}", alts=_STALL, kind=Kind.HANG, blame=Blame.LOOP,
    ),
    Rule(
        name="hard-lockup", needle="hard LOCKUP", source="kernel/watchdog.c:watchdog_hardlockup_check",
        pattern=rx(r"[Ww]atchdog(?:: CPU\d+: Watchdog)? detected hard LOCKUP on cpu"),
        title="BUG: hard lockup in {frame}", alts=(*_STALL, "kernel panic: Hard LOCKUP"), kind=Kind.HANG, blame=Blame.LOOP,
    ),
    Rule(
        name="workqueue-lockup", needle="BUG: workqueue lockup", source="kernel/workqueue.c:wq_watchdog_timer_fn",
        pattern=rx(r"BUG: workqueue lockup"),
        title="BUG: workqueue lockup", kind=Kind.HANG, blame=Blame.NOBODY, stack=False,
    ),
    Rule(
        name="rcu-stall", needle=" stall", source="kernel/rcu/tree_stall.h:print_cpu_stall, print_other_cpu_stall; kernel/rcu/tree_exp.h:synchronize_rcu_expedited_wait",
        pattern=rx(r"INFO: (?:rcu_\w+|\S+) (?:self-)?detected (?:expedited )?stalls? on"),
        title="INFO: rcu detected stall in {frame}", alts=_STALL, kind=Kind.HANG, blame=Blame.STALL, absorbs=rx(r"WARNING: CPU"),
    ),
    Rule(
        name="hung-task", needle=" blocked for more than ", source="kernel/hung_task.c:check_hung_task",
        pattern=rx(r"INFO: task \S.* blocked(?: on an? \S.*?)?(?: in I/O wait)? for more than \d+ seconds"),
        title="INFO: task hung in {frame}", alts=("hang in {frame}",), kind=Kind.HANG, blame=Blame.WAITER,
    ),
    Rule(
        name="undying-task", needle=" can't die for more than ", source="kernel/hung_task.c in linux-next",
        pattern=rx(r"INFO: task \S.* can't die for more than \d+ seconds"),
        title="INFO: task can't die in {frame}", alts=("hang in {frame}",), kind=Kind.HANG, blame=Blame.WAITER,
    ),
    Rule(
        name="unregister-netdevice", needle="unregister_netdevice: waiting for", source="net/core/dev.c:netdev_wait_allrefs_any",
        pattern=rx(r"unregister_netdevice: waiting for \S+ to become free"),
        title="unregister_netdevice: waiting for DEV to become free", kind=Kind.DOS, blame=Blame.NOBODY, stack=False,
    ),
    Rule(
        name="reboot", needle="Booting the kernel", source="arch/x86/boot/compressed/misc.c:extract_kernel",
        pattern=rx(r"^Booting the kernel(?: \(entry_offset: 0x[0-9a-f]+\))?\.\s*$"),
        title="unexpected kernel reboot", kind=Kind.REBOOT, blame=Blame.NOBODY, stack=False, traits=frozenset(("boot",)),
    ),
    Rule(
        name="reboot-banner", needle="Linux version ", source="init/version.c:linux_banner",
        pattern=rx(r"^Linux version \d+\.\d+"),
        title="unexpected kernel reboot", kind=Kind.REBOOT, blame=Blame.NOBODY, stack=False, traits=frozenset(("boot",)),
    ),
)
