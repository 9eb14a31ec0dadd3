"""Titles: made so that two sightings of one bug read the same.

What differs from run to run is put into words: decimal numbers are NUM, long hexadecimal numbers
ADDR, addresses of the network IP, line numbers LINE; and the offset of a frame goes.
"""

import re

TITLE_LIMIT = 120

_STEPS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\+0x[0-9a-f]+/0x[0-9a-f]+"), ""),
    (re.compile(r"\b(syz-?executor|syzkaller)[\d.]*(?:[/:]\d+)?"), r"\1"),
    (re.compile(r"\bsyz\.\d+\.\d+(?:[/:]\d+)?"), "syz"),
    (re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?(?![\w.])"), "IP"),
    (re.compile(r"(?<![\w:])(?:[0-9a-f]{1,4}:){3,7}(?::?[0-9a-f]{1,4}){1,5}(?![\w:])"), "IP"),
    (re.compile(r"(\.(?:[chS]|rs)):\d+(?::\d+)?"), r"\1:LINE"),
    (re.compile(r"(?<!\w)(?:0x[0-9a-f]+|[0-9a-f]{8,})(?!\w)", re.IGNORECASE), "ADDR"),
    (re.compile(r"\bCPU#?\d+\b"), "CPU"),
    (re.compile(r"(?<![A-Za-z_0-9])\d+"), "NUM"),
    (re.compile(r"[^\x20-\x7e]"), ""),
    (re.compile(r" {2,}"), " "),
)


def normalise(text: str) -> str:
    """Return the title without what differs from run to run. Doing it twice changes nothing."""
    while True:
        was = text
        for pattern, word in _STEPS:
            text = pattern.sub(word, text)
        text = text[:TITLE_LIMIT].strip(" :")
        if text == was:
            return text


# How a system call's entry is named, from its newest form to its oldest; each is tried once, in
# this order (include/linux/syscalls.h and arch/*/include/asm/syscall_wrapper.h).
_ENTRIES = tuple(
    re.compile(pattern)
    for pattern in (
        r"__(?:se|do)_(?=(?:compat_)?sys_)",
        r"sys_",
        r"SYSC_",
        r"(?:compat_)?SyS_",
        r"__(?:x64|arm64|ia32|riscv|s390x)_(?=(?:compat_)?sys_)",
    )
)

# Functions that stand for one another: the bug is the same, the variant is not.
_VARIANTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"_*smp_call_function_\w+"), "smp_call_function"),
    (re.compile(r"_*synchronize_s?rcu\w*"), "synchronize_rcu"),
)


# C++ and old Rust: _ZN, then each part of the path with its length before it, then E.
_MANGLED = re.compile(r"_ZN?K?(?=\d)")
_LENGTH = re.compile(r"\d{1,3}")


def demangle(function: str) -> str:
    """Return the name without the compiler's encoding of its path and arguments, if it has one."""
    match = _MANGLED.match(function)
    at, parts = match.end() if match else 0, []
    while match and (length := _LENGTH.match(function, at)):
        at = length.end() + int(length[0])
        parts.append(function[length.end() : at])
    return "::".join(parts) if parts and at <= len(function) else function


def names(function: str) -> tuple[str, ...]:
    """Return the names a function is known under: as it stands in the stack first, the one for titles last."""
    known = [demangle(function)]
    for variant, name in _VARIANTS:
        if variant.fullmatch(function):
            known.append(name)
    for entry in _ENTRIES:
        if (match := entry.match(known[-1])) and match.end() < len(known[-1]):
            known.append(known[-1][match.end() :])
    return tuple(dict.fromkeys(known))
