# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook certlogon.core.site on a real domain: foreseen, done, done once, repaired; judged with Samba's tools."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.tests.integration.site_inventory import DOMAIN, SERVICES, put_back, write_inventory

SITE = "certlogon.core.site"
CA = "Corp Example VPN CA"
TEMPLATES = ["SiteTestSmartcardLogon", "SiteTestSmartcardUser", "SiteTestDomainController"]
TRUST = "Site Test - Trusted Certificates"
CARDS = "Site Test - Smart Card Logon"
WORKSTATIONS = "OU=Workstations,OU=Corp,DC=corp,DC=example"


@pytest.fixture(autouse=True)
def domain(run_resource: Callable[..., dict[str, Any]]) -> Iterator[None]:
    with put_back(run_resource):
        yield


@pytest.fixture
def variables(lab: Any, tmp_path: Path) -> dict[str, Any]:
    return {
        "certlogon_trusted_certificates": [
            {"store": "root", "certificates": [{"path": lab.files["root_ca"]}]},
            {"store": "intermediate", "certificates": [{"path": lab.files["issuing_ca"]}]},
            {"store": "ntauth", "certificates": [{"path": lab.files["issuing_ca"]}]},
        ],
        "certlogon_exact_stores": ["ntauth"],
        "certlogon_trust_policy_name": TRUST,
        "certlogon_template_prefix": "SiteTest",
        "certlogon_smart_card_enrollers": ["Smart Card Users"],
        "certlogon_certification_authorities": [CA],
        "certlogon_smart_card_policy_name": CARDS,
        "certlogon_smart_card_policy_links": [{"target": "Corp/Workstations"}],
        "certlogon_smart_card_policy_apply_to": ["Domain Computers"],
        "certlogon_smart_card_settings": {"allow_time_invalid_certificates": False, "pkinit_freshness": "required"},
        "certlogon_export_directory": str(tmp_path / "exports"),
    }


@pytest.fixture
def site(playbook: Callable[..., Any], connection: dict[str, Any], variables: dict[str, Any], tmp_path: Path) -> Callable[..., Any]:
    def call(changes: dict[str, Any] | None = None, **keywords: Any) -> Any:
        inventory = write_inventory(tmp_path / "inventory", connection, {**variables, **(changes or {})})
        return playbook(SITE, inventory=inventory, **keywords)

    return call


def changed(run: Any) -> dict[str, str]:
    """Object -> what is done to it, over all tasks."""
    return {change["name"]: change["action"] for task in run.changed for change in task.result.get("changes", [])}


def templates(lab: Any) -> list[str]:
    found = lab.ldbsearch(f"CN=Certificate Templates,{SERVICES}", "(cn=SiteTest*)", "cn")
    return sorted(entry["cn"][0].decode() for entry in found)


def published(lab: Any) -> set[str]:
    entry = lab.ldbsearch(f"CN={CA},CN=Enrollment Services,{SERVICES}", "(objectClass=*)", "certificateTemplates", scope="base")[0]
    return {value.decode() for value in entry.get("certificatetemplates", [])}


def ntauth(lab: Any) -> set[bytes]:
    entry = lab.ldbsearch(f"CN=NTAuthCertificates,{SERVICES}", "(objectClass=*)", "cACertificate", scope="base")[0]
    return set(entry["cacertificate"])


