# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the stand-in Windows host: registry, files, features, services, certificate store, IIS. All of it survives restarts.

One file `machine.json` (mode 0600: it holds private keys) is replaced by rename; the contents of files lie beside it, named by their hash.
`faults.json` is written by tests and read each time it is asked for.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

Value = str | int | bytes | list[str]
KINDS = {"REG_SZ": str, "REG_EXPAND_SZ": str, "REG_DWORD": int, "REG_QWORD": int, "REG_MULTI_SZ": list, "REG_BINARY": bytes}
HIVES = {"HKEY_LOCAL_MACHINE": "HKLM", "HKEY_CURRENT_USER": "HKCU", "HKEY_USERS": "HKU"}
ENVIRONMENT = {
    "%systemroot%": r"C:\Windows",
    "%windir%": r"C:\Windows",
    "%systemdrive%": "C:",
    "%programdata%": r"C:\ProgramData",
    "%temp%": r"C:\Windows\Temp",
}
# Windows' names of the features that a certification authority host may be asked for; none is installed on a new host.
FEATURES = (
    *("AD-Certificate", "ADCS-Cert-Authority", "ADCS-Web-Enrollment", "ADCS-Enroll-Web-Pol", "ADCS-Enroll-Web-Svc"),
    *("ADCS-Online-Cert", "ADCS-Device-Enrollment", "RSAT-ADCS", "RSAT-ADCS-Mgmt", "RSAT-Online-Responder", "RSAT-AD-PowerShell"),
    *("Web-Server", "Web-WebServer", "Web-Common-Http", "Web-Default-Doc", "Web-Static-Content", "Web-Http-Errors", "Web-Http-Redirect"),
    *("Web-Security", "Web-Filtering", "Web-Windows-Auth", "Web-Basic-Auth", "Web-App-Dev", "Web-Asp", "Web-ISAPI-Ext", "Web-Mgmt-Tools"),
    *("Web-Mgmt-Console", "Web-Metabase", "Web-Scripting-Tools"),
)


