# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import stat
from pathlib import Path

import pytest

from lab.windows_ca.machine import FileMissing, Machine, Service

CONFIGURATION = r"HKLM\SYSTEM\CurrentControlSet\Services\CertSvc\Configuration"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_names(machine: Machine) -> None:
    assert (machine.hostname, machine.fqdn, machine.realm, machine.netbios) == ("ca1", "ca1.corp.example", "CORP.EXAMPLE", "CORP")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("REG_SZ", "Corp CA"),
        ("REG_EXPAND_SZ", r"%SystemRoot%\x"),
        ("REG_DWORD", 127),
        ("REG_MULTI_SZ", ["65:a", "79:b"]),
        ("REG_BINARY", b"\0\1\xff"),
    ],
)
def test_registry_values_survive_a_restart(machine: Machine, tmp_path: Path, kind: str, value: object) -> None:
    machine.registry.set(CONFIGURATION + r"\Corp CA", "Some", value, kind)  # type: ignore[arg-type]
    again = Machine(tmp_path).registry
    assert again.get(CONFIGURATION + r"\Corp CA", "Some") == value
    assert again.kind(CONFIGURATION + r"\Corp CA", "Some") == kind


@pytest.mark.parametrize(
    ("kind", "value"), [("REG_DWORD", "1"), ("REG_DWORD", True), ("REG_SZ", 1), ("REG_MULTI_SZ", "a"), ("REG_BINARY", "a"), ("REG_NONE", 1)]
)
def test_registry_refuses_wrong_types(machine: Machine, kind: str, value: object) -> None:
    with pytest.raises(TypeError):
        machine.registry.set("HKLM\\X", "v", value, kind)  # type: ignore[arg-type]


def test_registry_knows_no_case_and_every_name_of_a_hive(machine: Machine) -> None:
    machine.registry.set("HKLM\\Software\\Some", "Value", 1, "REG_DWORD")
    for path in ("hklm\\SOFTWARE\\some", "HKEY_LOCAL_MACHINE\\Software\\Some", "HKLM:\\Software\\Some"):
        assert machine.registry.get(path, "vALUE") == 1
    machine.registry.set("hklm\\software\\SOME", "VALUE", 2, "REG_DWORD")
    assert machine.registry.values("HKLM\\Software\\Some") == {"Value": 2}
    assert machine.registry.keys("HKLM\\Software") == ["Some"]


def test_registry_dwords_are_unsigned(machine: Machine) -> None:
    machine.registry.set("HKLM\\X", "v", -1, "REG_DWORD")
    assert machine.registry.get("HKLM\\X", "v") == 0xFFFFFFFF


def test_registry_deletes_values_and_keys(machine: Machine) -> None:
    machine.registry.set("HKLM\\A\\B", "x", 1, "REG_DWORD")
    machine.registry.set("HKLM\\A\\B", "y", 1, "REG_DWORD")
    machine.registry.delete("HKLM\\A\\B", "X")
    assert machine.registry.values("HKLM\\A\\B") == {"y": 1}
    machine.registry.delete("HKLM\\a")
    assert machine.registry.get("HKLM\\A\\B", "y") is None and not machine.registry.exists("HKLM\\A")
    machine.registry.delete("HKLM\\A")


def test_files(machine: Machine, tmp_path: Path) -> None:
    machine.files[r"C:\Windows\CAPolicy.inf"] = b"one"
    assert machine.files["c:/windows/capolicy.INF"] == b"one"
    assert machine.files[r"%SystemRoot%\CAPolicy.inf"] == b"one"
    machine.files.write(r"C:\Windows\System32\CertSrv\CertEnroll\Corp CA.crl", b"crl")
    again = Machine(tmp_path)
    assert again.files.list(r"C:\Windows\System32\certsrv\CertEnroll") == ["Corp CA.crl"]
    assert again.files.folder_exists(r"C:\Windows\System32") and not again.files.folder_exists(r"C:\Win")
    again.files[r"C:\Windows\CAPolicy.inf"] = b"two"
    assert Machine(tmp_path).files[r"C:\Windows\CAPolicy.inf"] == b"two"
    assert len(list((tmp_path / "blobs").iterdir())) == 2, "the old content is gone"
    del again.files[r"C:\WINDOWS\CAPolicy.inf"]
    with pytest.raises(FileMissing):
        again.files[r"C:\Windows\CAPolicy.inf"]
    again.files.delete(r"C:\Windows\CAPolicy.inf")
    with pytest.raises(ValueError, match="absolute"):
        again.files["CAPolicy.inf"] = b""


def test_equal_contents_live_on_when_one_file_goes(machine: Machine) -> None:
    machine.files["C:\\a"] = machine.files["C:\\b"] = b"same"
    del machine.files["C:\\a"]
    assert machine.files["C:\\b"] == b"same"


def test_disk_full_keeps_the_old_file(machine: Machine) -> None:
    machine.files["C:\\a"] = b"old"
    machine.faults = {"disk_full": True}
    with pytest.raises(OSError, match="not enough space"):
        machine.files["C:\\a"] = b"new"
    assert machine.files["C:\\a"] == b"old"


def test_everything_else_survives_a_restart(machine: Machine, tmp_path: Path) -> None:
    with machine.transaction():
        machine.features["ADCS-Cert-Authority"] = True
        machine.services["CertSvc"] = Service("CertSvc", "Active Directory Certificate Services", "auto", "running")
        machine.iis["bindings"] = [{"port": 443}]
        machine.pending_reboot = True
    thumbprint = machine.add_to_store(b"der", "key", "name")
    again = Machine(tmp_path)
    assert again.features["ADCS-Cert-Authority"] and not again.features["Web-Server"]
    assert again.services["certsvc"].state == "running" and again.services["WinRM"].state == "running"
    assert again.iis == {"bindings": [{"port": 443}]}
    assert again.pending_reboot and again.boot_time == machine.boot_time
    assert again.store[thumbprint].key_pem == "key" and again.store[thumbprint].der == b"der"


def test_a_transaction_saves_once_at_its_end_and_keeps_what_was_done_before_an_error(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), machine.transaction():
        machine.registry.set("HKLM\\X", "v", 1, "REG_DWORD")
        assert Machine(tmp_path).registry.get("HKLM\\X", "v") is None
        raise RuntimeError
    assert Machine(tmp_path).registry.get("HKLM\\X", "v") == 1


def test_the_state_is_private(machine: Machine, tmp_path: Path) -> None:
    machine.add_to_store(b"der", "key")
    assert stat.S_IMODE((tmp_path / "machine.json").stat().st_mode) == 0o600


def test_clock_and_faults(machine: Machine) -> None:
    before = machine.now()
    machine.faults = {"clock_offset": 7200}
    assert 7199 < (machine.now() - before).total_seconds() < 7230
    assert machine.now().utcoffset() is not None


def test_reboot(machine: Machine) -> None:
    machine.pending_reboot = True
    machine.services["WinRM"].state = "stopped"
    machine.services["SCardSvr"].state = "running"
    before = machine.boot_time
    machine.reboot()
    assert machine.boot_time > before and not machine.pending_reboot
    assert machine.services["WinRM"].state == "running" and machine.services["SCardSvr"].state == "stopped"
