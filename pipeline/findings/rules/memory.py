"""Memory: the sanitizers, the allocators' own checks, leaks."""

from __future__ import annotations

from pipeline.findings.rules.row import Blame, Rule, rx
from pipeline.findings.types import Kind, Role

_BAD_ACCESS = ("bad-access in {frame}",)
_KASAN = "mm/kasan/report.c:print_error_description"
_KFENCE = "mm/kfence/report.c:kfence_report_error"
_KMSAN = "mm/kmsan/report.c:kmsan_report"
# Between two lines of "=": one that another report cuts off is damaged.
_FRAMED = frozenset(("framed",))
_READ = rx(r"^ *Read (?:of size \d+|at addr )")
_WRITE = rx(r"^ *Write (?:of size \d+|at addr )")

_SANITIZERS = (
    Rule(
        name="kasan-use-after-free-read", needle="BUG: KASAN:", source=_KASAN,
        pattern=rx(r"BUG: KASAN: (?P<bug>(?:slab-|vmalloc-)?use-after-free) (?:in (?P<fn>[\w.$]+)|on address)"), body=_READ,
        title="KASAN: {bug} Read in {frame}", alts=_BAD_ACCESS, kind=Kind.KASAN_UAF_READ,
        traits=_FRAMED,
    ),
    Rule(
        name="kasan-use-after-free-write", needle="BUG: KASAN:", source=_KASAN,
        pattern=rx(r"BUG: KASAN: (?P<bug>(?:slab-|vmalloc-)?use-after-free) (?:in (?P<fn>[\w.$]+)|on address)"), body=_WRITE,
        title="KASAN: {bug} Write in {frame}", alts=_BAD_ACCESS, kind=Kind.KASAN_UAF_WRITE,
        traits=_FRAMED,
    ),
    Rule(
        name="kasan-invalid-free", needle="BUG: KASAN:", source="mm/kasan/report.c:kasan_report_invalid_free",
        pattern=rx(r"BUG: KASAN: (?:double-free or invalid-free|invalid-free|double-free) in (?P<fn>[\w.$]+)"),
        title="KASAN: invalid-free in {frame}", alts=("invalid-free in {frame}",), kind=Kind.KASAN_INVALID_FREE,
        traits=_FRAMED,
    ),
    Rule(
        name="kasan-null-ptr-deref-read", needle="BUG: KASAN:", source=_KASAN,
        pattern=rx(r"BUG: KASAN: null-ptr-deref in (?P<fn>[\w.$]+)"), body=_READ,
        title="KASAN: null-ptr-deref Read in {frame}", alts=_BAD_ACCESS, kind=Kind.KASAN_NULL_READ,
        traits=_FRAMED,
    ),
    Rule(
        name="kasan-null-ptr-deref-write", needle="BUG: KASAN:", source=_KASAN,
        pattern=rx(r"BUG: KASAN: null-ptr-deref in (?P<fn>[\w.$]+)"), body=_WRITE,
        title="KASAN: null-ptr-deref Write in {frame}", alts=_BAD_ACCESS, kind=Kind.KASAN_NULL_WRITE,
        traits=_FRAMED,
    ),
    Rule(
        name="kasan-null-ptr-deref-on-address", needle="BUG: KASAN:", source="mm/kasan/report.c before 4.9",
        pattern=rx(r"BUG: KASAN: null-ptr-deref on address"), body=rx(r"^ *(?P<access>Read|Write) of size \d+"),
        title="KASAN: null-ptr-deref {access}", kind=Kind.KASAN_NULL_READ, blame=Blame.NOBODY,
        traits=_FRAMED,
    ),
    Rule(
        name="kasan-read", needle="BUG: KASAN:", source=_KASAN,
        pattern=rx(r"BUG: KASAN: (?P<bug>[a-z][a-z-]+) (?:in (?P<fn>[\w.$]+)|on address)"), body=_READ,
        title="KASAN: {bug} Read in {frame}", alts=_BAD_ACCESS, kind=Kind.KASAN_READ,
        traits=_FRAMED,
    ),
    Rule(
        name="kasan-write", needle="BUG: KASAN:", source=_KASAN,
        pattern=rx(r"BUG: KASAN: (?P<bug>[a-z][a-z-]+) (?:in (?P<fn>[\w.$]+)|on address)"), body=_WRITE,
        title="KASAN: {bug} Write in {frame}", alts=_BAD_ACCESS, kind=Kind.KASAN_WRITE,
        traits=_FRAMED,
    ),
    Rule(
        name="kasan-use-after-free-cut", needle="BUG: KASAN:", source=_KASAN,
        pattern=rx(r"BUG: (?P<text>KASAN: (?:slab-)?use-after-free(?: in (?P<fn>[\w.$]+))?.*)"),
        title="{text}", kind=Kind.KASAN_UAF_READ, corrupted=True, blame=Blame.HEADER,
        traits=_FRAMED,
    ),
    Rule(
        name="kasan-cut", needle="BUG: KASAN", source=_KASAN,
        pattern=rx(r"BUG: (?P<text>KASAN(?:: [a-z-]+ in (?P<fn>[\w.$]+))?.*)"), title="{text}", kind=Kind.KASAN_READ, corrupted=True, blame=Blame.HEADER,
        traits=_FRAMED,
    ),
    Rule(
        name="kmsan-uninit-value", needle="BUG: KMSAN:", source=_KMSAN,
        pattern=rx(r"BUG: KMSAN: uninit-value in (?P<fn>[\w.$]+)"),
        title="KMSAN: uninit-value in {frame}", alts=_BAD_ACCESS, kind=Kind.KMSAN_UNINIT,
        traits=_FRAMED,
    ),
    Rule(
        name="kmsan-use-after-free", needle="BUG: KMSAN:", source=_KMSAN,
        pattern=rx(r"BUG: KMSAN: use-after-free in (?P<fn>[\w.$]+)"),
        title="KMSAN: use-after-free in {frame}", alts=_BAD_ACCESS, kind=Kind.KMSAN_UAF_READ,
        traits=_FRAMED,
    ),
    Rule(
        name="kmsan-usb-infoleak", needle="BUG: KMSAN:", source=_KMSAN,
        pattern=rx(r"BUG: KMSAN: (?P<bug>kernel-usb-infoleak(?:-after-free)?) in (?P<fn>[\w.$]+)"),
        title="KMSAN: {bug} in {frame}", alts=("KMSAN origin in {origin}",), kind=Kind.KMSAN_INFO_LEAK,
        skip=rx(r"usb_submit_urb|usb_start_wait_urb|usb_(?:bulk|control|interrupt)_msg"),
        traits=_FRAMED,
    ),
    Rule(
        name="kmsan-infoleak", needle="BUG: KMSAN:", source=_KMSAN,
        pattern=rx(r"BUG: KMSAN: (?P<bug>kernel-infoleak(?:-after-free)?) in (?P<fn>[\w.$]+)"),
        title="KMSAN: {bug} in {frame}", alts=_BAD_ACCESS, kind=Kind.KMSAN_INFO_LEAK,
        traits=_FRAMED,
    ),
    Rule(
        name="kcsan-assert", needle="BUG: KCSAN:", source="kernel/kcsan/report.c:print_report",
        pattern=rx(r"BUG: KCSAN: assert: race in (?P<fn>[\w.$]+)(?:\+\S+)?(?: / (?P<other>[\w.$]+))?"),
        title="KCSAN: assert: race in {frame}", kind=Kind.KCSAN_ASSERT, blame=Blame.RACE,
    ),
    Rule(
        name="kcsan-data-race", needle="BUG: KCSAN:", source="kernel/kcsan/report.c:print_report",
        pattern=rx(r"BUG: KCSAN: data-race in (?P<fn>[\w.$]+)(?:\+\S+)?(?: / (?P<other>[\w.$]+))?"),
        title="KCSAN: data-race in {frame}", kind=Kind.KCSAN_RACE, blame=Blame.RACE,
    ),
    Rule(
        name="kfence-use-after-free-read", needle="BUG: KFENCE:", source=_KFENCE,
        pattern=rx(r"BUG: KFENCE: use-after-free read in (?P<fn>[\w.$]+)"),
        title="KFENCE: use-after-free read in {frame}", alts=_BAD_ACCESS, kind=Kind.KFENCE_UAF_READ,
        traits=_FRAMED,
    ),
    Rule(
        name="kfence-use-after-free-write", needle="BUG: KFENCE:", source=_KFENCE,
        pattern=rx(r"BUG: KFENCE: use-after-free write in (?P<fn>[\w.$]+)"),
        title="KFENCE: use-after-free write in {frame}", alts=_BAD_ACCESS, kind=Kind.KFENCE_UAF_WRITE,
        traits=_FRAMED,
    ),
    Rule(
        name="kfence-read", needle="BUG: KFENCE:", source=_KFENCE,
        pattern=rx(r"BUG: KFENCE: (?P<bug>out-of-bounds|invalid) read in (?P<fn>[\w.$]+)"),
        title="KFENCE: {bug} read in {frame}", alts=_BAD_ACCESS, kind=Kind.KFENCE_READ,
        traits=_FRAMED,
    ),
    Rule(
        name="kfence-write", needle="BUG: KFENCE:", source=_KFENCE,
        pattern=rx(r"BUG: KFENCE: (?P<bug>out-of-bounds|invalid) write in (?P<fn>[\w.$]+)"),
        title="KFENCE: {bug} write in {frame}", alts=_BAD_ACCESS, kind=Kind.KFENCE_WRITE,
        traits=_FRAMED,
    ),
    Rule(
        name="kfence-invalid-free", needle="BUG: KFENCE:", source=_KFENCE,
        pattern=rx(r"BUG: KFENCE: invalid free in (?P<fn>[\w.$]+)"),
        title="KFENCE: invalid free in {frame}", alts=("invalid-free in {frame}",), kind=Kind.KFENCE_INVALID_FREE,
        traits=_FRAMED,
    ),
    Rule(
        name="kfence-memory-corruption", needle="BUG: KFENCE:", source=_KFENCE,
        pattern=rx(r"BUG: KFENCE: memory corruption in (?P<fn>[\w.$]+)"),
        title="KFENCE: memory corruption in {frame}", kind=Kind.KFENCE_CORRUPTION,
        traits=_FRAMED,
    ),
    Rule(
        name="ubsan-undefined", needle="UBSAN: Undefined behaviour", source="lib/ubsan.c:ubsan_prologue before 5.6",
        pattern=rx(r"UBSAN: Undefined behaviour in (?P<src>\S+)"),
        title="UBSAN: undefined-behaviour in {frame}", kind=Kind.UBSAN,
    ),
    Rule(
        name="ubsan-array-index", needle="UBSAN:", source="lib/ubsan.c:__ubsan_handle_out_of_bounds",
        pattern=rx(r"UBSAN: array-index-out-of-bounds in (?P<src>\S+)"),
        title="UBSAN: array-index-out-of-bounds in {frame}", kind=Kind.UBSAN_BOUNDS,
    ),
    Rule(
        name="ubsan", needle="UBSAN:", source="lib/ubsan.c:ubsan_prologue",
        pattern=rx(r"UBSAN: (?P<bug>[a-z][a-z-]+) in (?P<src>\S+)"),
        title="UBSAN: {bug} in {frame}", kind=Kind.UBSAN,
    ),
)

