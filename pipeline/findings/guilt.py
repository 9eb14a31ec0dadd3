"""Which source file is guilty, once the frames of a report have file and line."""

from collections.abc import Sequence

from pipeline.findings.pattern import any_of
from pipeline.findings.types import Frame

# Sources that every subsystem goes through: blamed only when there is no other.
_SHARED = r"""
    .*\.h .*\.S lib/.* virt/lib/.*
    mm/(k[acmf]|slab|slub|slob|util|vmalloc|page_alloc|memory|usercopy|percpu|mempool|maccess|dmapool|truncate|page_owner).*
    mm/(debug|filemap|folio-compat)\..*
    kernel/(rcu|locking|sched|printk|entry|irq)/.*
    kernel/(panic|workqueue|softirq|smp|kthread|kcov|stop_machine|hung_task|watchdog|stacktrace)\..*
    kernel/time/(timer|hrtimer|tick|clock|sched_clock).*
    arch/[^/]+/(include|lib|entry|mm/(fault|physaddr|extable)).*
    arch/[^/]+/kernel/(traps|stacktrace|unwind|dumpstack|apic|nmi|process|entry|irq|head|syscall|debug-monitors).*
    net/core/(sock|skbuff|dev)\..* fs/(inode|buffer)\..* fs/(sysfs|kernfs)/.* fs/proc/generic\..*
    drivers/(base|clocksource|irqchip)/.* drivers/usb/core/(urb|message|hcd|driver)\..*
"""
# Not even then: these only hand on, print or check.
_NEVER = r"""
    .*\.h .*\.S lib/.* mm/(k[acmf]|slab|slub).* kernel/(locking|rcu|printk|panic|entry|time).*
    arch/[^/]+/(include|lib|entry).*
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
