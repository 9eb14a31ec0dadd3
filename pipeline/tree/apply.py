"""Cuts: the base with the first k patches, each a commit in kpv's own repository.

Patches are applied in a scratch repository that holds only the files they touch, and the results
go into ours through git fast-import.  That costs milliseconds where an index of 85 thousand files costs
tenths of a second a patch, and it keeps the promise that a user's repository is not changed: a git
that writes an object which an alternate already has sets that file's time (freshening, object-file.c),
and fast-import does not look there.
"""

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import proc
from pipeline.errors import TreeError, UserError
from pipeline.series import SUBMODULE, SYMLINK, FileChange, Patch, Series
from pipeline.store import Store, key
from pipeline.tree import git
from pipeline.tree.source import Source
from pipeline.tree.tarball import quoted

LAYOUT = "1"
"""Part of every key here: raise it when the commits that come out change."""

FOLDER = "040000"
"""git's mode of a tree."""

FAILED_HUNK = re.compile(r"^error: patch failed: (.*):(\d+)$", re.MULTILINE)
FAILED_FILE = re.compile(r"^error: (?!patch failed)(.*?): (.*)$", re.MULTILINE)
"""What git apply prints (apply.c) about the first hunk of a file that does not fit, and about a file."""

IN_THE_WAY = re.compile(rb"^error: unable to add cache entry for (.*)$", re.MULTILINE)
"""What it prints when a path has a file where it needs a folder."""

