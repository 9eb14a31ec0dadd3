"""WARN(), and the lines that complain without a format of their own."""

import re

from pipeline.findings.pattern import rx
from pipeline.findings.rules.row import Blame, Rule
from pipeline.findings.types import Kind

_WARN = "kernel/panic.c:__warn"
# "WARNING: CPU: 1 PID: 2 at mm/util.c:4 fn+0x5/0x6" for long,
# "WARNING: mm/util.c:4 at fn+0x5/0x6, CPU#1: comm/2" since 6.19.
_AT = r"WARNING: (?:(?:CPU: \d+ PID: \d+ )?at )?"

# Where a WARN says what kind of bug it is: the file that checks, and the words for the title.
_SITES: tuple[tuple[str, str, str, Kind, re.Pattern[str] | None], ...] = (
    ("refcount", r"lib/refcount\.c", "WARNING: refcount bug in {frame}", Kind.REFCOUNT, None),
    ("odebug", r"lib/debugobjects\.c", "WARNING: ODEBUG bug in {frame}", Kind.WARNING, rx(r"\w*timer_\w*")),
    ("kobject", r"lib/kobject\.c", "WARNING: kobject bug in {frame}", Kind.WARNING, None),
    (
        "proc",
        r"fs/proc/generic\.c:\d+ (?:at )?proc_register",
        "WARNING: proc registration bug in {frame}",
        Kind.WARNING,
        rx(r"_*proc_(?:register|create|mkdir)\w*"),
    ),
    (
        "lockdep",
        r"kernel/locking/lockdep\.c",
        "WARNING: locking bug in {frame}",
        Kind.LOCKDEP,
        rx(r"(?:lock|release)_sock\w*"),
    ),
    ("vmalloc", r"mm/vmalloc\.c:\d+ (?:at )?_*vmalloc", "WARNING: zero-size vmalloc in {frame}", Kind.WARNING, None),
    (
        "kmalloc",
        r"mm/(?:\w+\.c:\d+ (?:at )?\w*malloc|(?:slab_common|util)\.c:\d+ at 0x)",
        "WARNING: kmalloc bug in {frame}",
        Kind.WARNING,
        None,
    ),
    ("usercopy", r"mm/usercopy\.c:\d+ (?:at )?usercopy_warn", "WARNING: bad usercopy in {frame}", Kind.WARNING, None),
    (
        "urb",
        r"drivers/usb/core/urb\.c:\d+ (?:at )?usb_submit_urb",
        "WARNING in {frame}/usb_submit_urb",
        Kind.WARNING,
        rx(r"usb_\w*(?:urb|msg)\w*"),
    ),
)

# What a healthy kernel says of its configuration or of a mount option: no complaint about itself.
_HARMLESS = (
    "Unprivileged eBPF",
    "[Tt]he mand mount option",
    "workqueue cpumask:",
    "kernel not compiled",
    "See https?:",
    "fbcon: Driver",
    "BIOS bug:",
    "'bootconfig' found",
    "x1-x3 nonzero",
    "polling idle",
    "retbleed=",
    "ITS mitigation",
    "Spectre-v2 mitigation",
    "CPU does not",
    "bogus zero IO-APIC",
    "Your 'console=",
    "Domain '",
)

WARNINGS: tuple[Rule, ...] = (
    *(
        Rule(
            name=f"warning-{name}",
            needle="WARNING: ",
            source=_WARN,
            pattern=rx(rf"{_AT}(?:\S*/)?{path}"),
            title=title,
            kind=kind,
            skip=skip,
        )
        for name, path, title, kind, skip in _SITES
    ),
    Rule(
        name="warning",
        needle="WARNING: ",
        source=_WARN,
        pattern=rx(rf"{_AT}(?:\S+\.(?:[chS]|rs|inc|rst):\d+|[A-Za-z_][\w.$]*\+0x)"),
        title="WARNING in {frame}",
        kind=Kind.WARNING,
    ),
    Rule(
        name="bad-frame-pointer",
        needle="WARNING: kernel stack",
        source="arch/x86/kernel/unwind_frame.c:unwind_next_frame",
        pattern=rx(r"WARNING: kernel stack (?P<what>frame pointer|regs) at \S+ in \S+ has bad (?P<value>'\w+' )?value"),
        title="WARNING: kernel stack {what} has bad {value}value",
        kind=Kind.UNKNOWN,
        blame=Blame.NOBODY,
        stack=False,
    ),
    Rule(
        name="warning-text",
        needle="WARNING: ",
        source='printk(KERN_WARNING "WARNING: ...")',
        pattern=rx(r"^(?:[a-z][\w-]* [\w.:-]+: )?(?P<text>WARNING: (?!" + "|".join(_HARMLESS) + r")\S.*)"),
        title="{text}",
        kind=Kind.WARNING,
        blame=Blame.NOBODY,
        stack=False,
        prose=True,
    ),
    Rule(
        name="bug-text",
        needle="BUG: ",
        source='printk("BUG: ...")',
        pattern=rx(r"^(?:[\w .()/#:-]{0,60}: )?(?P<text>BUG: \S.*)"),
        title="{text}",
        kind=Kind.UNKNOWN,
        blame=Blame.NOBODY,
        corrupted=True,
        stack=False,
        prose=True,
    ),
    Rule(
        name="bug-bracket",
        needle="[ BUG: ",
        source='printk("[ BUG: ... ]")',
        pattern=rx(r"^\[ (?P<text>BUG: \S.*?) \]$"),
        title="{text}",
        kind=Kind.UNKNOWN,
        blame=Blame.NOBODY,
        stack=False,
        prose=True,
    ),
)
