# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory's half of Group Policy: policy objects, what they are linked to, and WMI filters ([MS-GPOL] 2.2.1 to 2.2.3, 3.3.5)."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from ansible_collections.certlogon.core.plugins.module_utils.directory.names import escape_filter, escape_rdn, rdn_value, split_dn
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import (
    AlreadyExists,
    Directory,
    DirectoryError,
    Entry,
    Modify,
    NoSuchAttribute,
    NoSuchObject,
)
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError

LINKS, OPTIONS = "gPLink", "gPOptions"
BLOCKED = 1

_ATTRIBUTES = (
    "cn",
    "displayName",
    "flags",
    "versionNumber",
    "gPCFileSysPath",
    "gPCMachineExtensionNames",
    "gPCUserExtensionNames",
    "gPCWQLFilter",
    "nTSecurityDescriptor",
)
_OWNER_GROUP_DACL = 7
_DACL = 4
_SHARE = re.compile(r"\\\\[^\\]+\\sysvol\\(.+)\Z", re.IGNORECASE)
_ATTEMPTS = 40
_RACE = frozenset((16, 19, 20))
"""Result codes that mean: the value is not the one that was read (noSuchAttribute, constraintViolation, attributeOrValueExists)."""


@dataclass(frozen=True)
class Domain:
    """What plans need to know of the domain they are made for."""

    dn: str
    dns_name: str
    configuration_dn: str
    sid: Sid
    root_sid: Sid
    is_samba: bool

    @classmethod
    def of(cls, directory: Directory) -> Domain:
        return cls(
            directory.domain_dn,
            directory.domain,
            directory.configuration_dn,
            directory.domain_sid,
            directory.root_domain_sid,
            directory.is_samba,
        )

    @property
    def policies_dn(self) -> str:
        return f"CN=Policies,CN=System,{self.dn}"

    def policy_dn(self, guid: str) -> str:
        return f"CN={guid},{self.policies_dn}"

    def folder(self, guid: str) -> str:
        """Where a policy's files are, relative to the SYSVOL share."""
        return f"{self.policies_folder}\\{guid}"

    @property
    def policies_folder(self) -> str:
        return f"{self.dns_name}\\Policies"

    def target_dn(self, target: str) -> str:
        """The site, domain or organizational unit that an administrator means."""
        if target.casefold() == "domain":
            return self.dn
        if target.casefold().startswith("site:"):
            return f"CN={escape_rdn(target[5:].strip())},CN=Sites,{self.configuration_dn}"
        if "=" in target:
            return ",".join(split_dn(target))
        units = [part.strip() for part in target.strip("/").split("/")]
        if not all(units):
            raise UserError(f"links.target: {target!r} is no path; it looks like Corp/Workstations, domain, site:NAME or a DN")
        return ",".join([*(f"OU={escape_rdn(unit)}" for unit in reversed(units)), self.dn])

    def target_word(self, dn: str) -> str:
        """The shortest form that `target_dn` takes for this object."""
        parts, own = split_dn(dn), split_dn(self.dn)
        if dn_key(dn) == dn_key(self.dn):
            return "domain"
        if dn_key(",".join(parts[1:])) == dn_key(f"CN=Sites,{self.configuration_dn}"):
            return f"site:{rdn_value(dn)}"
        units = parts[: -len(own)]
        values = [rdn_value(part) for part in reversed(units)]
        plain = all(part[:3].upper() == "OU=" for part in units) and not any("/" in value or "=" in value for value in values)
        if dn_key(",".join(parts[-len(own) :])) == dn_key(self.dn) and plain and values[0].casefold() != "domain":
            return "/".join(values)
        return dn


@dataclass(frozen=True)
class Container:
    """One groupPolicyContainer. `folder` is its place in SYSVOL, relative to the share."""

    dn: str
    guid: str
    name: str
    flags: int
    version: int | None
    folder: str
    machine_extensions: str | None
    user_extensions: str | None
    wmi_filter: str | None
    descriptor: SecurityDescriptor | None


@dataclass(frozen=True)
class Target:
    """What policies can be linked to: a site, the domain, or an organizational unit."""

    dn: str
    links: str | None
    options: int

    @property
    def blocks_inheritance(self) -> bool:
        return bool(self.options & BLOCKED)


@lru_cache(maxsize=65536)
def dn_key(dn: str) -> str:
    """A distinguished name without case and without spaces between its parts: equal for equal objects."""
    return ",".join(split_dn(dn)).casefold()


def read_policies(directory: Directory, domain: Domain) -> list[Container]:
    found = directory.search(domain.policies_dn, "(objectClass=groupPolicyContainer)", _ATTRIBUTES, "level", descriptor=_OWNER_GROUP_DACL)
    return [_container(entry, domain) for entry in found]


def read_policy(directory: Directory, domain: Domain, dn: str) -> Container | None:
    entry = directory.get(dn, _ATTRIBUTES, descriptor=_OWNER_GROUP_DACL)
    return _container(entry, domain) if entry else None


def _container(entry: Entry, domain: Domain) -> Container:
    guid = (entry.text("cn") or rdn_value(entry.dn)).upper()
    path = _SHARE.match(entry.text("gPCFileSysPath") or "")
    descriptor = entry.raw("nTSecurityDescriptor")
    return Container(
        entry.dn,
        guid,
        entry.text("displayName") or guid,
        entry.integer("flags") or 0,
        entry.integer("versionNumber"),
        path[1].rstrip("\\") if path else domain.folder(guid),
        entry.text("gPCMachineExtensionNames"),
        entry.text("gPCUserExtensionNames"),
        entry.text("gPCWQLFilter"),
        _descriptor(entry.dn, descriptor) if descriptor else None,
    )


