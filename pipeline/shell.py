"""A person in the guest: the kernel's console on the terminal, a busybox shell on it."""

import contextlib
import os
import secrets
import select
import sys
import tempfile
import termios
import tty
from collections.abc import Iterator
from pathlib import Path

from pipeline import guest, kernel, proc, selftests, tree
from pipeline.errors import InfraError
from pipeline.progress import Progress, Silent
from pipeline.store import Store
from pipeline.validate import Job
from pipeline.vm import probe
from pipeline.vm.guest import GoneError
from pipeline.vm.probe import Probe
from pipeline.vm.qemu import Power
from pipeline.vm.session import Setting, open_guest

LEAVE = b"\x1d"
"""Ctrl-] ends the guest, as in telnet and virsh."""


@contextlib.contextmanager
def raw_terminal() -> Iterator[None]:
    """Hand every key to the guest, Ctrl-C too; put the terminal back whatever happens."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def run(job: Job, store: Store, progress: Progress) -> int:
    """Build, boot, and connect the terminal until the guest is off or the user leaves with Ctrl-]."""
    request = job.request
    source = tree.open_source(store, request.kernel, request.base, progress)
    cut = tree.cuts(store, source, request.series)[-1]
    image = kernel.build(store, source, cut, request.kconfig, request.profile, jobs=request.jobs, progress=progress)
    packed = guest.build_guest(store, request.programs, with_shell=True, progress=progress)
    packed = selftests.guest_of(store, source, cut, packed, jobs=request.jobs, progress=progress)
    with tempfile.TemporaryDirectory(prefix="kpv-shell-") as name:
        folder = Path(name)
        asked = request.accel
        found = Probe(asked, "asked for") if asked else probe.remembered(store, image.bzimage, folder / "probe")
        setting = Setting(
            cut=cut.index,
            kernel=image.key,
            bzimage=image.bzimage,
            guest=packed.key,
            initramfs=packed.initramfs,
            machine=request.machine,
            accel=found.accel,
            profile=request.profile,
        )
        progress.begin(f"Linux {image.release} on {found.accel.value}")
        progress.end("programs are in /bin; Ctrl-] ends the guest")
        return _connect(setting, folder)


def _connect(setting: Setting, folder: Path) -> int:
    out = sys.stdout.buffer

    def show(data: bytes) -> None:
        out.write(data)
        out.flush()

    qemu, booted = open_guest(setting, folder, secrets.token_hex(8), setting.profile.slowdown, show)
    with qemu:
        try:
            booted.wait_ready(Silent())
        except GoneError as gone:
            raise InfraError(f"the guest did not come up: {gone.detail}") from gone
        booted.start_shell()
        with raw_terminal():
            watched = [sys.stdin.fileno()]
            while qemu.power() is Power.RUNNING:
                proc.heed()
                if select.select(watched, [], [], 0.05)[0]:
                    keys = os.read(sys.stdin.fileno(), 1024)
                    if LEAVE in keys:
                        break
                    if not keys:  # no more input: give what was typed time to be answered, by `poweroff`
                        watched = []
                    qemu.type_console(keys)
                show(qemu.read_console())
            show(qemu.read_console())
    return 0