SENSELESS = re.compile(rb"^error: .*(invalid path|beyond a symbolic link|corrupt patch)", re.MULTILINE)
"""What it prints about a patch that fits no tree."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The base and the first `index` patches; `patch` is the last of them, None for the base."""

    index: int
    commit: str
    tree: str
    patch: Patch | None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file in an index: octal mode and blob."""

    mode: str
    blob: str


_Files = Mapping[str, _Entry]


def cuts(store: Store, source: Source, series: Series) -> tuple[Cut, ...]:
    """Apply the series patch by patch as git am would, three-way where that is needed; return cuts 0 to N.

    Three-way is by file (git apply --3way): a file that the base has renamed since is not followed.
    The same patches on the same base give the same commits, and are applied once.  Raises TreeError for a
    patch that does not apply, UserError for one that is reversed or already there, or goes through a symlink.
    """
    base = Cut(0, source.base, source.tree, None)
    if not series.patches:
        return (base,)
    parts = [part for patch in series.patches for part in (patch.diff, patch.subject, patch.author)]
    name = key(LAYOUT, source.base, *parts)
    ref = f"refs/kpv/cuts/{name}"
    with store.lock("cuts", f"{source.repo.name}-{name}"):
        hashes = _kept(source, ref, series)
        if not hashes:
            _make(source, series, ref, source.repo / f"scratch-{name}")
            hashes = _kept(source, ref, series)
    return (base, *(Cut(p.index, *pair, p) for p, pair in zip(series.patches, hashes, strict=True)))


def _kept(source: Source, ref: str, series: Series) -> list[tuple[str, str]]:
    """Return commit and tree of cuts 1 to N, nothing when they have not been made."""
    done = git.ask(source.repo, "log", f"--max-count={series.total}", "--reverse", "--format=%H %T", ref, "--")
    pairs = [line.split() for line in done.text.splitlines()] if done.ok else []
    return [(commit, tree) for commit, tree in pairs] if len(pairs) == series.total else []


def _make(source: Source, series: Series, ref: str, scratch: Path) -> None:
    """Apply the series and write its commits; the scratch repository goes however that ends."""
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        bench = _Bench(source, scratch, series)
        steps = [(patch, bench.apply(patch)) for patch in series.patches]
        _commit(source, bench, steps, ref)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Bench:
    """The scratch repository, and the state of the touched files in it."""

    def __init__(self, source: Source, scratch: Path, series: Series) -> None:
        """Fill it with every file of the base that the series names."""
        self.source = source
        self.repo = scratch
        sha = "sha256" if len(source.base) == 64 else "sha1"
        git.init(scratch, sha=sha)
        paths = {path for patch in series.patches for file in patch.files for path in file.paths}
        found = self._base_entries(paths)
        for patch in series.patches:
            for path in sorted(path for file in patch.files for path in file.paths):
                if path in found and found[path].mode == FOLDER:
                    message = f"does not apply: {path} is a folder in the base"
                    raise TreeError(message, patch=patch.label, file=path)
        blobs = {path: entry for path, entry in found.items() if entry.mode != FOLDER}
        self.fetch(entry.blob for entry in blobs.values() if entry.mode != SUBMODULE)
        info = b"".join(b"%s %s\t%s\0" % (e.mode.encode(), e.blob.encode(), _bytes(p)) for p, e in blobs.items())
        git.run(self.repo, "read-tree", "--empty")
        git.run(self.repo, "update-index", "-z", "--index-info", stdin=info)
        self.files: _Files = self._index()

    def _base_entries(self, paths: set[str]) -> dict[str, _Entry]:
        """Return what the base has at these paths, and at those above them that are no folders."""
        found = self._ls(paths)
        above = {path[:i] for path in paths for i, char in enumerate(path) if char == "/"}
        return found | {p: e for p, e in self._ls(above - found.keys()).items() if p in above}

    def _ls(self, paths: set[str]) -> dict[str, _Entry]:
        """List these paths and the folders on the way to them."""
        found: dict[str, _Entry] = {}
        # One call a depth: below a folder that is asked for itself, ls-tree lists everything.
        for depth in sorted({path.count("/") for path in paths}):
            level = sorted(path for path in paths if path.count("/") == depth)
            # A command line holds two megabytes; a series over the whole tree names more.
            parts = (level[at : at + 2000] for at in range(0, len(level), 2000))
            out = b"".join(
                git.run(self.source.repo, "ls-tree", "-t", "-z", self.source.base, "--", *part) for part in parts
            )
            for line in out.split(b"\0")[:-1]:
                meta, _, path = line.partition(b"\t")
                mode, _kind, blob = meta.decode().split()
                found[path.decode("utf-8", "surrogateescape")] = _Entry(mode, blob)
        return found

    def fetch(self, blobs: Iterable[str]) -> None:
        """Copy blobs from the source's repository to the scratch one."""
        names = "".join(f"{blob}\n" for blob in sorted(set(blobs))).encode()
        if names:
            pack = git.run(self.source.repo, "pack-objects", "-q", "--stdout", stdin=names)
            git.run(self.repo, "unpack-objects", "-q", stdin=pack)

    def _index(self) -> _Files:
        out = git.run(self.repo, "ls-files", "-s", "-z")
        files: dict[str, _Entry] = {}
        for line in out.split(b"\0")[:-1]:
            meta, _, path = line.partition(b"\t")
            mode, blob, _stage = meta.decode().split()
            files[path.decode("utf-8", "surrogateescape")] = _Entry(mode, blob)
        return files

    def apply(self, patch: Patch) -> dict[str, _Entry | None]:
        """Apply one patch; return what it makes of each file, None for one that it removes."""
        self._check_links(patch)
        before = self.files
        done = self._git_apply(patch)
        if SENSELESS.search(done.stderr) or (done.status not in {0, 1} and not IN_THE_WAY.search(done.stderr)):
            message = f"git cannot read the patch: {done.complaint.removeprefix('error: ')}"
            raise UserError(message, where=f"patch {patch.label}", todo="fetch or write the patch again")
        if not done.ok:
            if self._git_apply(patch, "--reverse", "--check").ok:
                raise _reversed(patch)
            self._three_way(patch, done)
        self.files = self._index()
        paths = before.keys() | self.files.keys()
        changed = {path: self.files.get(path) for path in sorted(paths) if before.get(path) != self.files.get(path)}
        if not changed:
            raise _reversed(patch)
        named = frozenset().union(*(file.paths for file in patch.files))
        hidden = [path for path in changed if path not in named]
        if hidden:
            message = f"git changes {hidden[0]} for it, which its headers do not name"
            raise UserError(message, where=f"patch {patch.label}", todo="fetch or write the patch again")
        return changed

    def _check_links(self, patch: Patch) -> None:
        """Raise UserError for a path below a symlink of the tree as it is now, unless the patch takes that away."""
        named = frozenset().union(*(file.paths for file in patch.files))
        for path in sorted(named):
            for parent in sorted({path[:i] for i, char in enumerate(path) if char == "/"} - named):
                if parent in self.files and self.files[parent].mode == SYMLINK:
                    message = f"{path} is written through the symlink {parent} of the base"
                    raise UserError(message, where=f"patch {patch.label}", todo="name the real file")

    def _git_apply(self, patch: Patch, *options: str) -> proc.Done:
        line = ("apply", "--cached", "--whitespace=nowarn", *options, "-")
        # Even with --cached, a three-way apply may put a file into the folder it stands in (apply.c, load_current).
        empty = self.repo / "empty"
        empty.mkdir(exist_ok=True)
        return git.ask(self.repo, "-C", str(empty), *line, stdin=patch.diff, env={"GIT_WORK_TREE": str(empty)})

    def _three_way(self, patch: Patch, plain: proc.Done) -> None:
        """Merge the patch through the blobs it was made on, as git am --3way; raise TreeError if that fails too."""
        wanted = [file.preimage for file in patch.files if file.preimage.strip("0")]
        query = "".join(f"{blob}\n" for blob in wanted).encode()
        found = git.run(self.source.repo, "cat-file", "--batch-check", stdin=query).decode().splitlines()
        self.fetch(line.split()[0] for line in found if line.split()[1:2] == ["blob"])
        index = self.repo / "index"
        before = index.read_bytes()
        done = self._git_apply(patch, "--3way")
        if not done.ok:
            index.write_bytes(before)
            raise _refusal(patch, plain, done)


