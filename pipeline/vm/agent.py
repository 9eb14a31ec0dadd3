"""The host's side of the protocol on ttyS1; guest_tests/agent.c is the other side and documents it.

A line from the agent is ``<nonce> <word> <fields>``; what programs print travels with every byte outside
printable ASCII as ``%XX``, so that no program can forge a line of the protocol.
"""

import re
import socket
from dataclasses import dataclass
from typing import cast
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pexpect
from pexpect.socket_pexpect import SocketSpawn

SAFE = "/_.-:=,+@"
"""Bytes that need no escape in a field towards the guest."""


@dataclass(frozen=True, slots=True)
class Message:
    """One line from the agent: its word, its fields as they came, and the last field decoded."""

    word: str
    fields: tuple[str, ...]

    def content(self, skip: int) -> bytes:
        """Return everything after the first `skip` fields, decoded."""
        return unquote_to_bytes(" ".join(self.fields[skip:]))

    def number(self, name: str) -> int:
        """Return the integer of field ``name=...``; 0 when it is not there."""
        for field in self.fields:
            key, _, value = field.partition("=")
            if key == name and value.lstrip("-").isdigit():
                return int(value)
        return 0

    def word_of(self, name: str) -> str:
        """Return the text of field ``name=...``."""
        return next((f.partition("=")[2] for f in self.fields if f.startswith(name + "=")), "")


class Agent:
    """Speaks with /init in the guest."""

    def __init__(self, wire: socket.socket, nonce: str) -> None:
        """Take over `wire`; lines without `nonce` are noise and are counted."""
        self._spawn = SocketSpawn(wire, maxread=1 << 16)
        self._nonce = nonce.encode()
        self.noise = 0
        self.gone = False

    def receive(self, seconds: float) -> Message | None:
        """Return the next message, or None when none came within `seconds` (or ever will: `gone`)."""
        if self.gone:
            return None
        found = self._spawn.expect([rb"([^\n]*)\n", pexpect.TIMEOUT, pexpect.EOF], timeout=seconds)
        if found != 0:
            self.gone = found == 2
            return None
        match = cast("re.Match[bytes]", self._spawn.match)
        line = match.group(1).rstrip(b"\r")
        nonce, _, rest = line.partition(b" ")
        if nonce != self._nonce or not rest:
            self.noise += 1
            return None
        word, *fields = rest.decode("ascii", "replace").split(" ")
        return Message(word, tuple(fields))

    def send(self, *fields: str | int | bytes) -> None:
        """Send one command; every field is escaped."""
        words = [quote_from_bytes(f if isinstance(f, bytes) else str(f).encode(), safe=SAFE) for f in fields]
        try:
            self._spawn.send(" ".join(words).encode() + b"\n")
        except OSError:
            self.gone = True
