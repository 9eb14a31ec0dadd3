"""The host's side of the protocol on ttyS1; guest_tests/agent.c is the other side and documents it.

A line from the agent is ``<nonce> <word> <fields>``; what programs print travels with every byte outside
printable ASCII as ``%XX``, so that no program can forge a line of the protocol.
"""

import re
import socket
import time
from dataclasses import dataclass
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pexpect
from pexpect.socket_pexpect import SocketSpawn

SAFE = "/_.-:=,+@"
"""Bytes that need no escape in a field towards the guest."""
LINE_MOST = 4 << 20
"""Bytes of a line: the longest message is a file of 1 MiB with every byte escaped (agent.c, READ_MOST)."""

_INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Message:
    """One line from the agent: its word, and its fields as they came."""

    word: str
    fields: tuple[str, ...]

    def field(self, index: int) -> str:
        """Return field `index` decoded, an empty one when it is not there."""
        return unquote_to_bytes(self.fields[index]).decode("utf-8", "replace") if index < len(self.fields) else ""

    def rest(self, skip: int) -> str:
        """Return everything after the first `skip` fields, decoded."""
        return unquote_to_bytes(" ".join(self.fields[skip:])).decode("utf-8", "replace")

    def integer(self, index: int) -> int | None:
        """Return the integer that field `index` is, None when it is not one."""
        return _integer(self.fields[index]) if index < len(self.fields) else None

    def number(self, name: str) -> int | None:
        """Return the integer of field ``name=...``, None when it is not there."""
        return _integer(self.word_of(name))

    def word_of(self, name: str) -> str:
        """Return the text of field ``name=...``."""
        return next((f.partition("=")[2] for f in self.fields if f.startswith(name + "=")), "")


def _integer(text: str) -> int | None:
    return int(text) if _INTEGER.fullmatch(text) else None


class Agent:
    """Speaks with /init in the guest."""

    def __init__(self, wire: socket.socket, nonce: str) -> None:
        """Take over `wire`; lines without `nonce` are noise and are counted."""
        self._spawn: SocketSpawn[bytes] = SocketSpawn(wire, maxread=1 << 16, encoding=None)
        self._nonce = nonce.encode() + b" "
        self.noise = 0
        self.gone = False

    def receive(self, seconds: float) -> Message | None:
        """Return the next message, or None when none came within `seconds` (or ever will: `gone`)."""
        if self.gone:
            time.sleep(seconds)
            return None
        try:
            # A fixed string and not a pattern: of a long line only what is new is searched.
            found = self._spawn.expect_exact([b"\n", pexpect.TIMEOUT, pexpect.EOF], timeout=seconds)
        except BlockingIOError:  # what pexpect makes of a time-out that has just come to nothing
            return None
        except OSError:  # a reset, when QEMU went away with something of ours unread
            found = 2
        held = self._spawn.before or b""
        if found == 0:
            return self._message(held)
        self.gone = found == 2
        if len(held) > LINE_MOST:
            # All of it goes with a match of anything; what is left of the line is noise of its own.
            self._spawn.expect(re.compile(rb"(?s).+"), timeout=0)
            self.noise += 1
        return None

    def _message(self, line: bytes) -> Message | None:
        # What firmware or a driver left on the line before the agent had it ends without a line end.  Only
        # the first nonce counts: all of a program's text stands behind it.
        _, nonce, rest = line.rstrip(b"\r").partition(self._nonce)
        word, *fields = rest.decode("ascii", "replace").split(" ")
        if not nonce or not word:
            self.noise += 1
            return None
        return Message(word, tuple(fields))

    def send(self, *fields: str | int | bytes) -> None:
        """Send one command; every field is escaped."""
        words = [quote_from_bytes(f if isinstance(f, bytes) else str(f).encode(), safe=SAFE) for f in fields]
        try:
            self._spawn.send(" ".join(words).encode() + b"\n")
        except OSError:
            self.gone = True