def _reversed(patch: Patch) -> UserError:
    message = "looks reversed or already applied: the tree holds what it adds"
    return UserError(message, where=f"patch {patch.label}", todo="leave it out, or make it again with git format-patch")


def _refusal(patch: Patch, plain: proc.Done, merge: proc.Done) -> TreeError:
    """Say which file and hunk git apply stumbled on; `plain` is that try, `merge` the three-way one."""
    text = plain.stderr.decode("utf-8", "replace")
    detail = f"{text}three-way:\n{merge.stderr.decode('utf-8', 'replace')}"
    failed = FAILED_HUNK.search(text)
    if failed:
        file = _file(patch, failed[1])
        hunk = next((h.header for h in file.hunks if h.old_start == int(failed[2])), "") if file else ""
        path = file.path if file else failed[1]
        message = f"does not apply: {path}, hunk {hunk or 'at line ' + failed[2]}"
        return TreeError(message, patch=patch.label, file=path, hunk=hunk, detail=detail)
    blocked = IN_THE_WAY.search(plain.stderr)
    if blocked:
        path = blocked[1].decode("utf-8", "replace")
        message = f"does not apply: a file is where {path} needs a folder"
        return TreeError(message, patch=patch.label, file=path, detail=detail)
    other = FAILED_FILE.search(text)
    path, why = (other[1], other[2].replace(" in index", "")) if other else ("", plain.complaint)
    file = _file(patch, path)
    hunk = file.hunks[0].header if file and file.hunks else ""
    message = f"does not apply: {path} {why}".replace("  ", " ")
    return TreeError(message, patch=patch.label, file=path, hunk=hunk, detail=detail)


def _file(patch: Patch, path: str) -> FileChange | None:
    return next((file for file in patch.files if path in file.paths), None)


def _commit(source: Source, bench: _Bench, steps: list[tuple[Patch, dict[str, _Entry | None]]], ref: str) -> None:
    """Write one commit a patch on top of the base, in one pack (format: git-fast-import(1))."""
    blobs = sorted({entry.blob for _, changed in steps for entry in changed.values() if entry})
    contents = _contents(bench.repo, blobs)
    stream: list[bytes] = [b"feature done\n"]
    origin = source.base
    for patch, changed in steps:
        text = f"{patch.subject}\n\nFrom: {patch.author}\n".encode("utf-8", "replace")
        stream.append(b"commit %s\ncommitter kpv <kpv@localhost> 1000000000 +0000\n" % ref.encode())
        stream.append(b"data %d\n%s" % (len(text), text))
        if origin:
            stream.append(b"from %s\n" % origin.encode())
            origin = ""
        # Removals first: a file may become a folder.
        stream += [b"D %s\n" % quoted(path) for path, entry in changed.items() if entry is None]
        for path, entry in changed.items():
            if entry:
                data = contents[entry.blob]
                stream.append(b"M %s inline %s\ndata %d\n" % (entry.mode.encode(), quoted(path), len(data)))
                stream += [data, b"\n"]
    stream.append(b"done\n")
    git.run(source.repo, "fast-import", "--quiet", "--done", "--force", stdin=b"".join(stream))


def _contents(repo: Path, blobs: list[str]) -> dict[str, bytes]:
    """Read blobs (format: git-cat-file(1), section "Batch output")."""
    out = git.run(repo, "cat-file", "--batch", stdin="".join(f"{blob}\n" for blob in blobs).encode())
    contents: dict[str, bytes] = {}
    at = 0
    for blob in blobs:
        end = out.index(b"\n", at)
        size = int(out[at:end].split()[2])
        contents[blob] = out[end + 1 : end + 1 + size]
        at = end + size + 2
    return contents


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