def der(path: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(Path(path).read_text(encoding="ascii"))


def policy_folder(lab: Any, name: str) -> str:
    entry = lab.ldbsearch("CN=Policies,CN=System,DC=corp,DC=example", f"(displayName={name})", "cn")[0]
    return f"/var/lib/samba/sysvol/corp.example/Policies/{entry['cn'][0].decode()}"


READ_POLICY = """
import json, pathlib, sys
from samba.dcerpc import preg
from samba.ndr import ndr_unpack
folder = pathlib.Path(sys.argv[1])
files = {str(path.relative_to(folder)).lower(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
def settings(name):
    entries = ndr_unpack(preg.file, files[name]).entries if name in files else []
    return [[entry.keyname.lower(), entry.valuename, entry.data if isinstance(entry.data, int) else None] for entry in entries]
print(json.dumps({
    "machine": settings("machine/registry.pol"),
    "user": settings("user/registry.pol"),
    "inf": files.get("machine/microsoft/windows nt/secedit/gpttmpl.inf", b"").decode("utf-16"),
    "xml": files.get("machine/preferences/services/services.xml", b"").decode(),
}))
"""


def read_policy(lab: Any, name: str) -> dict[str, Any]:
    """A policy's files, by Samba's parsers."""
    found: dict[str, Any] = json.loads(lab.run("dc1", "/usr/bin/python3", "-c", READ_POLICY, policy_folder(lab, name)).stdout)
    return found


def judge_smart_card_policy(lab: Any) -> None:
    cards = read_policy(lab, CARDS)
    for service in ("SCardSvr", "SCPolicySvc", "CertPropSvc"):
        assert f'"{service}",2,""' in cards["inf"]
        assert f'serviceName="{service}"' in cards["xml"]
    assert 'serviceAction="START"' in cards["xml"]
    assert 'ScRemoveOption=1,"1"' in cards["inf"] and "ScForceOption" not in cards["inf"]
    machine, user = ({(key, value): data for key, value, data in cards[half]} for half in ("machine", "user"))
    enrollment = (r"software\policies\microsoft\cryptography\autoenrollment", "AEPolicy")
    assert machine[enrollment] == user[enrollment] == 7
    assert machine[r"software\policies\microsoft\windows\smartcardcredentialprovider", "AllowTimeInvalidCertificates"] == 0
    assert machine[r"software\microsoft\windows\currentversion\policies\system\kdc\parameters", "PKINITFreshness"] == 2


def judge_trust_policy(lab: Any) -> None:
    pushed = {key for key, *_rest in read_policy(lab, TRUST)["machine"]}
    for store, file in (("root", "root_ca"), ("ca", "issuing_ca")):
        thumbprint = hashlib.sha1(der(lab.files[file])).hexdigest()
        assert rf"software\policies\microsoft\systemcertificates\{store}\certificates\{thumbprint}" in pushed


def test_roll_out(lab: Any, site: Callable[..., Any], variables: dict[str, Any], connection: dict[str, Any]) -> None:
    exports = Path(variables["certlogon_export_directory"]) / DOMAIN

    foreseen = site(check=True)
    assert set(TEMPLATES) | {TRUST, CARDS} <= set(changed(foreseen))
    assert templates(lab) == [] and not exports.exists(), "check mode writes nothing"

    done = site()
    assert changed(done) == changed(foreseen)
    assert templates(lab) == sorted(TEMPLATES)
    assert published(lab) >= set(TEMPLATES)
    assert ntauth(lab) == {der(lab.files["issuing_ca"])}
    listed = lab.samba_tool("gpo", "listall").stdout
    assert TRUST in listed and CARDS in listed
    assert CARDS in lab.samba_tool("gpo", "getlink", WORKSTATIONS).stdout
    judge_smart_card_policy(lab)
    judge_trust_policy(lab)
    lab.samba_tool("ntacl", "sysvolcheck")

    [export] = exports.iterdir()
    assert export.stat().st_mode & 0o077 == 0
    assert connection["password"] not in export.read_text(encoding="utf-8")
    assert "SiteTest" not in export.read_text(encoding="utf-8"), "the export is of the domain before the change"

    assert site().changed == [], "nothing to do the second time"
    assert len(list(exports.iterdir())) == 2
    again = site()
    assert again.changed == [] and len(list(exports.iterdir())) == 2, "an unchanged domain makes no new export"
    assert connection["password"] not in again.output + done.output


def test_what_others_touch_is_shown_and_repaired(lab: Any, site: Callable[..., Any]) -> None:
    site()
    rogue = base64.b64encode(der(lab.files["rogue_ca"])).decode()
    logon = f"CN={TEMPLATES[0]},CN=Certificate Templates,{SERVICES}"
    lab.ldbmodify(f"dn: {logon}\nchangetype: modify\nreplace: msPKI-Minimal-Key-Size\nmsPKI-Minimal-Key-Size: 512\n\n")
    lab.ldbmodify(f"dn: CN=NTAuthCertificates,{SERVICES}\nchangetype: modify\nadd: cACertificate\ncACertificate:: {rogue}\n\n")
    pol = f"{policy_folder(lab, CARDS)}/Machine/Registry.pol"
    lab.run("dc1", "sh", "-c", 'f=$(ls "$0" 2>/dev/null || ls "${0%/*}"/registry.pol); printf "PReg\\001\\000\\000\\000" > "$f"', pol)

    foreseen = site(check=True)
    assert changed(foreseen) == {TEMPLATES[0]: "update", "ntauth": "update", CARDS: "update"}
    assert '-    "minimum_key_size": 512' in foreseen.output and '+    "minimum_key_size": 2048' in foreseen.output
    assert "Totally Trustworthy CA" in foreseen.output

    assert changed(site()) == changed(foreseen)
    assert ntauth(lab) == {der(lab.files["issuing_ca"])}
    judge_smart_card_policy(lab)


def test_a_part_by_tag(lab: Any, site: Callable[..., Any]) -> None:
    site(arguments=["--tags", "templates"])
    assert templates(lab) == sorted(TEMPLATES)
    assert TRUST not in lab.samba_tool("gpo", "listall").stdout


def test_cards_by_agents_need_an_agents_signature(lab: Any, site: Callable[..., Any]) -> None:
    wanted = {"certlogon_template_set": ["smart_card_by_agent"], "certlogon_enrollment_agents": ["Enrollment Agents"]}
    site(wanted, arguments=["--tags", "templates"])
    base = f"CN=SiteTestSmartcardByAgent,CN=Certificate Templates,{SERVICES}"
    attributes = ("msPKI-RA-Signature", "msPKI-RA-Application-Policies")
    [found] = lab.ldbsearch(base, "(objectClass=*)", *attributes, scope="base")
    assert found["mspki-ra-signature"] == [b"1"]
    assert found["mspki-ra-application-policies"] == [b"1.3.6.1.4.1.311.20.2.1"]
    assert site(wanted, arguments=["--tags", "templates"]).changed == []


def test_a_wrong_variable_is_named(site: Callable[..., Any]) -> None:
    run = site({"certlogon_smart_card_removal_behaviour": "explode"}, fails=True, check=True, arguments=["--tags", "policies"])
    assert "certlogon_smart_card_removal_behaviour" in run.output and "force_logoff" in run.output
    assert run.changed == []


def test_nothing_asked_for_is_nothing_done(site: Callable[..., Any], lab: Any) -> None:
    nothing = {
        "certlogon_trusted_certificates": [],
        "certlogon_template_set": [],
        "certlogon_certification_authorities": [],
        "certlogon_smart_card_policies": [],
        "certlogon_export_before_change": False,
    }
    run = site(nothing)
    assert run.changed == [] and "PLAY RECAP" in run.output
