"""Which accelerator works on this machine: found by booting, since opening /dev/kvm proves nothing."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline import machine, proc, store
from pipeline.machine import Accel
from pipeline.vm.qemu import Power, Qemu, Wires

DEVICE = Path("/dev/kvm")
BANNER = b"Linux version "
"""The first line of every kernel's log (init/version.c, linux_banner)."""
SECONDS = 15.0
"""A KVM guest prints its banner within one; a machine fifteen times slower than that is no faster than TCG."""

SMALL = machine.Machine("probe", "one CPU, to see whether it runs", (machine.Node(512, 1),))


@dataclass(frozen=True, slots=True)
class Probe:
    """The accelerator to use and how that was found out."""

    accel: Accel
    why: str


def boots(accel: Accel, kernel: Path, folder: Path, seconds: float) -> str:
    """Boot `kernel` until its banner shows; return an empty string, or what was seen instead."""
    # The probe ends before the kernel looks into it; QEMU only refuses to map an empty file.
    initrd = folder / "nothing.cpio"
    folder.mkdir(parents=True, exist_ok=True)
    initrd.write_bytes(bytes(512))

    def argv(wires: Wires) -> tuple[str, ...]:
        return machine.qemu_argv(
            SMALL,
            kernel=str(kernel),
            initrd=str(initrd),
            cmdline=("console=ttyS0", "earlyprintk=ttyS0"),
            accel=accel,
            console=wires.console,
            agent=f"socket,fd={wires.agent}",
            qmp=f"socket,fd={wires.qmp}",
        )

    seen = b""
    with Qemu(argv, folder) as qemu:
        deadline = proc.Deadline.after(seconds)
        while not deadline.expired:
            seen += qemu.read_console()
            if BANNER in seen:
                return ""
            if qemu.power() is Power.DEAD:
                return f"QEMU ended: {qemu.obituary}"
            time.sleep(0.02)
    return f"a guest printed nothing in {seconds:g} s"


def probe(kernel: Path | None, folder: Path) -> Probe:
    """Find the accelerator by booting `kernel` under KVM; without a kernel only the obvious can be told."""
    if not DEVICE.exists():
        return Probe(Accel.TCG, f"there is no {DEVICE}")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return Probe(Accel.TCG, f"{DEVICE} may not be opened by this user (group kvm?)")
    if kernel is None:
        return Probe(Accel.TCG, f"{DEVICE} opens, which proves nothing; no kernel is built yet to boot a guest with")
    complaint = boots(Accel.KVM, kernel, folder, SECONDS)
    if complaint:
        return Probe(Accel.TCG, f"{DEVICE} opens, but {complaint}")
    return Probe(Accel.KVM, "a guest booted")


def remembered(cache: store.Store, kernel: Path, folder: Path) -> Probe:
    """Return what `probe` found since this machine was started, or probe now."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    mode = oct(DEVICE.stat().st_mode) if DEVICE.exists() else "none"
    note = cache.root / "accel.json"
    try:
        kept = json.loads(note.read_text())
        if kept["boot"] == boot_id and kept["device"] == mode and kept["user"] == os.getuid():
            return Probe(Accel(kept["accel"]), kept["why"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no note, or one of another kpv: find out again
    found = probe(kernel, folder)
    row = {"boot": boot_id, "device": mode, "user": os.getuid(), "accel": found.accel.value, "why": found.why}
    store.write_atomic(note, json.dumps(row).encode())
    return found
