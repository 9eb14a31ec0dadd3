"""A QEMU that has no guest: it takes the arguments of pipeline/machine.py and plays a boot.

Installed as ``qemu-system-x86_64`` on PATH.  The console's FIFOs and the two inherited sockets are served as QEMU and
guest_tests/agent.c serve them: the console (ttyS0), the agent's protocol (ttyS1), QMP.

What it plays is said by the JSON file that FAKEQEMU names: ``{moment: [action, ...]}``.  Where that
has no row for a moment, DEFAULTS holds.  A kernel image that holds the text ``fakeqemu:NAME:`` plays
the scenario PRESETS[NAME] on top, so that what a series does to the toy kernel decides how it runs.

Moments:  start (before QMP's greeting), boot, run, run:N (the Nth program), scan, poweroff, sysrq,
sysrq:K, load, canary (the program that leaks), plant, plant:FAULT.  Paths are moments too:
``read:/proc/x``, ``write:/proc/x``.
Actions:  see the functions ``do_*``; each is ``[name, argument, ...]``.  In texts ``{nonce}``, ``{id}``,
``{program}``, ``{seed}``, ``{argv}`` stand for what they are called.
"""

import contextlib
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote

BANNER = "Linux version 6.12.0 (kpv@kpv) (gcc (Debian 12.2.0-14) 12.2.0, GNU ld 2.40) #1 SMP"
ALIVE = (
    BANNER,
    "kasan: KernelAddressSanitizer initialized (generic)",
    "Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar",
    "rcu: \tRCU lockdep checking is enabled.",
    "kmemleak: Kernel memory leak detector initialized (mem pool available: 15000)",
    "kcsan: enabled early",
    "kcsan: selftest: 3/3 tests passed",
)
"""What the detectors of kconfigs/profiles.yaml print when they come up."""

FILES = {
    "/proc/lockdep_stats": " debug_locks:                             1\n",
    "/sys/kernel/debug/kmemleak": "",
    "/sys/kernel/debug/debug_objects/stats": "max_chain     :3\n",
    "/sys/kernel/debug/kcsan": "enabled: 1\n",
    "/proc/sys/kernel/hung_task_timeout_secs": "120\n",
    "/proc/sys/kernel/soft_watchdog": "1\n",
    "/sys/module/workqueue/parameters/watchdog_thresh": "30\n",
    "/proc/sys/kernel/watchdog_thresh": "30\n",
}

KASAN = """\
==================================================================
BUG: KASAN: slab-use-after-free in mem_cgroup_iter+0x2f1/0x5c0
Read of size 8 at addr ffff888004a3c010 by task memcg_churn/77

CPU: 0 UID: 0 PID: 77 Comm: memcg_churn Not tainted 6.12.0 #1
Hardware name: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.16.2-debian-1.16.2-1 04/01/2014
Call Trace:
 <TASK>
 dump_stack_lvl+0x4e/0x70
 print_report+0xc1/0x610
 kasan_report+0xb6/0xf0
 mem_cgroup_iter+0x2f1/0x5c0
 shrink_node_memcgs+0x15a/0x3a0
 shrink_node+0x2c1/0xb10
 do_try_to_free_pages+0x12b/0x6c0
 try_to_free_mem_cgroup_pages+0x1a1/0x3b0
 memory_reclaim+0x19d/0x2a0
 kernfs_fop_write_iter+0x1b5/0x2a0
 vfs_write+0x5c1/0x7c0
 ksys_write+0xb5/0x140
 do_syscall_64+0x5b/0x130
 entry_SYSCALL_64_after_hwframe+0x76/0x7e
 </TASK>

Allocated by task 70:
 kasan_save_stack+0x20/0x40
 kasan_save_track+0x10/0x30
 __kasan_kmalloc+0x8b/0x90
 mem_cgroup_css_alloc+0x3f/0x9c0
 cgroup_apply_control_enable+0x21a/0x5b0
 cgroup_mkdir+0x1f1/0x6d0
 kernfs_iop_mkdir+0xb7/0x120

Freed by task 12:
 kasan_save_stack+0x20/0x40
 kasan_save_track+0x10/0x30
 kasan_save_free_info+0x37/0x50
 __kasan_slab_free+0x33/0x40
 kfree+0xb4/0x2d0
 css_free_rwork_fn+0xb5/0x560
 process_one_work+0x3a1/0x7c0
 worker_thread+0x2c1/0x590

The buggy address belongs to the object at ffff888004a3c000
 which belongs to the cache kmalloc-4k of size 4096
The buggy address is located 16 bytes inside of
 freed 4096-byte region [ffff888004a3c000, ffff888004a3d000)

Memory state around the buggy address:
 ffff888004a3bf00: fc fc fc fc fc fc fc fc fc fc fc fc fc fc fc fc
>ffff888004a3c000: fa fb fb fb fb fb fb fb fb fb fb fb fb fb fb fb
                         ^
 ffff888004a3c080: fb fb fb fb fb fb fb fb fb fb fb fb fb fb fb fb
=================================================================="""

