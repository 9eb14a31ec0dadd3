"""Whom a report is named after."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from pipeline.findings import dispatch
from pipeline.findings.pattern import any_of, rx
from pipeline.findings.plumbing import base, is_plumbing
from pipeline.findings.rules.row import Blame, Rule
from pipeline.findings.stack import Stack
from pipeline.findings.types import Frame, Role

NOBODY = "corrupted"
"""What stands in a title for a function that the report does not show."""

# Ways to wait. A hung task is named after who waits, so every function that sounds like one is passed over,
_WAITING = rx(
    r"sched|_lock|_slowlock|down|rwsem|completion|kthread|wait|synchronize|context_switch|__switch_to"
    r"|cancel_delayed_work|rcu_barrier|flush_work"
)
# but for these, which are places of their own: everyone who waits here waits for the same.
_PLACES = any_of(r"_*synchronize_s?rcu\w* rtnl_lock lock_sock_nested")


# A CPU without work is not the one that stalls.
_IDLE = "do_idle"


def frames_of(rule: Rule, stacks: Sequence[Stack], *more: Role) -> Iterator[Frame]:
    """Give the frames of the stacks that a rule blames, one role after the other."""
    for role in (*rule.roles, *more):
        for stack in stacks:
            if stack.role is role:
                yield from stack.frames


def culprit(rule: Rule, groups: Mapping[str, str | None], stacks: Sequence[Stack], lock: str | None) -> str | None:
    """Return the function to blame, or None if the report does not show one.

    `groups` are those of the rule's patterns: ``fn`` is the function in the first line. `lock` is the
    function that asked for the lock, where the report is about one.
    """
    named = groups.get("fn") or lock
    named = base(named) if named else None
    if rule.blame is Blame.NOBODY:
        return None
    if rule.blame is Blame.RACE:
        return _race(groups, stacks)
    if named and (lock or rule.blame is Blame.HEADER) and not _passed(rule, named):
        return named
    found = _PICK.get(rule.blame, _first)(rule, stacks)
    return found or (named if named and (lock or not _passed(rule, named)) else None)


def _passed(rule: Rule, function: str) -> bool:
    name = base(function)
    return is_plumbing(name) or (rule.skip is not None and rule.skip.fullmatch(name) is not None)


def _nameable(frame: Frame) -> bool:
    # A frame without an offset was added by a symboliser for what the compiler inlined.
    return frame.trusted and frame.offset is not None


def _first(rule: Rule, stacks: Sequence[Stack]) -> str | None:
    frames = frames_of(rule, stacks)
    return next((base(x.function) for x in frames if _nameable(x) and not _passed(rule, x.function)), None)


def _names(stack: Stack) -> list[str]:
    return [base(frame.function) for frame in stack.frames if _nameable(frame)]


def _waiter(_: Rule, stacks: Sequence[Stack]) -> str | None:
    names = next((names for stack in stacks if stack.role is Role.CALL and (names := _names(stack))), [])
    place = next((name for name in names if _PLACES.fullmatch(name)), None)
    return place or next((name for name in names if not _WAITING.search(name) and not is_plumbing(name)), None)


def _loop(_: Rule, stacks: Sequence[Stack]) -> str | None:
    found = (dispatch.loop(_names(stack)) for stack in stacks if stack.role is Role.CALL)
    return next((name for name in found if name is not None), None)


def _stall(_: Rule, stacks: Sequence[Stack]) -> str | None:
    standing = None
    for stack in stacks:
        if stack.role is not Role.CALL:
            continue
        names = _names(stack)
        start = dispatch.after_tick(names)
        if start is not None and (found := dispatch.loop(names[start:])) != _IDLE:
            return found
        # The other CPU, stopped by an NMI: its registers come first.
        if standing is None and stack.frames[0].role is Role.REGS:
            standing = dispatch.loop(names)
            standing = None if standing == _IDLE else standing
    return standing


def _race(groups: Mapping[str, str | None], stacks: Sequence[Stack]) -> str | None:
    """Both functions of the race, in the order of the alphabet, as kernel/kcsan/report.c:sym_strcmp has them."""
    first, other = groups.get("fn"), groups.get("other")
    if first and other:
        return " / ".join(sorted((base(first), base(other))))
    tops = (stack.frames[0].function for stack in stacks if stack.role is Role.OTHER)
    known = first or next(tops, None)
    return base(known) if known else None


_PICK: dict[Blame, Callable[[Rule, Sequence[Stack]], str | None]] = {
    Blame.WAITER: _waiter,
    Blame.LOOP: _loop,
    Blame.STALL: _stall,
}