_ALLOCATORS = (
    Rule(
        name="kmemleak", needle="BUG: memory leak", source="mm/kmemleak.c:print_unreferenced, as the program that reads debugfs prints it",
        pattern=rx(r"BUG: memory leak"), title="memory leak in {frame}", kind=Kind.LEAK, roles=(Role.ALLOC,), skip=rx(r"sget_userns|usb_alloc_urb|radix_tree_node_alloc|_*radix_tree_\w+|idr_\w+|ida_\w+"),
    ),
    Rule(
        name="slub-object-already-free", needle="BUG ", source="mm/slub.c:slab_bug, free_consistency_checks",
        pattern=rx(r"^(?:\S+: )?BUG (?P<cache>\S+) \((?:Tainted|Not tainted)[^)]*\): (?P<text>Object already free.*)"),
        title="BUG: {text}", kind=Kind.DOS, stack=True, blame=Blame.NOBODY,
    ),
    Rule(
        name="slub-report", needle="BUG ", source="mm/slub.c:slab_bug",
        pattern=rx(r"^(?:\S+: )?BUG (?P<cache>\S+) \((?:Tainted|Not tainted)[^)]*\): (?P<text>(?!kasan: bad access).*)"),
        title="BUG: {text}", kind=Kind.DOS, blame=Blame.NOBODY,
    ),
    Rule(
        name="slub-track", needle="INFO: ", source="mm/slub.c:print_track before 5.11",
        pattern=rx(r"^(?:\S+: )?(?P<text>INFO: (?:Allocated|Freed) in (?P<fn>[\w.$]+)\S* age=\d+ cpu=\d+ pid=\d+)"),
        title="{text}", kind=Kind.UNKNOWN, corrupted=True, blame=Blame.HEADER,
    ),
    Rule(
        name="slub-object", needle="INFO: ", source="mm/slub.c:print_page_info, print_trailer before 5.11",
        pattern=rx(r"^(?:\S+: )?(?P<text>INFO: (?:Slab|Object) 0x[0-9a-f]+.*)"),
        title="{text}", kind=Kind.UNKNOWN, corrupted=True, blame=Blame.NOBODY,
    ),
    Rule(
        name="bad-page-state", needle="BUG: Bad page state", source="mm/page_alloc.c:bad_page",
        pattern=rx(r"BUG: Bad page state"), title="BUG: Bad page state in {frame}", kind=Kind.UNKNOWN,
    ),
    Rule(
        name="bad-page-map", needle="BUG: Bad page map", source="mm/memory.c:print_bad_pte",
        pattern=rx(r"BUG: Bad page map"), title="BUG: Bad page map in {frame}", kind=Kind.UNKNOWN,
    ),
    Rule(
        name="bad-page-cache", needle="BUG: Bad page cache", source="mm/filemap.c:filemap_unaccount_folio",
        pattern=rx(r"BUG: Bad page cache"), title="BUG: Bad page cache in {frame}", kind=Kind.UNKNOWN,
    ),
    Rule(
        name="bad-rss-counter", needle="BUG: Bad rss-counter", source="kernel/fork.c:check_mm",
        pattern=rx(r"BUG: Bad rss-counter state"), title="BUG: Bad rss-counter state",
        kind=Kind.UNKNOWN, blame=Blame.NOBODY, stack=False,
    ),
    Rule(
        name="nonzero-pgtables", needle="BUG: non-zero pgtables_bytes", source="kernel/fork.c:check_mm",
        pattern=rx(r"BUG: non-zero pgtables_bytes on freeing mm"), title="BUG: non-zero pgtables_bytes on freeing mm: NUM",
        kind=Kind.UNKNOWN, blame=Blame.NOBODY, stack=False,
    ),
)

MEMORY: tuple[Rule, ...] = (*_SANITIZERS, *_ALLOCATORS)
