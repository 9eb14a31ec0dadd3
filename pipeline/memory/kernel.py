"""A kernel's memory with its symbols and its types: a drgn program over what QEMU gives.

Types come from an object that is compiled against the kernel (guest_tests/canary/types.c), since the kernel
itself has line tables and hardly any types; its own debug information still has the structures that a .c file
keeps to itself (struct memcg_stock_pcp, struct swap_cgroup_ctrl, struct zswap_entry), with types of members
missing, so of those only the members' places are taken.  The two are kept apart: a type that one of them
has in part and the other whole would be found in either.
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
LONGEST = 1 << 17
"""Entries of a list: more than there can be memcgs, tasks or slab caches."""
LEVELS_SYMBOL = "__pgtable_l5_enabled"
"""arch/x86/kernel/head64.c; not there without CONFIG_X86_5LEVEL (and gone with it, in 6.17)."""


class UnreadableError(Exception):
    """The memory, the symbols or the types are not what they should be; the text is one line."""


class Kernel:
    """A kernel in a guest that stands still."""

    def __init__(self, vmlinux: Path, types: Path, memory: Physical) -> None:
        """Read symbols and types.  Raises UnreadableError."""
        self._memory = memory
        self._own = _program(vmlinux)
        self.prog = _program(types)
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
        return self._symbol(symbol)[0]

    def _symbol(self, name: str) -> tuple[int, int]:
        try:
            symbol = self._own.symbol(name)
        except LookupError:
            raise UnreadableError(f"this kernel has no {name}") from None
        return int(symbol.address), int(symbol.size)

    def has(self, symbol: str) -> bool:
        """Whether there is a variable of that name: some come with the configuration."""
        try:
            self._own.symbol(symbol)
        except LookupError:
            return False
        return True

    def variable(self, name: str, kind: str) -> Object:
        """Return a global or static variable.  Raises UnreadableError; LookupError for want of the type."""
        return Object(self.prog, kind, address=self.address(name))

    def array(self, name: str, kind: str) -> Object:
        """Return a variable that is an array of `kind`, of as many as it has room for.  Raises as `variable`."""
        address, size = self._symbol(name)
        element = self.prog.type(kind)
        return Object(self.prog, self.prog.array_type(element, size // drgn.sizeof(element)), address=address)

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
        return int(drgn.sizeof(self.prog.type(kind)))

    def own(self, kind: str, member: str) -> int:
        """Return where a member stands in a structure that a .c file keeps to itself.  Raises LookupError."""
        return int(drgn.offsetof(self._own.type(kind), member))

    def own_size(self, kind: str) -> int:
        """Return the size of a structure that a .c file keeps to itself.  Raises LookupError."""
        return int(drgn.sizeof(self._own.type(kind)))

    def word(self, address: int) -> int:
        """Return the 64-bit word at an address.  Raises FaultError."""
        return self.words(address, 1)[0]

    def at(self, kind: str, address: int) -> Object:
        """Return the object of type `kind` at an address."""
        return Object(self.prog, kind, address=address)

    def per_cpu(self, name: str) -> Iterator[int]:
        """Yield the address of each CPU's copy of a variable."""
        offsets = self.array("__per_cpu_offset", "unsigned long")
        for cpu in range(int(self.variable("nr_cpu_ids", "unsigned int"))):
            yield self.address(name) + int(offsets[cpu]) & (1 << 64) - 1

    def each(self, head: Object, kind: str, member: str) -> Iterator[Object]:
        """Yield the entries of a list as pointers.  Raises UnreadableError for a list without an end."""
        entries = list_for_each_entry(self.prog.type(kind), head.address_of_(), member)
        for count, entry in enumerate(entries):
            if count == LONGEST:
                raise UnreadableError(f"a list of {kind} does not come back to where it began")
            yield entry


def _program(path: Path) -> Program:
    """Return a program of one file.  Raises UnreadableError."""
    if not path.exists():
        raise UnreadableError(f"there is no {path.name}")
    program = Program(Platform(Architecture.X86_64))
    # Not what drgn calls the main module: a kernel is linked for addresses below its headers.
    module = program.extra_module(path.name, create=True)
    module.try_file(path, force=True)
    if module.debug_file_status is not drgn.ModuleFileStatus.HAVE:
        raise UnreadableError(f"{path.name} has no debug information that drgn reads")
    return program
