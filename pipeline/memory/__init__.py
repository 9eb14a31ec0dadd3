"""The guest's memory, read from the host while the guest stands still: what holds a memcg (docs/pins.md)."""

from pipeline.memory.kernel import Kernel, UnreadableError
from pipeline.memory.look import look
from pipeline.memory.physical import Physical

__all__ = ["Kernel", "Physical", "UnreadableError", "look"]
