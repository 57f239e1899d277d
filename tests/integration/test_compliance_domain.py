# SPDX-License-Identifier: GPL-3.0-or-later
"""PKI objects looked at on a real domain controller: good after the roles, then spoilt behind their back by Samba's own tools."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import load as load_catalogue
from ansible_collections.certlogon.core.plugins.module_utils.compliance.domain import DomainObservation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judging import Result, judge
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import load
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
from ansible_collections.certlogon.core.tests.integration.site_inventory import SERVICES, put_back, write_inventory

CA = "Corp Example Issuing CA"
FAMILIES = ("10-templates", "15-enrollment_services", "30-trust")
CONTROLS = [control for control in load_catalogue().controls if control.family in FAMILIES]
TEMPLATE = f"CN=SeenSmartcardLogon,CN=Certificate Templates,{SERVICES}"
CONTROLLER = f"CN=SeenDomainController,CN=Certificate Templates,{SERVICES}"
NTAUTH = f"CN=NTAuthCertificates,{SERVICES}"
POLICY = f"CN=Seen,CN=OID,{SERVICES}"
GROUP = "CN=Seen Group,CN=Users,DC=corp,DC=example"
SERVER = "CN=DC9,CN=Servers,CN=Default-First-Site-Name,CN=Sites,CN=Configuration,DC=corp,DC=example"


@pytest.fixture
def site(
    lab: Any, playbook: Callable[..., Any], connection: dict[str, Any], run_resource: Callable[..., Any], tmp_path: Path
) -> Iterator[Any]:
    """The roles' good state; the domain is put back afterwards."""
    files = lab.files
    variables = {
        "certlogon_trusted_certificates": [
            {"store": "root", "certificates": [{"path": files["root_ca"]}]},
            {"store": "intermediate", "certificates": [{"path": files["issuing_ca"]}, {"path": files["vpn_ca"]}]},
            {"store": "ntauth", "certificates": [{"enrollment_service": CA}]},
        ],
        "certlogon_exact_stores": ["ntauth"],
        "certlogon_trust_policies": [],
        "certlogon_template_prefix": "Seen",
        "certlogon_smart_card_enrollers": ["Domain Users"],
        "certlogon_certification_authorities": [CA],
        "certlogon_export_before_change": False,
    }
    with put_back(run_resource):
        inventory = write_inventory(tmp_path / "inventory", connection, variables)
        playbook("certlogon.core.site", inventory=inventory, arguments=["--tags", "trust,templates"])
        yield variables


@pytest.fixture
def look(connection_as: Callable[..., dict[str, Any]], site: dict[str, Any], tmp_path: Path) -> Callable[..., dict[str, Result]]:
    """What the controls say of the domain, by an account."""

    def call(account: str) -> dict[str, Result]:
        resource = DomainObservation()
        options = {"trusted_certificates": site["certlogon_trusted_certificates"], "authorities": [CA], "folder": str(tmp_path / account)}
        checked = ArgumentSpecValidator(resource.argument_spec()).validate({**connection_as(account), **options})
        assert not checked.error_messages
        result = run(resource, checked.validated_parameters, check_mode=False, warn=lambda text: None)
        assert {name.partition(" ")[2] for name in result["asked"] if name.startswith("ldap")} == {"bind", "search"}
        seen = load(Path(result["observation"]))
        facts = Facts(seen.target, seen.facts, datetime.datetime.now(datetime.timezone.utc))
        return {found.control.id: found for found in judge(CONTROLS, facts, {})}

    return call


def bad(results: dict[str, Result]) -> dict[str, str]:
    return {name: result.status for name, result in results.items() if result.status in ("fail", "unknown")}


def messages(result: Result) -> str:
    return "\n".join(f"{verdict.subject}: {verdict.message} {verdict.right}" for verdict in result.verdicts)


@pytest.fixture
def sid_of(lab: Any) -> Callable[[str], str]:
    def call(name: str) -> str:
        found: bytes = lab.ldbsearch("DC=corp,DC=example", f"(sAMAccountName={name})", "objectSid")[0]["objectsid"][0]
        return found.decode()

    return call