PANIC = """\
Kernel panic - not syncing: Fatal exception in interrupt
Kernel Offset: disabled
---[ end Kernel panic - not syncing: Fatal exception in interrupt ]---"""

STACKS = """\
sysrq: Show backtrace of all active CPUs
NMI backtrace for cpu 0
CPU: 0 UID: 0 PID: 77 Comm: memcg_churn Not tainted 6.12.0 #1
RIP: 0010:mem_cgroup_iter+0x2f1/0x5c0
Call Trace:
 <TASK>
 shrink_node+0x2c1/0xb10
 </TASK>"""

_STACK = """\
CPU: 0 UID: 0 PID: 47 Comm: canary-x Tainted: G           O       6.12.0 #1
Call Trace:
 <TASK>
 dump_stack_lvl+0xa4/0xe0
 {function}+0x5c/0x60 [canary]
 come_about+0x26/0x40 [canary]
 kthread+0x2eb/0x3e0
 ret_from_fork_asm+0x11/0x20
 </TASK>
---[ end trace 0000000000000000 ]---"""

CANARIES = {
    "rcu": """\
=============================
WARNING: suspicious RCU usage
6.12.0 #1 Tainted: G           O
-----------------------------
canary.c:104 suspicious rcu_dereference_check() usage!
"""
    + _STACK.replace("{function}", "lockdep_rcu_suspicious+0x1f1/0x280\n canary_rcu"),
    "atomic-sleep": """\
BUG: sleeping function called from invalid context at canary.c:112
in_atomic(): 1, irqs_disabled(): 0, non_block: 0, pid: 48, name: canary-atomic-s
"""
    + _STACK.replace("{function}", "__might_resched+0x350/0x560\n canary_sleep"),
    "lockdep": """\
======================================================
WARNING: possible circular locking dependency detected
6.12.0 #1 Tainted: G        W  O
------------------------------------------------------
canary-lockdep/49 is trying to acquire lock:
ffffffffa0003268 (lock_a){+.+.}-{3:3}, at: canary_lockdep+0x54/0x70 [canary]

but task is already holding lock:
ffffffffa00031a8 (lock_b){+.+.}-{3:3}, at: canary_lockdep+0x46/0x70 [canary]

stack backtrace:
"""
    + _STACK.replace("{function}", "canary_lockdep"),
    "debug-objects": """\
------------[ cut here ]------------
ODEBUG: init active (active state 0) object: 0000000024c38d54 object type: timer_list hint: nothing_due+0x0/0x10
WARNING: CPU: 0 PID: 51 at lib/debugobjects.c:514 debug_print_object+0x19e/0x2a0
RIP: 0010:debug_print_object+0x19e/0x2a0
"""
    + _STACK.replace("{function}", "init_timer_key+0x28/0x100\n canary_odebug"),
    "hung-task": """\
INFO: task canary-hung-tas:52 blocked for more than 2 seconds.
      Tainted: G        W  O       6.12.0 #1
"echo 0 > /proc/sys/kernel/hung_task_timeout_secs" disables this message.
task:canary-hung-tas state:D stack:0     pid:52    tgid:52    ppid:2      flags:0x00004000
"""
    + _STACK.replace("{function}", "schedule+0xe3/0x2d0\n canary_hang"),
    "soft-lockup": """\
watchdog: BUG: soft lockup - CPU#0 stuck for 2s! [canary-soft-loc:53]
RIP: 0010:canary_spin+0xa0/0x110 [canary]
"""
    + _STACK.replace("{function}", "canary_spin"),
    "workqueue": """\
BUG: workqueue lockup - pool cpus=1 node=1 flags=0x0 nice=0 stuck for 2s!
Showing busy workqueues and worker pools:
workqueue events: flags=0x0
  pwq 6: cpus=1 node=1 flags=0x0 nice=0 active=2 refcnt=3
---[ end trace 0000000000000000 ]---""",
    "kcsan": """\
==================================================================
BUG: KCSAN: data-race in canary_race_reader / canary_race_writer

read-write to 0xffffffffa0003000 of 8 bytes by task 60 on cpu 0:
 canary_race_writer+0x1c/0x40 [canary]
 kthread+0x2eb/0x3e0

read to 0xffffffffa0003000 of 8 bytes by task 61 on cpu 1:
 canary_race_reader+0x1c/0x40 [canary]
 kthread+0x2eb/0x3e0

value changed: 0x0000000000001111 -> 0x0000000000002222

Reported by Kernel Concurrency Sanitizer on:
CPU: 1 UID: 0 PID: 61 Comm: canary-reader Tainted: G           O       6.12.0 #1
==================================================================""",
    "kasan": """\
==================================================================
BUG: KASAN: slab-use-after-free in canary_kasan+0x83/0xa0 [canary]
Read of size 1 at addr ffff88800858d710 by task canary-kasan/57

"""
    + _STACK.replace("{function}", "canary_kasan").replace("---[ end trace 0000000000000000 ]---", "=" * 66),
    "list": """\
list_add corruption. next->prev should be prev (ffffffffa0003000), but was ffffffffa0004740. (next=ffffffffa0004700).
------------[ cut here ]------------
kernel BUG at lib/list_debug.c:29!
Oops: invalid opcode: 0000 [#1] PREEMPT SMP KASAN
RIP: 0010:__list_add_valid_or_report+0xa5/0x100
"""
    + _STACK.replace("{function}", "canary_list"),
}
"""What a kernel says of each fault of guest_tests/canary/canary.c, cut short."""

