# SPDX-License-Identifier: GPL-3.0-or-later
"""Security descriptors that we write, read by Samba's parser; those that Samba writes, read by ours."""

from __future__ import annotations

import json
import random
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import CONNECTION, ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.directory.oids import AUTO_ENROLL, ENROLL
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import Ace, Acl, SddlContext, SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import connect

DOMAIN = Sid.parse("S-1-5-21-1-2-3")
CONTEXT = SddlContext(DOMAIN)
CONNECTION_DEFAULTS = {name: spec.get("default") for name, spec in CONNECTION.items()}

READ = """
import json, sys
from samba.dcerpc import security
from samba.ndr import ndr_pack, ndr_unpack

domain = security.dom_sid("S-1-5-21-1-2-3")
answers = []
for text in json.load(sys.stdin):
    found = ndr_unpack(security.descriptor, bytes.fromhex(text))
    entries = []
    for ace in found.dacl.aces if found.dacl else ():
        entry = [ace.type, ace.flags, ace.access_mask, str(ace.trustee)]
        if ace.type in (5, 6):
            known = ((1, ace.object.type), (2, ace.object.inherited_type))
            entry += [str(guid) if ace.object.flags & bit else None for bit, guid in known]
        entries.append(entry)
    answers.append({
        "owner": str(found.owner_sid), "group": str(found.group_sid), "control": found.type, "entries": entries,
        "again": ndr_pack(found).hex(), "sddl": found.as_sddl(domain),
    })
print(json.dumps(answers))
"""

MAKE = """
import json, sys
from samba.dcerpc import security
from samba.ndr import ndr_pack

domain = security.dom_sid("S-1-5-21-1-2-3")
print(json.dumps([ndr_pack(security.descriptor.from_sddl(text, domain)).hex() for text in json.load(sys.stdin)]))
"""

SDDL = [
    "O:EAG:EAD:PAI(A;;LCRPLORC;;;AU)(A;;CCDCLCSWRPWPDTLOSDRCWDWO;;;DA)(OA;;RPWPCR;0e10c968-78fb-11d2-90d4-00c04f79dc55;;DU)",
    "O:BAG:SYD:(D;OICI;GA;;;BG)(A;OICIIO;GR;;;CO)(OA;CIIO;WP;bf967a0a-0de6-11d0-a285-00aa003049e2;bf967aba-0de6-11d0-a285-00aa003049e2;PS)",
    "D:AR(A;;0x1200a9;;;WD)",
    "O:DAG:DUD:PS:(AU;SAFA;WDWO;;;WD)",
]


def ask(lab: Any, script: str, question: Any) -> Any:
    return json.loads(lab.run("dc1", "/usr/bin/python3", "-c", script, stdin=json.dumps(question)).stdout)


def descriptors(count: int) -> list[SecurityDescriptor]:
    dice = random.Random(20)
    made = []
    for _index in range(count):
        aces = []
        for _ace in range(dice.randrange(6)):
            kind = dice.choice([0, 1, 5, 6])
            guids = [dice.choice([None, ENROLL, AUTO_ENROLL]) if kind > 1 else None for _guid in range(2)]
            sid = dice.choice(
                [DOMAIN.child(dice.randrange(500, 2000)), Sid.parse("S-1-5-11"), Sid.parse("S-1-1-0"), Sid.parse("S-1-5-32-544")]
            )
            aces.append(Ace(kind, dice.choice([0, 2, 10, 16]), dice.getrandbits(20), sid, *guids))
        made.append(
            SecurityDescriptor(
                DOMAIN.child(519), DOMAIN.child(dice.randrange(512, 520)), Acl(tuple(aces)), control=dice.choice([0x8004, 0x9404])
            )
        )
    return made


def test_samba_reads_what_we_write(lab: Any) -> None:
    ours = descriptors(200)
    for descriptor, answer in zip(ours, ask(lab, READ, [bytes(descriptor).hex() for descriptor in ours]), strict=True):
        assert (answer["owner"], answer["group"], answer["control"]) == (str(descriptor.owner), str(descriptor.group), descriptor.control)
        expected = []
        for ace in descriptor.aces:
            assert isinstance(ace, Ace)
            guids = [str(guid) if guid else None for guid in (ace.object_type, ace.inherited_object_type)]
            expected.append([ace.type, ace.flags, ace.mask, str(ace.sid), *(guids if ace.is_object else [])])
        assert answer["entries"] == expected
        again = bytes.fromhex(answer["again"])
        assert bytes(SecurityDescriptor.parse(again)) == again
        assert SecurityDescriptor.parse(again).meaning == descriptor.meaning
        assert SecurityDescriptor.from_sddl(answer["sddl"], CONTEXT).meaning == descriptor.meaning


def test_we_read_what_samba_writes(lab: Any) -> None:
    texts = [*SDDL, *(descriptor.sddl(CONTEXT) for descriptor in descriptors(50))]
    for text, answer in zip(texts, ask(lab, MAKE, texts), strict=True):
        data = bytes.fromhex(answer)
        read = SecurityDescriptor.parse(data)
        assert bytes(read) == data
        wanted = SecurityDescriptor.from_sddl(text, CONTEXT)
        assert read.meaning == wanted.meaning
        assert (read.sacl.aces if read.sacl else None) == (wanted.sacl.aces if wanted.sacl else None)


def test_every_descriptor_of_the_directory_is_read_as_samba_reads_it(lab: Any, connection: dict[str, Any]) -> None:
    with connect(ConnectionOptions.from_params({**CONNECTION_DEFAULTS, **connection}), print) as directory:
        context = SddlContext(directory.domain_sid)
        for base in (directory.domain_dn, directory.configuration_dn):
            read = {
                entry.dn: entry.raw("nTSecurityDescriptor")
                for entry in directory.search(base, attributes=["nTSecurityDescriptor"], descriptor=7)
            }
            texts = {
                entry["dn"][0].decode(): entry.get("ntsecuritydescriptor")
                for entry in lab.ldbsearch(base, "(objectClass=*)", "nTSecurityDescriptor")
            }
            both = [dn for dn in read.keys() & texts.keys() if read[dn] and texts[dn]]
            assert len(both) > 100
            for dn in both:
                ours = SecurityDescriptor.parse(read[dn] or b"")
                assert bytes(ours) == read[dn]
                assert ours.meaning == SecurityDescriptor.from_sddl(texts[dn][0].decode(), context).meaning
