"""A guest's memory by physical address, fetched from QEMU in blocks as it is asked for."""

from collections.abc import Callable

BLOCK = 1 << 18
"""Bytes fetched at once: a fetch costs about a millisecond, and what is looked for lies together."""


class MissingError(Exception):
    """There is no memory at an address."""


class Physical:
    """Memory of a guest that stands still: a block that was fetched is not fetched again."""

    def __init__(self, fetch: Callable[[int, int], bytes]) -> None:
        """Take a function from address and size to bytes; short when there is no memory."""
        self._fetch = fetch
        self._blocks: dict[int, bytes] = {}

    def forget(self) -> None:
        """Forget everything: the guest has run since."""
        self._blocks.clear()

    def read(self, address: int, size: int) -> bytes:
        """Return `size` bytes.  Raises MissingError."""
        first, last = address // BLOCK, (address + size - 1) // BLOCK
        if first == last:
            at = address - first * BLOCK
            return self._block(first)[at : at + size]
        whole = b"".join(self._block(number) for number in range(first, last + 1))
        at = address - first * BLOCK
        return whole[at : at + size]

    def _block(self, number: int) -> bytes:
        block = self._blocks.get(number)
        if block is None:
            block = self._fetch(number * BLOCK, BLOCK)
            if len(block) != BLOCK:
                raise MissingError(f"no memory at {number * BLOCK:#x}")
            self._blocks[number] = block
        return block