class FileMissing(FileNotFoundError, KeyError):
    """No such file on the Windows host."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.ENOENT, "The system cannot find the file specified", path)


@dataclass
class Service:
    """A Windows service; `start_mode` is auto, manual or disabled, `state` running or stopped."""

    name: str
    display_name: str
    start_mode: str = "manual"
    state: str = "stopped"
    path: str = ""
    account: str = "LocalSystem"


@dataclass
class StoreEntry:
    """A certificate of LocalMachine\\My; `key_pem` when its private key is there."""

    der: bytes
    key_pem: str | None = None
    friendly_name: str = ""


NEW_SERVICES = (
    Service("WinRM", "Windows Remote Management (WS-Management)", "auto", "running", account="NT AUTHORITY\\NetworkService"),
    Service("W32Time", "Windows Time", "auto", "running", account="NT AUTHORITY\\LocalService"),
    Service("CertPropSvc", "Certificate Propagation", "manual", "stopped"),
    Service("SCardSvr", "Smart Card", "manual", "stopped", account="NT AUTHORITY\\LocalService"),
    Service("SCPolicySvc", "Smart Card Removal Policy", "manual", "stopped"),
    Service("ScDeviceEnum", "Smart Card Device Enumeration Service", "manual", "stopped"),
)


class NoCase(MutableMapping[str, Any]):
    """A mapping that keeps the case of its names and finds them without it, as Windows does."""

    def __init__(self, content: dict[str, Any] | None = None) -> None:
        self._names: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        self.update(content or {})

    def __getitem__(self, name: str) -> Any:
        return self._values[name.casefold()]

    def __setitem__(self, name: str, value: Any) -> None:
        self._names.setdefault(name.casefold(), name)
        self._values[name.casefold()] = value

    def __delitem__(self, name: str) -> None:
        del self._values[name.casefold()]
        del self._names[name.casefold()]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._names.values()))

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.casefold() in self._names

    def __repr__(self) -> str:
        return repr(dict(self))


class Machine:
    """The Windows host. Change it inside `transaction()`: what is changed outside is saved only by the next one."""

    def __init__(
        self,
        folder: Path,
        *,
        hostname: str = "ca1",
        dns_domain: str = "corp.example",
        netbios: str = "CORP",
        base_dn: str = "DC=corp,DC=example",
    ) -> None:
        self.folder = folder
        self.hostname, self.dns_domain, self.netbios, self.base_dn = hostname, dns_domain, netbios, base_dn
        self.fqdn = f"{hostname}.{dns_domain}"
        self.realm = dns_domain.upper()
        self.lock = threading.RLock()
        self._depth = 0
        self.registry = Registry(self)
        self.files = MachineFiles(self)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "blobs").mkdir(exist_ok=True)
        saved = self._file("machine.json")
        self.saved_before = saved.exists()
        self._restore(json.loads(saved.read_text()) if self.saved_before else {})

    def _file(self, name: str) -> Path:
        return self.folder / name

    def _restore(self, saved: dict[str, Any]) -> None:
        self.features: dict[str, bool] = dict.fromkeys(FEATURES, False) | saved.get("features", {})
        services = [Service(**entry) for entry in saved.get("services") or [asdict(service) for service in NEW_SERVICES]]
        self.services: NoCase = NoCase({service.name: service for service in services})
        self.store: dict[str, StoreEntry] = {
            thumbprint: StoreEntry(base64.b64decode(entry["der"]), entry["key_pem"], entry["friendly_name"])
            for thumbprint, entry in saved.get("store", {}).items()
        }
        self.iis: dict[str, Any] = saved.get("iis", {})
        self.boot_time = datetime.fromisoformat(saved["boot_time"]) if "boot_time" in saved else datetime.now(timezone.utc)
        self.pending_reboot: bool = saved.get("pending_reboot", False)
        self.registry.restore(saved.get("registry", {}))
        self.files.restore(saved.get("files", {}))

    @property
    def faults(self) -> dict[str, Any]:
        """What tests want to go wrong: the content of `faults.json` as it is now."""
        try:
            found: dict[str, Any] = json.loads(self._file("faults.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    @faults.setter
    def faults(self, faults: dict[str, Any]) -> None:
        replace(self._file("faults.json"), json.dumps(faults).encode())

    def now(self) -> datetime:
        """The host's clock, UTC; `faults["clock_offset"]` seconds away from the true one."""
        return datetime.now(timezone.utc) + timedelta(seconds=self.faults.get("clock_offset", 0))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Alone with the machine; saved once, at the end of the outermost one. What was done before an error stays done, as on Windows."""
        with self.lock:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._save()

    def add_to_store(self, der: bytes, key_pem: str | None = None, friendly_name: str = "") -> str:
        """Put a certificate into LocalMachine\\My; returns its thumbprint (SHA-1, upper case)."""
        thumbprint = hashlib.sha1(der).hexdigest().upper()
        with self.transaction():
            self.store[thumbprint] = StoreEntry(der, key_pem, friendly_name)
        return thumbprint

    def reboot(self) -> None:
        """Services that start by themselves run afterwards, all others do not; features get what they waited for."""
        with self.transaction():
            self.boot_time, self.pending_reboot = self.now(), False
            for service in self.services.values():
                service.state = "running" if service.start_mode == "auto" else "stopped"

    def _save(self) -> None:
        state = {
            "features": {name: here for name, here in self.features.items() if here},
            "services": [asdict(service) for service in self.services.values()],
            "store": {
                thumbprint: {**asdict(entry), "der": base64.b64encode(entry.der).decode()} for thumbprint, entry in self.store.items()
            },
            "iis": self.iis,
            "boot_time": self.boot_time.isoformat(),
            "pending_reboot": self.pending_reboot,
            "registry": self.registry.saved(),
            "files": self.files.saved(),
        }
        replace(self._file("machine.json"), json.dumps(state).encode())
        self.files.sweep()


def replace(path: Path, content: bytes) -> None:
    """Write by rename, readable by the owner only."""
    temporary = path.with_name(path.name + ".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@dataclass
class _Key:
    values: NoCase = field(default_factory=NoCase)
    """name -> (kind, value)"""
    keys: NoCase = field(default_factory=NoCase)


class Registry:
    """The registry. Paths begin with a hive (`HKLM\\…`, also `HKLM:\\…` and `HKEY_LOCAL_MACHINE\\…`); case does not matter."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._root = _Key()

    def get(self, path: str, name: str) -> Any:
        """The value's data, or None."""
        found = self._value(path, name)
        return None if found is None else found[1]

    def kind(self, path: str, name: str) -> str | None:
        found = self._value(path, name)
        return None if found is None else found[0]

    def set(self, path: str, name: str, value: Value, kind: str) -> None:
        """Set a value, making its key. Raises TypeError for data that is not of the kind's type."""
        wanted = KINDS.get(kind)
        if wanted is None or not isinstance(value, wanted) or isinstance(value, bool):
            raise TypeError(f"{path}: {name}: {kind} cannot hold {value!r}")
        if kind == "REG_DWORD":
            value = int(value) & 0xFFFFFFFF  # type: ignore[arg-type]
        with self._machine.transaction():
            key = self._root
            for part in parts(path):
                if part not in key.keys:
                    key.keys[part] = _Key()
                key = key.keys[part]
            key.values[name] = (kind, list(value) if isinstance(value, list) else value)

    def create(self, path: str) -> None:
        """Make a key."""
        with self._machine.transaction():
            key = self._root
            for part in parts(path):
                if part not in key.keys:
                    key.keys[part] = _Key()
                key = key.keys[part]

    def delete(self, path: str, name: str | None = None) -> None:
        """Remove a value, or a key and all below it; it need not be there."""
        with self._machine.transaction():
            if name is not None:
                key = self._key(path)
                if key is not None:
                    key.values.pop(name, None)
                return
            *above, last = parts(path)
            parent = self._key("\\".join(above))
            if parent is not None:
                parent.keys.pop(last, None)

    def exists(self, path: str) -> bool:
        return self._key(path) is not None

    def keys(self, path: str) -> list[str]:
        key = self._key(path)
        return list(key.keys) if key else []

    def values(self, path: str) -> dict[str, Any]:
        key = self._key(path)
        return {name: value for name, (_kind, value) in key.values.items()} if key else {}

    def _key(self, path: str) -> _Key | None:
        key = self._root
        for part in parts(path):
            found = key.keys.get(part)
            if found is None:
                return None
            key = found
        return key

    def _value(self, path: str, name: str) -> tuple[str, Any] | None:
        key = self._key(path)
        return key.values.get(name) if key else None

    def saved(self) -> dict[str, Any]:
        return _saved_key(self._root)

    def restore(self, saved: dict[str, Any]) -> None:
        self._root = _restored_key(saved)


