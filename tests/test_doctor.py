"""The doctor looks, it does not assume."""

from pathlib import Path

import pytest

from pipeline import doctor
from pipeline.store import Store


def test_missing_tool_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing on PATH every command is missing, with the package that has it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    rows = {row.what: row for row in doctor.tools()}
    assert not rows["qemu-system-x86"].good
    assert rows["qemu-system-x86"].todo == "apt-get install qemu-system-x86"


def test_every_package_row_has_three_columns() -> None:
    """packages.txt reads, and setup.sh and the doctor read the same file."""
    rows = doctor.packages()
    assert len({package for package, _, _ in rows}) == len(rows) > 10
    assert "packages.txt" in Path(doctor.PACKAGES).with_name("setup.sh").read_text()


def test_kvm_is_not_believed_without_a_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no kernel to boot, an open /dev/kvm is said to prove nothing, and TCG is what will be used."""
    monkeypatch.setattr(doctor, "newest_kernel", lambda _cache: None)
    rows = {row.what: row.found for row in doctor.acceleration(Store(tmp_path))}
    assert rows["accelerator"].startswith("tcg")
    assert "proves nothing" in rows["KVM"] or "no /dev/kvm" in rows["KVM"] or "may not be opened" in rows["KVM"]
