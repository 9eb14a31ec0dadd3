"""A tarball into a git repository, without unpacking it: tar members stream into git fast-import.

Formats: git-fast-import(1), section "Input format"; tar as Python's tarfile reads it.
"""

import contextlib
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline import proc
from pipeline.errors import InfraError, UserError
from pipeline.progress import Progress
from pipeline.tree import git

REF = "refs/kpv/base"

MAGIC = (
    (b"\xfd7zXZ\0", ("xz", "-dc")),
    (b"\x1f\x8b", ("gzip", "-dc")),
    (b"\x28\xb5\x2f\xfd", ("zstd", "-dc")),
    (b"BZh", ("bzip2", "-dc")),
)
"""First bytes of a compressed file, and what unpacks it from its standard input."""

EVERY = 500
"""Members between two reports of progress: a few a second."""


@dataclass(frozen=True, slots=True)
class _Import:
    """The writing end of a git fast-import."""

    out: IO[bytes]

    def begin(self) -> None:
        """Start the one commit."""
        self.out.write(b"feature done\ncommit %s\ncommitter kpv <kpv@localhost> 1000000000 +0000\n" % REF.encode())
        self.out.write(b"data 6\nimport\n")

    def file(self, path: str, mode: bytes, data: bytes) -> None:
        """Put a file (100644, 100755) or a symlink (120000)."""
        self.out.write(b"M %s inline %s\ndata %d\n" % (mode, quoted(path), len(data)))
        self.out.write(data)
        self.out.write(b"\n")

    def copy(self, old: str, new: str) -> None:
        """Put a file once more, for a hard link."""
        self.out.write(b"C %s %s\n" % (quoted(old), quoted(new)))


def quoted(path: str) -> bytes:
    """Return `path` as fast-import reads it whatever characters are in it."""
    data = path.encode("utf-8", "surrogateescape")
    return b'"' + data.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n") + b'"'


def load(tarball: Path, repo: Path, progress: Progress) -> str:
    """Put the content of `tarball` into the empty bare repository `repo`; return the commit, at REF.

    A single folder at the top is left out.  Raises UserError when it is no sound tarball.
    """
    with tarball.open("rb") as source, _opened(tarball, source) as stream:
        progress.begin(f"read {tarball.name}", float(tarball.stat().st_size))
        with _importer(repo) as sink:
            sink.begin()
            try:
                for number, member in enumerate(_members(stream)):
                    _put(sink, *member, where=str(tarball))
                    if number % EVERY == 0:
                        # The descriptor is shared with the unpacker, so this is how far it has read.
                        progress.step(float(os.lseek(source.fileno(), 0, os.SEEK_CUR)), f"{number} files")
            except (tarfile.TarError, ValueError) as error:
                message = f"cannot be unpacked: {error}"
                raise UserError(message, where=str(tarball), todo="fetch it again") from error
            sink.out.write(b"done\n")
    commit = _without_top_folder(repo)
    progress.end("in git")
    return commit


@contextlib.contextmanager
def _opened(tarball: Path, source: IO[bytes]) -> Iterator[IO[bytes]]:
    """Yield the bytes of the tar itself."""
    head = source.read(6)
    os.lseek(source.fileno(), 0, os.SEEK_SET)
    unpack = next((line for magic, line in MAGIC if head.startswith(magic)), None)
    if unpack is None:
        source.seek(0)
        yield source
        return
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=1 << 20) as stream, contextlib.ExitStack() as stack:
        try:
            child = stack.enter_context(proc.start(unpack, stdin=source, stdout=writer))
        finally:
            os.close(writer)
        yield stream
        while stream.read(1 << 20):
            pass  # the padding behind the last member
        if child.wait(proc.Deadline.after(60)) != 0:
            message = f"{unpack[0]} finds it damaged"
            raise UserError(message, where=str(tarball), todo="fetch it again")


@contextlib.contextmanager
def _importer(repo: Path) -> Iterator[_Import]:
    """Run git fast-import for a block; raise InfraError when it does not like what it got."""
    log = repo / "import.log"
    reader, writer = os.pipe()
    line = git.argv(f"--git-dir={repo}", "fast-import", "--quiet", "--done", "--depth=0")
    with log.open("wb") as errors, contextlib.ExitStack() as stack:
        try:
            child = stack.enter_context(proc.start(line, stdin=reader, stderr=errors))
        except BaseException:
            os.close(writer)
            raise
        finally:
            os.close(reader)
        out = os.fdopen(writer, "wb", buffering=1 << 20)
        try:
            yield _Import(out)
            out.close()
        except BrokenPipeError:
            pass  # its exit status and its log say why it went
        finally:
            with contextlib.suppress(OSError):
                out.close()
        status = child.wait(proc.Deadline.after(600))
    if status != 0:
        text = log.read_text(encoding="utf-8", errors="replace")
        raise InfraError("git fast-import failed", where=str(repo), detail=text)
    log.unlink()


def _members(stream: IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 20) as tar:
        for member in tar:
            # Else it remembers all of them, for a seek that a stream does not have.
            tar.members = []  # type: ignore[attr-defined]  # typeshed leaves it out
            content = tar.extractfile(member) if member.isreg() else None
            yield member, content.read() if content else b""


def _put(sink: _Import, member: tarfile.TarInfo, data: bytes, *, where: str) -> None:
    """Put one member; folders come from their files, and git's own folder stays out."""
    path = _inner(member.name, where)
    if ".git" in path.split("/"):
        return
    if member.isreg():
        sink.file(path, b"100755" if member.mode & 0o100 else b"100644", data)
    elif member.issym():
        sink.file(path, b"120000", member.linkname.encode("utf-8", "surrogateescape"))
    elif member.islnk():
        sink.copy(_inner(member.linkname, where), path)
    elif not member.isdir():
        message = f"{member.name} is a device or a pipe"
        raise UserError(message, where=where, todo="give a tarball of kernel sources")


def _inner(name: str, where: str) -> str:
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if name.startswith("/") or ".." in parts:
        message = f"{name} lies outside of it"
        raise UserError(message, where=where, todo="give a tarball of kernel sources")
    return "/".join(parts)


def _without_top_folder(repo: Path) -> str:
    """Make REF the commit of the real top of the tree, and return it."""
    entries = git.run(repo, "ls-tree", "-z", REF).split(b"\0")[:-1]
    tree = f"{REF}^{{tree}}"
    if len(entries) == 1 and entries[0].split()[1] == b"tree":
        tree = entries[0].split()[2].decode()
    else:
        tree = git.word(repo, "rev-parse", tree)
    commit = git.word(repo, "commit-tree", "-m", "the sources as they came", tree)
    git.run(repo, "update-ref", REF, commit)
    return commit
