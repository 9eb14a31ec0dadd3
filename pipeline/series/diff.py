"""What a diff changes, and whether it may: hunks are read by unidiff, every path, mode and symlink judged here."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from unidiff import errors as unidiff_errors
from unidiff import patch as unidiff

from pipeline.errors import UserError
from pipeline.series.mail import Mail

AGAIN = "fetch or write the patch again"

DEV_NULL = "/dev/null"
SYMLINK = "120000"
SUBMODULE = "160000"

PROMISE = re.compile(
    rb"^ (\d+) files? changed(?:, (\d+) insertions?\(\+\))?(?:, (\d+) deletions?\(-\))?[ \r]*$", re.MULTILINE
)
SIGNATURE = re.compile(rb"^-- ?\r?$", re.MULTILINE)
PREIMAGE = re.compile(r"^index ([0-9a-f]{4,64})\.\.", re.MULTILINE)

EMPTY_BLOB = re.compile(r"^index .*\b(e69de29|473a0f4)", re.MULTILINE)
"""One side of the change is git's empty blob, in SHA-1 or SHA-256."""

WITHOUT_HUNKS = re.compile(r"^(rename|copy|old mode|new file mode|deleted file mode) ", re.MULTILINE)
"""Extended headers that say something by themselves (git-diff(1), "Generating patch text")."""

DEFINITION = re.compile(r"^[A-Za-z_][^;=#]*\(")
CALL = re.compile(r"([A-Za-z_]\w*)\s*\(\s*(\w*)")
NOT_FUNCTIONS = re.compile(
    r"(if|for|while|switch|return|sizeof|_*typeof_*|__attribute__|__printf|__scanf|__acquires|__releases|__must_hold"
    r"|__aligned|__section|__alloc_size|__nonnull|EXPORT_\w+|MODULE_\w+|DEFINE_\w+|DECLARE_\w+|LIST_HEAD|\w+_initcall)"
)
"""Names in front of a parenthesis, in column 0, that name no function."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """One hunk of a patch; `header` is its whole ``@@`` line, starts and lengths count lines from 1."""

    file: str
    header: str
    old_start: int
    old_len: int
    new_start: int
    new_len: int
    function: str
    """What stands behind the second ``@@``, reduced to a function's name; empty when it names none."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """What one patch does to one file."""

    path: str
    """The file afterwards, or the one removed; relative to the top of the tree."""
    old_path: str | None
    """Where a renamed or copied file comes from."""
    hunks: tuple[Hunk, ...]
    functions: frozenset[str]
    """Functions with a changed line, as far as hunk headers and definitions in the hunks show."""
    lines: tuple[tuple[int, int], ...]
    """Changed ranges of the NEW file, first and last line; a removal is the line that closed the gap."""
    preimage: str = ""
    """Abbreviated blob the patch was made on (its ``index`` line); empty when not said."""
    link: str | None = None
    """Where the symlink points that the patch makes here."""

    @property
    def paths(self) -> frozenset[str]:
        """Every path that the change reads or writes."""
        return frozenset((self.path, self.old_path) if self.old_path else (self.path,))


class _Watched:
    """The lines of a diff on their way to unidiff, which does not say where it stumbled."""

    def __init__(self, mail: Mail, where: str) -> None:
        self.where = where
        self.file = ""
        self.hunk = ""
        # surrogateescape: sources hold bytes that are no UTF-8, and they must not matter.
        self._lines = mail.diff.decode("utf-8", "surrogateescape").split("\n")

    def __iter__(self) -> Iterator[str]:
        for line in self._lines[:-1]:
            if line.startswith(("diff --git ", "+++ ")):
                self.file = line.split(" ")[-1].partition("\t")[0]
            elif line.startswith("@@ -"):
                self.hunk = f"{_clean(self.file)}, hunk {line}"
            elif line.startswith(("GIT binary patch", "Binary files ")):
                message = f"{_clean(self.file)} is changed as binary"
                raise UserError(message, where=self.where, todo="kpv takes text patches only")
            yield line + "\n"
        if self._lines[-1]:
            yield self._lines[-1]


def _clean(raw: str) -> str:
    return raw.partition("/")[2] or raw


def read(mail: Mail, where: str) -> list[FileChange]:
    """Return what the diff of one patch changes; `where` names it in messages.  Raises UserError."""
    watched = _Watched(mail, where)
    try:
        found = unidiff.PatchSet(watched)
    except unidiff_errors.UnidiffParseError as error:
        if str(error).startswith("Hunk "):
            message = f"the patch is truncated or mangled: {watched.hunk}"
        else:
            message = f"the diff cannot be read: {' '.join(str(error).split())}"
        raise UserError(message, where=where, todo=AGAIN) from error
    files = [_change(file, where) for file in found]
    if not files:
        raise UserError("its diff changes nothing", where=where, todo=AGAIN)
    _check_whole(mail, found, where)
    return files


def _check_whole(mail: Mail, found: unidiff.PatchSet, where: str) -> None:
    """Raise UserError when the end of the patch is missing though every hunk that is left is whole."""
    last = found[-1] if found else None
    if not mail.diff.endswith(b"\n") and not SIGNATURE.search(mail.diff):
        name = _clean(last.target_file) if last else "?"
        message = f"the patch is truncated: {name} ends in the middle of a line"
        raise UserError(message, where=where, todo=AGAIN)
    promises = PROMISE.findall(mail.head)
    if not promises or SIGNATURE.search(mail.diff):
        return  # people edit patches by hand and leave the diffstat alone: with the signature there, fine
    files, added, removed = (int(number or 0) for number in promises[-1])
    if len(found) < files or found.added < added or found.removed < removed:
        message = (
            f"the patch is truncated: its diffstat says {files} files, {added} insertions, {removed} deletions,"
            f" it has {len(found)}, {found.added}, {found.removed}"
        )
        raise UserError(message, where=where, todo=AGAIN)


