"""Whom a report is named after, and which source file is to blame."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline.findings import title
from pipeline.findings.plumbing import base, is_plumbing
from pipeline.findings.rules.row import Blame
from pipeline.findings.types import Frame, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pipeline.findings.rules.row import Rule
    from pipeline.findings.stack import Stack

NOBODY = "corrupted"

# Ways to wait. A hung task is named after who waits, so all of these are passed over.
_WAITING = re.compile(r"sched|_lock|_slowlock|down|rwsem|completion|kthread|wait|synchronize|context_switch|__switch_to|cancel_delayed_work|rcu_barrier|flush_work")
# ... but for these, which are a place of their own: everyone who waits here waits for the same.
_WAITING_PLACES = re.compile(r"_*synchronize_s?rcu\w*|rtnl_lock|lock_sock_nested")

# Dispatchers: what runs below them is the loop that stalls, and names it better than wherever the
# CPU happened to be within the loop.
_DISPATCH = re.compile(
    r"do_syscall_\w+|do_int80_\w+|do_fast_syscall_32|entry_SYSCALL\w*|entry_INT80\w*|entry_SYSENTER\w*|sysenter_\w+|system_call_fastpath|tracesys\w*|syscall_call|ret_fast_syscall|el0_sv\w+|invoke_syscall|__invoke_syscall"
    r"|process_one_work|process_scheduled_works|worker_thread|kthread|ret_from_fork\w*|kthread_worker_fn|smpboot_thread_fn"
    r"|_*do_softirq\w*|handle_softirqs|call_timer_fn|expire_timers|_*run_timers?|run_timer_softirq|_*run_timer_base|_*run_hrtimer|_*hrtimer_run_queues|hrtimer_interrupt|tasklet_action\w*|_*tasklet_\w*action\w*"
    r"|net_rx_action|napi_poll|_*napi_poll|_*netif_receive_skb\w*|netif_receive_skb\w*|process_backlog|rcu_do_batch|rcu_core|_*rcu_process_callbacks|irq_work_run\w*|irq_work_single"
    r"|task_work_run|_*fput|get_signal|exit_mmap|mmput"
    r"|\w*netlink_rcv\w*|netlink_dump|genl_rcv\w*|genl_family_rcv_msg\w*"
    r"|vfs_(ioctl|read|write|readv|writev|fsync\w*|iter_\w+)|_*vfs_(read|write)|do_vfs_ioctl|do_(iter_\w+|readv\w*|writev|loop_readv_writev)|new_sync_(read|write)|call_(read|write)_iter|file_ioctl"
    r"|\w*compat_\w*ioctl|compat_blkdev_ioctl|blkdev_ioctl|block_ioctl|call_mmap|mmap_region|_*mmap_region|_*do_fault|do_fault\w*|do_page_fault|handle_mm_fault|_*handle_mm_fault"
    r"|sock_(sendmsg|recvmsg|read_iter|write_iter|ioctl|do_ioctl|sendmsg_nosec)\w*|_*sock_(sendmsg|release)\w*|sock_common_setsockopt|do_sock_setsockopt"
    r"|(?:__se_|__do_|__x64_|__arm64_|__ia32_)?(?:compat_)?(?:sys|SyS|SYSC|compat_SyS)_\w+|_*__(x64|arm64|ia32|riscv)_(compat_)?sys_\w+|ksys_\w+",
)
# Entries that say nothing: whatever a program does with a file or a socket goes through them.
_BROAD_ENTRY = re.compile(
    r"(?:__se_|__do_|__x64_|__arm64_|__ia32_)?(?:compat_)?(?:sys|SyS|SYSC|compat_SyS|ksys)_(?:ioctl|p?(?:read|write)(?:64|v2?)?|connect|setsockopt|getsockopt|socketcall|mmap\w*)"
)

# Sources that every subsystem goes through: a file among these is blamed only when there is no other.
_COMMON_SOURCE = re.compile(
    r"include/|lib/|mm/(?:k[acmf]|slab|slub|slob|util|vmalloc|page_alloc|memory|usercopy|percpu|mempool|maccess|dmapool|truncate|page_owner|debug|filemap|sparse)|kernel/(?:rcu|locking|sched|time|printk|panic|workqueue|softirq|smp|kthread|entry|exit|fork|kcov|trace|irq|signal|stop_machine|hung_task|watchdog|kcsan|stacktrace)"
    r"|arch/[^/]+/(?:include|lib|entry|mm/(?:fault|physaddr|extable)|kernel/(?:traps|stacktrace|unwind|dumpstack|apic|nmi|process|entry|irq|vmlinux|head|syscall|debug-monitors))|net/core/(?:sock|skbuff|datagram|stream|dev|net_namespace|rtnetlink\.c.*rtnetlink_rcv)\.|net/socket|net/netlink/|fs/(?:read_write|ioctl|open|namei|namespace|super|inode|file|file_table|splice|seq_file|sysfs|kernfs)(?:\.|/)|drivers/(?:base/|usb/core/|clocksource/|irqchip/)|security/security"
)


# Not even then: these only hand on, print or check.
_NEVER_GUILTY = re.compile(r"include/|lib/|mm/(?:k[acmf]|slab|slub)|kernel/(?:locking|rcu|printk|panic|entry|time)|arch/[^/]+/(?:include|lib|entry)|.*\.S$")


def frames_of(stacks: Sequence[Stack], *roles: Role) -> Iterator[Frame]:
    """The frames of the stacks with these roles, one role after the other, with those of registers."""
    for role in roles:
        for stack in stacks:
            if stack.role is role:
                yield from stack.frames


def culprit(rule: Rule, groups: Mapping[str, str | None], stacks: Sequence[Stack], locks: Sequence[str]) -> str | None:
    """The function to blame, or None if the report does not show one."""
    if rule.blame is Blame.NOBODY:
        return None
    named = groups.get("fn")
    named = base(named) if named else None
    usable = [base(frame.function) for frame in frames_of(stacks, *rule.roles) if _names(frame) and not _passed(rule, frame.function)]
    if rule.blame is Blame.HEADER and named and not is_plumbing(named):
        return named
    if rule.blame is Blame.RACE:
        return _race(stacks, groups)
    if locks:
        named = base(locks[0])
        return named if not _passed(rule, named) else (usable[0] if usable else named)
    found = _PICK.get(rule.blame, _first)(stacks, usable)
    if found is None and named and not _passed(rule, named):
        return named
    return found


def _names(frame: Frame) -> bool:
    """Whether a title may use the frame. One without an offset is a symboliser's: it was inlined."""
    return frame.trusted and frame.offset is not None


