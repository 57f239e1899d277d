# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate templates on a real domain controller; `ldbsearch` reads back what was written."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import yaml

from ansible_collections.certlogon.core.plugins.module_utils.directory import oids
from ansible_collections.certlogon.core.plugins.module_utils.directory.certificate_templates import CertificateTemplates
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.modules.ad_certificate_templates import EXAMPLES
from ansible_collections.certlogon.core.tests.unit import vectors

MODULE = "certlogon.core.ad_certificate_templates"
BASE = "CN=Public Key Services,CN=Services,CN=Configuration,DC=corp,DC=example"
CONTAINER = f"CN=Certificate Templates,{BASE}"
OIDS = f"CN=OID,{BASE}"
CA = f"CN=Corp Example VPN CA,CN=Enrollment Services,{BASE}"
NAME = "TemplateTest"
CARD = {"name": NAME, "based_on": "SmartcardLogon"}
VARIED = ["User", "SubCA", "CrossCA", "OCSPResponseSigning", "KerberosAuthentication", "KeyRecoveryAgent", "WebServer"]

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def templates(lab: Any, run_resource: Run) -> Iterator[Callable[..., dict[str, Any]]]:
    """`templates(config, state)` runs the resource; every template made meanwhile is removed again, with its OID object."""
    before = names(lab)

    def call(config: list[dict[str, Any]] | None, state: str = "merged", **options: Any) -> dict[str, Any]:
        return run_resource(CertificateTemplates(), config, state, **options)

    yield call
    made = names(lab) - before
    if made:
        call([{"name": name} for name in made], "deleted")
    assert names(lab) == before


def names(lab: Any) -> set[str]:
    return {entry["cn"][0].decode() for entry in lab.ldbsearch(CONTAINER, "(objectClass=pKICertificateTemplate)", "cn", scope="one")}


def stored(lab: Any, name: str = NAME) -> dict[str, list[str]]:
    """The attributes that Samba's own tool shows; nothing where there is no such template."""
    found = lab.ldbsearch(CONTAINER, f"(cn={name})", scope="one")
    hidden = ("dn", "whencreated", "whenchanged", "usncreated", "usnchanged", "objectguid", "replpropertymetadata")
    return {key: sorted(map(_text, values)) for key, values in found[0].items() if key not in hidden} if found else {}


def sddl(lab: Any) -> str:
    found = lab.ldbsearch(CONTAINER, f"(cn={NAME})", "nTSecurityDescriptor", scope="one")
    return str(found[0]["ntsecuritydescriptor"][0].decode())


def entries(text: str) -> list[str]:
    return re.findall(r"\([^)]*\)", text)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


def oid_objects(lab: Any) -> dict[str, dict[str, Any]]:
    found = lab.ldbsearch(OIDS, "(objectClass=msPKI-Enterprise-Oid)", "cn", "displayName", "flags", "msPKI-Cert-Template-OID", scope="one")
    return {entry["mspki-cert-template-oid"][0].decode(): entry for entry in found if "mspki-cert-template-oid" in entry}


def shown(result: Mapping[str, Any]) -> dict[str, Any]:
    return dict(result["diff"][0]["after"])


# --- the rhythm ---


