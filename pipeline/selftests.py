"""The selftests of the tree under test, built static from that very tree, as an archive for its guest.

An entry is ``<store>/selftests/<key>/`` with ``suite.cpio``, which holds ``/suite/<program>/`` with the tests and
their ``list``: a line each, the test's name and, when there is no such test for a guest, why
(guest_tests/upstream.c reads it).  A tree without the suite, or one whose suite does not build, is no error here:
the list says so, and the program is skipped.  The key is made of what the tests are built from, so a series that
touches none of it shares the entry with its base.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from pipeline import cpio, guest, kbuild, proc, tree
from pipeline.cpio import Entry
from pipeline.declare import Program
from pipeline.guest import GuestImage
from pipeline.progress import Progress
from pipeline.store import Store, key
from pipeline.tree import Cut, Source

KIND = "selftests"
ARCHIVE = "suite.cpio"

SUITES = "tools/testing/selftests"
PARTS = (
    "Kbuild", "Makefile", "arch/x86/Makefile", "arch/x86/entry/syscalls", "arch/x86/include/asm/Kbuild",
    "arch/x86/include/uapi", "arch/x86/tools", "include/asm-generic", "include/uapi", "scripts", "usr", "tools/arch",
    "tools/build", "tools/include", "tools/lib", "tools/scripts", SUITES,
)  # fmt: skip
"""What `make headers` and a suite's Makefile read; it is checked out to be built in and removed again.

No more than that: what a series changes elsewhere leaves the key as it is.
"""

_PER_MAKE = 1800.0
"""Seconds of one make, on a machine that does much else."""
_NAMES = "kpv"
"""What lib.mk's emit_tests puts before each name (tools/testing/selftests/lib.mk), ours to choose."""


def guest_of(
    store: Store,
    source: Source,
    cut: Cut,
    image: GuestImage,
    *,
    jobs: int,
    progress: Progress,
) -> GuestImage:
    """Return `image` with the suites of its programs, built from `cut`; itself when none of them runs one.

    The kernel unpacks archives that stand one behind another (Documentation/driver-api/early-userspace/
    buffer-format.rst), so what belongs to one cut does not make the guest anew.  Raises as `build`.
    """
    asked = [program for program in image.programs if program.suite]
    archives = [build(store, source, cut, program, jobs=jobs, progress=progress) for program in asked]
    if not archives:
        return image
    name = key("guest with suites 1", image.key, *(archive.parent.name for archive in archives))
    with store.lock("guest", name):
        if store.find("guest", name) is None:
            with store.make("guest", name) as new:
                (new / guest.IMAGE).write_bytes(b"".join(x.read_bytes() for x in (image.initramfs, *archives)))
    return GuestImage(name, store.path("guest", name) / guest.IMAGE, image.programs)


def build(store: Store, source: Source, cut: Cut, program: Program, *, jobs: int, progress: Progress) -> Path:
    """Return the archive with the suite of `program`, built from `cut`, or from the store.

    Raises InfraError when the machine gave out.
    """
    parts = tree.objects(source, cut.commit, PARTS)
    name = key("selftests 1", program.name, program.suite, kbuild.compiler(), *(f"{x} {parts[x]}" for x in parts))
    progress.begin(f"selftests of cut {cut.index}")
    with store.lock(KIND, name):
        kept = store.find(KIND, name)
        if kept is not None:
            progress.end("kept from before")
            return kept / ARCHIVE
        with store.make(KIND, name) as new:
            rows = _make(source, cut, program, tuple(parts), new, jobs)
        progress.end(rows)
    return store.path(KIND, name) / ARCHIVE


def _make(source: Source, cut: Cut, program: Program, parts: Sequence[str], new: Path, jobs: int) -> str:
    """Fill the entry `new` and say what came of it."""
    src, out = new / "src", new / "out"
    out.mkdir()
    folder = f"suite/{program.name}"
    try:
        entries, lines = _built(source, cut, program, parts, src, out, jobs)
        packed = [Entry.file(f"{folder}/{name}", data, executable=True) for name, data in entries]
        said = f"{len(entries)} of {len(lines)} tests"
    except _NoSuiteError as error:
        packed, lines, said = [], (f"! {error}",), str(error)
    packed.append(Entry.file(f"{folder}/list", "".join(f"{line}\n" for line in lines).encode()))
    (new / ARCHIVE).write_bytes(cpio.archive(packed))
    shutil.rmtree(src, ignore_errors=True)
    shutil.rmtree(out, ignore_errors=True)
    return said


class _NoSuiteError(Exception):
    """The tree has no such suite, or not one that can be built."""


def _built(
    source: Source, cut: Cut, program: Program, parts: Sequence[str], src: Path, out: Path, jobs: int
) -> tuple[list[tuple[str, bytes]], tuple[str, ...]]:
    """Return the tests with their content, and the lines of the list."""
    suite = f"{SUITES}/{program.suite}"
    if f"{suite}/Makefile" not in tree.objects(source, cut.commit, (f"{suite}/Makefile",)):
        raise _NoSuiteError(f"this tree has no {suite}")
    tree.checkout_parts(source, cut.commit, parts, src)
    headers = _run(src, ("headers",), jobs)
    if not headers.ok:
        raise _NoSuiteError(f"the headers of this tree cannot be installed: {headers.complaint}")
    # USERLDFLAGS since 6.0 (lib.mk); before that LDFLAGS of the environment, to which a suite's Makefile adds.
    asked = ("-C", suite, f"OUTPUT={out}", "USERLDFLAGS=-static", "LDFLAGS=-static", f"COLLECTION={_NAMES}")
    named = _run(src, ("-s", *asked, "emit_tests"), 1)
    names = [line.partition(":")[2].strip() for line in named.text.splitlines() if line.startswith(f"{_NAMES}:")]
    if not names:
        raise _NoSuiteError(f"{suite} names no test: {named.complaint or 'it has none'}")
    # One that does not compile leaves the others alone.
    made = _run(src, ("-k", *asked), jobs)
    entries: list[tuple[str, bytes]] = []
    lines = []
    for name in names:
        binary = out / name
        if binary.is_file():
            entries.append((name, _stripped(binary)))
            lines.append(name)
        elif (src / suite / name).is_file():
            lines.append(f"{name} a script, and a guest has no shell")
        else:
            lines.append(f"{name} does not build: {_why(name, made.text + made.stderr.decode('utf-8', 'replace'))}")
    return entries, tuple(lines)


def _run(src: Path, targets: Sequence[str], jobs: int) -> proc.Done:
    kept = [f"{name}={os.environ[name]}" for name in ("PATH", "HOME", "TMPDIR") if name in os.environ]
    return proc.run(("env", "-i", *kept, "LC_ALL=C", "make", f"-j{jobs}", *targets), cwd=src, seconds=_PER_MAKE)


def _stripped(binary: Path) -> bytes:
    """Return a binary without its symbols, which nothing in a guest reads."""
    proc.run(("strip", str(binary)), seconds=60)
    return binary.read_bytes()


def _why(name: str, said: str) -> str:
    """Return the first error that make reported for `name`, or for anything."""
    errors = [line for line in said.splitlines() if " error: " in line or "Error " in line]
    own = [line for line in errors if name in line]
    return (own or errors or ["make does not say why"])[0].strip()[:160]
