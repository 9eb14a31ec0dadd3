"""From the lines of one report to a Finding."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from operator import itemgetter

from pipeline.findings import dispatch, stack
from pipeline.findings.culprit import NOBODY, culprit, frames_of
from pipeline.findings.guilt import guilty_file
from pipeline.findings.line import Line
from pipeline.findings.pattern import any_of, rx
from pipeline.findings.plumbing import base, is_plumbing
from pipeline.findings.rules import RULES
from pipeline.findings.rules.row import Blame, Rule
from pipeline.findings.stack import Stack
from pipeline.findings.title import names, normalise
from pipeline.findings.types import Executor, Finding, Frame, Role

_EXECUTOR = re.compile(r"Comm: syz\.(\d{1,9})\.(\d{1,9})\b")
# "... is trying to acquire lock:" and its kin, then the lock and the place: kernel/locking/lockdep.c:print_lock.
_LOCK_AT = re.compile(r"at: (?:\[<[0-9a-f]+>\] *)?(?P<function>[A-Za-z_$][\w.$]*)\+0x")
_LOCK_WITHIN = 12
# A time stamp inside a message is the trace of two lines that became one.
_STAMP = re.compile(r"\[ *\d+\.\d{6}\]")
# Fault injection prints a stack wherever it strikes, in the middle of a report too: lib/fault-inject.c:fail_dump.
_FAULT_INJECTION = rx(r"^ *(?:\[<[0-9a-f]+>\] )?should_fail(?:slab|_ex)?\+0x")
# How many lines after an announced stack may pass before its first frame.
_STACK_WITHIN = 20
# A network buffer is asked for by who calls these.
_BUFFERS = any_of(r"_*(alloc_skb|netdev_alloc_skb|napi_alloc_skb|sock_alloc_send|build_skb|skb_copy)\w* sk_\w*alloc\w*")

_BY_NEEDLE: dict[str, list[tuple[int, Rule]]] = defaultdict(list)
for _index, _rule in enumerate(RULES):
    _BY_NEEDLE[_rule.needle].append((_index, _rule))


def openers(message: str) -> tuple[Rule, ...]:
    """Return the rules whose first line this is, in the order of the table."""
    hit = [row for needle, rows in _BY_NEEDLE.items() if needle in message for row in rows]
    return tuple(rule for _, rule in sorted(hit, key=itemgetter(0)) if rule.pattern.search(message))


def assemble(rules: Sequence[Rule], lines: Sequence[Line], before: Sequence[Line], *, cut: bool = False) -> Finding:
    """Return the finding that `lines` are; the first of them names the problem.

    `before` are the lines above it. `cut` says that another report of the same task began before this
    one had ended.
    """
    messages = [line.message for line in lines]
    text = "\n".join(messages)
    rule, groups, whole = _choose(rules, messages[0], text)
    frames = [stack.frame(message) for message in messages]
    stacks = stack.stacks(messages, frames)
    mixed = rule.stack and _FAULT_INJECTION.search(text) is not None
    function = None if mixed else culprit(rule, groups, stacks, _lock(messages) if rule.lock else None)
    known = names(function) if function else (NOBODY,)
    title, alts = _titles(rule, groups, known, stacks)
    corrupted = (
        rule.corrupted
        or mixed
        or not whole
        or (rule.blame is not Blame.NOBODY and function is None)
        or (rule.stack and _damaged(rule, messages, frames, stacks))
        or (rule.framed and cut)
        or _STAMP.search(messages[0]) is not None
    )
    executor = _EXECUTOR.search(text)
    return Finding(
        title=title,
        alt_titles=alts,
        kind=rule.kind,
        rule=rule.name,
        start_line=lines[0].number,
        end_line=lines[-1].number + 1,
        corrupted=corrupted,
        frame=known[-1] if function else None,
        guilty_file=guilty_file(_accused(rule, stacks)),
        report="\n".join([*(line.message for line in before), *_trusted(messages, frames)]),
        executor=Executor(int(executor[1]), int(executor[2])) if executor else None,
        frames=tuple(frame for found in stacks for frame in found.frames),
    )


def _choose(rules: Sequence[Rule], head: str, text: str) -> tuple[Rule, dict[str, str], bool]:
    """Return the first rule that the whole report satisfies, its groups, and whether there was one."""
    for rule in rules:
        match, body = rule.pattern.search(head), rule.body.search(text) if rule.body else None
        if match and (body or not rule.body):
            groups = {**match.groupdict(), **(body.groupdict() if body else {})}
            return rule, {key: value or "" for key, value in groups.items()}, True
    # Cut before the line that a body asks for: what the first line tells is all there is.
    rule, match = rules[-1], rules[-1].pattern.search(head)
    asked = dict.fromkeys((*rule.pattern.groupindex, *(rule.body.groupindex if rule.body else ())), "")
    return rule, asked | {key: value or "" for key, value in (match.groupdict() if match else {}).items()}, False


def _titles(
    rule: Rule, groups: Mapping[str, str], known: Sequence[str], stacks: Sequence[Stack]
) -> tuple[str, tuple[str, ...]]:
    origin = (frame.function for found in stacks if found.role is Role.ALLOC for frame in found.frames if frame.trusted)
    values = {
        "origin": next((x for x in map(base, origin) if not is_plumbing(x) and not _BUFFERS.fullmatch(x)), NOBODY)
    }
    made = [
        normalise(template.format_map({**groups, **values, "frame": name}))
        for name in reversed(known)
        for template in (rule.title, *rule.alts)
    ]
    return made[0], tuple(sorted(set(made) - {made[0]}))


def _lock(messages: Sequence[str]) -> str | None:
    """Return the function that asked for the lock: the first place that the report names."""
    found = (match["function"] for message in messages[:_LOCK_WITHIN] if (match := _LOCK_AT.search(message)))
    return next(found, None)


def _accused(rule: Rule, stacks: Sequence[Stack]) -> list[Frame]:
    frames = list(frames_of(rule, stacks, Role.LOCK))
    start = dispatch.after_tick([base(frame.function) for frame in frames]) if rule.blame is Blame.STALL else None
    return frames[start:]


def _damaged(rule: Rule, messages: Sequence[str], frames: Sequence[Frame | None], stacks: Sequence[Stack]) -> bool:
    """Whether the report lacks a stack that it should have, or one that it announces."""
    if not any(_is_trace(found) for found in stacks):
        return True
    # A hang shows the stacks of other tasks and CPUs too: only the first has to be there.
    several = rule.blame in {Blame.WAITER, Blame.LOOP, Blame.STALL}
    promised: int | None = None
    for index, (message, frame) in enumerate(zip(messages, frames, strict=True)):
        if frame is not None:
            if several:
                return False
            promised = None
        elif promised is not None and index - promised > _STACK_WITHIN:
            return True
        elif stack.announces(message):
            if promised is not None:
                return True
            promised = index
    return promised is not None


def _is_trace(found: Stack) -> bool:
    """Whether this is a stack trace, and not only where a CPU stood or a lock was taken."""
    frames = sum(1 for frame in found.frames if frame.role is not Role.REGS)
    return frames >= (2 if found.role is Role.AUX else 1)


def _trusted(messages: Sequence[str], frames: Sequence[Frame | None]) -> list[str]:
    return [message for message, frame in zip(messages, frames, strict=True) if frame is None or frame.trusted]