BALANCED = ("cgroups.memory", "shrinkers", "fs.dentries", "meminfo.KernelStack", "node0.free")
"""Rows that stand in every book (pipeline/ledger/table.py)."""

LEAKED = """\
unreferenced object 0xffff888008710c00 (size 512):
  comm "canary-kmemleak", pid 44, jiffies 4294893956
  hex dump (first 32 bytes):
    4c 4c 4c 4c 4c 4c 4c 4c 4c 4c 4c 4c 4c 4c 4c 4c  LLLLLLLLLLLLLLLL
  backtrace (crc b73ac269):
    kmemleak_alloc+0x24/0x30
    __kmalloc_cache_noprof+0x2d4/0x3a0
    canary_kmemleak+0x41/0x80 [canary]
    come_about+0x26/0x40 [canary]
    kthread+0x2eb/0x3e0
"""

DEFAULTS: dict[str, list[list[Any]]] = {
    "start": [],
    "boot": [["alive"], ["ready"]],
    "run": [["begin"], ["tick", 1], ["tick", 4711], ["ktap", 2], ["books"], ["done"]],
    "scan": [["leaks", 0, ""]],
    "canary": [["begin"], ["tick", 1], ["ktap", 1], ["books", 12], ["done"]],
    "load": [["agent", "loaded {path} 0"]],
    "plant": [["reported"]],
    "poweroff": [["agent", "bye"], ["off"]],
    "sysrq": [["stacks"]],
}

