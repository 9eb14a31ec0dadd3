"""Stalls: which function stands for a loop that never ends.

A CPU that hangs is caught somewhere within a loop, so the top of the stack is chance and one bug
would get many titles. Below it stands whoever called into the subsystem - a system call, a timer, a
softirq, a work item, the file operation of a device - and the function right above that caller is
the same every time.
"""

from collections.abc import Sequence

from pipeline.findings.pattern import any_of
from pipeline.findings.plumbing import is_plumbing

_ENTRIES = r"""
    do_syscall_\w+ do_int80_\w+ do_fast_syscall_32 entry_SYSCALL\w* entry_INT80\w* entry_SYSENTER\w* sysenter_\w+
    system_call_fastpath tracesys\w* syscall_call ret_fast_syscall el0_sv\w+ _*invoke_syscall
"""
_THREADS = r"""
    process_one_work process_scheduled_works worker_thread kthread ret_from_fork\w* kthread_worker_fn smpboot_thread_fn
    start_secondary cpu_startup_entry rest_init start_kernel secondary_startup_64\w*
    task_work_run _*fput get_signal
"""
_INTERRUPTS = r"""
    _*do_softirq\w* handle_softirqs run_ksoftirqd call_timer_fn expire_timers _*run_timers? run_timer_softirq
    _*run_timer_base _*run_hrtimer _*hrtimer_run_queues hrtimer_interrupt tasklet_action\w* _*tasklet_\w*action\w*
    rcu_do_batch rcu_core _*rcu_process_callbacks irq_work_run\w* irq_work_single
"""
_NETWORK = r"""
    net_rx_action _*napi_poll _*netif_receive_skb\w* process_backlog \w*netlink_rcv\w* netlink_dump genl_rcv\w*
    genl_family_rcv_msg\w* sock_(sendmsg|recvmsg|read_iter|write_iter|ioctl|do_ioctl)\w* _*sock_(sendmsg|release)\w*
    sock_common_setsockopt do_sock_setsockopt __sys_(connect|setsockopt|getsockopt|bind|accept4?)
"""
_FILES = r"""
    vfs_(ioctl|read|write|readv|writev|fsync\w*|iter_\w+) _*vfs_(read|write) do_vfs_ioctl file_ioctl \w*compat_\w*ioctl
    compat_blkdev_ioctl blkdev_ioctl block_ioctl do_(iter_\w+|readv\w*|writev|loop_readv_writev)
    new_sync_(read|write) call_(read|write)_iter full_proxy_\w+
"""
_MEMORY = r"""
    call_mmap _*mmap_region do_fault\w* _*do_fault _*do_page_fault do_user_addr_fault _*handle_mm_fault
"""
_SYSCALLS = r"""
    (__se_|__do_|__x64_|__arm64_|__ia32_|__riscv_)?(compat_)?(sys|SyS|SYSC|compat_SyS)_\w+
"""
_KERNEL_SYSCALLS = r"""
    _*__(x64|arm64|ia32|riscv)_(compat_)?sys_\w+ ksys_\w+
"""
# System calls that say nothing: whatever a program does with a file or a socket goes through them.
_BROAD = r"""
    (__se_|__do_|__x64_|__arm64_|__ia32_|__riscv_)?(compat_)?(sys|SyS|SYSC|compat_SyS|ksys)_(ioctl|p?(read|write)(64|v2?)?)
    (__se_|__do_|__x64_|__arm64_|__ia32_|__riscv_)?(compat_)?(sys|SyS|SYSC|compat_SyS)_(connect|setsockopt|getsockopt)
    (__se_|__do_|__x64_|__arm64_|__ia32_|__riscv_)?(compat_)?(sys|SyS|SYSC|compat_SyS)_(socketcall|mmap\w*)
"""
# How a stall is noticed: the timer interrupt, and the printing of the stack itself.
_NOISE = r"""
    _*dump_stack\w* _*nmi_\w+ arch_trigger_\w+ trigger_\w+
    rcu_(dump|check|pending|sched_clock|kick|print|exp|gp|stall|is_cpu)\w* _*rcu_pending
    print_\w*stall\w* check_cpu_stall update_process_times tick_\w+ _*hrtimer_\w+ local_apic_\w+ _*sysvec_\w+
    asm_sysvec_\w+ _*smp_apic_\w+ smp_\w+_interrupt apic_timer_\w+ .*_interrupt _*run_hrtimer show_\w+
    sched_show_task dump_\w+ watchdog_\w+
    handle_\w*irq\w* _*handle_domain_irq handle_percpu_\w+ generic_handle_\w+ gic_\w+ arch_timer_\w+ el1_irq el1h_\w+
    el1_interrupt call_on_irq_stack do_interrupt_handler _*irq_\w+ do_IRQ ret_from_intr .*panic.*
    __schedule schedule\w* preempt_schedule\w* _*raw_\w+ do_raw_\w+ queued_\w+ lock_(acquire|release) __sanitizer_\w+
"""
_DISPATCHER = any_of(_ENTRIES, _THREADS, _INTERRUPTS, _NETWORK, _FILES, _MEMORY, _SYSCALLS, _KERNEL_SYSCALLS)
_SYSCALL = any_of(_SYSCALLS)
_BROAD_SYSCALL = any_of(_BROAD)
_PASSED = any_of(_NOISE)
# The timer interrupt that noticed the stall, on each architecture: what it interrupted is the loop.
_TICK = any_of(r"""
    (smp_)?apic_timer_interrupt\w* asm_sysvec_apic_timer_interrupt el1_irq el1h_64_irq __irq_svc decrementer_common\w*
    ret_from_exception handle_arch_irq do_irq _*exc_interrupt
""")
# The loop is another CPU's: this one only waits for it to take a call.
_WAITS_FOR_CPU = any_of(r"smp_call_function_\w+")


def after_tick(functions: Sequence[str]) -> int | None:
    """Return the index of the first function that the timer interrupt stopped; None without such an interrupt."""
    return next((index + 1 for index, name in enumerate(functions) if _TICK.fullmatch(name)), None)


def loop(functions: Sequence[str]) -> str | None:
    """Return the function right above the first dispatcher; the first of all if there is none."""
    names = [name for name in functions if not _PASSED.fullmatch(name)]
    names = [name for name in names if _DISPATCHER.fullmatch(name) or not is_plumbing(name)]
    above: str | None = None
    for name in names:
        if _WAITS_FOR_CPU.fullmatch(name) or _names_itself(name):
            return name
        if not _DISPATCHER.fullmatch(name):
            above = name
        elif above is not None:
            return above
    return names[0] if names else None


def _names_itself(name: str) -> bool:
    return _SYSCALL.fullmatch(name) is not None and _BROAD_SYSCALL.fullmatch(name) is None
