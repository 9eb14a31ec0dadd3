"""A kernel's memory with its symbols and its types: a drgn program over what QEMU gives.

Types come from an object that is compiled against the kernel (guest_tests/canary/types.c), since the kernel
itself has line tables and little more; its own debug information still has what a .c file keeps to itself
(struct memcg_stock_pcp, struct swap_cgroup_ctrl, struct zswap_entry), with gaps that drgn fills from the object.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import drgn
from drgn import Architecture, FaultError, Object, Platform, Program
from drgn.helpers.linux.list import list_for_each_entry

from pipeline.memory.paging import KERNEL_TEXT, Tables, UnmappedError
from pipeline.memory.physical import MissingError, Physical

HIGH = 1 << 63
"""Where the kernel's half of the address space begins."""
LEVELS_SYMBOL = "__pgtable_l5_enabled"
"""arch/x86/kernel/head64.c; not there without CONFIG_X86_5LEVEL (and gone with it, in 6.17)."""


class UnreadableError(Exception):
    """The memory, the symbols or the types are not what they should be; the text is one line."""


class Kernel:
    """What `Program` is for a kernel in a guest that stands still."""

    def __init__(self, vmlinux: Path, types: Path, memory: Physical) -> None:
        """Read symbols and types.  Raises UnreadableError."""
        self._memory = memory
        self.prog = Program(Platform(Architecture.X86_64))
        for path in (vmlinux, types):
            # Neither is what drgn calls the main module: vmlinux is linked for addresses below its headers.
            module = self.prog.extra_module(path.name, create=True)
            if not path.exists():
                raise UnreadableError(f"there is no {path.name}")
            module.try_file(path, force=True)
            if module.debug_file_status is not drgn.ModuleFileStatus.HAVE:
                raise UnreadableError(f"{path.name} has no debug information that drgn reads")
        self._tables = Tables(memory, self.address("init_top_pgt") - KERNEL_TEXT, self._levels())
        self.prog.add_memory_segment(HIGH, HIGH, lambda address, count, _offset, _physical: self.bytes(address, count))

    def _levels(self) -> int:
        try:
            address = self.address(LEVELS_SYMBOL)
        except UnreadableError:
            return 4
        return 5 if int.from_bytes(self._memory.read(address - KERNEL_TEXT, 4), "little") else 4

    def moved(self) -> None:
        """Say that the guest has run: nothing that was read is true any more."""
        self._memory.forget()
        self._tables.forget()

    def address(self, symbol: str) -> int:
        """Return a symbol's address.  Raises UnreadableError."""
        try:
            return int(self.prog.symbol(symbol).address)
        except LookupError:
            raise UnreadableError(f"this kernel has no {symbol}") from None

    def variable(self, name: str) -> Object:
        """Return a global or static variable.  Raises UnreadableError."""
        try:
            return self.prog.variable(name)
        except LookupError:
            raise UnreadableError(f"this kernel has no {name}, or no type for it") from None

    def has(self, name: str) -> bool:
        """Whether there is a variable of that name: some come with the configuration."""
        try:
            self.prog.variable(name)
        except LookupError:
            return False
        return True

    def bytes(self, address: int, size: int) -> bytes:
        """Return memory at a kernel address.  Raises FaultError."""
        try:
            return self._tables.read(address, size)
        except (UnmappedError, MissingError) as error:
            raise FaultError(str(error), address) from None

    def words(self, address: int, count: int) -> tuple[int, ...]:
        """Return `count` 64-bit words.  Raises FaultError."""
        return struct.unpack(f"<{count}Q", self.bytes(address, 8 * count))

    def offset(self, kind: str, member: str) -> int:
        """Return where a member stands in a structure, in bytes.  Raises LookupError."""
        return int(drgn.offsetof(self.prog.type(kind), member))

    def size(self, kind: str) -> int:
        """Return the size of a type in bytes.  Raises LookupError."""
        size = self.prog.type(kind).size
        assert size is not None
        return int(size)

    def at(self, kind: str, address: int) -> Object:
        """Return the object of type `kind` at an address."""
        return Object(self.prog, kind, address=address)

    @property
    def cpus(self) -> range:
        """The CPUs that may ever be there."""
        return range(int(self.variable("nr_cpu_ids")))

    def per_cpu(self, name: str) -> Iterator[Object]:
        """Yield each CPU's copy of a variable."""
        variable = self.variable(name)
        offsets = self.variable("__per_cpu_offset")
        for cpu in self.cpus:
            place = variable.address_
            assert place is not None
            yield Object(self.prog, variable.type_, address=place + int(offsets[cpu]) & (1 << 64) - 1)

    def each(self, head: Object, kind: str, member: str) -> Iterator[Object]:
        """Yield the entries of a list as pointers."""
        yield from list_for_each_entry(self.prog.type(kind), head.address_of_(), member)
