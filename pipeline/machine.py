"""The machine a guest sees: NUMA nodes and distances, and the QEMU argument vector that makes it.

Pure: text and numbers in, arguments out.  The rules are those of QEMU 7.2 (hw/core/numa.c) and of the
guest's own reading of the tables that QEMU writes (drivers/acpi/numa/srat.c); both have to accept a
machine, since a kernel that drops the distance table boots all the same and tests something else.

How the end of a guest is told apart, from QMP alone (`END_ACTIONS`, `pvpanic`, and no ``panic=`` on the
command line, so that a kernel which panicked stays where it is):

=======================  ==================================================  =========================
what happened            QMP                                                 QEMU afterwards
=======================  ==================================================  =========================
panic                    GUEST_PANICKED (CONFIG_PVPANIC), then STOP          paused, registers readable
triple fault             SHUTDOWN reason ``guest-reset``, then STOP          paused, registers readable
power-off by the agent   SHUTDOWN reason ``guest-shutdown``, then STOP       paused, until ``quit``
QEMU was told to quit    SHUTDOWN reason ``host-qmp-quit``                   gone
QEMU died                the socket closes with no SHUTDOWN before it        gone
=======================  ==================================================  =========================

Nothing in a guest of ours reboots, so a reset nobody asked for is a triple fault.  With ``panic=-1`` a
panic would be a reset too; that is why it must not be given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from pipeline.errors import UserError

LOCAL_DISTANCE = 10
"""Distance of a node to itself (ACPI 6.5, 5.2.17); Linux drops the whole table when another pair has it."""

REMOTE_DISTANCE = 20
"""What QEMU writes for a pair nobody declared."""

FARTHEST = 254
"""Largest distance; 255 says that there is no way from one node to the other."""

MAX_NODES = 64
"""Linux on x86-64 is built for 2**6 nodes unless MAXSMP is on (NODES_SHIFT, arch/x86/Kconfig)."""

MAX_CPUS = 255
"""More need an interrupt remapper that this machine has not."""

LEAST_MEMORY_MB = 256
"""MiB below which a KASAN kernel and its initramfs do not fit."""

END_ACTIONS = "reboot=shutdown,shutdown=pause,panic=pause"
"""For ``-action``: a guest that ends stays as it was, so that it can still be looked at."""


class Accel(Enum):
    """What runs the guest's instructions."""

    KVM = "kvm"
    TCG = "tcg"


_ACCEL_ARGV: dict[Accel, tuple[str, ...]] = {
    Accel.KVM: ("-accel", "kvm", "-cpu", "host"),
    # max has RDRAND, so that the guest's random pool is ready without a device; five page-table levels
    # only make every miss of the emulated TLB longer.
    Accel.TCG: ("-accel", "tcg,thread=multi", "-cpu", "max,la57=off"),
}


@dataclass(frozen=True, slots=True)
class Node:
    """One NUMA node: `memory_mb` in MiB, `cpus` a count; either may be 0."""

    memory_mb: int
    cpus: int


@dataclass(frozen=True, slots=True)
class Machine:
    """A topology.  `distances` is a full square matrix by node, or empty for 10 and 20."""

    name: str
    description: str
    nodes: tuple[Node, ...]
    distances: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        """Raise UserError unless QEMU and Linux would both take this machine as it is meant."""
        for complaint in complaints(self.nodes, self.distances):
            raise UserError(complaint, where=f"machine {self.name}")

    @property
    def memory_mb(self) -> int:
        """Memory of all nodes in MiB."""
        return sum(node.memory_mb for node in self.nodes)

    @property
    def cpus(self) -> int:
        """Virtual CPUs of all nodes; under TCG each wants a core of the host."""
        return sum(node.cpus for node in self.nodes)


def complaints(nodes: tuple[Node, ...], distances: tuple[tuple[int, ...], ...]) -> tuple[str, ...]:
    """Return what is wrong with a topology, one sentence each, most basic first."""
    found: list[str] = []
    if not 1 <= len(nodes) <= MAX_NODES:
        found.append(f"{len(nodes)} nodes; a machine has 1 to {MAX_NODES}")
    found += [
        f"node {i}: memory_mb and cpus cannot be negative"
        for i, node in enumerate(nodes)
        if node.memory_mb < 0 or node.cpus < 0
    ]
    if found:
        return tuple(found)
    found += [f"node {i} has neither memory nor CPUs" for i, x in enumerate(nodes) if not x.memory_mb and not x.cpus]
    memory, cpus = sum(x.memory_mb for x in nodes), sum(x.cpus for x in nodes)
    if memory < LEAST_MEMORY_MB:
        found.append(f"{memory} MiB in all; a kernel with sanitizers needs {LEAST_MEMORY_MB} to boot")
    if not 1 <= cpus <= MAX_CPUS:
        found.append(f"{cpus} CPUs in all; a machine has 1 to {MAX_CPUS}")
    return (*found, *_distance_complaints(len(nodes), distances))