def _saved_key(key: _Key) -> dict[str, Any]:
    values = {name: [kind, base64.b64encode(v).decode() if kind == "REG_BINARY" else v] for name, (kind, v) in key.values.items()}
    return {"values": values, "keys": {name: _saved_key(below) for name, below in key.keys.items()}}


def _restored_key(saved: dict[str, Any]) -> _Key:
    values = {name: (kind, base64.b64decode(v) if kind == "REG_BINARY" else v) for name, (kind, v) in saved.get("values", {}).items()}
    return _Key(NoCase(values), NoCase({name: _restored_key(below) for name, below in saved.get("keys", {}).items()}))


def parts(path: str) -> list[str]:
    """A registry path's keys, the hive by its short name."""
    found = [part for part in path.split("\\") if part]
    if found:
        hive = found[0].rstrip(":").upper()
        found[0] = HIVES.get(hive, hive)
    return found


class MachineFiles(MutableMapping[str, bytes]):
    """The host's files by their Windows paths; folders come and go with their files. `%SystemRoot%` and its kin are understood."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._index = NoCase()
        """path -> name of the content in the folder `blobs`"""
        self._unused: set[str] = set()

    def __getitem__(self, path: str) -> bytes:
        try:
            return self._blob(self._index[full(path)]).read_bytes()
        except KeyError:
            raise FileMissing(full(path)) from None

    def __setitem__(self, path: str, content: bytes) -> None:
        """Write a file whole. Raises OSError(ENOSPC) while `faults["disk_full"]` is set."""
        if self._machine.faults.get("disk_full"):
            raise OSError(errno.ENOSPC, "There is not enough space on the disk", path)
        name = hashlib.sha256(content).hexdigest()
        with self._machine.transaction():
            if not self._blob(name).exists():
                replace(self._blob(name), content)
            self._drop(full(path))
            self._index[full(path)] = name

    def __delitem__(self, path: str) -> None:
        with self._machine.transaction():
            if full(path) not in self._index:
                raise FileMissing(full(path))
            self._drop(full(path))
            del self._index[full(path)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and full(path) in self._index

    def read(self, path: str) -> bytes:
        return self[path]

    def write(self, path: str, content: bytes) -> None:
        self[path] = content

    def delete(self, path: str) -> None:
        """Remove a file; it need not be there."""
        self.pop(path, None)

    def folder_exists(self, path: str) -> bool:
        start = full(path).rstrip("\\").casefold() + "\\"
        return any(name.casefold().startswith(start) for name in self._index)

    def list(self, path: str) -> list[str]:
        """Names of the files right in a folder."""
        start = full(path).rstrip("\\") + "\\"
        below = [name[len(start) :] for name in self._index if name.casefold().startswith(start.casefold())]
        return sorted(name for name in below if "\\" not in name)

    def _blob(self, name: str) -> Path:
        return self._machine.folder / "blobs" / name

    def _drop(self, path: str) -> None:
        if path in self._index:
            self._unused.add(self._index[path])

    def saved(self) -> dict[str, str]:
        return dict(self._index)

    def restore(self, saved: dict[str, str]) -> None:
        self._index = NoCase(saved)

    def sweep(self) -> None:
        """Remove contents that no saved path names any more."""
        for name in self._unused - set(self._index.values()):
            self._blob(name).unlink(missing_ok=True)
        self._unused.clear()


def full(path: str) -> str:
    """A Windows path with backslashes and without variables."""
    path = path.replace("/", "\\")
    for variable, value in ENVIRONMENT.items():
        if path.casefold().startswith(variable):
            path = value + path[len(variable) :]
    if len(path) < 3 or path[1:3] != ":\\":
        raise ValueError(f"{path!r} is not an absolute Windows path")
    return path
