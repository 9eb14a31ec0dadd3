"""Machines: what is refused, and what a real QEMU makes of those that are not."""

import json
import shutil
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline import proc
from pipeline.declare import machines
from pipeline.errors import UserError
from pipeline.machine import Accel, Machine, Node, complaints, qemu_argv, quoted, topology_argv

needs_qemu = pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="no QEMU on this machine")

SHIPPED = machines((Path(__file__).parent.parent / "pipeline/machines.yaml").read_text(), "machines.yaml")
ODD = (
    Machine("one", "the smallest", (Node(256, 1),)),
    Machine("lopsided", "distances that differ by direction", (Node(300, 2), Node(100, 1)), ((10, 11), (254, 10))),
    Machine("wide", "eight nodes", tuple(Node(64, i % 2) for i in range(8))),
)

HEADER = 0x100000
"""Where the toy kernels are loaded: 1 MiB, as multiboot kernels are."""

HELLO = b"\xb0K\x66\xba\xf8\x03\xee\xb0A\x66\xba\xf8\x02\xee"
"""K to COM1, A to COM2."""
TRIPLE_FAULT = b"\x6a\x00\x6a\x00\x0f\x01\x1c\x24\x0f\x0b"
"""An interrupt table of no entries, then an undefined instruction."""
POWER_OFF = b"\x66\xba\x04\x06\x66\xb8\x00\x20\x66\xef"
"""SLP_EN to PM1a_CNT."""
PANIC = b"\x66\xba\x05\x05\xb0\x01\xee"
"""PVPANIC_PANICKED to the pvpanic port."""
HALT = b"\xf4\xeb\xfd"


def toy_kernel(code: bytes) -> bytes:
    """Return a multiboot kernel that writes to both serial lines and then runs `code`."""
    entry = HEADER + 32
    # A stack first: the loader promises none.
    body = b"\xbc" + struct.pack("<I", HEADER + 0x8000) + HELLO + code + HALT
    flags = 1 << 16
    head = struct.pack("<III", 0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFFFFFF)
    return head + struct.pack("<IIIII", HEADER, HEADER, 0, HEADER + 0x10000, entry) + body


class Qmp:
    """A QMP line and the two serial lines of a QEMU under test."""

    def __init__(self, wires: dict[str, socket.socket]) -> None:
        """Shake hands on the line called qmp."""
        self.wires = wires
        self.file = wires["qmp"].makefile("rwb")
        assert "QMP" in json.loads(self.file.readline())
        self.events: list[dict[str, Any]] = []
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: Any) -> Any:
        """Run a command, keep the events that come before its answer."""
        self.file.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        self.file.flush()
        while True:
            message = json.loads(self.file.readline())
            if "event" in message:
                self.events.append(message)
            else:
                return message["return"]

    def until(self, event: str) -> dict[str, Any]:
        """Wait for an event, or find it among those that came."""
        while not any(x["event"] == event for x in self.events):
            self.events.append(json.loads(self.file.readline()))
        return next(x for x in self.events if x["event"] == event)


@contextmanager
def qemu(machine: Machine, folder: Path, code: bytes = HALT, more: tuple[str, ...] = ()) -> Iterator[Qmp]:
    """Boot a toy kernel on `machine` with exactly the arguments that a guest gets."""
    (folder / "toy").write_bytes(toy_kernel(code))
    (folder / "initrd").write_bytes(b"\0" * 512)
    with ExitStack() as stack:
        ours, theirs = {}, {}
        for name in ("console", "agent", "qmp"):
            ours[name], theirs[name] = (stack.enter_context(x) for x in socket.socketpair())
            ours[name].settimeout(60)
        argv = qemu_argv(
            machine,
            kernel=str(folder / "toy"),
            initrd=str(folder / "initrd"),
            cmdline=("console=ttyS0",),
            accel=Accel.TCG,
            more=more,
            **{name: f"socket,fd={wire.fileno()}" for name, wire in theirs.items()},
        )
        stack.enter_context(proc.start(argv, pass_fds=[x.fileno() for x in theirs.values()], stderr=None))
        for wire in theirs.values():
            wire.close()
        yield Qmp(ours)


