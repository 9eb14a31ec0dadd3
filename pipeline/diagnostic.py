"""What a kernel build says: which target is being made, its warnings, its first error.

The lines are those of kbuild (scripts/Kbuild.include, `quiet_cmd_*`), GCC and binutils with LC_ALL=C,
objtool (tools/objtool/include/objtool/warn.h), modpost (scripts/mod/modpost.c), and GNU make.  With
``make --output-sync=target`` all lines of one target stand together below the line that names it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_TARGET = re.compile(r"  (?P<verb>[A-Z][A-Z0-9_+-]*)(?: \[M\])? +(?P<target>\S+)(?: .*)?")
_PLACED = re.compile(
    r"(?P<file>[^\s:][^:]*):(?P<line>\d+):(?:\d+:)? ?(?P<kind>warning|Warning|fatal error|error|Error): (?P<text>.*)"
)
_TOOL = re.compile(
    r"(?:(?:[\w./+-]*/)?(?:ld|ld\.bfd|cc1|gcc|ccache): )?(?:(?P<file>[\w./+-]+\.[oaS]): )?"
    r"(?P<kind>warning|error|fatal error): (?P<text>.*)"
)
_MODPOST = re.compile(r"(?P<kind>WARNING|ERROR): modpost: (?P<text>.*)")
_LINKED = re.compile(
    r"(?:\S*ld(?:\.bfd)?: )?(?P<file>[^\s:]+):(?:(?P<line>\d+):|\([^)]+\):)? ?"
    r"(?P<text>(?:undefined reference to|multiple definition of) .*)"
)
_LINKER = re.compile(r"(?:[\w./+-]*/)?ld(?:\.bfd)?: (?P<text>.*)")
_KCONFIG = re.compile(r"(?P<file>(?:[\w./+-]*/)?Kconfig[\w.+-]*):(?P<line>\d+): ?(?!warning)(?P<text>.*)")
_FUNCTION = re.compile(r"(?P<file>\S+): In function '(?P<function>\w+)':|(?P<top>\S+): At top level:")
_OPTION = re.compile(r" \[(?P<option>-W[\w+=-]+)\]$")
_FAILED = re.compile(r"make(?:\[\d+\])?: \*\*\* \[(?:\S+: )?(?P<target>[^\]]+)\] (?:Error \d+|\w.*)")
_NO_RULE = re.compile(r"make(?:\[\d+\])?: \*\*\* (?P<text>(?!\[).*?)(?:\.  Stop\.)?$")
_MACHINE = re.compile(
    r"No space left on device|Cannot allocate memory|Killed signal terminated program|Input/output error"
    r"|Disk quota exceeded|Read-only file system"
    # A program of the machine, that is; a script of the tree has a slash in its name.
    r"|/bin/sh: \d+: [^/\s]+: not found"
)
_NUMBER = re.compile(r"\b\d+\b|\b0x[0-9a-f]+\b")
_DETAIL_LINES = 12
"""Lines kept of what the compiler says below a message: source, caret, notes."""


@dataclass(frozen=True, slots=True)
class Warning:  # noqa: A001  what every tool of a build calls it
    """One warning; `file` relative to the tree (an object for objtool and the linker), `line` 0 when there is none."""

    file: str
    line: int
    function: str
    text: str
    option: str
    detail: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What makes it the same warning: a moved line or another count of bytes does not make a new one."""
        return (self.file, self.function, _NUMBER.sub("N", self.text), self.option)

    def __str__(self) -> str:
        """Say it as the compiler does."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        option = f" [{self.option}]" if self.option else ""
        return f"{place}: {self.text}{option}" if place else f"{self.text}{option}"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why make failed; `target` is what it was making (``mm/memcontrol.o``), empty when it never got to a target.

    `machine` tells that disk or memory ran out or a program is missing, which says nothing about the tree.
    """

    text: str
    file: str
    line: int
    target: str
    machine: bool
    detail: str


def target(line: str) -> str | None:
    """Return the target that a line of progress names (``  CC      mm/memcontrol.o``)."""
    match = _TARGET.fullmatch(line)
    return match["target"] if match else None


