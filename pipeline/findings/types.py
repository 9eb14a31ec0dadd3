"""What a console report is, once it has been read: values only, frozen all the way down."""

from dataclasses import dataclass
from enum import Enum, unique


@unique
class Kind(Enum):
    """The class of a problem. The values are the words the kernel community's dashboards use."""

    UNKNOWN = "UNKNOWN"
    HANG = "HANG"
    DOS = "DoS"
    WARNING = "WARNING"
    LOCKDEP = "LOCKDEP"
    BUG = "BUG"
    MEMORY_SAFETY = "MEMORY_SAFETY_BUG"
    NULL_DEREF = "NULL-POINTER-DEREFERENCE"
    ATOMIC_SLEEP = "ATOMIC_SLEEP"
    REFCOUNT = "REFCOUNT_WARNING"
    LEAK = "LEAK"
    REBOOT = "REBOOT"
    UBSAN = "UBSAN"
    UBSAN_BOUNDS = "MEMORY_SAFETY_UBSAN"
    KASAN_READ = "KASAN-READ"
    KASAN_WRITE = "KASAN-WRITE"
    KASAN_UAF_READ = "KASAN-USE-AFTER-FREE-READ"
    KASAN_UAF_WRITE = "KASAN-USE-AFTER-FREE-WRITE"
    KASAN_NULL_READ = "KASAN-NULL-POINTER-DEREFERENCE-READ"
    KASAN_NULL_WRITE = "KASAN-NULL-POINTER-DEREFERENCE-WRITE"
    KASAN_INVALID_FREE = "KASAN-INVALID-FREE"
    KMSAN_UNINIT = "KMSAN-UNINIT-VALUE"
    KMSAN_UAF_READ = "KMSAN-USE-AFTER-FREE-READ"
    KMSAN_INFO_LEAK = "KMSAN-INFO-LEAK"
    KCSAN_RACE = "KCSAN-DATARACE"
    KCSAN_ASSERT = "KCSAN-ASSERT"
    KFENCE_READ = "KFENCE-READ"
    KFENCE_WRITE = "KFENCE-WRITE"
    KFENCE_UAF_READ = "KFENCE-USE-AFTER-FREE-READ"
    KFENCE_UAF_WRITE = "KFENCE-USE-AFTER-FREE-WRITE"
    KFENCE_INVALID_FREE = "KFENCE-INVALID-FREE"
    KFENCE_CORRUPTION = "KFENCE-MEMORY-CORRUPTION"


@unique
class Role(Enum):
    """Which of a report's stacks a frame stands in."""

    REGS = "registers"
    CALL = "call trace"
    ALLOC = "allocation"
    FREE = "free"
    OTHER = "other access"
    LOCK = "lock"
    AUX = "auxiliary"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a stack, as ``%pS`` prints it (lib/vsprintf.c:symbol_string).

    ``trusted`` is False for a frame printed with ``? `` before it: an address found on the stack
    that the unwinder does not vouch for (arch/x86/kernel/dumpstack.c:printk_stack_address).
    ``file`` and ``line`` are there only when the log was symbolised before.
    """

    function: str
    role: Role = Role.CALL
    trusted: bool = True
    module: str | None = None
    file: str | None = None
    line: int | None = None
    offset: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Executor:
    """Process and program number of a fuzzer's executor, out of ``Comm: syz.P.N``."""

    proc: int
    id: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One report of a kernel problem.

    ``start_line`` is the 0-based line that names the problem, ``end_line`` is exclusive. ``report``
    is the report's own text: other tasks' lines, prefixes and untrusted frames are taken out, the
    few lines before it are kept. ``again`` is how many sightings of the title followed this one that are not
    listed themselves (pipeline/findings/tally.py).
    """

    title: str
    kind: Kind
    rule: str
    start_line: int
    end_line: int
    alt_titles: tuple[str, ...] = ()
    corrupted: bool = False
    frame: str | None = None
    guilty_file: str | None = None
    report: str = ""
    suppressed: bool = False
    panicked: bool = False
    executor: Executor | None = None
    frames: tuple[Frame, ...] = ()
    again: int = 0

    @property
    def titles(self) -> frozenset[str]:
        """Every title this bug is known under."""
        return frozenset((self.title, *self.alt_titles))


def same_bug(a: Finding, b: Finding) -> bool:
    """Two findings are one bug when a title or alternative title of one is among the other's."""
    return not a.titles.isdisjoint(b.titles)