def test_rhythm(lab: Any, templates: Run) -> None:
    full = {
        **CARD,
        "display_name": "Template Test",
        "subject": {"parts": ["common_name"]},
        "validity": "2y",
        "renewal_overlap": "8w",
        "providers": ["Microsoft Base Smart Card Crypto Provider"],
        "autoenrollment": True,
        "reuse_key_when_full": True,
        "signatures": {"count": 1, "application_policies": ["Certificate Request Agent"], "issuance_policies": ["medium_assurance"]},
        "issuance_policies": ["low_assurance"],
        "supersedes": ["SmartcardLogon"],
        "owner": "Domain Admins",
        "permissions": [{"principal": "CORP\\Domain Users", "rights": ["read", "enroll", "auto_enroll"]}],
    }
    predicted = templates([full], check_mode=True)
    assert predicted["changed"]
    assert predicted["changes"] == [{"name": NAME, "action": "create"}]
    assert not stored(lab), "check mode writes nothing"

    done = templates([full])
    assert done == predicted
    now = stored(lab)
    arc = lab.ldbsearch(OIDS, "(objectClass=*)", "msPKI-Cert-Template-OID", scope="base")[0]["mspki-cert-template-oid"][0].decode()
    oid = oids.template_oid(arc, NAME)
    assert {key: now[key] for key in now if key not in ("objectclass", "objectcategory", "distinguishedname")} == {
        "cn": [NAME],
        "name": [NAME],
        "displayname": ["Template Test"],
        "instancetype": ["4"],
        "showinadvancedviewonly": ["TRUE"],
        "flags": ["131616"],
        "revision": ["100"],
        "mspki-template-minor-revision": ["0"],
        "mspki-template-schema-version": ["2"],
        "mspki-cert-template-oid": [oid],
        "mspki-certificate-name-flag": [str(0x42000000)],
        "mspki-enrollment-flag": [str(0x2020)],
        "mspki-private-key-flag": [str(0x01010000)],
        "mspki-minimal-key-size": ["2048"],
        "mspki-ra-signature": ["1"],
        "mspki-ra-application-policies": ["1.3.6.1.4.1.311.20.2.1"],
        "mspki-ra-policies": [f"{arc}.1.401"],
        "mspki-certificate-policy": [f"{arc}.1.400"],
        "mspki-certificate-application-policy": ["1.3.6.1.4.1.311.20.2.2", "1.3.6.1.5.5.7.3.2"],
        "mspki-supersede-templates": ["SmartcardLogon"],
        "pkiextendedkeyusage": ["1.3.6.1.4.1.311.20.2.2", "1.3.6.1.5.5.7.3.2"],
        "pkicriticalextensions": ["2.5.29.15"],
        "pkidefaultcsps": ["1,Microsoft Base Smart Card Crypto Provider"],
        "pkidefaultkeyspec": ["1"],
        "pkikeyusage": ["a000"],
        "pkimaxissuingdepth": ["0"],
        "pkiexpirationperiod": [(-730 * 864_000_000_000).to_bytes(8, "little", signed=True).hex()],
        "pkioverlapperiod": [(-56 * 864_000_000_000).to_bytes(8, "little", signed=True).hex()],
    }
    text = sddl(lab)
    assert text.startswith("O:DAG:EAD:P")
    assert [text.count(f";{right};;DU)") for right in (oids.ENROLL, oids.AUTO_ENROLL)] == [1, 1]
    registered = oid_objects(lab)[oid]
    assert (registered["cn"], registered["displayname"], registered["flags"]) == (
        [oids.object_name(oid).encode()],
        [b"Template Test"],
        [b"1"],
    )

    again = templates([full])
    assert (again["changed"], again["diff"]) == (False, [])

    change = {
        "name": NAME.upper(),
        "display_name": "Renamed",
        "validity": "1y",
        "permissions": [{"principal": "Everyone", "rights": ["read"]}],
    }
    assert templates([change], check_mode=True)["changed"]
    assert (stored(lab), sddl(lab)) == (now, text)
    done = templates([change])
    before, after = done["diff"][0]["before"], shown(done)
    everyone = {"principal": "Everyone", "rights": ["read"]}
    assert everyone in after.pop("permissions")
    assert everyone not in before.pop("permissions")
    assert before == {"display_name": "Template Test", "validity": "2y", "revision": "100.0"}
    assert after == {"display_name": "Renamed", "validity": "1y", "revision": "100.1"}
    assert oid_objects(lab)[oid]["displayname"] == [b"Renamed"]
    changed = {key for key, value in stored(lab).items() if value != now[key]}
    assert changed == {"displayname", "pkiexpirationperiod", "mspki-template-minor-revision"}
    assert set(entries(sddl(lab))) - set(entries(text)) == {"(A;;LCRPLORC;;;WD)"}
    assert set(entries(text)) < set(entries(sddl(lab)))

    done = templates([{"name": NAME, "minimum_key_size": 3072, "reenroll_holders": True}])
    assert shown(done) == {"minimum_key_size": 3072, "revision": "101.0"}
    assert not templates([{"name": NAME, "minimum_key_size": 3072, "reenroll_holders": True}])["changed"]

    done = templates([{**CARD, "permissions": [everyone]}], "replaced")
    assert shown(done)["permissions"] == [everyone]
    assert shown(done)["owner"] == "CORP\\Enterprise Admins"
    now = stored(lab)
    assert "mspki-supersede-templates" not in now
    assert "mspki-ra-application-policies" not in now
    assert sddl(lab).startswith("O:EA")
    assert entries(sddl(lab)) == ["(A;;LCRPLORC;;;WD)"]
    assert not templates([{**CARD, "permissions": [everyone]}], "replaced")["changed"]


