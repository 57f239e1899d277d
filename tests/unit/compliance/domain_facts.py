# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain's facts in the good state, to be spoilt by one thing each, as the tables of its families do."""

from __future__ import annotations

import base64
import copy
import datetime
import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import Control, load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judging import Result, judge
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Target, Unread
from ansible_collections.certlogon.core.plugins.module_utils.directory import oids
from ansible_collections.certlogon.core.plugins.module_utils.directory.builtin_templates import BUILT_IN
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SddlContext, SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_words import Vocabulary, to_words
from ansible_collections.certlogon.core.tests.unit.directory import pki_samples as pki

TARGET = Target("domain", "corp.example")
SID = "S-1-5-21-1-2-3"
CONTEXT = SddlContext(Sid.parse(SID))
ARC = f"{oids.FOREST_ARC}.1.2.3.4.5.6"
STAFF, HELPDESK = f"{SID}-1104", f"{SID}-1105"
NAMES = {
    "S-1-1-0": "Everyone",
    "S-1-5-11": "Authenticated Users",
    f"{SID}-512": "CORP\\Domain Admins",
    f"{SID}-513": "CORP\\Domain Users",
    f"{SID}-515": "CORP\\Domain Computers",
    f"{SID}-519": "CORP\\Enterprise Admins",
    STAFF: "CORP\\Staff",
    HELPDESK: "CORP\\Helpdesk",
}
ADMINISTRATORS = "(A;;LCRPLORC;;;AU)(A;;CCDCLCSWRPWPDTLOSDRCWDWO;;;DA)(A;;CCDCLCSWRPWPDTLOSDRCWDWO;;;EA)"
SERVICES = "CN=Public Key Services,CN=Services,CN=Configuration,DC=corp,DC=example"
ENROLL = str(oids.ENROLL)
CARD_PROVIDER = "Microsoft Base Smart Card Crypto Provider"
WRONG_POLICY = f"{ARC}.777"

Words = dict[str, Any]
Change = Callable[[Words], Any]


def descriptor(entries: str = "", owner: str = "EA") -> str:
    return base64.b64encode(bytes(SecurityDescriptor.from_sddl(f"O:{owner}G:EAD:PAI{ADMINISTRATORS}{entries}", CONTEXT))).decode()


def enroll(sid: str) -> str:
    return f"(OA;;RPWPCR;{ENROLL};;{sid})"


def template(name: str, based_on: str, enrollers: str = "", **changes: Any) -> Words:
    """A template after a built-in one, with the words that differ; `enrollers` is more of its descriptor's SDDL."""
    vocabulary = Vocabulary.of(ARC)
    words = to_words(name, BUILT_IN[based_on].attributes, vocabulary)
    words |= {"schema_version": 2, **changes}
    return {
        "name": name,
        "dn": f"CN={name},CN=Certificate Templates,{SERVICES}",
        "words": words,
        "descriptor": descriptor(enrollers),
        "unread": [],
    }


def sha256(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


ROOT = pki.certificate("Root")
CA = pki.certificate("Issuing", "Root")


def store(name: str, *certificates: bytes) -> Words:
    return {"name": name, "dn": f"CN={name},{SERVICES}", "certificates": [sha256(der) for der in certificates]}


@cache
def _good() -> Words:
    ders = [ROOT, CA]
    card = template(
        "CorpCard",
        "SmartcardLogon",
        enroll(STAFF) + enroll("DU"),
        providers=[CARD_PROVIDER],
        validity="1y",
        renewal_overlap="6w",
    )
    return {
        "domain": {"dns": "corp.example", "dn": "DC=corp,DC=example"},
        "principals": dict(NAMES),
        "anybody": {},
        "smart_card_templates": [],
        "templates": [card, template("CorpController", "KerberosAuthentication", enroll("DD"), supersedes=["DomainController"])],
        "issuance_policies": [{"name": "Gold", "dn": f"CN=1,CN=OID,{SERVICES}", "oid": WRONG_POLICY, "word": WRONG_POLICY, "group": ""}],
        "enrollment_services": [
            {
                "name": "Issuing",
                "dn": f"CN=Issuing,CN=Enrollment Services,{SERVICES}",
                "host": "ca1.corp.example",
                "templates": ["CorpCard", "CorpController"],
                "certificates": [sha256(CA)],
                "enrollment_servers": [],
            }
        ],
        "stores": {"ntauth": [store("NTAuthCertificates", CA)], "root": [store("Root", ROOT)], "intermediate": [store("Issuing", CA)]},
        "pki_certificates": {sha256(der): {"der": base64.b64encode(der).decode()} for der in ders},
        "pki_objects": [{"dn": f"CN=NTAuthCertificates,{SERVICES}", "class": "certificationAuthority", "descriptor": descriptor()}],
        "ca_computers": [
            {
                "host": "ca1.corp.example",
                "account": "CA1$",
                "dn": "CN=CA1,CN=Computers,DC=corp,DC=example",
                "disabled": False,
                "descriptor": descriptor("(OA;;CR;ab721a53-1e2f-11d0-9819-00aa0040529b;;WD)"),
            }
        ],
        "declared": {"ntauth": [sha256(CA)], "root": [sha256(ROOT)], "intermediate": [sha256(CA)]},
        "replicas": [
            {"host": "dc1.corp.example", "answered": True, "error": "", "reference": True, "differences": [], "count": 0},
            {"host": "dc2.corp.example", "answered": True, "error": "", "reference": False, "differences": [], "count": 0},
        ],
    }


def good() -> Words:
    return copy.deepcopy(_good())


def facts(*changes: Change, now: datetime.datetime = pki.NOW) -> Facts:
    words = good()
    for change in changes:
        change(words)
    return Facts(TARGET, words, now)


def judged(control: str, *changes: Change, now: datetime.datetime = pki.NOW, **parameters: Any) -> Result:
    return judge([CONTROLS[control]], facts(*changes, now=now), {control: parameters})[0]


CONTROLS: Mapping[str, Control] = {control.id: control for control in load().controls}


def of_family(family: str) -> set[str]:
    return {control.id for control in CONTROLS.values() if control.family == family}


# ---- changes


def unread(fact: str) -> Change:
    def change(words: Words) -> None:
        words[fact] = Unread("access was denied", "Read").words()

    return change


def add_template(*arguments: Any, publish: bool = True, **changes: Any) -> Change:
    def change(words: Words) -> None:
        made = template(*arguments, **changes)
        words["templates"].append(made)
        if publish:
            words["enrollment_services"][0]["templates"].append(made["name"])

    return change


def card(**changes: Any) -> Change:
    return lambda words: words["templates"][0]["words"].update(changes)


def hide_template(words: Words) -> None:
    words["templates"][0]["descriptor"] = None


def hide_attributes(words: Words) -> None:
    words["templates"][0]["unread"] = ["msPKI-Enrollment-Flag"]


def add_certificate(words: Words, der: bytes) -> str:
    words["pki_certificates"][sha256(der)] = {"der": base64.b64encode(der).decode()}
    return sha256(der)


def into(store_name: str, der: bytes) -> Change:
    def change(words: Words) -> None:
        words["stores"][store_name][0]["certificates"].append(add_certificate(words, der))

    return change


def rubbish(store_name: str) -> Change:
    def change(words: Words) -> None:
        words["pki_certificates"]["ab" * 32] = {"broken": "is truncated DER"}
        words["stores"][store_name][0]["certificates"].append("ab" * 32)

    return change