def _change(file: unidiff.PatchedFile, where: str) -> FileChange:
    info = str(file.patch_info or "")
    moved = re.search(r"^(?:rename|copy) from (.*)\n(?:rename|copy) to (.*)$", info, re.MULTILINE)
    old = _path(file.source_file, where)
    new = _path(file.target_file, where)
    if moved:
        old, new = _path(f"a/{_unquote(moved[1])}", where), _path(f"b/{_unquote(moved[2])}", where)
    path = new or old
    if not path:
        raise UserError("a diff without a file name", where=where, todo=AGAIN)
    if SUBMODULE in {file.source_mode, file.target_mode}:
        message = f"{path} is a submodule"
        raise UserError(message, where=where, todo="kpv takes patches to files only")
    hunks: list[Hunk] = []
    functions: set[str] = set()
    for hunk in file:
        function = _function(hunk.section_header)
        header = (
            f"@@ -{hunk.source_start},{hunk.source_length} +{hunk.target_start},{hunk.target_length} @@"
            f" {hunk.section_header.rstrip()}"
        )
        hunks.append(
            Hunk(
                path,
                header.rstrip(),
                hunk.source_start,
                hunk.source_length,
                hunk.target_start,
                hunk.target_length,
                function,
            )
        )
        functions |= _touched(hunk, function)
    preimage = PREIMAGE.search(info)
    if not hunks and not (EMPTY_BLOB.search(info) if preimage else WITHOUT_HUNKS.search(info)):
        message = f"the patch is truncated: {path} has no hunk"
        raise UserError(message, where=where, todo=AGAIN)
    link = None
    if file.target_mode == SYMLINK and new:
        link = "".join(line.value for hunk in file for line in hunk if line.is_added).rstrip("\n")
    return FileChange(
        path,
        old if old and old != path else None,
        tuple(hunks),
        frozenset(functions),
        _ranges(file),
        preimage[1] if preimage else "",
        link,
    )


def _unquote(raw: str) -> str:
    r"""Undo git's quoting of unusual names: ``"a/f\303\274"`` (quote.c, quote_c_style)."""
    if not (len(raw) > 1 and raw.startswith('"') and raw.endswith('"')):
        return raw
    named = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}

    def byte(match: re.Match[bytes]) -> bytes:
        code = match[1]
        return bytes([int(code, 8) & 255]) if code.isdigit() else named.get(code, code)

    text = re.sub(rb"\\([0-7]{3}|.)", byte, raw[1:-1].encode("utf-8", "surrogateescape"))
    return text.decode("utf-8", "surrogateescape")


def _path(raw: str, where: str) -> str:
    """Return the path below the top of the tree (level -p1), empty for /dev/null; raise UserError if unsafe."""
    name = _unquote(raw.strip("\n"))
    if name == DEV_NULL:
        return ""
    path = name.partition("/")[2]
    parts = path.split("/")
    if name.startswith("/") or path.startswith("/"):
        wrong = "is absolute"
    elif ".." in name.split("/"):
        wrong = "leaves the tree"
    elif any(part.lower() in {".git", "git~1"} for part in parts):
        wrong = "reaches into .git"
    elif any(part in {"", "."} for part in parts):
        wrong = "has no a/ or b/ in front, or an empty part"
    else:
        return path
    message = f"path {name} {wrong}"
    raise UserError(message, where=where, todo="write the patch with git format-patch at the top of the tree")


def _function(text: str) -> str:
    """Return the function that a line in column 0 defines, or empty."""
    if not DEFINITION.match(text):
        return ""
    for name, first in CALL.findall(text):
        if re.fullmatch(r"(COMPAT_)?SYSCALL_DEFINE\d", name):
            return f"__do_sys_{first}"  # include/linux/syscalls.h, __SYSCALL_DEFINEx
        if not NOT_FUNCTIONS.fullmatch(name):
            return str(name)
    return ""


def _touched(hunk: unidiff.Hunk, function: str) -> set[str]:
    """Return the functions with a changed line: the header's holds until its closing brace."""
    touched: set[str] = set()
    for line in hunk:
        if line.value.rstrip("\r\n;") == "}":
            if line.is_added or line.is_removed:
                touched.add(function)
            function = ""
            continue
        if not line.value.rstrip().endswith((";", ":")):
            function = _function(line.value) or function
        if (line.is_added or line.is_removed) and line.value.strip():
            touched.add(function)
    return touched - {""}


def _ranges(hunks: Iterable[unidiff.Hunk]) -> tuple[tuple[int, int], ...]:
    """Return the changed ranges of the new file."""
    changed: set[int] = set()
    for hunk in hunks:
        here = hunk.target_start
        for line in hunk:
            if line.is_added or line.is_removed:
                changed.add(max(here, 1))
            here += line.is_added or line.is_context
    ranges: list[tuple[int, int]] = []
    for at in sorted(changed):
        if ranges and ranges[-1][1] + 1 == at:
            ranges[-1] = (ranges[-1][0], at)
        else:
            ranges.append((at, at))
    return tuple(ranges)
