"""From the lines of one report to a Finding."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING

from pipeline.findings import culprit, stack
from pipeline.findings.rules import RULES
from pipeline.findings.rules.row import Blame
from pipeline.findings.title import normalise
from pipeline.findings.types import Executor, Finding, Frame, Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.findings.line import Line
    from pipeline.findings.rules.row import Rule

_EXECUTOR = re.compile(r"Comm: syz\.(\d{1,9})\.(\d{1,9})\b")
# "... is trying to acquire lock:" and its kin, then the lock and the place: kernel/locking/lockdep.c:print_lock.
_LOCK_AT = re.compile(r"at: (?:\[<[0-9a-f]+>\] *)?(?P<function>[A-Za-z_$][\w.$]*)\+0x")
# A stamp inside a title is the trace of two lines that became one.
_STAMP_WITHIN = re.compile(r"\[ *\d+\.\d{6}\]")
# Frames of fault injection in the middle of a report: its stack is another report's (lib/fault-inject.c:fail_dump).
_FAULT_INJECTION = re.compile(r"^ *(?:\[<[0-9a-f]+>\] )?should_fail(?:slab|_ex)?\+0x", re.MULTILINE)
# How many lines after an announced stack may pass before its first frame.
_STACK_DISTANCE = 20
# A buffer of the network is asked for by who calls these.
_BUFFER = re.compile(r"_*(?:alloc_skb|netdev_alloc_skb|napi_alloc_skb|sock_alloc_send|build_skb|skb_copy|pskb_copy)\w*|sk_\w*alloc\w*")

_BY_NEEDLE: dict[str, list[tuple[int, Rule]]] = defaultdict(list)
for _index, _rule in enumerate(RULES):
    _BY_NEEDLE[_rule.needle].append((_index, _rule))


def openers(message: str) -> tuple[Rule, ...]:
    """The rules whose first line this is, in the order of the table."""
    hit = [entry for needle, entries in _BY_NEEDLE.items() if needle in message for entry in entries]
    return tuple(rule for _, rule in sorted(hit, key=itemgetter(0)) if rule.pattern.search(message))


def assemble(rules: Sequence[Rule], lines: Sequence[Line], before: Sequence[Line], *, cut: bool = False) -> Finding:
    """The finding that these lines are. The first line is the one that names the problem.

    ``cut`` says that another report of the same task began before this one had ended.
    """
    messages = [line.message for line in lines]
    text = "\n".join(messages)
    rule, groups = _choose(rules, messages[0], text)
    at = [stack.frame(message) for message in messages]
    stacks = stack.stacks(messages, at)
    locks = _locks(messages) if "lock" in rule.traits else ()
    mixed = rule.stack and _FAULT_INJECTION.search(text) is not None
    function = None if mixed else culprit.culprit(rule, groups, stacks, locks)
    names = culprit.title_names(function)
    corrupted = rule.corrupted or (rule.blame is not Blame.NOBODY and function is None)
    corrupted = corrupted or (rule.stack and (mixed or _damaged(rule, messages, at, stacks)))
    title, alts = _titles(rule, groups, names, stacks)
    if _STAMP_WITHIN.search(messages[0]) or (cut and "framed" in rule.traits):
        corrupted = True
    frames = tuple(frame for found in stacks for frame in found.frames)
    executor = _EXECUTOR.search(text)
    return Finding(
        title=title,
        alt_titles=alts,
        kind=rule.kind,
        rule=rule.name,
        start_line=lines[0].number,
        end_line=lines[-1].number + 1,
        corrupted=corrupted,
        frame=names[-1] if function else None,
        guilty_file=culprit.guilty_file(rule, stacks),
        report="\n".join(_text(before, messages, at)),
        executor=Executor(int(executor[1]), int(executor[2])) if executor else None,
        frames=frames,
    )


def _choose(rules: Sequence[Rule], head: str, text: str) -> tuple[Rule, dict[str, str | None]]:
    for rule in rules:
        match = rule.pattern.search(head)
        body = rule.body.search(text) if rule.body else None
        if match and (body or not rule.body):
            return rule, {**match.groupdict(), **(body.groupdict() if body else {})}
    rule = rules[-1]
    match = rule.pattern.search(head)
    return replace(rule, corrupted=True), defaultdict(str, match.groupdict() if match else {})


def _titles(rule: Rule, groups: dict[str, str | None], names: Sequence[str], stacks: Sequence[stack.Stack]) -> tuple[str, tuple[str, ...]]:
    origin = next((f.function for s in stacks if s.role is Role.ALLOC for f in s.frames if f.trusted and not _BUFFER.fullmatch(f.function) and not culprit.is_plumbing(culprit.base(f.function))), culprit.NOBODY)
    made = [
        normalise(template.format_map({**{key: value or "" for key, value in groups.items()}, "frame": name, "origin": origin}))
        for name in reversed(names)
        for template in (rule.title, *rule.alts)
    ]
    return made[0], tuple(sorted(set(made[1:]) - {made[0]}))


def _locks(messages: Sequence[str]) -> tuple[str, ...]:
    """The place where the lock was asked for: the first that the report names."""
    for message in messages[:12]:
        if match := _LOCK_AT.search(message):
            return (match["function"],)
    return ()


def _damaged(rule: Rule, messages: Sequence[str], frames: Sequence[Frame | None], stacks: Sequence[stack.Stack]) -> bool:
    """Whether the report lacks a stack that it should have, or one that it announces."""
    if not any(_whole(found) for found in stacks):
        return True
    # A hang shows the stacks of other tasks and CPUs too: only the first has to be there.
    several = rule.blame in (Blame.WAITER, Blame.LOOP, Blame.STALL)
    promised: int | None = None
    for index, (message, frame) in enumerate(zip(messages, frames, strict=True)):
        if frame is not None:
            if several:
                return False
            promised = None
        elif promised is not None and index - promised > _STACK_DISTANCE:
            return True
        elif stack.announces(message):
            if promised is not None:
                return True
            promised = index
    return promised is not None


def _whole(found: stack.Stack) -> bool:
    """Whether this is a stack trace, and not only where a CPU stood or a lock was taken."""
    frames = sum(1 for frame in found.frames if frame.role is not Role.REGS)
    return frames >= (2 if found.role is Role.AUX else 1)


def _text(before: Sequence[Line], messages: Sequence[str], frames: Sequence[Frame | None]) -> list[str]:
    return [
        *(line.message for line in before),
        *(message for message, frame in zip(messages, frames, strict=True) if frame is None or frame.trusted),
    ]