PRESETS: dict[str, dict[str, list[list[Any]]]] = {
    "kasan": {"run": [["begin"], ["tick", 3], ["kasan"], ["tick", 5], ["stall"]]},
    "late": {"run": [["begin"], ["tick", 3], ["ktap", 2], ["done"], ["sleep", 0.1], ["kasan"]]},
    "panic": {"run": [["begin"], ["tick", 3], ["panic"]]},
    "reset": {"run": [["begin"], ["tick", 3], ["reset"]]},
    "nottest": {
        "run": [
            ["begin"],
            ["tick", 3],
            ["out", "KTAP version 1"],
            ["out", "1..1"],
            ["out", "not ok 1 walk"],
            ["done", 1],
        ]
    },
    "deadboot": {"boot": [["alive"], ["panic"]]},
    "die": {"run": [["begin"], ["tick", 3], ["die", "ABRT", "qemu: out of luck"]]},
    "slow": {"run": [["begin"], ["tick", 1], ["out", "waiting"], ["stall"]]},
}


class Machine:
    """The process: its three wires, and what it plays on them."""

    def __init__(self, argv: list[str]) -> None:
        """Find the wires and what to play."""
        self.argv = argv
        self.wires: dict[str, socket.socket] = {}
        for word in argv:
            if match := re.match(r"socket,fd=(\d+),id=(\w+)$", word):
                self.wires[match[2]] = socket.socket(fileno=int(match[1]))
            if match := re.match(r"pipe,path=(.*),id=console$", word):
                path = match[1].replace(",,", ",")
                self.typed = os.open(f"{path}.in", os.O_RDWR)
                self.printed = os.open(f"{path}.out", os.O_RDWR)
        missing = {"agent", "qmp"} - set(self.wires) | ({"console"} if self.printed < 0 else set())
        if missing:
            sys.exit(f"fakeqemu: no chardev {', '.join(sorted(missing))}")
        cmdline = argv[argv.index("-append") + 1]
        self.nonce = match[1] if (match := re.search(r"kpv\.nonce=(\w+)", cmdline)) else ""
        self.moments: dict[str, list[list[Any]]] = dict(DEFAULTS)
        kernel = Path(argv[argv.index("-kernel") + 1])
        image = kernel.read_bytes() if kernel.exists() else b""
        for name in re.findall(rb"fakeqemu:(\w+):", image):
            self.moments |= PRESETS[name.decode()]
        if path := os.environ.get("FAKEQEMU"):
            self.moments |= json.loads(Path(path).read_text())
        self.names = {"nonce": self.nonce, "argv": " ".join(argv), "id": "", "program": "", "seed": "", "fault": ""}
        self.clock = self.tick = 0.0
        self.lock = threading.Lock()
        self.broken = threading.Event()
        self.negotiated = threading.Event()
        self.runs = self.scans = 0
        self.ended = False

    # --- wires

    typed = printed = -1
    """The console's FIFOs."""

    def send(self, wire: str, data: bytes) -> None:
        """Send all of `data`; whoever does not listen any more does not stop us, as with QEMU."""
        with contextlib.suppress(OSError):
            if wire != "console":
                self.wires[wire].sendall(data)
            while wire == "console" and data:
                data = data[os.write(self.printed, data) :]

    def printk(self, text: str) -> None:
        """Print lines as the kernel does, stamped."""
        for line in text.split("\n"):
            self.send("console", f"[{self.clock:12.6f}] {line}\r\n".encode())
            self.clock += self.tick

    def tell(self, text: str) -> None:
        """Send a line of the protocol."""
        self.send("agent", f"{self.nonce} {text}\n".encode())

    def event(self, name: str, **data: object) -> None:
        """Send a QMP event, which QEMU does to nobody who has not negotiated."""
        self.negotiated.wait()
        stamp = {"seconds": int(time.time()), "microseconds": 0}
        row = {"event": name, "data": data, "timestamp": stamp} if data else {"event": name, "timestamp": stamp}
        with self.lock:
            self.send("qmp", json.dumps(row).encode() + b"\r\n")

    # --- playing

    def play(self, *moments: str) -> None:
        """Do what the first of `moments` that there is asks for."""
        actions = next((self.moments[moment] for moment in moments if moment in self.moments), [])
        for name, *arguments in actions:
            if self.ended:
                return
            getattr(self, f"do_{name}")(*arguments)

    def fill(self, text: str) -> str:
        """Put names into a text."""
        return re.sub(r"\{(\w+)\}", lambda match: self.names.get(match[1], match[0]), text)

    def do_console(self, text: str) -> None:
        """Print stamped lines."""
        self.printk(self.fill(text))

    def do_raw(self, wire: str, text: str) -> None:
        """Send bytes as they are (latin-1) on a wire."""
        self.send(wire, self.fill(text).encode("latin-1"))

    def do_agent(self, text: str) -> None:
        """Send a line of the protocol."""
        self.tell(self.fill(text))

    def do_out(self, text: str) -> None:
        """Let the program print a line."""
        self.tell(
            f"out {self.names['id']} " + quote_from_bytes(text.encode(), safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
        )

    def do_sleep(self, seconds: float) -> None:
        """Do nothing for a while."""
        time.sleep(seconds)

    def do_alive(self) -> None:
        """Boot, with every detector; the clock stands at 0 until there is one."""
        for line in ALIVE:
            self.printk(line)
        self.clock, self.tick = 1.0, 0.000_1

    def do_ready(self) -> None:
        """Let the agent come up."""
        self.printk("kpv: ready")
        self.tell("ready 6.12.0 cpus=2 nodes=2")

    def do_begin(self) -> None:
        """Begin the program."""
        self.printk(self.fill("kpv: begin {id} {program} seed={seed}"))
        self.tell(self.fill("started {id} pid=77"))

    def do_tick(self, cycles: int) -> None:
        """Report the program's count."""
        self.tell(f"tick {self.names['id']} {cycles}")

    def do_ticks(self, count: int, every: float, step: int = 1) -> None:
        """Report a growing count (a standing one with step 0), as the agent does each second."""
        for turn in range(count):
            self.tell(f"tick {self.names['id']} {1 + turn * step}")
            time.sleep(every)

    def do_ktap(self, tests: int, seen: int | None = None) -> None:
        """Let the program print a document that promises `tests` and keeps `seen` of them."""
        self.do_out("KTAP version 1")
        self.do_out(f"1..{tests}")
        for number in range(1, 1 + (tests if seen is None else seen)):
            self.do_out(f"ok {number} part {number}")
        self.do_out("# cycles=4711")

    def do_reported(self) -> None:
        """Let a detector report what was planted; kmemleak does so when it scans."""
        if self.names["fault"] == "kmemleak":
            self.leaked = True
        else:
            self.printk(CANARIES[self.names["fault"]])

    def do_books(self, leaked: int = 0) -> None:
        """Let the program print its books: balanced, or with so many memcgs more in each as it leaks in a round."""
        for turn in range(4):
            rows = dict.fromkeys(BALANCED, 9) | {"slab.canary": 1 + 64 * leaked * turn}
            rows |= {"cgroup.nr_dying_subsys_memory": leaked * turn} if leaked else {}
            words = " ".join(f"{name}={value}" for name, value in rows.items())
            self.do_out(f"# ledger {turn} cycles={12 * turn} {words}")
            self.do_out(f"# ledger {turn} end rows={len(rows)}")

    def do_done(self, status: int = 0, killed: int = 0, why: str = "end") -> None:
        """End the program."""
        self.printk(self.fill(f"kpv: end {{id}} {{program}} exit={status} signal={killed}"))
        self.tell(self.fill(f"done {{id}} exit={status} signal={killed} ms=1000 why={why}"))

    def do_kasan(self, lines: int | None = None) -> None:
        """Print KASAN's report, or the first lines of it."""
        self.printk("\n".join(KASAN.split("\n")[:lines]))

    def do_rest_of_kasan(self, lines: int) -> None:
        """Print what `kasan` with the same count has left out."""
        self.printk("\n".join(KASAN.split("\n")[lines:]))

    def do_storm(self, seconds: float) -> None:
        """Print reports one upon another."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.printk(KASAN)

    def do_stacks(self) -> None:
        """Answer a sysrq."""
        self.printk(STACKS)

    def do_flood(self, size: int) -> None:
        """Print `size` bytes of lines, as fast as they are taken."""
        line = "".join(
            f"[    2.{number:06}] audit: type=1400 op=nothing of interest pid={number:>64}\r\n"
            for number in range(1000)
        )
        for _ in range(size // len(line) + 1):
            self.send("console", line.encode())

    def do_leaks(self, count: int, text: str) -> None:
        """Answer a scan."""
        self.tell(f"leaks {count} " + quote_from_bytes(text.encode(), safe=" "))

    def do_stall(self) -> None:
        """Tick without end: a program that works until it is stopped."""
        count = 10
        while not self.broken.wait(0.05):
            count += 1
            self.tell(f"tick {self.names['id']} {count}")

    def do_hang(self) -> None:
        """Be silent for ever on every wire but QMP; a sysrq is answered."""
        self.ended = True

    def do_spin(self, seconds: float) -> None:
        """Use a CPU of the host, as an emulated one that does not idle."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass

    def do_panic(self, event: bool = True) -> None:
        """Panic; pvpanic tells QEMU, unless the kernel is too far gone."""
        self.printk(PANIC)
        if event:
            self.event("GUEST_PANICKED", action="pause", info={"type": "hyper-v"})
            self.event("STOP")
        self.ended = True

    def do_reset(self) -> None:
        """Triple fault."""
        self.event("SHUTDOWN", guest=True, reason="guest-reset")
        self.event("STOP")
        self.ended = True

    def do_off(self) -> None:
        """Power off; QEMU stays, paused."""
        self.event("SHUTDOWN", guest=True, reason="guest-shutdown")
        self.event("STOP")
        self.ended = True

    def do_die(self, name: str, words: str = "") -> None:
        """Die by a signal, with words on standard error."""
        sys.stderr.write(words + "\n" if words else "")
        sys.stderr.flush()
        os.kill(os.getpid(), getattr(signal, f"SIG{name}"))
        signal.pause()

    def do_exit(self, status: int, words: str = "") -> None:
        """Exit, with words on standard error."""
        sys.stderr.write(words + "\n" if words else "")
        sys.stderr.flush()
        os._exit(status)

    def do_mute(self) -> None:
        """Never answer on QMP."""
        signal.pause()

    def do_touch(self, path: str) -> None:
        """Tell a test that this point is reached."""
        Path(path).write_text(str(os.getpid()))

    def do_append(self, path: str, text: str) -> None:
        """Tell a test, a line at a time."""
        with Path(path).open("a") as file:
            file.write(self.fill(text) + "\n")

    # --- QMP

    def serve_qmp(self) -> None:
        """Greet, then answer commands."""
        version = {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": "fake"}
        with self.lock:
            self.send("qmp", json.dumps({"QMP": {"version": version, "capabilities": []}}).encode() + b"\r\n")
        text = ""
        while data := self.receive("qmp"):
            # Commands are JSON values one after another; nothing ends a line.
            text = (text + data.decode()).lstrip()
            with contextlib.suppress(ValueError):
                while text:
                    command, end = json.JSONDecoder().raw_decode(text)
                    text = text[end:].lstrip()
                    self.answer(command)

    def answer(self, command: dict[str, Any]) -> None:
        """Answer one command."""
        value: object = {}
        if command["execute"] == "qmp_capabilities":
            self.negotiated.set()
        if command["execute"] == "human-monitor-command":
            value = "CPU#0\nRIP=ffffffff81234567 RFL=00000046\n"
        if command["execute"] == "chardev-send-break":
            self.sysrq = True
        row = {"return": value} | ({"id": command["id"]} if "id" in command else {})
        with self.lock:
            self.send("qmp", json.dumps(row).encode() + b"\r\n")

    sysrq = False

    def receive(self, wire: str) -> bytes:
        """Return what comes next, nothing at the end."""
        try:
            return self.wires[wire].recv(65536)
        except OSError:
            return b""

    def serve_console(self) -> None:
        """Take what is typed: a key after a break is a sysrq."""
        while data := os.read(self.typed, 65536):
            for key in data.decode("latin-1"):
                if self.sysrq:
                    self.sysrq = False
                    ended, self.ended = self.ended, False
                    self.play(f"sysrq:{key}", "sysrq")
                    self.ended = ended

    # --- the agent

    def serve_agent(self) -> None:
        """Do as the host says; a program that runs is stopped by the command after it."""
        buffer = b""
        working: threading.Thread | None = None
        while data := self.receive("agent"):
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                words = [unquote(word) for word in line.decode().split(" ")]
                if working is not None:
                    self.broken.set()
                    if words[0] in {"stop", "poweroff"}:
                        working.join(1)
                    else:
                        working.join()
                    self.broken.clear()
                working = threading.Thread(target=self.obey, args=(words,), daemon=True)
                working.start()

    def obey(self, words: list[str]) -> None:
        """Do one command."""
        if self.ended:
            return
        if words[0] == "run" and words[2] == "canary":
            self.names |= {"id": words[1], "program": words[2], "seed": words[3]}
            self.play("canary")
        elif words[0] == "run":
            self.runs += 1
            self.names |= {"id": words[1], "program": words[2], "seed": words[3]}
            self.play(f"run:{self.runs}", "run")
        elif words[0] == "read":
            path = words[1]
            if f"read:{path}" in self.moments:
                self.play(f"read:{path}")
            elif path in FILES:
                self.tell(f"read {path} 0 " + quote_from_bytes(FILES[path].encode(), safe=" :"))
            else:
                self.tell(f"read {path} 2 ")
        elif words[0] == "write":
            self.write(words[1], words[2])
        elif words[0] == "load":
            self.names |= {"path": words[1]}
            self.play("load")
        elif words[0] == "scan" and self.leaked:
            self.do_leaks(1, LEAKED)
        elif words[0] == "scan":
            self.scans += 1
            self.play(f"scan:{self.scans}", "scan")
        elif words[0] in {"poweroff", "shell", "stop"}:
            self.play(words[0])

    leaked = False
    """Whether a leak was planted that kmemleak has not been told to forget."""

    def write(self, path: str, data: str) -> None:
        """Take a file; what is planted shows at once."""
        self.tell(f"wrote {path} 0")
        self.names |= {"data": data}
        self.play(f"write:{path}")
        if path == "/dev/kmsg":
            self.printk(re.sub(r"^<\d>", "", data).rstrip("\n"))
        if path.endswith("/kmemleak") and data == "clear":
            self.leaked = False
        if path.endswith("/plant") and data != "stop":
            self.names |= {"fault": data}
            self.play(f"plant:{data}", "plant")

    def main(self) -> None:
        """Be QEMU until killed: nothing that happens on the other side of the sockets ends it."""
        self.play("start")
        threads = [threading.Thread(target=x, daemon=True) for x in (self.serve_qmp, self.serve_console)]
        for thread in threads:
            thread.start()
        threading.Thread(target=self.serve_agent, daemon=True).start()
        self.play("boot")
        while True:
            signal.pause()


if __name__ == "__main__":
    if "--version" in sys.argv:
        sys.stdout.write("QEMU emulator version 7.2.22 (fake)\n")
        sys.exit(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is kpv's to act on
    Machine(sys.argv).main()
