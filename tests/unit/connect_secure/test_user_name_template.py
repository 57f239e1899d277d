# SPDX-License-Identifier: GPL-3.0-or-later
"""User name templates against the vendor's list of variables, and their values against certificates that openssl made."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import Certificate, load_one
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import user_name_template as templates
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, UserError

GOOD = [
    "<certDN.CN>",
    "<certAttr.altName.UPN>",
    "<certAttr.serialNumber>-<certDN.OU>",
    'prefix_<certDN.OU SEP=":">@corp.example',
    '<certAttr.OU SEP="">',
    "<certAttr.e-mailAddress>",
    "<certAttr.altName.Emailld>",
    "<certAttr.altName.fascnICI>",
    "< certDN.CN >",
]

BAD = [
    ("", "is empty; write a template such as <certDN.CN>"),
    ("   ", "is empty"),
    ("alice", "no variable, so everybody would be the same user"),
    ("<certDN.CN", "'<' without its partner at character 1"),
    ("certDN.CN>", "'>' without its partner at character 10"),
    ("<certDN.<CN>>", "'<' without its partner at character 1"),
    ("<>", "<> is no variable"),
    ("<certDN.OU SEP=:>", "is no variable; they are like"),
    ('<certDN.OU,SEP=":">', "is no variable"),
]

UNKNOWN = [
    ("<certAttr.altName.UNP>", "unknown variable 'certAttr.altName.UNP'; did you mean 'certAttr.altName.UPN'?"),
    ("<certattr.cn>", "did you mean 'certAttr.CN'?"),
    ("<certDN.EmailAddress>", "did you mean 'certDN.e-mailAddress'?"),
    ("<USERNAME>", "unknown variable 'USERNAME'; there are 'certAttr.altName.DNS'"),
]


@pytest.mark.parametrize("source", GOOD)
def test_accepted(source: str) -> None:
    template = templates.parse(source)
    assert template.variables
    assert templates.unknown_variables(template) == []


@pytest.mark.parametrize(("source", "message"), BAD)
def test_refused(source: str, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        templates.parse(source)
    assert message in str(caught.value)


@pytest.mark.parametrize(("source", "message"), UNKNOWN)
def test_unknown_variables_name_the_near_one(source: str, message: str) -> None:
    [found] = templates.unknown_variables(templates.parse(source))
    assert message in found


def test_the_list_is_the_vendors() -> None:
    assert len([name for name in templates.VARIABLES if name.startswith("certAttr.") and not name.startswith("certAttr.altName.")]) == 14
    assert {"certAttr.altName.UPNDomain", "certAttr.altName.fascnPOA", "certAttr.altName.registeredId"} <= set(templates.VARIABLES)


CONFIG = """
[req]
distinguished_name = dn
x509_extensions = ext
prompt = no
[dn]
C = DE
O = Corp
0.OU = Sales
1.OU = Europe
CN = alice
GN = Alice
SN = Smith
serialNumber = 4711
emailAddress = alice@corp.example
UID = a.smith
[ext]
subjectAltName = @names
[names]
email = a.smith@mail.corp.example
DNS = laptop.corp.example
IP = 10.1.2.3
RID = 1.2.3.4
otherName.0 = 1.3.6.1.4.1.311.20.2.3;UTF8:alice@corp.example
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder: Path = tmp_path_factory.mktemp("templates")
    (folder / "config").write_text(CONFIG)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    command += ["-config", "config", "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return load_one((folder / "certificate.pem").read_bytes())


VALUES = [
    ("<certDN.CN>", "alice"),
    ("<certAttr.CN>", "alice"),
    ("<certDN.OU>", "Sales"),
    ('<certDN.OU SEP=":">', "Sales:Europe"),
    ("<certAttr.GN>.<certAttr.SN>", "Alice.Smith"),
    ("<certAttr.serialNumber>", "4711"),
    ("<certAttr.UI>", "a.smith"),
    ("<certAttr.e-mailAddress>", "alice@corp.example"),
    ("<certAttr.altName.Email>", "a.smith@mail.corp.example"),
    ("<certAttr.altName.EmailId>", "a.smith"),
    ("<certAttr.altName.Emailld>", "a.smith"),
    ("<certAttr.altName.EmailDomain>", "mail.corp.example"),
    ("<certAttr.altName.UPN>", "alice@corp.example"),
    ("CORP\\<certAttr.altName.UPNid>", "CORP\\alice"),
    ("<certAttr.altName.UPNDomain>", "corp.example"),
    ("<certAttr.altName.DNS>", "laptop.corp.example"),
    ("<certAttr.altName.ipAddress>", "10.1.2.3"),
    ("<certAttr.altName.registeredId>", "1.2.3.4"),
    ("<certAttr.title>", ""),
]


@pytest.mark.parametrize(("source", "value"), VALUES)
def test_evaluated(source: str, value: str, certificate: Certificate) -> None:
    assert templates.evaluate(source, certificate) == value


def test_what_cannot_be_predicted_is_said(certificate: Certificate) -> None:
    with pytest.raises(UserError, match="FASC-N is not documented"):
        templates.evaluate("<certAttr.altName.fascn>", certificate)
    with pytest.raises(UserError, match=r"mean 'certDN\.serialNumber'"):
        templates.evaluate("<certDN.serialNumbr>", certificate)


def test_any_text_is_read_or_refused() -> None:
    hypothesis = pytest.importorskip("hypothesis")
    from hypothesis import strategies as st

    @hypothesis.given(st.text('<>"=: .SEPcertDNAtr\x00é', max_size=40))
    def reads(source: str) -> None:
        try:
            template = templates.parse(source)
        except FormatError:
            return
        assert template.variables

    reads()