def _passed(rule: Rule, function: str) -> bool:
    name = base(function)
    return is_plumbing(name) or (rule.skip is not None and rule.skip.fullmatch(name) is not None)


def _first(_: Sequence[Stack], usable: Sequence[str]) -> str | None:
    return usable[0] if usable else None


def _waiter(stacks: Sequence[Stack], _: Sequence[str]) -> str | None:
    for stack in stacks:
        if stack.role is not Role.CALL:
            continue
        frames = [base(frame.function) for frame in stack.frames if _names(frame) and frame.role is not Role.REGS]
        for name in frames:
            if _WAITING_PLACES.fullmatch(name):
                return name
        for name in frames:
            if not _WAITING.search(name) and not is_plumbing(name):
                return name
        if frames:
            return None
    return None


def _loop(stacks: Sequence[Stack], _: Sequence[str]) -> str | None:
    for stack in stacks:
        if stack.role is not Role.CALL:
            continue
        found = _below([base(frame.function) for frame in stack.frames if _names(frame)])
        if found is not None:
            return found
    return None


def _stall(stacks: Sequence[Stack], _: Sequence[str]) -> str | None:
    standing = None
    for stack in stacks:
        if stack.role is not Role.CALL:
            continue
        names = [base(frame.function) for frame in stack.frames if _names(frame)]
        ticks = [index for index, name in enumerate(names) if _TICK.fullmatch(name)]
        if ticks:
            return _below(names[ticks[0] + 1 :])
        if standing is None and stack.frames[0].role is Role.REGS:
            standing = _below(names)
    return standing