def test_deletion_unpublishes_and_removes_the_oid(lab: Any, templates: Run) -> None:
    done = templates([CARD])
    oid = shown(done)["oid"]
    lab.ldbmodify(f"dn: {CA}\nchangetype: modify\nadd: certificateTemplates\ncertificateTemplates: {NAME.lower()}\n")
    assert templates([{"name": NAME}], "deleted", check_mode=True)["changed"]
    assert stored(lab)
    done = templates([{"name": NAME.lower()}, {"name": "NoSuchTemplate"}], "deleted")
    assert done["changes"] == [{"name": NAME, "action": "delete"}]
    assert not stored(lab)
    assert oid not in oid_objects(lab)
    published = lab.ldbsearch(CA, "(objectClass=*)", "certificateTemplates", scope="base")[0].get("certificatetemplates", [])
    assert NAME.lower() not in [value.decode().lower() for value in published]
    assert not templates([{"name": NAME}], "deleted")["changed"]


def test_built_in_templates_survive_export_deletion_and_import(lab: Any, templates: Run) -> None:
    copies = [{"name": f"{NAME}{name}", "based_on": name} for name in VARIED]
    assert templates(copies)["changed"]
    assert not templates(copies)["changed"]
    before = {entry["name"]: stored(lab, entry["name"]) for entry in copies}
    exported = templates([{"name": entry["name"]} for entry in copies], "gathered")["gathered"]
    assert len(exported) == len(VARIED)
    assert not templates(exported, "replaced")["changed"]
    templates([{"name": entry["name"]} for entry in copies], "deleted")
    assert templates(exported, "replaced")["changed"]
    assert {entry["name"]: stored(lab, entry["name"]) for entry in copies} == before


@pytest.mark.parametrize(
    "stem", ["Computer_Online_ECDSA", "GenericWebServer_pending", "User_Online", "User_Offline_Pattern", "SpecialChars"]
)
def test_templates_that_windows_exported_survive_export_and_import(lab: Any, templates: Run, stem: str) -> None:
    path = vectors.folder("templates") / f"{stem}.ldf"
    name, ldif = importable(path.read_text("utf-8", "replace"))
    lab.ldbmodify(ldif)
    before = stored(lab, name.replace("(", "\\28").replace(")", "\\29"))
    [exported] = templates([{"name": name}], "gathered")["gathered"]
    assert exported["oid_registered"] is False
    unchanged = templates([exported], "replaced")
    assert not unchanged["changed"]
    lab.ldbmodify(f"dn:: {base64.b64encode(f'CN={name},{CONTAINER}'.encode()).decode()}\nchangetype: delete\n")
    # what Windows once wrote may be what nobody should write today: the RSA template with 256 bits
    templates([exported], "replaced")
    now = stored(lab, name.replace("(", "\\28").replace(")", "\\29"))
    now.pop("mspki-cert-template-oid")
    before["pkikeyusage"] = [value.ljust(4, "0") for value in before["pkikeyusage"]]
    assert now == before


def importable(text: str) -> tuple[str, str]:
    lines = text.replace("\n ", "").splitlines()
    values = dict(line.split(": ", 1) for line in lines if ": " in line)
    name = values.get("cn") or base64.b64decode(values["cn:"]).decode()
    dropped = ("dn:", "distinguishedName:", "instanceType:", "name:", "objectCategory:", "changetype:")
    kept = [line for line in lines if line and not line.startswith(dropped)]
    dn = base64.b64encode(f"CN={name},{CONTAINER}".encode()).decode()
    return name, "\n".join([f"dn:: {dn}", "changetype: add", *kept, ""])


def test_attributes_we_do_not_know_are_kept(lab: Any, templates: Run) -> None:
    templates([CARD])
    dn = f"CN={NAME},{CONTAINER}"
    ours = "replace: description\ndescription: ours\n-\nreplace: pKIEnrollmentAccess\npKIEnrollmentAccess: O:BAD:\n"
    lab.ldbmodify(f"dn: {dn}\nchangetype: modify\n{ours}")
    templates([{**CARD, "validity": "3y"}], "replaced")
    now = stored(lab)
    assert now["description"] == ["ours"]
    assert "pkienrollmentaccess" in now


