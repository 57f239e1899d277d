# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and writing certificate templates, against a directory that is a dictionary and fails as it is told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.directory import oids
from ansible_collections.certlogon.core.plugins.module_utils.directory.certificate_templates import CertificateTemplates
from ansible_collections.certlogon.core.plugins.module_utils.directory.principals import Principal
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SddlContext, SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import (
    AlreadyExists,
    DirectoryError,
    Entry,
    Modify,
    NoSuchAttribute,
    NoSuchObject,
)
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_plan import DESCRIPTOR, OID, Step
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan

SERVICES = "CN=Public Key Services,CN=Services,CN=Configuration,DC=corp,DC=example"
CONTAINER, OIDS = f"CN=Certificate Templates,{SERVICES}", f"CN=OID,{SERVICES}"
DOMAIN = Sid.parse("S-1-5-21-1-2-3")
GUID = bytes(range(16))
RESOURCE = CertificateTemplates()


class FakeDirectory:
    """Objects by name; `errors` holds what the next operation of a kind raises."""

    public_key_services = SERVICES
    configuration_dn = "CN=Configuration,DC=corp,DC=example"
    root_domain_sid = DOMAIN

    def __init__(self, objects: dict[str, dict[str, list[bytes]]]) -> None:
        self.objects = {self.configuration_dn: {"objectGUID": [GUID]}, OIDS: {"cn": [b"OID"]}, **objects}
        self.errors: dict[str, Exception] = {}
        self.done: list[tuple[Any, ...]] = []
        self.rights: set[str] = {"pKICertificateTemplate", "msPKI-Enterprise-Oid", OID}

    def search(self, base: str, filter: str, attributes: Iterable[str], scope: str = "subtree", *, descriptor: int = 0) -> list[Entry]:
        below = [dn for dn in self.objects if dn.endswith(f",{base}") or (scope == "subtree" and dn == base)]
        return [Entry(dn, self.objects[dn]) for dn in below]

    def get(self, dn: str, attributes: Iterable[str] = ("*",), *, descriptor: int = 0) -> Entry | None:
        return Entry(dn, self.objects[dn]) if dn in self.objects else None

    def resolve(self, wanted: Iterable[str]) -> dict[str, Principal]:
        return {name: Principal(DOMAIN.child(1111), f"CORP\\{name}") for name in wanted}

    def principal_names(self, sids: Iterable[Sid]) -> dict[Sid, str]:
        return {sid: f"CORP\\{sid.rid}" for sid in sids}

    def may_create(self, container: str, object_class: str) -> bool:
        return object_class in self.rights

    def may_write(self, dn: str, attribute: str) -> bool:
        return attribute in self.rights

    def _do(self, *operation: Any) -> None:
        error = self.errors.pop(operation[0], None)
        if error is not None:
            raise error
        self.done.append(operation)

    def add(self, dn: str, attributes: dict[str, Any], *, descriptor: int = 0) -> None:
        self._do("add", dn, descriptor)

    def modify(self, dn: str, changes: Iterable[Modify], *, descriptor: int = 0) -> None:
        self._do("modify", dn, list(changes))

    def delete(self, dn: str) -> None:
        self._do("delete", dn)


def entry(**attributes: Any) -> dict[str, list[bytes]]:
    sddl = SecurityDescriptor.from_sddl("O:EAG:EAD:PAI(A;;LCRPLORC;;;DU)", SddlContext(DOMAIN))
    return {
        "cn": [b"Corp"],
        "displayName": [b"Corp"],
        "flags": [b"131616"],
        "msPKI-Template-Schema-Version": [b"2"],
        "pKIExtendedKeyUsage": [b"1.2.3", b"1.2.4"],
        "pKIKeyUsage": [b"\xa0\0"],
        OID: [b"1.2.3.4"],
        DESCRIPTOR: [bytes(sddl)],
        **attributes,
    }


DN = f"CN=Corp,{CONTAINER}"
REGISTERED = {"cn": [b"x"], "displayName": [b"Corp"], "flags": [b"1"], OID: [b"1.2.3.4"]}


def read(directory: FakeDirectory, state: str = "gathered", config: list[dict[str, Any]] | None = None) -> Any:
    return RESOURCE.read(directory, {"state": state, "config": config})  # type: ignore[arg-type]


def test_reading() -> None:
    policy = {"displayName": [b"Corp Policy"], "flags": [b"2"], OID: [b"1.2.9"]}
    arc = {"cn": [b"OID"], OID: [b"1.3.6.1.4.1.311.21.8.9.9.9.9.9.9"]}
    directory = FakeDirectory({DN: entry(), f"CN=x,{OIDS}": REGISTERED, f"CN=y,{OIDS}": policy, OIDS: arc})
    current = read(directory)
    assert (current.arc, current.has_arc) == ("1.3.6.1.4.1.311.21.8.9.9.9.9.9.9", True)
    assert current.vocabulary.policies.oid("corp policy") == "1.2.9"
    words = RESOURCE.objects(current)["Corp"]
    assert words["owner"] == "CORP\\519"
    assert words["permissions"] == [{"principal": "CORP\\513", "rights": ["read"]}]
    assert words["extended_key_usages"] == ["1.2.3", "1.2.4"]
    assert "oid_registered" not in words