def _below(names: Sequence[str]) -> str | None:
    """The frame below the first dispatcher, the first frame if there is none."""
    names = [name for name in names if not _STALL_NOISE.fullmatch(name) and (_DISPATCH.fullmatch(name) or not is_plumbing(name))]
    below = None
    for name in names:
        if _SMP_CALL.fullmatch(name):
            return name
        if _DISPATCH.fullmatch(name):
            if _SYSCALL.fullmatch(name) and not _BROAD_ENTRY.fullmatch(name):
                return name
            if below is not None:
                return below
            continue
        below = name
    return names[0] if names else None


# The interrupt that noticed the stall.
_TICK = re.compile(r"(?:smp_)?apic_timer_interrupt\w*|asm_sysvec_apic_timer_interrupt|el1_irq|el1h_64_irq|__irq_svc|decrementer_common\w*|ret_from_exception|handle_arch_irq|do_irq|_*exc_interrupt")
# The loop is another CPU's: this one waits for it to take the call.
_SMP_CALL = re.compile(r"smp_call_function_\w+")


_SYSCALL = re.compile(r"(?:__se_|__do_|__x64_|__arm64_|__ia32_)?(?:compat_)?(?:sys|SyS|SYSC|compat_SyS)_\w+")
# How the stall was noticed: the timer interrupt and the printing of the stack itself.
_STALL_NOISE = re.compile(
    r"_*dump_stack\w*|nmi_\w+|_*nmi_\w+|arch_trigger_\w+|trigger_\w+|rcu_(?:dump|check|pending|sched_clock|kick|print|exp|gp|stall|is_cpu)\w*|print_\w*stall\w*|check_cpu_stall|_*rcu_pending|update_process_times|tick_\w+|_*hrtimer_\w+|hrtimer_\w+|local_apic_\w+|_*sysvec_\w+|sysvec_\w+|asm_sysvec_\w+|smp_apic_\w+|apic_timer_\w+|_*run_hrtimer|show_\w+|sched_show_task|dump_\w+|watchdog_\w+|_*smp_apic_\w+|.*_interrupt|handle_\w*irq\w*|_*handle_domain_irq|gic_\w+|arch_timer_\w+|el1_irq|el1h_\w+|el1_interrupt|.*panic.*|smp_\w+_interrupt|_*irq_\w+|irq_\w+|do_IRQ|common_interrupt|ret_from_intr|__schedule|schedule\w*|preempt_schedule\w*|_*raw_\w+|do_interrupt_handler|handle_percpu_\w+|generic_handle_\w+|call_on_irq_stack|do_raw_\w+|queued_\w+|lock_(?:acquire|release)|__sanitizer_\w+"
)

_PICK: dict[Blame, Callable[[Sequence[Stack], Sequence[str]], str | None]] = {
    Blame.WAITER: _waiter,
    Blame.LOOP: _loop,
    Blame.STALL: _stall,
}


def _race(stacks: Sequence[Stack], groups: Mapping[str, str | None]) -> str | None:
    if groups.get("other"):
        return " / ".join(sorted(base(groups[key] or "") for key in ("fn", "other")))
    tops = [groups["fn"]]
    from_stacks = []
    for stack in stacks:
        if stack.role is Role.OTHER:
            name = next((base(frame.function) for frame in stack.frames if frame.trusted and not is_plumbing(base(frame.function))), None)
            if name is not None:
                from_stacks.append(name)
    found = sorted(dict.fromkeys(base(name) for name in (from_stacks or tops) if name))
    return " / ".join(found[:2]) or None


def guilty_file(rule: Rule, stacks: Sequence[Stack]) -> str | None:
    """The source file to blame: the first that is not one everybody goes through."""
    frames = [frame for frame in frames_of(stacks, *rule.roles, Role.LOCK) if frame.trusted]
    if rule.blame is Blame.STALL:
        ticks = [index for index, frame in enumerate(frames) if _TICK.fullmatch(base(frame.function))]
        frames = frames[ticks[0] + 1 :] if ticks else frames
    files = [frame.file.removeprefix("./") for frame in frames if frame.file]
    for common in (_COMMON_SOURCE, _NEVER_GUILTY):
        for file in files:
            if not common.match(file):
                return file
    return None


def title_names(function: str | None) -> tuple[str, ...]:
    """The names to put into a title, the one for the title last."""
    return title.names(function) if function else (NOBODY,)