# --- bad days ---


def test_rights_are_asked_before_the_first_write(lab: Any, templates: Run, connection_as: Callable[..., dict[str, Any]]) -> None:
    before = names(lab)
    with pytest.raises(UserError, match=r"this account may not create pKICertificateTemplate objects in CN=Certificate Templates"):
        templates([CARD], **connection_as("plain.user"))
    assert names(lab) == before
    templates([CARD])
    with pytest.raises(UserError, match=f"this account may not write pKIExpirationPeriod of CN={NAME}"):
        templates([{"name": NAME, "validity": "2y"}], **connection_as("plain.user"))
    assert not templates([CARD], **connection_as("plain.user"))["changed"], "reading needs no rights"


def test_bad_input_is_refused_before_the_first_write(lab: Any, templates: Run) -> None:
    before = names(lab)
    good = {**CARD, "name": f"{NAME}Good"}
    for bad, message in [
        ({**CARD, "extended_key_usages": ["smart_card_login"]}, "did you mean 'smart_card_logon'"),
        ({**CARD, "validity": "4w", "renewal_overlap": "6w"}, "renewal_overlap: 6w is not shorter than validity 4w"),
        ({**CARD, "permissions": [{"principal": "Domain Usrs", "rights": ["read"]}]}, "principal 'Domain Usrs' is not known"),
        ({**CARD, "owner": "NOWHERE\\Staff"}, "'NOWHERE'"),
        ({**good, "name": good["name"].upper()}, "is listed twice"),
    ]:
        with pytest.raises(UserError) as raised:
            templates([good, bad])
        assert message in str(raised.value)
    assert names(lab) == before


def test_strict_refuses_what_an_attacker_could_use(lab: Any, templates: Run) -> None:
    weak = {"name": NAME, "based_on": "WebServer", "permissions": [{"principal": "Domain Users", "rights": ["enroll"]}]}
    with pytest.raises(UserError, match=r"ESC17: CORP.Domain Users can get a certificate for any server's name"):
        templates([weak], strict=True)
    assert not stored(lab)
    done = templates([weak])
    assert done["changed"]
    assert "ESC17" in done["warnings"][0]


def test_a_copy_of_a_custom_template_takes_its_permissions_along(templates: Run) -> None:
    """Whom they are for is known by SID only: nobody names them in the copy's own options."""
    source = {**CARD, "permissions": [{"principal": "Helpdesk", "rights": ["read", "enroll"]}]}
    assert templates([source])["changed"]
    copy = {"name": f"{NAME}Two", "based_on": NAME}
    done = templates([copy])
    assert "failed" not in done, done["msg"]
    [words] = templates([{"name": f"{NAME}Two"}], "gathered")["gathered"]
    assert {"principal": "CORP\\Helpdesk", "rights": ["read", "enroll"]} in words["permissions"]
    assert not templates([copy])["changed"]


def test_an_interrupted_creation_is_finished(lab: Any, templates: Run) -> None:
    done = templates([CARD])
    oid = shown(done)["oid"]
    lab.ldbmodify(f"dn: CN={NAME},{CONTAINER}\nchangetype: delete\n")
    lab.ldbmodify(f"dn: CN={oids.object_name(oid)},{OIDS}\nchangetype: modify\nreplace: displayName\ndisplayName: half done\n")
    again = templates([CARD])
    assert shown(again)["oid"] == oid
    assert oid_objects(lab)[oid]["displayname"] == [NAME.encode()]
    assert not templates([CARD])["changed"]


def test_a_missing_arc_is_written_once_and_the_same(lab: Any, templates: Run) -> None:
    templates([CARD])
    before = lab.ldbsearch(OIDS, "(objectClass=*)", "msPKI-Cert-Template-OID", scope="base")[0]["mspki-cert-template-oid"]
    templates([{"name": NAME}], "deleted")
    lab.ldbmodify(f"dn: {OIDS}\nchangetype: modify\ndelete: msPKI-Cert-Template-OID\n")
    assert templates([CARD])["changed"]
    assert lab.ldbsearch(OIDS, "(objectClass=*)", "msPKI-Cert-Template-OID", scope="base")[0]["mspki-cert-template-oid"] == before


