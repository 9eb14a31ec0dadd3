"""What runs in a guest: programs compiled static, packed with the agent into one initramfs.

Kept by content: the same sources, flags and compiler give the same key and the same bytes.
"""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from pipeline import cpio, proc
from pipeline.cpio import Entry
from pipeline.declare import Program
from pipeline.errors import InfraError, UserError
from pipeline.progress import Progress
from pipeline.store import Store, key

GUEST_TESTS = Path(__file__).parent.parent / "guest_tests"
"""The programs that come with kpv."""

AGENT = "agent.c"
FLAGS = ("-std=gnu11", "-static", "-s", "-O2", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wmissing-prototypes")
IMAGE = "initramfs.cpio"
"""Not compressed: it is unpacked at every boot, under emulation, and read from the host's page cache."""

EXT4_KIB = 65536
EXT4_BLOCK = 1024
EXT4_ARGV = (
    "-q", "-F", "-t", "ext4", "-b", str(EXT4_BLOCK), "-N", "8192", "-O", "^resize_inode", "-J", "size=1",
    # What mke2fs draws at random, so that two images are the same to the byte.
    "-U", "6b707600-0000-4000-8000-000000000002",
    "-E", "hash_seed=6b707600-0000-4000-8000-000000000001,lazy_itable_init=0,root_owner=0:0",
)  # fmt: skip
SBIN = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
"""mke2fs stands where a user's PATH does not lead in Debian."""

_COMPLAINT = re.compile(r"^(?P<file>[^:\s]+):(?P<line>\d+):(?:\d+:)? (?:fatal )?error: (?P<what>.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class GuestImage:
    """An initramfs in the store; `programs` is what the agent in it can run."""

    key: str
    initramfs: Path
    programs: tuple[Program, ...]


def build_guest(
    store: Store,
    programs: Sequence[Program],
    *,
    with_shell: bool,
    progress: Progress,
    folder: Path = GUEST_TESTS,
) -> GuestImage:
    """Compile `programs` of `folder` and the agent, and pack them; with busybox when a shell is wanted.

    Raises UserError with file and line when a program does not compile or is not there, InfraError when a
    tool is missing.
    """
    progress.begin("guest", len(programs) + 1)
    sources = _sources(folder, programs)
    busybox = _busybox() if with_shell else b""
    name = key(
        "guest 1",
        _version("gcc", "--version"),
        _version(_mke2fs(), "-V"),
        " ".join((*FLAGS, *EXT4_ARGV, str(EXT4_KIB))),
        _table(programs),
        busybox,
        *(program.suite for program in programs if program.suite),
        *(part for path, data in sources.items() for part in (path, data)),
    )
    with store.lock("guest", name):
        found = store.find("guest", name)
        if found is None:
            with store.make("guest", name) as new:
                packed = _pack(new, folder, programs, busybox, progress)
                (new / IMAGE).write_bytes(packed)
            progress.end(f"{len(programs)} programs, {len(packed) >> 10} KiB")
        else:
            progress.end("kept from before")
    return GuestImage(name, store.path("guest", name) / IMAGE, tuple(programs))


def with_file(store: Store, image: GuestImage, path: str, source: Path) -> GuestImage:
    """Return `image` with the file `source` at `path` too; its key stays, since what runs in it is the same.

    The kernel unpacks archives that stand one behind another, so that what belongs to one kernel does not make the
    guest anew (Documentation/driver-api/early-userspace/buffer-format.rst).
    """
    data = source.read_bytes()
    name = key("guest with file 1", image.key, path, data)
    with store.lock("guest", name):
        if store.find("guest", name) is None:
            with store.make("guest", name) as new:
                more = cpio.archive([Entry.file(path, data)])
                (new / IMAGE).write_bytes(image.initramfs.read_bytes() + more)
    return replace(image, initramfs=store.path("guest", name) / IMAGE)


def _sources(folder: Path, programs: Sequence[Program]) -> dict[str, bytes]:
    """Return what is compiled, by its path below `folder`."""
    names = [AGENT, *(program.source for program in programs)]
    library = sorted((folder / "lib").glob("*.[ch]"))
    try:
        return {name: (folder / name).read_bytes() for name in names} | {
            f"lib/{path.name}": path.read_bytes() for path in library
        }
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}",
            where=str(error.filename),
            todo="programs.yaml names each program's source, beside itself",
        ) from None


def _version(*argv: str) -> str:
    done = proc.run(argv, seconds=60)
    return (done.text or done.stderr.decode("utf-8", "replace")).partition("\n")[0]


