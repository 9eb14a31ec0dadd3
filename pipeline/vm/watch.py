"""One program while it runs: what the agent has said of it, and what that comes to."""

from dataclasses import dataclass, field

from pipeline.run import Ended
from pipeline.vm.agent import Message

OUTPUT_MOST = 8 << 20
"""Bytes of our memory for what a program prints; KTAP takes a few KiB."""
OVERHEAD = 60
"""Bytes that CPython spends on a text beside its characters."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one program came to its end; `exit_status` and `cycles` are None when they were not seen."""

    ended: Ended
    detail: str
    output: tuple[str, ...]
    exit_status: int | None
    seconds: float
    cycles: int | None


@dataclass(slots=True)
class Watch:
    """The state of one trial; times are those of the guest's clock."""

    ident: str
    program: str
    began: float
    ended: Ended | None = None
    detail: str = ""
    moved: float = 0.0
    cycles: int | None = None
    exit_status: int | None = None
    _output: list[str] = field(default_factory=list)
    _room: int = OUTPUT_MOST
    _left_out: int = 0
    _started: bool = False

    def __post_init__(self) -> None:
        """Begin where the clock is."""
        self.moved = self.began

    def end(self, ended: Ended, detail: str) -> None:
        """Say how it ended; the last word counts."""
        self.ended, self.detail = ended, detail

    def take(self, message: Message, now: float) -> bool:
        """Take a message of the agent; return whether it is news of this program's progress."""
        if message.word == "error":
            text = message.rest(0)
            # Anything else that went wrong in the guest stands in the way of nothing yet.
            if not self._started or text.startswith(f"run {self.ident}"):
                self.end(Ended.LOST, f"the agent says: {text}")
        if message.field(0) != self.ident:
            return False
        match message.word:
            case "started":
                self._started = True
            case "out":
                self._say(message.rest(1))
            case "tick":
                self._tick(message.integer(1), now)
            case "done":
                self._done(message)
            case _:
                pass  # of a newer agent, or damaged
        return message.word == "tick"

    def _say(self, line: str) -> None:
        cost = len(line) + OVERHEAD
        if cost > self._room:
            self._left_out += 1
            self._room = 0  # not a shorter one after it either: the order is what is read
            return
        self._room -= cost
        self._output.append(line)

    def _tick(self, count: int | None, now: float) -> None:
        self._started = True
        if count is not None and count != self.cycles:
            # The first tick of a program that has done nothing yet is no progress.
            self.moved = now if count or self.cycles else self.moved
            self.cycles = count

    def _done(self, message: Message) -> None:
        status, killed = message.number("exit"), message.number("signal")
        self.exit_status = -killed if killed else status
        if status is None or killed is None:
            self.end(Ended.LOST, "the agent did not say how the program ended")
        elif message.word_of("why") == "watchdog":
            self.end(Ended.TIMEOUT, f"{self.program} was not through when its watchdog fired")
        else:
            self.end(Ended.DONE, "")

    def outcome(self, seconds: float) -> Outcome:
        """Return it as data; `seconds` of the host's time went by."""
        output = tuple(self._output)
        if self._left_out:
            output += (f"# kpv: {self._left_out} lines are left out here",)
        ended = self.ended or Ended.LOST
        return Outcome(ended, self.detail, output, self.exit_status, seconds, self.cycles)
