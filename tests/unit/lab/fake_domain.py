# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory of plain dictionaries for the tests of the stand-in authority: just enough LDAP."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lab.windows_ca.authority import descriptors
from lab.windows_ca.authority.directory import Entry
from lab.windows_ca.authority.errors import DirectoryError
from lab.windows_ca.machine import NoCase

BASE = "DC=corp,DC=example"
CONFIG = f"CN=Configuration,{BASE}"
PKS = f"CN=Public Key Services,CN=Services,{CONFIG}"
DOMAIN_SID = "S-1-5-21-1-2-3"
PASSWORD = "right"


def sid(rid: int) -> str:
    return f"{DOMAIN_SID}-{rid}"


class FakeDirectory:
    base_dn, config_dn, domain_sid = BASE, CONFIG, DOMAIN_SID

    def __init__(self) -> None:
        self.objects: dict[str, NoCase] = {}
        self.names: dict[str, str] = {}
        self.writes: list[tuple[str, str]] = []
        self.down = False
        self.put(BASE, objectSid=[descriptors.sid_bytes(DOMAIN_SID)])
        for dn in (CONFIG, f"CN=Services,{CONFIG}", PKS):
            self.put(dn)
        empty = descriptors.Descriptor(sid(519), sid(519)).to_bytes()
        for name in ("AIA", "CDP", "KRA", "Certification Authorities", "Enrollment Services", "Certificate Templates", "OID"):
            self.put(f"CN={name},{PKS}", nTSecurityDescriptor=[empty])
        self.group("Cert Publishers", sid(517))
        self.group("Pre-Windows 2000 Compatible Access", "S-1-5-32-554")
        self.account("CA1$", 1103, "CN=CA1,OU=Servers", [515], computer=True, dNSHostName="ca1.corp.example", primaryGroupID="515")
        self.account("enterprise.admin", 1110, "CN=enterprise.admin,CN=Users", [512, 513, 519])

    def put(self, dn: str, **attributes: Any) -> None:
        values = {
            name: [v if isinstance(v, bytes) else str(v).encode() for v in (value if isinstance(value, list) else [value])]
            for name, value in attributes.items()
        }
        self.names[dn.casefold()] = dn
        self.objects[dn.casefold()] = NoCase({"objectClass": [b"top"], "cn": [dn.split(",")[0].partition("=")[2].encode()], **values})

    def group(self, name: str, group_sid: str) -> None:
        self.put(f"CN={name},CN=Users,{BASE}", objectSid=[descriptors.sid_bytes(group_sid)])

    def account(self, name: str, rid: int, dn: str, groups: Sequence[int], *, computer: bool = False, **attributes: Any) -> None:
        tokens = [descriptors.sid_bytes(sid(group)) for group in groups]
        common = {
            "sAMAccountName": name,
            "objectSid": descriptors.sid_bytes(sid(rid)),
            "tokenGroups": tokens,
            "objectGUID": bytes(range(16)),
        }
        kinds = ["top", "user", "computer"] if computer else ["top", "user"]
        self.put(f"{dn},{BASE}", **{"objectClass": kinds, **common, **attributes})

    def as_user(self, user: str, password: str) -> FakeDirectory:
        if password != PASSWORD:
            raise DirectoryError(DirectoryError.INVALID_CREDENTIALS, "NT_STATUS_LOGON_FAILURE")
        return self

    def refresh(self) -> None:
        pass

    def search(self, base: str, scope: str, filter: str, attributes: Iterable[str]) -> list[Entry]:
        if self.down:
            raise DirectoryError(DirectoryError.UNAVAILABLE, "gone")
        found = []
        for key, content in self.objects.items():
            parent = key.partition(",")[2]
            inside = {"base": key == base.casefold(), "one": parent == base.casefold(), "sub": key.endswith(base.casefold())}[scope]
            if inside and matches(filter, content):
                wanted = {name: content[name] for name in attributes if name in content}
                found.append(Entry(self.names[key], NoCase(wanted)))
        return found

    def add(self, dn: str, attributes: Mapping[str, Sequence[bytes]]) -> None:
        self.writes.append(("add", dn))
        if dn.casefold() in self.objects:
            raise DirectoryError(DirectoryError.EXISTS, dn)
        if dn.partition(",")[2].casefold() not in self.objects:
            raise DirectoryError(DirectoryError.NO_SUCH_OBJECT, dn)
        self.put(dn, **{name: list(values) for name, values in attributes.items()})

    def modify(self, dn: str, changes: Sequence[tuple[str, str, Sequence[bytes]]]) -> None:
        self.writes.append(("modify", dn))
        content = self.objects[dn.casefold()]
        for operation, name, values in changes:
            present = list(content.get(name, []))
            added = [value for value in values if value not in present]
            content[name] = {"replace": list(values), "add": present + added, "delete": [v for v in present if v not in values]}[operation]

    def delete(self, dn: str) -> None:
        self.objects.pop(dn.casefold())

    def at(self, dn: str) -> NoCase:
        return self.objects[dn.casefold()]


def matches(filter: str, content: NoCase) -> bool:
    """Equality and presence below & and |."""
    if filter[1] in "&|":
        parts, depth, start = [], 0, 0
        inner = filter[2:-1]
        for at, letter in enumerate(inner):
            depth += {"(": 1, ")": -1}.get(letter, 0)
            if depth == 0 and letter == ")":
                parts.append(inner[start : at + 1])
                start = at + 1
        results = [matches(part, content) for part in parts]
        return all(results) if filter[1] == "&" else any(results)
    name, value = filter[1:-1].split("=", 1)
    if value == "*":
        return name in content
    value = re.sub(r"\\([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), value)
    values = content.get(name, [])
    if name.lower() == "objectsid":
        return descriptors.sid_bytes(value) in values
    return value.casefold().encode() in [v.decode(errors="replace").casefold().encode() for v in values]
