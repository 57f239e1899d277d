# SPDX-License-Identifier: GPL-3.0-or-later
"""How a domain's PKI objects become facts, on a directory of a few entries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.compliance import domain as looking
from ansible_collections.certlogon.core.plugins.module_utils.compliance import read_only
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, NotRead, Target
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation, load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import domain as observer
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import AccessDenied, DirectoryError, Entry, NoSuchObject
from ansible_collections.certlogon.core.plugins.module_utils.errors import SessionLost
from ansible_collections.certlogon.core.tests.unit.compliance.domain_facts import CA, CONTEXT, ROOT, SERVICES, SID, sha256
from ansible_collections.certlogon.core.tests.unit.directory import pki_samples as pki

DOMAIN = "DC=corp,DC=example"
CHILD = f"DC=branch,{DOMAIN}"
CONFIGURATION = f"CN=Configuration,{DOMAIN}"
USERS, STAFF, OUTER = f"CN=Domain Users,CN=Users,{DOMAIN}", f"CN=Staff,{DOMAIN}", f"CN=Outer,{DOMAIN}"


def entry(dn: str, kind: str, **attributes: Any) -> Entry:
    values = {
        name.replace("_", "-"): [
            item if isinstance(item, bytes) else str(item).encode() for item in (value if isinstance(value, list) else [value])
        ]
        for name, value in attributes.items()
    }
    descriptor = values.pop("descriptor", [bytes(_DESCRIPTOR)])
    return Entry(
        dn,
        {"cn": [dn.partition(",")[0][3:].encode()], "objectClass": [b"top", kind.encode()], "nTSecurityDescriptor": descriptor, **values},
    )


def _descriptor() -> bytes:
    from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SecurityDescriptor

    return bytes(SecurityDescriptor.from_sddl("O:EAG:EAD:PAI(A;;LCRPLORC;;;AU)", CONTEXT))


_DESCRIPTOR = _descriptor()


def containers() -> list[Entry]:
    names = ("Certificate Templates", "OID", "Enrollment Services", "Certification Authorities", "AIA")
    return [entry(SERVICES, "container"), *(entry(f"CN={name},{SERVICES}", "container") for name in names)]


def objects() -> list[Entry]:
    return [
        *containers(),
        entry(
            f"CN=Corp,CN=Certificate Templates,{SERVICES}",
            "pKICertificateTemplate",
            flags=0,
            revision=100,
            msPKI_Certificate_Name_Flag=1,
            msPKI_Enrollment_Flag=0,
            msPKI_RA_Signature=0,
            pKIExtendedKeyUsage="1.3.6.1.5.5.7.3.2",
            msPKI_Certificate_Policy="1.2.3.4",
        ),
        entry(f"CN=Bare,CN=Certificate Templates,{SERVICES}", "pKICertificateTemplate", flags=0, descriptor=[]),
        entry(
            f"CN=P,CN=OID,{SERVICES}",
            "msPKI-Enterprise-Oid",
            flags=2,
            displayName="Gold",
            msPKI_Cert_Template_OID="1.2.3.4",
            msDS_OIDToGroupLink=OUTER,
        ),
        entry(
            f"CN=Issuing,CN=Enrollment Services,{SERVICES}",
            "pKIEnrollmentService",
            dNSHostName="ca1.corp.example",
            certificateTemplates=["Corp"],
            cACertificate=[CA, b"nonsense"],
        ),
        entry(f"CN=Root,CN=Certification Authorities,{SERVICES}", "certificationAuthority", cACertificate=[ROOT]),
        entry(f"CN=Issuing,CN=AIA,{SERVICES}", "certificationAuthority", cACertificate=[b"\0"]),
        entry(f"CN=NTAuthCertificates,{SERVICES}", "certificationAuthority", cACertificate=[CA]),
        entry(f"CN=CA1,{DOMAIN}", "computer", dNSHostName="ca1.corp.example", sAMAccountName="CA1$", userAccountControl=4096),
        entry(USERS, "group", objectSid=[bytes(CONTEXT.domain.child(513))], sAMAccountName="Domain Users", memberOf=STAFF),
        entry(STAFF, "group", objectSid=[bytes(CONTEXT.domain.child(1104))], sAMAccountName="Staff", memberOf=OUTER),
        entry(OUTER, "group", objectSid=[bytes(CONTEXT.domain.child(1105))], sAMAccountName="Outer", memberOf=[STAFF]),
        entry(
            f"CN=DC1,CN=Servers,CN=Site,CN=Sites,{CONFIGURATION}",
            "server",
            dNSHostName="dc1.corp.example",
            serverReference=f"CN=DC1,{DOMAIN}",
        ),
        entry(
            f"CN=DC2,CN=Servers,CN=Site,CN=Sites,{CONFIGURATION}",
            "server",
            dNSHostName="dc2.corp.example",
            serverReference=f"CN=DC2,{DOMAIN}",
        ),
        entry(f"CN=Far,CN=Servers,CN=Site,CN=Sites,{CONFIGURATION}", "server", dNSHostName="far.other", serverReference="CN=Far,DC=other"),
        entry(f"CN=DC2,{DOMAIN}", "computer", primaryGroupID=521, operatingSystem="Windows Server 2022"),
    ]


class FakeDirectory:
    """Answers by place, class, and the object SIDs in the filter."""

    host, domain, forest, is_samba = "dc1.corp.example", "corp.example", "corp.example", True
    domain_dn, configuration_dn, public_key_services = DOMAIN, CONFIGURATION, SERVICES
    domain_sid = root_domain_sid = Sid.parse(SID)
    domains = {"CORP": DOMAIN}
    options = SimpleNamespace(username="auditor@corp.example")

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries

    def search(self, base: str, filter: str, attributes: Any, scope: str = "subtree", *, descriptor: int = 0) -> list[Entry]:
        below = [item for item in self.entries if item.dn == base or item.dn.endswith(f",{base}")]
        if base == SERVICES and not below:
            raise NoSuchObject(f"{base}: the server refused to search: noSuchObject")
        if "objectSid=" in filter:
            return [item for item in below if "".join(f"\\{octet:02x}" for octet in item.raw("objectSid") or b"-") in filter]
        kind = filter.partition("objectClass=")[2].partition(")")[0]
        return [item for item in below if kind == "*" or kind in item.texts("objectClass")]

    def get(self, dn: str, attributes: Any) -> Entry | None:
        if not dn.endswith(f",{DOMAIN}") or dn.endswith(f",{CHILD}"):
            raise DirectoryError(f"{dn}: the server refused to search: referral")
        return next((item for item in self.entries if item.dn == dn), None)

    @contextmanager
    def global_catalogue(self) -> Iterator[Any]:
        found = SimpleNamespace(search=self.search, get=lambda dn, attributes: next((item for item in self.entries if item.dn == dn), None))
        yield found

    def resolve(self, names: list[str]) -> dict[str, Any]:
        return {name: SimpleNamespace(sid=CONTEXT.domain.child(1200), name=f"CORP\\{name}") for name in names}

    def principal_names(self, sids: list[Sid]) -> dict[Sid, str]:
        return {sid: f"name of {sid}" for sid in sids}


PARAMS: dict[str, Any] = {"authorities": [], "trusted_certificates": [], "smart_card_templates": [], "unprivileged": []}


@pytest.fixture
def replicas(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the other domain controllers have, by host; an error is raised."""
    found: dict[str, Any] = {"dc2.corp.example": objects()}

    @contextmanager
    def connect(options: Any, warn: Any, asked: Any, *, host: str) -> Iterator[Any]:
        if isinstance(found[host], Exception):
            raise found[host]
        yield FakeDirectory(found[host])

    monkeypatch.setattr(read_only, "directory", connect)
    return found


