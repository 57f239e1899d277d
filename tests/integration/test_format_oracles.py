# SPDX-License-Identifier: GPL-3.0-or-later
"""What we write, read by Samba's parsers; what Samba writes, read by ours."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.group_policy import certificate_blob, gpt_ini, registry_pol, security_template
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.registry_pol import Record, Setting
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.security_template import RegistryValue, Service
from ansible_collections.certlogon.core.tests.unit import vectors

READ_POLICIES = """
import base64, json, sys
from samba.dcerpc import preg
from samba.ndr import ndr_pack, ndr_unpack

def plain(entry):
    data = entry.data
    if isinstance(data, (bytes, list)):
        data = bytes(data).hex()
    return [entry.keyname, entry.valuename, entry.type, data]

answers = []
for text in json.load(sys.stdin):
    policy = ndr_unpack(preg.file, base64.b64decode(text))
    answers.append({"entries": [plain(entry) for entry in policy.entries], "again": base64.b64encode(ndr_pack(policy)).decode()})
print(json.dumps(answers))
"""

MAKE_POLICY = """
import base64, sys
from samba.dcerpc import preg
from samba.ndr import ndr_pack

def entry(key, name, kind, data):
    made = preg.entry()
    made.keyname, made.valuename, made.type, made.data = key, name, kind, data
    return made

entries = [
    entry("Software\\\\Policies\\\\Corp", "Text", 1, "a;b]\\u00fc"),
    entry("Software\\\\Policies\\\\Corp", "Number", 4, 4711),
    entry("Software\\\\Policies\\\\Corp", "Long", 11, 1 << 40),
    entry("Software\\\\Policies\\\\Corp", "**del.Old", 1, " "),
    entry("Software\\\\Policies\\\\Corp", "Raw", 3, b"[\\0;\\0]\\0"),
]
policy = preg.file()
policy.header.signature, policy.header.version = "PReg", 1
policy.num_entries, policy.entries = len(entries), entries
sys.stdout.write(base64.b64encode(ndr_pack(policy)).decode())
"""

READ_TEMPLATE = """
import base64, json, sys
from samba.gp_parse.gp_inf import GptTmplInfParser

answers = []
for text in json.load(sys.stdin):
    parser = GptTmplInfParser()
    parser.parse(base64.b64decode(text))
    answers.append({name: section.param_list for name, section in parser.sections.items()})
print(json.dumps(answers))
"""

READ_INI = """
import base64, sys
from samba.gp_parse.gp_ini import GPTIniParser

parser = GPTIniParser()
parser.parse(base64.b64decode(sys.stdin.read()))
sys.stdout.write(parser.ini_conf.get("General", "Version"))
"""


def python(lab: Any, script: str, files: list[bytes]) -> Any:
    """What a script prints that Debian's Python runs beside Samba."""
    sent = json.dumps([base64.b64encode(data).decode() for data in files])
    return json.loads(lab.run("dc1", "/usr/bin/python3", "-c", script, stdin=sent).stdout)


def samples(count: int) -> list[bytes]:
    """Policies of all types, with keys and values that look like the format's own punctuation."""
    source = random.Random(7)
    names = ["Software\\Policies", "a;b", "x]", "[", "Größe", "木", "\U0001f511", "**del.x", "**DeleteValues", "v" * 300]
    values: dict[int, list[registry_pol.Data]] = {
        1: ["", "text", ";]", "木\U0001f511"],
        2: ["%SystemRoot%\\x"],
        3: [b"\0", b"[\0;\0]\0", bytes(range(256)) * 9],
        4: [0, 1, 0xFFFFFFFF],
        7: [["a"], ["a", "b;c"]],
        11: [0, (1 << 64) - 1],
    }

    def record() -> Record:
        kind = source.choice(list(values))
        return Record(source.choice(names), source.choice(names), kind, registry_pol.encode(kind, source.choice(values[kind])))

    return [registry_pol.serialise(record() for _number in range(source.randrange(9))) for _file in range(count)]


