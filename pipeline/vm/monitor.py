"""QMP for a caller that has no event loop: one private loop a guest, closed with it.

`qemu.qmp.legacy` shares one loop among all its users, never closes it, and leaves tasks behind when an
interrupt comes in the middle of a call; asyncio then complains on standard error when kpv ends.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from qemu.qmp import QMPClient, QMPError

T = TypeVar("T")

# It logs what it also raises, and a logger without a handler writes to standard error.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())

GONE = (QMPError, OSError, TimeoutError, EOFError, asyncio.CancelledError)
"""What a call raises when QEMU does not answer, or not any more."""


class Monitor:
    """A QMP connection; every call runs the loop for as long as it takes, and no longer."""

    def __init__(self) -> None:
        """Make a loop; nothing is connected yet."""
        self._loop = asyncio.new_event_loop()
        self._client = QMPClient("kpv")
        self._interrupted: set[asyncio.Task[Any]] = set()

    def connect(self, wire: socket.socket, seconds: float) -> None:
        """Take over `wire` and negotiate.  Raises one of GONE."""
        self._sync(self._client.connect(wire), seconds)

    def execute(self, name: str, arguments: Mapping[str, object], seconds: float) -> Any:
        """Run a command and return its answer.  Raises one of GONE."""
        return self._sync(self._client.execute(name, dict(arguments)), seconds)

    def events(self, seconds: float = 0.0) -> list[Mapping[str, Any]]:
        """Return the events that came since the last call, after listening for `seconds`."""
        with contextlib.suppress(*GONE):
            # A message takes several turns of the loop from the socket to the queue.
            for _ in range(4):
                self._sync(asyncio.sleep(0), 1.0)
            if seconds:
                self._sync(asyncio.sleep(seconds), seconds + 1.0)
        return list(self._client.events.clear())

    def close(self) -> None:
        """Disconnect, end what still runs in the loop, and close it.  Harmless the second time."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(*GONE):
            self._sync(self._client.disconnect(), 1.0)
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        if left:
            self._loop.run_until_complete(asyncio.wait(left, timeout=1.0))
        for task in left | self._interrupted:
            if task.done() and not task.cancelled():
                task.exception()  # asked for, so that asyncio does not print it
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _sync(self, call: Awaitable[T], seconds: float) -> T:
        task = self._loop.create_task(asyncio.wait_for(call, seconds))
        try:
            return self._loop.run_until_complete(task)
        except BaseException:
            self._interrupted.add(task)  # Ctrl-C leaves it as it was
            raise