def _mke2fs() -> str:
    path = shutil.which("mke2fs", path=SBIN)
    if path is None:
        raise InfraError("no program mke2fs on this machine", todo="`make setup` installs it (package e2fsprogs)")
    return path


def _busybox() -> bytes:
    """Return a busybox that runs without shared libraries."""
    path = shutil.which("busybox", path=SBIN)
    todo = "install the package busybox-static"
    if path is None:
        raise UserError("a shell in the guest needs busybox, and there is none on this machine", todo=todo)
    data = Path(path).read_bytes()
    try:
        dynamic = any(segment["p_type"] == "PT_INTERP" for segment in ELFFile(BytesIO(data)).iter_segments())
    except ELFError:
        raise UserError("no program that a guest could run", where=path, todo=todo) from None
    if dynamic:
        raise UserError("needs shared libraries, which a guest does not have", where=path, todo=todo)
    return data


def _table(programs: Sequence[Program]) -> str:
    """Return ``/etc/programs``: a line a program, its name, its workers, the paths it needs."""
    return "".join(" ".join((x.name, str(x.threads), *x.needs)) + "\n" for x in programs)


def _pack(new: Path, folder: Path, programs: Sequence[Program], busybox: bytes, progress: Progress) -> bytes:
    entries = [
        # Before devtmpfs is mounted /init gets its standard streams from here.
        Entry.device("dev/console", 5, 1),
        Entry.device("dev/null", 1, 3, 0o666),
        Entry.folder("proc"),
        Entry.folder("sys"),
        Entry.folder("tmp", 0o1777),
        Entry.folder("run"),
        Entry.folder("mnt"),
        Entry.file("etc/programs", _table(programs).encode()),
        Entry.file("share/ext4", _sparse(_ext4(new))),
        Entry.file("init", _compile(new, folder, "init", (AGENT,)), executable=True),
    ]
    library = tuple(f"lib/{path.name}" for path in sorted((folder / "lib").glob("*.c")))
    for number, program in enumerate(programs, 1):
        progress.step(number, program.name)
        # What runs a suite has a main() of its own: the library's runs workers in rounds.
        linked = () if program.suite else library
        binary = _compile(new, folder, program.name, (program.source, *linked))
        entries.append(Entry.file(f"bin/{program.name}", binary, executable=True))
    if busybox:
        entries.append(Entry.file("bin/busybox", busybox, executable=True))
    return cpio.archive(entries)


def _compile(new: Path, folder: Path, name: str, sources: Sequence[str]) -> bytes:
    """Return a static binary of `sources`, which are named from `folder` so that no path of ours gets in."""
    output = new / name
    done = proc.run(("gcc", *FLAGS, "-o", str(output), *sources), cwd=folder, env={"LC_ALL": "C"}, seconds=300)
    complaints = done.stderr.decode("utf-8", "replace")
    if not done.ok:
        at = _COMPLAINT.search(complaints)
        if at is None:
            raise UserError(f"does not link: {done.complaint}", where=str(folder / sources[0]), detail=complaints)
        raise UserError(at["what"], where=f"{folder / at['file']}:{at['line']}", detail=complaints)
    data = output.read_bytes()
    output.unlink()
    return data


def _ext4(new: Path) -> bytes:
    """Return an empty ext4 with a journal, the same bytes each time."""
    path = new / "ext4"
    with path.open("wb") as file:
        file.truncate(EXT4_KIB << 10)
    # Dates in an image are the time of its making, unless it is told another (e2fsprogs, lib/e2p).
    done = proc.run((_mke2fs(), *EXT4_ARGV, str(path)), env={"E2FSPROGS_FAKE_TIME": "1", "LC_ALL": "C"}, seconds=120)
    if not done.ok:
        raise InfraError(f"mke2fs made no file system: {done.complaint}", detail=done.stderr.decode("utf-8", "replace"))
    data = path.read_bytes()
    path.unlink()
    return data


def _sparse(image: bytes) -> bytes:
    """Return the blocks of `image` that are not zero, each behind its place: a little-endian block number.

    An empty file system is nearly all zeros; so it does not cost the guest its size in memory.
    """
    blocks = []
    zero = bytes(EXT4_BLOCK)
    for place in range(0, len(image), EXT4_BLOCK):
        block = image[place : place + EXT4_BLOCK]
        if block != zero:
            blocks.append((place // EXT4_BLOCK).to_bytes(8, "little") + block)
    return b"".join(blocks)