def observed(entries: list[Entry], **params: Any) -> Observation:
    observation = Observation(Target("domain", "corp.example"), "2026-06-01T00:00:00+00:00")
    observer.observe(FakeDirectory(entries), {**PARAMS, **params}, observation)  # type: ignore[arg-type]
    json.dumps(observation.facts)
    return observation


def test_facts(replicas: dict[str, Any]) -> None:
    observation = observed(objects())
    facts = observation.facts
    assert set(facts) == set(observer.FACTS)
    assert [(item["host"], item["site"], item["read_only"]) for item in facts["domain_controllers"]] == [
        ("dc1.corp.example", "Site", False),
        ("dc2.corp.example", "Site", True),
    ]
    assert facts["anybody"] == {f"{SID}-1104": "Domain Users is a member", f"{SID}-1105": "Staff is a member"}
    bare, corp = facts["templates"]
    assert (bare["descriptor"], corp["unread"]) == (None, [])
    assert "msPKI-Enrollment-Flag" in bare["unread"]
    assert corp["words"]["subject"]["supplied_in_request"] is True
    assert [(policy["word"], policy["group"]) for policy in facts["issuance_policies"]] == [("1.2.3.4", OUTER)]
    assert facts["stores"]["intermediate"][0]["certificates"] == [], "the placeholder is no certificate"
    assert facts["stores"]["ntauth"][0]["certificates"] == [sha256(CA)]
    assert facts["pki_certificates"][sha256(b"nonsense")]["broken"]
    assert facts["ca_computers"][0]["account"] == "CA1$"
    assert not any(",CN=Certificate Templates," in item["dn"] for item in facts["pki_objects"])
    assert facts["replicas"][1]["answered"] and facts["replicas"][1]["differences"] == []
    assert observation.servers == ["dc2.corp.example"]
    assert [(item["use"], item["name"], item["held_by"]) for item in observation.certificates] == [
        ("ca", "Issuing", "enrollment service"),
        ("root", "Root", "Certification Authorities"),
    ]