@needs_qemu
@pytest.mark.parametrize("machine", [*SHIPPED, *ODD], ids=lambda x: x.name)
def test_qemu_takes_every_machine_and_builds_it_as_declared(machine: Machine, tmp_path: Path) -> None:
    """QEMU itself says which node has which CPUs and how much memory."""
    with qemu(machine, tmp_path, more=("-S",)) as guest:
        told = guest.ask("human-monitor-command", **{"command-line": "info numa"}).splitlines()
        guest.ask("quit")
    cpus = {line.partition(" cpus:")[0]: len(line.partition(" cpus:")[2].split()) for line in told if " cpus:" in line}
    sizes = {x.partition(" size: ")[0]: int(x.partition(" size: ")[2].split()[0]) for x in told if " size: " in x}
    assert cpus == {f"node {i}": node.cpus for i, node in enumerate(machine.nodes)}
    assert sizes == {f"node {i}": node.memory_mb for i, node in enumerate(machine.nodes)}


@needs_qemu
@pytest.mark.parametrize(
    ("code", "event", "reason"),
    [
        (TRIPLE_FAULT, "SHUTDOWN", "guest-reset"),
        (POWER_OFF, "SHUTDOWN", "guest-shutdown"),
        (PANIC, "GUEST_PANICKED", None),
    ],
)
def test_the_ends_of_a_guest_differ_on_qmp(code: bytes, event: str, reason: str | None, tmp_path: Path) -> None:
    """A triple fault, a power-off and a panic are told apart, and QEMU stays for a look at the registers."""
    with qemu(SHIPPED[0], tmp_path, code) as guest:
        assert guest.until(event)["data"].get("reason") == reason
        guest.until("STOP")
        assert "EIP=" in guest.ask("human-monitor-command", **{"command-line": "info registers"})
        other = {"SHUTDOWN", "GUEST_PANICKED", "RESET"} - {event}
        assert not other & {x["event"] for x in guest.events}
        assert guest.wires["console"].recv(100).endswith(b"K")
        assert guest.wires["agent"].recv(100) == b"A"
        guest.ask("quit")


def test_every_cpu_is_placed_once_and_in_order() -> None:
    """A node of two CPUs gets two sockets, the next node the one after."""
    argv = topology_argv(Machine("m", "", (Node(256, 2), Node(0, 1), Node(256, 0))))
    assert [x for x in argv if x.startswith("cpu,")] == [
        "cpu,node-id=0,socket-id=0",
        "cpu,node-id=0,socket-id=1",
        "cpu,node-id=1,socket-id=2",
    ]
    assert [x for x in argv if x.startswith("node,")] == [
        "node,nodeid=0,memdev=mem0",
        "node,nodeid=1",
        "node,nodeid=2,memdev=mem2",
    ]


@pytest.mark.parametrize(
    ("nodes", "distances", "said"),
    [
        ((), (), "0 nodes"),
        ((Node(-1, 1),), (), "cannot be negative"),
        ((Node(512, 1), Node(0, 0)), (), "node 1 has neither"),
        ((Node(128, 1),), (), "128 MiB in all"),
        ((Node(0, 1),), (), "0 MiB in all"),
        ((Node(512, 0),), (), "0 CPUs in all"),
        ((Node(512, 256),), (), "256 CPUs in all"),
        ((Node(512, 1), Node(512, 1)), ((10, 20),), "2 rows of 2"),
        ((Node(512, 1), Node(512, 1)), ((10, 20), (20,)), "2 rows of 2"),
        ((Node(512, 1), Node(512, 1)), ((10, 20), (20, 11)), "node 1 to itself is 11"),
        ((Node(512, 1), Node(512, 1)), ((10, 10), (20, 10)), "node 0 to 1 is 10"),
        ((Node(512, 1), Node(512, 1)), ((10, 255), (20, 10)), "node 0 to 1 is 255"),
    ],
)
def test_bad_topologies_are_refused(nodes: tuple[Node, ...], distances: tuple[tuple[int, ...], ...], said: str) -> None:
    """Each with one sentence that names the node."""
    assert said in complaints(nodes, distances)[0]
    with pytest.raises(UserError, match=r"^machine m: "):
        Machine("m", "", nodes, distances)


def test_parameters_that_would_lie_are_refused() -> None:
    """White space splits a parameter in the guest, and panic= hides what ended it."""

    def argv(*cmdline: str) -> tuple[str, ...]:
        return qemu_argv(
            SHIPPED[0],
            kernel="k",
            initrd="i",
            cmdline=cmdline,
            accel=Accel.KVM,
            console="null",
            agent="null",
            qmp="null",
        )

    assert "a=b c" in argv("a=b", "c")
    with pytest.raises(UserError, match="white space"):
        argv("a=b c")
    with pytest.raises(UserError, match="triple fault"):
        argv("panic=-1")
    assert "panic_on_warn=1" in argv("panic_on_warn=1")


def test_commas_in_paths_survive_the_option_parser() -> None:
    """QEMU splits options at commas unless they are doubled."""
    assert quoted("/a,b/c") == "/a,,b/c"