def test_samba_reads_every_policy_we_write_and_writes_it_again_as_it_was(lab: Any) -> None:
    files = samples(300)
    for data, answer in zip(files, python(lab, READ_POLICIES, files), strict=True):
        records = registry_pol.parse(data)
        assert [(key, value, kind) for key, value, kind, _data in answer["entries"]] == [record[:3] for record in records]
        for (_key, _value, kind, found), record in zip(answer["entries"], records, strict=True):
            if kind in (1, 2, 4, 11):
                assert found == registry_pol.decode(kind, record.data)
            else:
                assert found == record.data.hex()
        assert base64.b64decode(answer["again"]) == data


def test_samba_reads_an_edited_file_of_windows(lab: Any) -> None:
    records = registry_pol.parse((vectors.folder("group-policy-certificates") / "registry.pol").read_bytes())
    root = next(record for record in records if certificate_blob.store_of(record) == "trusted_root")
    wanted = [
        certificate_blob.setting("trusted_root", certificate_blob.certificate(root.data)),
        Setting(r"Software\Policies\Microsoft\Cryptography\AutoEnrollment", "AEPolicy", "present", 4, 7),
    ]
    edited = registry_pol.edit(records, wanted, lambda record: certificate_blob.store_of(record) == "trusted_root")
    assert len(edited) == len(records) - 3 + 1
    answer = python(lab, READ_POLICIES, [registry_pol.serialise(edited)])[0]
    assert [entry[:2] for entry in answer["entries"]] == [[record.key, record.value] for record in edited]
    assert answer["entries"][-1][2:] == [4, 7]


def test_we_read_what_samba_writes(lab: Any) -> None:
    data = base64.b64decode(lab.run("dc1", "/usr/bin/python3", "-c", MAKE_POLICY).stdout)
    records = registry_pol.parse(data)
    found = [(setting.value, setting.state, setting.data) for setting in map(registry_pol.setting, records)]
    assert found == [
        ("Text", "present", "a;b]ü"),
        ("Number", "present", 4711),
        ("Long", "present", 1 << 40),
        ("Old", "absent", b""),
        ("Raw", "present", b"[\0;\0]\0"),
    ]
    assert registry_pol.serialise(records) == data


@pytest.mark.parametrize("mark", [True, False])
def test_samba_reads_our_security_templates(lab: Any, mark: bool) -> None:
    services = {
        "SCardSvr": Service("SCardSvr", "automatic"),
        "SCPolicySvc": Service("SCPolicySvc", "disabled", "D:AR(A;;RPWPDTRC;;;BA)(A;;CCLCSWLOCRRC;;;IU)"),
    }
    values = {
        value.path: value
        for value in (
            RegistryValue(security_template.SC_REMOVE_OPTION, 1, "1"),
            RegistryValue(security_template.SC_FORCE_OPTION, 4, "1"),
            RegistryValue("MACHINE\\System\\Paths", 7, "a,b"),
        )
    }
    begun = security_template.new() if mark else security_template.parse(b'[Version]\r\nsignature="$CHICAGO$"\r\n')
    data = security_template.serialise(security_template.edit(begun, services, values))
    if not mark:
        data = b"\xff\xfe" + data.decode().encode("utf-16-le")
    sections = python(lab, READ_TEMPLATE, [data])[0]
    assert sections["Service General Setting"] == [["SCardSvr", "2", ""], ["SCPolicySvc", "4", services["SCPolicySvc"].security]]
    assert sections["Registry Values"] == [value.line for value in values.values()]


def test_samba_reads_our_gpt_ini(lab: Any) -> None:
    data = gpt_ini.serialise(gpt_ini.with_version(gpt_ini.new(), gpt_ini.bump(0, machine=True, user=True)))
    version = lab.run("dc1", "/usr/bin/python3", "-c", READ_INI, stdin=base64.b64encode(data).decode()).stdout
    assert version == "65537"