def test_a_forest_of_several_domains(replicas: dict[str, Any]) -> None:
    """Other domains' servers and groups stand in the same forest; asked for those, a server refers to theirs."""
    universal, above = f"CN=Everybody everywhere,{CHILD}", f"CN=Above,{CHILD}"
    users = entry(USERS, "group", objectSid=[bytes(CONTEXT.domain.child(513))], sAMAccountName="Domain Users", memberOf=[STAFF, universal])
    branch = Sid.parse("S-1-5-21-9-9-9")
    entries = [
        *(users if one.dn == USERS else one for one in objects()),
        entry(
            f"CN=Branch,CN=Servers,CN=Site,CN=Sites,{CONFIGURATION}",
            "server",
            dNSHostName="dc1.branch.corp.example",
            serverReference=f"CN=DC1,OU=Domain Controllers,{CHILD}",
        ),
        entry(universal, "group", objectSid=[bytes(branch.child(1300))], sAMAccountName="Everybody everywhere", memberOf=above),
        entry(above, "group", objectSid=[bytes(branch.child(1301))], sAMAccountName="Above"),
    ]
    replicas["dc2.corp.example"] = entries
    facts = observed(entries).facts
    assert [item["host"] for item in facts["domain_controllers"]] == ["dc1.corp.example", "dc2.corp.example"]
    assert facts["anybody"] == {
        f"{SID}-1104": "Domain Users is a member",
        f"{SID}-1105": "Staff is a member",
        "S-1-5-21-9-9-9-1300": "Domain Users is a member",
        "S-1-5-21-9-9-9-1301": "Everybody everywhere is a member",
    }


def test_the_unprivileged_are_named(replicas: dict[str, Any]) -> None:
    assert observed(objects(), unprivileged=["Contractors"]).facts["anybody"][f"{SID}-1200"] == "named as unprivileged"


