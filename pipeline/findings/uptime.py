"""Whether the machine was up when it booted: a boot is a finding only if nobody asked for it."""

from dataclasses import dataclass

from pipeline.findings.line import Line

_FIRMWARE = ("SeaBIOS (version", "UEFI firmware")


@dataclass(slots=True)
class Uptime:
    """What the console has shown since the last boot."""

    running: bool = False
    """Whether the kernel's clock runs."""
    spoken: bool = False
    """Whether anything has been said at all."""
    _firmware: bool = False
    _banner: bool = False

    def read(self, line: Line) -> None:
        """Hear of a line. Firmware that speaks after something else did has been started again."""
        if self.spoken and line.message.startswith(_FIRMWARE):
            self._firmware = True
        self.spoken = self.spoken or bool(line.message.strip())

    def boots(self, line: Line) -> bool:
        """Hear of a sign of booting; return whether the machine had been up before."""
        banner = line.message.startswith("Linux version")
        again = self.running or self._firmware or (banner and self._banner)
        self.running = self._firmware = False
        self._banner = banner
        self.spoken = True
        return again