class Meanwhile(CertificateTemplates):
    """Somebody else is faster: `action` happens between reading and writing."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self._action = action

    def authorize(self, session: Any, plan: Any, current: Any) -> None:
        super().authorize(session, plan, current)
        self._action()


def test_a_change_by_somebody_else_is_not_overwritten(lab: Any, templates: Run, run_resource: Run) -> None:
    templates([CARD])
    mine, theirs = {"name": NAME, "validity": "2y"}, {"name": NAME, "renewal_overlap": "3w"}
    done = run_resource(Meanwhile(lambda: templates([theirs])), [mine])
    assert done["failed"]
    assert "somebody else changed it after it was read; nothing was written, run again" in done["msg"]
    assert shown(templates([mine]))["validity"] == "2y"
    [words] = templates([{"name": NAME}], "gathered")["gathered"]
    assert (words["validity"], words["renewal_overlap"], words["revision"]) == ("2y", "3w", "100.2")


def test_two_who_give_the_forest_its_arc(lab: Any, templates: Run, run_resource: Run) -> None:
    lab.ldbmodify(f"dn: {OIDS}\nchangetype: modify\nreplace: msPKI-Cert-Template-OID\n")
    other = {"name": f"{NAME}Two", "based_on": "User"}
    done = run_resource(Meanwhile(lambda: templates([other])), [CARD])
    assert "failed" not in done
    lab.ldbmodify(f"dn: {OIDS}\nchangetype: modify\nreplace: msPKI-Cert-Template-OID\n")
    foreign = "msPKI-Cert-Template-OID: 1.3.6.1.4.1.311.21.8.1.1.1.1.1.1"
    third = {"name": f"{NAME}Three", "based_on": "User"}
    arc = shown(done)["oid"].rsplit(".", 2)[0]
    change = f"dn: {OIDS}\nchangetype: modify\nreplace: msPKI-Cert-Template-OID\n{foreign}\n"
    failed = run_resource(Meanwhile(lambda: lab.ldbmodify(change)), [third])
    lab.ldbmodify(f"dn: {OIDS}\nchangetype: modify\nreplace: msPKI-Cert-Template-OID\nmsPKI-Cert-Template-OID: {arc}\n")
    assert "was given the OID arc 1.3.6.1.4.1.311.21.8.1.1.1.1.1.1 while this ran" in failed["msg"]
    assert third["name"] not in names(lab)


def test_what_vanishes_while_it_is_deleted_is_no_fault(lab: Any, templates: Run, run_resource: Run) -> None:
    templates([CARD])
    done = run_resource(Meanwhile(lambda: templates([{"name": NAME}], "deleted")), [{"name": NAME}], "deleted")
    assert "failed" not in done
    assert not stored(lab)


# --- as Ansible runs it ---


def test_the_examples_run(lab: Any, templates: Run, playbook: Callable[..., Any]) -> None:
    tasks = yaml.safe_load(EXAMPLES)
    arguments = {
        task["name"]: {key: value for key, value in task[MODULE].items() if key not in ("server", "username", "password")} for task in tasks
    }
    play = [{"name": name, MODULE: options, "register": "result"} for name, options in arguments.items()]
    checked = playbook(play[:3], check=True)
    assert [task.changed for task in checked.tasks] == [True, True, True]
    done = playbook(play)
    assert [task.changed for task in done.tasks] == [True, True, True, True, True, False]
    assert {"CorpSmartcardLogon", "KerberosAuthentication"} <= {entry["name"] for entry in done.last["gathered"]}
    again = playbook([play[1], play[3]])
    assert again.changed == []
    module = playbook([{**play[3], "environment": {"ANY": "thing"}}])
    assert module.last.changed is False
    assert "changes" in module.last.result


def test_rendered_without_a_server(playbook: Callable[..., Any]) -> None:
    task = {"name": "offline", MODULE: {"config": [CARD], "state": "rendered"}}
    done = playbook([task], connection={"server": ["nowhere.invalid"], "username": "u@x", "password": "none"})
    assert done.last["rendered"][0]["extended_key_usages"] == ["client_authentication", "smart_card_logon"]