def test_hidden_containers_are_unread(replicas: dict[str, Any]) -> None:
    hidden = [item for item in objects() if "CN=Certificate Templates," not in item.dn and "CN=AIA" not in item.dn]
    facts = observed(hidden).facts
    assert "Certificate Templates" in facts["templates"]["unread"]["right"]
    assert facts["stores"]["intermediate"] is None
    with pytest.raises(NotRead, match="templates: CN=Certificate Templates,CN=Public"):
        Facts(Target("domain", ""), facts, pki.NOW)["templates"]


def test_what_is_declared(replicas: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_text(pki.pem(ROOT))
    sound = [item for item in objects() if "CN=Enrollment Services" not in item.dn]
    sound += [entry(f"CN=Enrollment Services,{SERVICES}", "container")]
    sound += [entry(f"CN=Issuing,CN=Enrollment Services,{SERVICES}", "pKIEnrollmentService", cACertificate=[CA])]
    trusted = [{"store": "root", "certificates": [{"path": str(tmp_path / "root.pem")}]}]
    assert observed(sound, trusted_certificates=trusted).facts["declared"] == {"root": [sha256(ROOT)]}
    by_name = observed(sound, authorities=["issuing"]).facts["declared"]
    assert by_name == {"ntauth": [sha256(CA)], "intermediate": [sha256(CA)], "root": [sha256(ROOT)]}
    assert "no enterprise CA 'Other'" in observed(sound, authorities=["Other"]).facts["declared"]["unread"]["reason"]
    gone = [{"store": "root", "certificates": [{"path": str(tmp_path / "gone.pem")}]}]
    assert "cannot be read" in observed(sound, trusted_certificates=gone).facts["declared"]["unread"]["reason"]


def test_replicas_that_differ(replicas: dict[str, Any]) -> None:
    there = [item for item in objects() if item.dn != f"CN=P,CN=OID,{SERVICES}"]
    there.append(entry(f"CN=New,CN=OID,{SERVICES}", "msPKI-Enterprise-Oid", flags=2))
    place = next(index for index, item in enumerate(there) if item.dn.startswith("CN=NTAuth"))
    there[place] = entry(there[place].dn, "certificationAuthority", cACertificate=[ROOT, CA])
    replicas["dc2.corp.example"] = there
    found = observed(objects()).facts["replicas"][1]
    assert [(item["dn"].partition(",")[0], item["what"], item["attributes"]) for item in found["differences"]] == [
        ("CN=New", "extra", []),
        ("CN=NTAuthCertificates", "differs", ["cACertificate"]),
        ("CN=P", "missing", []),
    ]
    replicas["dc2.corp.example"] = SessionLost("dc2.corp.example:389 does not answer: timed out")
    found = observed(objects()).facts["replicas"][1]
    assert (found["answered"], found["error"]) == (False, "dc2.corp.example:389 does not answer: timed out")


def test_a_part_that_fails_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def first(directory: Any, params: Any, observation: Observation) -> None:
        observation.set("early", 1)
        raise AccessDenied("CN=X: the server refused to search: insufficientAccessRights")

    def second(directory: Any, params: Any, observation: Observation) -> None:
        observation.set("other", 2)

    parts = (looking.Part(first, ("early", "late"), {}), looking.Part(second, ("other",), {}))
    monkeypatch.setattr(looking, "PARTS", parts)
    observation = Observation(Target("domain", "corp.example"), "")
    look = looking.Look(FakeDirectory([]), observation)  # type: ignore[arg-type]
    result = looking.DomainObservation().read(look, {"folder": str(tmp_path)})
    assert (result["facts"], result["unread"]) == (3, ["late"])
    facts = load(Path(result["observation"])).facts
    assert facts["early"] == 1 and facts["other"] == 2
    assert facts["late"]["unread"]["reason"].startswith("CN=X: the server refused")
    assert Path(result["observation"]).stat().st_mode & 0o777 == 0o600
