"""Whose fault it is: the four ways kpv can end other than with a verdict on a run.

Every message is one line that says what is wrong, where, and what to do about it.
"""

import difflib
from collections.abc import Iterable
from typing import ClassVar


class PipelineError(Exception):
    """Anything that kpv raises on purpose.

    `str()` of it is one line: ``where: what; todo``.  `detail` may hold more lines (a compiler's
    message, the tail of a log) for whoever has room to print them.
    """

    exit_status: ClassVar[int] = 3

    def __init__(self, what: str, *, where: str = "", todo: str = "", detail: str = "") -> None:
        """Say `what` is wrong, `where` it stands (``file:line``), and what `todo` about it."""
        self.what = what
        self.where = where
        self.todo = todo
        self.detail = detail
        line = f"{where}: {what}" if where else what
        super().__init__(f"{line}; {todo}" if todo else line)


class UserError(PipelineError):
    """The user asked for something that cannot be: exit status 2, nothing left behind."""

    exit_status = 2


class TreeError(PipelineError):
    """The series does not apply to its base: a FAIL that names the patch, the file, the hunk."""

    exit_status = 1

    def __init__(self, what: str, *, patch: str, file: str = "", hunk: str = "", detail: str = "") -> None:
        """Name the `patch` as ``2/7 subject``, and the ``@@`` line of the `hunk` that did not fit."""
        self.patch = patch
        self.file = file
        self.hunk = hunk
        super().__init__(what, where=f"patch {patch}", detail=detail)


class BuildError(PipelineError):
    """A tree does not build; whether that is a FAIL or BROKEN depends on which cut it is."""

    exit_status = 1

    def __init__(self, what: str, *, file: str = "", detail: str = "") -> None:
        """Take the compiler's first error as `what`, and the source it stands in as `file`."""
        self.file = file
        super().__init__(what, where=file, detail=detail)


class InfraError(PipelineError):
    """Ours or the machine's: QEMU died, the disk is full.  BROKEN, never a vote for good or bad."""

    exit_status = 3


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a ``did you mean`` clause for a misspelt `name`, and the list of what there is."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    listed = ", ".join(names) or "none"
    return f"did you mean {close[0]}? known: {listed}" if close else f"known: {listed}"