def blocks(lines: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Split output into targets and what was said about each; before the first target it is ``""``.

    A target may come more than once (``LD vmlinux`` and then ``SORTTAB vmlinux``).
    """
    name, block = "", list[str]()
    for line in lines:
        found = target(line)
        if found is None:
            block.append(line)
            continue
        if name or block:
            yield name, tuple(block)
        name, block = found, []
    if name or block:
        yield name, tuple(block)


def warnings(block: Iterable[str]) -> tuple[Warning, ...]:
    """Return the warnings among the lines that belong to one target."""
    lines = tuple(block)
    function = ""
    found = []
    for index, line in enumerate(lines):
        if (context := _FUNCTION.match(line)) is not None:
            function = context["function"] or ""
        elif (match := _message(line)) is not None and match["kind"].lower() == "warning":
            text, option = match["text"], ""
            if (suffix := _OPTION.search(text)) is not None:
                text, option = text[: suffix.start()], suffix["option"]
            groups = match.groupdict()
            found.append(
                Warning(
                    file=tree_path(groups.get("file") or ""),
                    line=int(groups.get("line") or 0),
                    function=function,
                    text=text,
                    option=option,
                    detail=_detail(lines, index),
                )
            )
    return tuple(found)


def failure(output: Iterable[str]) -> Failure:
    """Return why a make that failed did so: the first error of the first target that failed.

    With several jobs other targets may have failed as well; the first in the output is as good as any.
    """
    lines = tuple(output)
    failed = next((match["target"] for line in lines if (match := _FAILED.match(line))), "")
    machine = any(_MACHINE.search(line) for line in lines)
    for finder in (_error, _kconfig, _linked, _complaint):
        for index, line in enumerate(lines):
            if (found := finder(line)) is not None:
                text, file, number = found
                return Failure(text, tree_path(file), number, failed, machine, _detail(lines, index))
    return Failure("make failed and said nothing", "", 0, failed, machine, "\n".join(lines[-_DETAIL_LINES:]))


def added(base: Iterable[Warning], patched: Iterable[Warning]) -> tuple[Warning, ...]:
    """Return the warnings of `patched` that `base` does not show, as many times as there are more of them.

    Of several that look alike, those on lines where the base has none are taken first.
    """
    before = Counter(warning.identity for warning in base)
    lines = {(warning.identity, warning.line) for warning in base}
    found = []
    for warning in sorted(patched, key=lambda one: (one.identity, one.line)):
        if before[warning.identity] and ((warning.identity, warning.line) in lines):
            before[warning.identity] -= 1
        else:
            found.append(warning)
    new = []
    for warning in found:
        if before[warning.identity] > 0:
            before[warning.identity] -= 1
        else:
            new.append(warning)
    return tuple(new)


def tree_path(file: str) -> str:
    """Return a path of the output relative to the tree.

    kbuild in a folder below it says ``../mm/x.c``; the linker puts the working folder of the debug
    information before that, which ccache may have from elsewhere.
    """
    if file.startswith("/"):
        file = file.rpartition("/../")[2]
    while file.startswith(("../", "./")):
        file = file.partition("/")[2]
    return file


def _message(line: str) -> re.Match[str] | None:
    return _PLACED.fullmatch(line) or _TOOL.fullmatch(line) or _MODPOST.fullmatch(line)


def _error(line: str) -> tuple[str, str, int] | None:
    """Read a compiler's, assembler's, objtool's or modpost's error."""
    match = _message(line)
    if match is None or match["kind"].lower() == "warning" or "some warnings being treated as errors" in line:
        return None
    groups = match.groupdict()
    return match["text"], groups.get("file") or "", int(groups.get("line") or 0)


def _kconfig(line: str) -> tuple[str, str, int] | None:
    """Read an error of scripts/kconfig/parser.y: file, line, and what is wrong."""
    match = _KCONFIG.fullmatch(line)
    return (match["text"], match["file"], int(match["line"])) if match else None


def _linked(line: str) -> tuple[str, str, int] | None:
    """Read a linker's error."""
    if (match := _LINKED.fullmatch(line)) is not None:
        return match["text"], match["file"], int(match["line"] or 0)
    match = _LINKER.match(line)
    if match is None or "warning:" in line or match["text"].endswith(":"):
        return None
    return match["text"], "", 0


def _complaint(line: str) -> tuple[str, str, int] | None:
    """Read what make itself has to say: no rule for a target, a recipe that failed without a word."""
    if _MACHINE.search(line):
        return line.strip(), "", 0
    match = _NO_RULE.match(line)
    if match is not None:
        return match["text"], "", 0
    match = _FAILED.match(line)
    return (f"making {match['target']} failed", "", 0) if match else None


def _detail(lines: tuple[str, ...], index: int) -> str:
    """Return a message and what belongs to it: what it was included from, source, caret, notes."""
    first = index
    while first > 0 and re.match(r"In file included from |  +from ", lines[first - 1]):
        first -= 1
    last = index + 1
    while last < min(len(lines), index + _DETAIL_LINES) and not _ends(lines[last]):
        last += 1
    return "\n".join(lines[first:last])


def _ends(line: str) -> bool:
    return (
        _message(line) is not None
        or _FUNCTION.match(line) is not None
        or line.startswith(("make", "In file included from"))
        or target(line) is not None
    )