@pytest.fixture
def spoilt(lab: Any) -> Iterator[Callable[[], None]]:
    """One fault each for five controls."""

    def call() -> None:
        rogue = x509.load_pem_x509_certificate(Path(lab.files["rogue_ca"]).read_bytes()).public_bytes(Encoding.DER)
        lab.samba_tool("group", "add", "Seen Group", "--group-scope=Universal")
        lab.ldbmodify(
            f"dn: {TEMPLATE}\nchangetype: modify\nreplace: msPKI-Certificate-Name-Flag\nmsPKI-Certificate-Name-Flag: 1\n"
            "-\nreplace: msPKI-Certificate-Policy\nmsPKI-Certificate-Policy: 1.3.6.1.4.1.311.21.8.1.777\n\n"
            f"dn: {POLICY}\nchangetype: add\nobjectClass: msPKI-Enterprise-Oid\nflags: 2\ndisplayName: Seen\n"
            f"msPKI-Cert-Template-OID: 1.3.6.1.4.1.311.21.8.1.777\nmsDS-OIDToGroupLink: {GROUP}\n\n"
            f"dn: {NTAUTH}\nchangetype: modify\nadd: cACertificate\ncACertificate:: {base64.b64encode(rogue).decode()}\n\n"
            f"dn: CN={CA},CN=Enrollment Services,{SERVICES}\nchangetype: modify\nadd: certificateTemplates\n"
            "certificateTemplates: SubCA\n\n"
            f"dn: {SERVER}\nchangetype: add\nobjectClass: server\ndNSHostName: dc9.corp.example\n"
            "serverReference: CN=CA1,OU=Servers,OU=Corp,DC=corp,DC=example\n\n"
        )
        lab.samba_tool("dsacl", "set", f"--objectdn={NTAUTH}", "--sddl=(A;;WP;;;AU)")

    yield call
    for dn in (SERVER, POLICY, GROUP):
        lab.run("dc1", "ldbdel", "-H", "/var/lib/samba/private/sam.ldb", dn, check=False)
    lab.samba_tool("dsacl", "delete", f"--objectdn={NTAUTH}", "--sddl=(A;;WP;;;AU)", check=False)


def test_good_then_spoilt_then_hidden(
    lab: Any, look: Callable[..., dict[str, Result]], spoilt: Callable[[], None], sid_of: Callable[[str], str]
) -> None:
    assert bad(look("plain.user")) == {}, "no more than reading is needed"
    spoilt()
    found = look("administrator")
    assert bad(found) == {
        "template-esc1": "fail",
        "template-card-binding": "fail",  # follows from ESC1
        "template-card-approval": "fail",
        "template-esc13": "fail",
        "pki-object-esc5": "fail",
        "service-template-default": "fail",
        "service-template-missing": "fail",  # the lab has no built-in templates
        "ntauth-unknown-certificate": "fail",
        "ntauth-chain": "fail",
        "pki-replica-difference": "unknown",
    }
    assert messages(found["template-esc1"]).startswith("template SeenSmartcardLogon: CORP\\Domain Users can enroll as anybody and log on.")
    assert f"members of {GROUP}" in messages(found["template-esc13"])
    assert messages(found["pki-object-esc5"]).startswith(f"object {NTAUTH}: Authenticated Users can change it (write_property)")
    assert "certificate Totally Trustworthy CA" in messages(found["ntauth-unknown-certificate"])
    assert "controller dc9.corp.example: It did not answer" in messages(found["pki-replica-difference"])
    lab.samba_tool("dsacl", "set", f"--objectdn={CONTROLLER}", f"--sddl=(D;;RC;;;{sid_of('plain.user')})")
    hidden = look("plain.user")
    not_known = dict.fromkeys((f"template-esc{number}" for number in (2, 3, 4, 9, 15, 17)), "unknown")
    assert bad(hidden) == bad(found) | not_known | {"service-template-missing": "unknown"}
    assert f"Read Permissions on {CONTROLLER}" in messages(hidden["template-esc4"])