def _distance_complaints(count: int, distances: tuple[tuple[int, ...], ...]) -> tuple[str, ...]:
    if not distances:
        return ()
    if len(distances) != count or any(len(row) != count for row in distances):
        return (f"distances must be {count} rows of {count}, one for each pair of nodes",)
    found: list[str] = []
    for i, row in enumerate(distances):
        for j, value in enumerate(row):
            if i == j and value != LOCAL_DISTANCE:
                found.append(f"distance of node {i} to itself is {value}; it is always {LOCAL_DISTANCE}")
            elif i != j and not LOCAL_DISTANCE < value <= FARTHEST:
                found.append(f"distance of node {i} to {j} is {value}; it must be {LOCAL_DISTANCE + 1} to {FARTHEST}")
    return tuple(found)


def topology_argv(machine: Machine) -> tuple[str, ...]:
    """Return the arguments for CPUs, memory and NUMA tables.

    Every CPU is a socket of its own: only then may any number of them stand on any node, and Linux does
    not find two that share a cache across nodes.  A node without memory has no backend and appears in
    the SRAT through its CPUs alone.
    """
    argv = ["-smp", f"{machine.cpus},sockets={machine.cpus},cores=1,threads=1", "-m", f"{machine.memory_mb}M"]
    socket = 0
    for i, node in enumerate(machine.nodes):
        if node.memory_mb:
            argv += ["-object", f"memory-backend-ram,id=mem{i},size={node.memory_mb}M"]
            argv += ["-numa", f"node,nodeid={i},memdev=mem{i}"]
        else:
            argv += ["-numa", f"node,nodeid={i}"]
    for i, node in enumerate(machine.nodes):
        for _ in range(node.cpus):
            argv += ["-numa", f"cpu,node-id={i},socket-id={socket}"]
            socket += 1
    for i, row in enumerate(machine.distances):
        for j, value in enumerate(row):
            argv += ["-numa", f"dist,src={i},dst={j},val={value}"]
    return tuple(argv)


def quoted(value: str) -> str:
    """Return `value` as QEMU's option parser wants it inside ``key=value,...``: commas doubled."""
    return value.replace(",", ",,")


def qemu_argv(
    machine: Machine,
    *,
    kernel: str,
    initrd: str,
    cmdline: Sequence[str],
    accel: Accel,
    console: str,
    agent: str,
    qmp: str,
    more: Sequence[str] = (),
    qemu: str = "qemu-system-x86_64",
) -> tuple[str, ...]:
    """Return the whole argument vector of one guest.

    `console` (ttyS0), `agent` (ttyS1) and `qmp` are chardev backends without an id, as after
    ``-chardev``: ``socket,fd=5``, ``socket,path=/x,server=on,wait=off``, ``stdio,signal=off``,
    ``null``; put paths through `quoted`.  The chardevs are called ``console``, ``agent`` and ``qmp``, so
    that ``chardev-send-break`` on ``console`` is a sysrq.  `cmdline` is one parameter an entry, without
    ``panic=``; `more` goes to the end, for callers that migrate or fork.

    Raises UserError for ``panic=`` in `cmdline` and for a parameter with white space in it, which the
    kernel would read as two.
    """
    for parameter in cmdline:
        if parameter.split() != [parameter] and '"' not in parameter:
            raise UserError(f"kernel parameter {parameter!r} holds white space", todo="give one parameter an entry")
        if parameter.partition("=")[0] == "panic":
            raise UserError(f"kernel parameter {parameter} makes a panic look like a triple fault", todo="leave it out")
    return (
        qemu,
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-machine",
        "q35,smm=off,sata=off,smbus=off,graphics=off,vmport=off",
        *_ACCEL_ARGV[accel],
        *topology_argv(machine),
        "-action",
        END_ACTIONS,
        "-device",
        "pvpanic",
        "-chardev",
        f"{console},id=console",
        "-serial",
        "chardev:console",
        "-chardev",
        f"{agent},id=agent",
        "-serial",
        "chardev:agent",
        "-chardev",
        f"{qmp},id=qmp",
        "-mon",
        "chardev=qmp,mode=control",
        "-kernel",
        kernel,
        "-initrd",
        initrd,
        "-append",
        " ".join(cmdline),
        *more,
    )
