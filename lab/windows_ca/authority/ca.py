# SPDX-License-Identifier: GPL-3.0-or-later
"""The authority as it stands: its settings, certificates and state, and the rights of accounts on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lab.windows_ca import machine as windows
from lab.windows_ca.authority import database, descriptors, names, policy
from lab.windows_ca.authority import settings as registry
from lab.windows_ca.authority.directory import Directory, escape
from lab.windows_ca.authority.errors import (
    E_ACCESSDENIED,
    RESTRICTED_OFFICER,
    ROLE_CONFLICT,
    SERVER_UNAVAILABLE,
    CertSrvError,
    DirectoryError,
)
from lab.windows_ca.authority.model import CACertificate, Caller, public_bytes, sid_of
from lab.windows_ca.authority.publication import Publication
from lab.windows_ca.authority.settings import Settings
from lab.windows_ca.machine import Machine, Service

# SetupStatus, [MS-CSRA] (SETUP_SERVER_FLAG, SETUP_SUSPEND_FLAG, SETUP_REQUEST_FLAG)
SETUP_DONE, SETUP_WAITING, SETUP_REQUEST = 0x1, 0x4, 0x8
SERVICE = "CertSvc"


class Foundation:
    """One certification authority on one machine: what is known of it, and of the accounts that ask it."""

    def __init__(self, machine: Machine, directory: Directory) -> None:
        self.machine, self.directory = machine, directory
        self.events: list[str] = []
        """what would be in the event log"""
        self._lock = machine.lock
        self._settings: Settings | None = None
        self._database: database.Database | None = None
        self._cached: tuple[tuple[str, ...] | None, list[CACertificate]] = (None, [])

    @property
    def _service(self) -> Service | None:
        found: Service | None = self.machine.services.get(SERVICE)
        return found

    @property
    def ca_key(self) -> str:
        """The CA's name in the registry; "" where none is set up."""
        return self.machine.registry.get(registry.CONFIGURATION, "Active") or ""

    @property
    def ca_name(self) -> str:
        return self._value("CommonName") or ""

    @property
    def config(self) -> str:
        return f"{self.machine.fqdn}\\{self.ca_name}"

    def _value(self, name: str) -> Any:
        return self.machine.registry.get(registry.key(self.ca_key), name) if self.ca_key else None

    @property
    def setup_status(self) -> int:
        return self._value("SetupStatus") or 0

    @property
    def configured(self) -> bool:
        return bool(self.setup_status & SETUP_DONE)

    @property
    def waiting(self) -> bool:
        """Whether it waits for its certificate: its first, or the one of a renewal."""
        return bool(self._state().get("pending"))

    @property
    def running(self) -> bool:
        return self._settings is not None

    @property
    def kind(self) -> int:
        return int(self._value("CAType") or 0)

    @property
    def enterprise(self) -> bool:
        return self.kind in (registry.ENTERPRISE_ROOT, registry.ENTERPRISE_SUBORDINATE)

    @property
    def root(self) -> bool:
        return self.kind in (registry.ENTERPRISE_ROOT, registry.STANDALONE_ROOT)

    @property
    def certificates(self) -> list[CACertificate]:
        """The CA's certificates, oldest first."""
        found: list[CACertificate] = []
        for index, thumbprint in enumerate(self._value("CACertHash") or []):
            entry = self.machine.store[thumbprint.replace(" ", "").upper()]
            certificate = x509.load_der_x509_certificate(entry.der)
            spki = public_bytes(certificate.public_key())
            same = [older.key_index for older in found if public_bytes(older.certificate.public_key()) == spki]
            key = serialization.load_pem_private_key(entry.key_pem.encode(), None) if entry.key_pem else None
            found.append(CACertificate(index, same[0] if same else index, certificate, key))  # type: ignore[arg-type]
        return found

    def _current(self) -> CACertificate:
        return self._loaded[-1]

    @property
    def _loaded(self) -> list[CACertificate]:
        hashes_now = tuple(self._value("CACertHash") or [])
        if self._cached[0] != hashes_now:
            self._cached = (hashes_now, self.certificates)
        return self._cached[1]

    def _state(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.machine.folder / "authority.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def _remember(self, state: Mapping[str, Any]) -> None:
        windows.replace(self.machine.folder / "authority.json", json.dumps(state).encode())

    def _publication(self, directory: Directory | None = None) -> Publication:
        computer = f"{self.machine.hostname.upper()}$"
        return Publication(
            directory or self.directory, ca=self.ca_key, host=self.machine.hostname, fqdn=self.machine.fqdn, computer=computer
        )

    def identify(self, account: str) -> Caller:
        """An account by CORP\\name, name, or name@corp.example. Raises CertSrvError for one that is not in the directory."""
        try:
            found = self._account(self.directory, account)
        except DirectoryError as error:
            raise error.as_adcs("Directory") from error
        if found is None:
            raise CertSrvError(0x80070534, f"No mapping between account names and security IDs was done: {account}")
        return found

    def _account(self, directory: Directory, account: str) -> Caller | None:
        sam = account.rpartition("\\")[2]
        before, at, realm = sam.rpartition("@")
        filter = f"(sAMAccountName={escape(sam)})"
        if at:
            filter = f"(userPrincipalName={escape(sam)})"
            if realm.casefold() == self.machine.realm.casefold():
                filter = f"(|{filter}(sAMAccountName={escape(before)}))"
        found = directory.search(directory.base_dn, "sub", filter, ["sAMAccountName", "objectSid"])
        if not found:
            return None
        name = found[0].text("sAMAccountName") or ""
        return Caller(f"{self.machine.netbios}\\{name}", name, sid_of(found[0]), found[0].dn)

    def _requester(self, caller: Caller, directory: Directory | None = None) -> policy.Requester:
        wanted = ("cn", "userPrincipalName", "mail", "dNSHostName", "objectGUID", "objectClass", "tokenGroups", "primaryGroupID")
        found = (directory or self.directory).search(caller.dn, "base", "(objectClass=*)", wanted)
        if not found:
            raise CertSrvError(0x80070534, f"No mapping between account names and security IDs was done: {caller.name}")
        entry = found[0]
        groups = {descriptors.parse_sid(value)[0] for value in entry.all("tokenGroups")}
        groups |= {caller.sid, descriptors.EVERYONE, descriptors.AUTHENTICATED_USERS}
        if entry.integer("primaryGroupID") == descriptors.IN_DOMAIN["DD"]:
            groups.add(descriptors.ENTERPRISE_DOMAIN_CONTROLLERS)
        return policy.Requester(
            name=caller.name,
            sid=caller.sid,
            dn=entry.dn,
            cn=entry.text("cn") or "",
            dns_domain=self.machine.dns_domain,
            groups=frozenset(groups),
            computer=b"computer" in [value.lower() for value in entry.all("objectClass")],
            upn=entry.text("userPrincipalName"),
            mail=entry.text("mail"),
            dns_name=entry.text("dNSHostName"),
            guid=entry.first("objectGUID"),
        )

    def rights(self, caller: Caller) -> int:
        """The caller's rights on the CA: MANAGE_CA, MANAGE_CERTIFICATES, … as the running service has them."""
        settings = self._running()
        groups = self._groups(caller)
        return sum(bit for bit in (0x1, 0x2, 0x4, 0x8, 0x100, 0x200) if settings.security.allows(groups, bit))

    def _groups(self, caller: Caller) -> frozenset[str]:
        try:
            groups = self._requester(caller).groups
        except DirectoryError as error:
            raise error.as_adcs("Directory") from error
        administrators = {f"{self.directory.domain_sid}-{descriptors.IN_DOMAIN['DA']}"}
        # of this computer's own group Administrators, Domain Admins are members since the host joined
        return groups | {descriptors.ADMINISTRATORS} if groups & administrators else groups - {descriptors.ADMINISTRATORS}

    def _demand(self, caller: Caller | None, right: int, row: Mapping[str, Any] | None = None) -> None:
        """Raise unless the caller may administer; None is the computer itself. `row`: the request that an officer handles."""
        if caller is None:
            return
        settings = self._running()
        groups = self._groups(caller)
        held = [bit for bit in (registry.MANAGE_CA, registry.MANAGE_CERTIFICATES) if settings.security.allows(groups, bit)]
        if right not in held:
            raise CertSrvError(E_ACCESSDENIED)
        if settings.role_separation and len(held) > 1:
            raise CertSrvError(ROLE_CONFLICT)
        if row is not None and settings.officer_rights is not None:
            subject = self._groups(self._caller_of(row["requester_sid"]))
            if not restricted_allows(settings.officer_rights, groups, subject, self._template_names(row["certificate_template"])):
                raise CertSrvError(RESTRICTED_OFFICER)

    def _template_names(self, recorded: str | None) -> frozenset[str]:
        """Name and OID of a template that the database has by one of them."""
        entry = self._publication().template(recorded) if recorded and self.enterprise else None
        found = {recorded, *(entry.texts("cn") + entry.texts("msPKI-Cert-Template-OID") if entry else ())}
        return frozenset(name for name in found if name)

    def _caller_of(self, sid: str) -> Caller:
        found = self.directory.search(self.directory.base_dn, "sub", f"(objectSid={sid})", ["sAMAccountName", "objectSid"])
        if not found:
            raise CertSrvError(0x80070534)
        name = found[0].text("sAMAccountName") or ""
        return Caller(f"{self.machine.netbios}\\{name}", name, sid, found[0].dn)

    def _running(self) -> Settings:
        if self._settings is None:
            raise CertSrvError(SERVER_UNAVAILABLE)
        return self._settings

    @property
    def _db(self) -> database.Database:
        assert self._database is not None
        return self._database

    def _tolerating(self, what: str, operation: Callable[[], object]) -> None:
        try:
            operation()
        except (CertSrvError, DirectoryError, OSError) as error:
            self.events.append(f"{self.machine.now().isoformat()} {what}: {error}")

    def _tokens(self, ca: CACertificate, *, delta: bool = False) -> names.Tokens:
        config = f"CN=Configuration,{self.machine.base_dn}"
        return names.Tokens(self.machine.fqdn, self.machine.hostname, self.ca_key, config, ca.suffix, ca.key_suffix, delta)


def restricted_allows(rights: descriptors.Descriptor, who: frozenset[str], whom: frozenset[str], template: frozenset[str]) -> bool:
    """OfficerRights and EnrollmentAgentRights: callback entries whose data name the accounts (and the template) that they speak of.

    The data ([MS-CSRA] 2.2.1.11): count of SIDs, the SIDs, and for one template its name or OID in UTF-16; without one, all templates.
    `template`: name and OID of the one in question.
    """
    names = {name.casefold() for name in template}
    for ace in rights.aces:
        if ace.sid not in who or ace.type not in (descriptors.ALLOW_CALLBACK, descriptors.DENY_CALLBACK):
            continue
        sids, name = callback_data(ace.data)
        if whom & sids and (not name or name.casefold() in names):
            return ace.type == descriptors.ALLOW_CALLBACK
    return False


def callback_data(data: bytes) -> tuple[set[str], str]:
    count = int.from_bytes(data[:4], "little")
    at, sids = 4, set()
    for _ in range(count):
        sid, size = descriptors.parse_sid(data[at:])
        sids.add(sid)
        at += size
    rest = data[at : len(data) - (len(data) - at) % 2]
    return sids, rest.decode("utf-16-le", errors="replace").rstrip("\0")