def _descriptor(dn: str, data: bytes) -> SecurityDescriptor:
    try:
        return SecurityDescriptor.parse(data)
    except FormatError as error:
        raise FormatError(f"{dn}: nTSecurityDescriptor: {error}") from error


def read_targets(directory: Directory, domain: Domain, wanted: Iterable[str]) -> dict[str, Target]:
    """All that is linked or blocks inheritance, and those of `wanted` that exist, by `dn_key`."""
    attributes = (LINKS, OPTIONS)
    entries = directory.search(domain.dn, f"(|({LINKS}=*)({OPTIONS}=*))", attributes)
    with suppress(NoSuchObject):
        entries += directory.search(f"CN=Sites,{domain.configuration_dn}", "(objectClass=site)", attributes, "level")
    found = {dn_key(entry.dn): _target(entry) for entry in entries}
    for dn in wanted:
        if dn_key(dn) not in found:
            try:
                entry = directory.get(dn, attributes)
            except DirectoryError as error:
                raise UserError(f"links.target: {dn!r}: {error}") from error
            if entry:
                found[dn_key(dn)] = _target(entry)
    return found


def _target(entry: Entry) -> Target:
    return Target(entry.dn, entry.text(LINKS), entry.integer(OPTIONS) or 0)


def similar_units(directory: Directory, name: str) -> list[str]:
    """Organizational units whose own name is like this one, to suggest them."""
    found = directory.search(directory.domain_dn, f"(&(objectClass=organizationalUnit)(ou={escape_filter(name)}))", ("ou",))
    return [entry.dn for entry in found]


def read_wmi_filters(directory: Directory, domain: Domain) -> dict[str, str]:
    """The domain's WMI filters: id -> name ([MS-GPOL] 2.2.3)."""
    try:
        found = directory.search(
            f"CN=SOM,CN=WMIPolicy,CN=System,{domain.dn}", "(objectClass=msWMI-Som)", ("msWMI-ID", "msWMI-Name"), "level"
        )
    except NoSuchObject:
        return {}
    return {(entry.text("msWMI-ID") or rdn_value(entry.dn)).upper(): entry.text("msWMI-Name") or "" for entry in found}


def create(directory: Directory, domain: Domain, guid: str, name: str) -> None:
    """The policy object at version 0, which clients do not apply, and its two containers; what is there already is fine."""
    dn = domain.policy_dn(guid)
    with suppress(AlreadyExists):
        directory.add(
            dn,
            {
                "objectClass": ["top", "container", "groupPolicyContainer"],
                "displayName": name,
                "gPCFileSysPath": f"\\\\{domain.dns_name}\\sysvol\\{domain.folder(guid)}",
                "gPCFunctionalityVersion": 2,
                "versionNumber": 0,
                "flags": 0,
            },
        )
    for half in ("Machine", "User"):
        with suppress(AlreadyExists):
            directory.add(f"CN={half},{dn}", {"objectClass": ["top", "container"]})


def write_descriptor(directory: Directory, dn: str, descriptor: SecurityDescriptor) -> None:
    """The DACL alone; owner and group stay."""
    dacl = SecurityDescriptor(dacl=descriptor.dacl, control=descriptor.control)
    directory.modify(dn, [Modify("replace", "nTSecurityDescriptor", [bytes(dacl)])], descriptor=_DACL)


def commit(directory: Directory, container: Container, version: int, attributes: Mapping[str, str | int | None]) -> bool:
    """Version and attributes in one modification; False where the version is no longer the one that was read."""
    changes = [Modify("replace", name, [] if value is None or value == "" else [value]) for name, value in attributes.items()]
    if version != container.version:
        swap = [Modify("delete", "versionNumber", [container.version])] if container.version is not None else []
        changes = [*swap, Modify("add", "versionNumber", [version]), *changes]
    try:
        directory.modify(container.dn, changes)
    except NoSuchAttribute:
        return False
    except DirectoryError as error:
        if error.code in _RACE and version != container.version:
            return False
        raise
    return True


def delete(directory: Directory, dn: str) -> None:
    with suppress(NoSuchObject):
        directory.delete(dn, tree=True)


def edit_value(directory: Directory, dn: str, attribute: str, edit: Callable[[str | None], str | None]) -> None:
    """Compare-and-swap of one single-valued attribute: nobody else's change to it is lost."""
    for attempt in range(_ATTEMPTS):
        entry = directory.get(dn, (attribute,))
        if entry is None:
            raise NoSuchObject(f"{dn}: it has been deleted since it was read; run again")
        old = entry.text(attribute)
        new = edit(old) or None
        if new == old:
            return
        changes: Sequence[Modify] = [
            *([Modify("delete", attribute, [old])] if old is not None else []),
            *([Modify("add", attribute, [new])] if new is not None else []),
        ]
        try:
            directory.modify(dn, changes)
            return
        except DirectoryError as error:
            if error.code not in _RACE:
                raise
        time.sleep(0.005 * (attempt + 1) * (0.5 + secrets.randbelow(1000) / 1000))
    raise UserError(f"{dn}: {attribute} was changed by others {_ATTEMPTS} times in a row; find out what writes it all the time")
