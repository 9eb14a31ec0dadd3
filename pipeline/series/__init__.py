"""A patch series as data: patches in order, and what each one touches."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.errors import UserError
from pipeline.series import diff, mail
from pipeline.series.diff import SUBMODULE, SYMLINK, FileChange, Hunk

__all__ = [
    "SUBMODULE",
    "SYMLINK",
    "FileChange",
    "Hunk",
    "Patch",
    "Series",
    "parse_mbox",
    "parse_patches",
    "parse_quilt",
]


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch; `index` counts from 1, `text` is the mail as it came, `diff` its decoded diff."""

    index: int
    total: int
    subject: str
    author: str
    name: str
    """File name, or the mail's Message-Id."""
    text: bytes
    diff: bytes
    files: tuple[FileChange, ...]

    @property
    def label(self) -> str:
        """What messages call it: ``2/7 memcg: make iter safe``."""
        return f"{self.index}/{self.total} {self.subject}"

    @property
    def functions(self) -> frozenset[str]:
        """Functions that the patch changes, over all files."""
        return frozenset().union(*(file.functions for file in self.files))


@dataclass(frozen=True, slots=True)
class Series:
    """Patches in the order in which they apply."""

    name: str
    patches: tuple[Patch, ...]

    @property
    def total(self) -> int:
        """How many patches there are: cuts run from 0 to this."""
        return len(self.patches)


def parse_mbox(data: bytes, where: str) -> Series:
    """Read an mbox, one mail, or a bare diff (then the file's name is its subject); `where` is its file.

    Mails without a diff are left out when they are a cover letter or an answer.  Raises UserError for
    everything that is no sound patch.
    """
    return parse_patches(where, [(where, data)])


def parse_patches(name: str, texts: Iterable[tuple[str, bytes]]) -> Series:
    """Make a series of files (name and content), each a mail, an mbox or a bare diff, in their order."""
    found = [one for where, data in texts for one in mail.mails(where, data)]
    if not found:
        raise UserError(mail.NO_PATCH, where=name, todo=mail.WRITERS)
    patches: list[Patch] = []
    for number, one in enumerate(found, 1):
        files = diff.read(one, f"{one.where}: patch {number}/{len(found)} {one.subject}")
        patches.append(Patch(number, len(found), one.subject, one.author, one.name, one.text, one.diff, tuple(files)))
    _check_links(patches, name)
    return Series(name, tuple(patches))


def parse_quilt(text: str, where: str) -> tuple[str, ...]:
    """Return the patch names of a quilt ``series`` file in order (format: quilt(1), "series").

    Raises UserError for a patch level other than 1, a reversed patch, a name outside the folder.
    """
    names: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = re.sub(r"(^|\s)#.*", "", line).split()
        if not words:
            continue
        name, options = words[0], " ".join(words[1:])
        if options not in {"", "-p1", "-p 1", "-pab", "-p ab"}:
            message = f"{name} has option {options}; only -p1 is read"
            raise UserError(message, where=f"{where}:{number}", todo="`quilt refresh -p1` writes it so")
        if name.startswith("/") or ".." in name.split("/"):
            message = f"{name} lies outside the folder of the series"
            raise UserError(message, where=f"{where}:{number}", todo="name patches beside the series file")
        if name in names:
            message = f"{name} is listed twice"
            raise UserError(message, where=f"{where}:{number}", todo="remove one of the lines")
        names.append(name)
    if not names:
        raise UserError("the series names no patch", where=where, todo="list one patch file a line")
    return tuple(names)


def _check_links(patches: Iterable[Patch], name: str) -> None:
    """Raise UserError for a symlink out of the tree, and for a write through one that the series makes."""
    links: set[str] = set()
    for patch in patches:
        where = f"{name}: patch {patch.label}"
        for file in patch.files:
            parents = {file.path[:i] for i, char in enumerate(file.path) if char == "/"}
            through = parents & links
            if through:
                message = f"{file.path} is written through the symlink {min(through)} of this series"
                raise UserError(message, where=where, todo="name the real file")
            if file.link is None:
                continue
            if _escapes(file.path, file.link):
                message = f"symlink {file.path} points out of the tree, to {file.link}"
                raise UserError(message, where=where, todo="kpv takes symlinks within the tree only")
            links.add(file.path)


def _escapes(path: str, target: str) -> bool:
    """Whether symlink `path` with this `target` leaves the tree."""
    depth = path.count("/")
    for part in target.split("/"):
        depth += -1 if part == ".." else part not in {"", "."}
        if depth < 0:
            return True
    return target.startswith("/") or not target
