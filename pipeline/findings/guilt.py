"""Which source file is guilty, once the frames of a report have file and line."""

from collections.abc import Sequence

from pipeline.findings.pattern import any_of
from pipeline.findings.types import Frame

# Sources that every subsystem goes through: blamed only when there is no other.
_SHARED = r"""
    include/.* lib/.*
    mm/(k[acmf]|slab|slub|slob|util|vmalloc|page_alloc|memory|usercopy|percpu|mempool|maccess|dmapool|truncate|page_owner).*
    mm/(debug|filemap|sparse).*
    kernel/(rcu|locking|sched|printk|panic|workqueue|softirq|smp|kthread|entry|exit|fork|kcov|irq|signal).*
    kernel/time/(timer|hrtimer|tick|clock|sched_clock).*
    kernel/(stop_machine|hung_task|watchdog|kcsan|stacktrace).*
    arch/[^/]+/(include|lib|entry|mm/(fault|physaddr|extable)).*
    arch/[^/]+/kernel/(traps|stacktrace|unwind|dumpstack|apic|nmi|process|entry|irq|vmlinux|head|syscall|debug-monitors).*
    net/core/(sock|skbuff|datagram|stream|dev|net_namespace)\..* net/socket.* net/netlink/.*
    fs/(read_write|ioctl|open|namei|namespace|super|inode|file|file_table|splice|seq_file|buffer)\..*
    fs/(sysfs|kernfs)/.* fs/proc/(generic|inode)\..*
    drivers/(base|usb/core|clocksource|irqchip)/.* security/security.*
"""
# Not even then: these only hand on, print or check.
_NEVER = r"""
    include/.* lib/.* mm/(k[acmf]|slab|slub).* .*\.S
    kernel/(locking|rcu|printk|panic|entry|time).* arch/[^/]+/(include|lib|entry).*
"""
_FILTERS = (any_of(_SHARED), any_of(_NEVER))


def guilty_file(frames: Sequence[Frame]) -> str | None:
    """Return the source file to blame: the first that is not one everybody goes through."""
    files = [frame.file.removeprefix("./") for frame in frames if frame.file and frame.trusted]
    for shared in _FILTERS:
        for file in files:
            if not shared.fullmatch(file):
                return file
    return None