def test_reading_for_a_plan() -> None:
    config = [{"name": "CORP", "owner": "a", "permissions": [{"principal": "b"}, {"ace": "x"}]}]
    current = read(FakeDirectory({DN: entry()}), "merged", config)
    assert (current.arc, current.has_arc) == (oids.forest_arc(GUID), False)
    assert set(current.principals) == {"a", "b"}
    assert current.names[DOMAIN.child(1111)] in ("CORP\\a", "CORP\\b")
    assert current.names[DOMAIN.child(512)] == "CORP\\512"
    assert current.scope == {"corp"}


def test_publications_are_read_for_deletion_only() -> None:
    service = f"CN=CA,CN=Enrollment Services,{SERVICES}"
    directory = FakeDirectory({DN: entry(), service: {"certificateTemplates": [b"corp"]}})
    assert read(directory).publications == ()
    assert [(item.dn, item.templates) for item in read(directory, "deleted", [{"name": "x"}]).publications] == [(service, ["corp"])]


def test_a_descriptor_that_cannot_be_read_is_named() -> None:
    broken = FakeDirectory({DN: entry(**{DESCRIPTOR: [b"\1\0"]})})
    with pytest.raises(FormatError, match="Corp: nTSecurityDescriptor: security descriptor of 2 bytes is cut short"):
        read(broken)
    assert read(broken, config=[{"name": "Other"}]).find("corp") is not None
    hidden = FakeDirectory({DN: {key: value for key, value in entry().items() if key != DESCRIPTOR}})
    assert "permissions" not in RESOURCE.objects(read(hidden))["Corp"]


def test_a_forest_that_cannot_be_identified() -> None:
    directory = FakeDirectory({})
    directory.objects[directory.configuration_dn] = {}
    with pytest.raises(UserError, match="may not read its objectGUID"):
        read(directory)


def change(*steps: Step) -> Change:
    return Change("Corp", None, {}, steps)


ADD_OID = Step("add_oid", f"CN=x,{OIDS}", {"displayName": "Corp"})
ARC = Step("arc", OIDS, modifies=[Modify("add", OID, ["1.2.3"])])


def test_rights() -> None:
    directory = FakeDirectory({})
    steps = change(ARC, ADD_OID, Step("add", DN), Step("modify", DN, modifies=[Modify("replace", "flags", [1])]), Step("delete", DN))
    directory.rights |= {"flags"}
    RESOURCE.authorize(directory, Plan([steps]), read(directory))  # type: ignore[arg-type]
    directory.rights = set()
    with pytest.raises(UserError) as raised:
        RESOURCE.authorize(directory, Plan([steps]), read(directory))  # type: ignore[arg-type]
    lines = str(raised.value).splitlines()
    assert [line.split(" ")[4] for line in lines] == ["create", "create", "write", "write"]


def apply(directory: FakeDirectory, *steps: Step) -> None:
    RESOURCE.apply(directory, change(*steps))  # type: ignore[arg-type]


def test_writing_in_order() -> None:
    directory = FakeDirectory({})
    apply(directory, ARC, ADD_OID, Step("add", DN, descriptor=7), Step("delete", DN))
    assert [(operation, dn) for operation, dn, *_rest in directory.done] == [
        ("modify", OIDS),
        ("add", ADD_OID.dn),
        ("add", DN),
        ("delete", DN),
    ]


@pytest.mark.parametrize("display_name", ["Corp", None])
def test_an_oid_object_that_is_there_already_gets_the_name(display_name: str | None) -> None:
    directory = FakeDirectory({})
    directory.errors["add"] = AlreadyExists("there")
    apply(directory, Step("add_oid", "CN=x", {"displayName": display_name} if display_name else {}))
    assert directory.done == [("modify", "CN=x", [Modify("replace", "displayName", [display_name] if display_name else [])])]


@pytest.mark.parametrize(
    ("stored", "message"), [(b"1.2.3", None), (b"1.2.4", "given the OID arc 1.2.4 while this ran; run again"), (None, "refused")]
)
def test_somebody_else_gives_the_forest_its_arc(stored: bytes | None, message: str | None) -> None:
    directory = FakeDirectory({OIDS: {OID: [stored]} if stored else {}})
    directory.errors["modify"] = DirectoryError("refused")
    if message is None:
        apply(directory, ARC)
        return
    with pytest.raises(UserError, match=message):
        apply(directory, ARC)


def test_somebody_else_is_faster() -> None:
    directory = FakeDirectory({})
    directory.errors = {"modify": NoSuchAttribute("gone"), "delete": NoSuchObject("gone")}
    with pytest.raises(UserError, match="somebody else changed it"):
        apply(directory, Step("modify", DN, modifies=[Modify("delete", "revision", [1])]))
    apply(directory, Step("delete", DN))
