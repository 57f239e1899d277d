# SPDX-License-Identifier: GPL-3.0-or-later
"""CAPolicy.inf, byte by byte."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.adcs import capolicy
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

WHOLE = """\
[Version]
Signature="$Windows NT$"

[PolicyStatementExtension]
Policies=InternalPolicy,Other

[InternalPolicy]
OID=1.3.6.1.4.1.99999.1
Notice="Legal policy statement"
URL="http://pki.corp.example/cps.html"

[Other]
OID=2.5.29.32.0

[Certsrv_Server]
RenewalKeyLength=4096
RenewalValidityPeriod=Years
RenewalValidityPeriodUnits=20
CRLPeriod=Weeks
CRLPeriodUnits=26
CRLDeltaPeriod=Days
CRLDeltaPeriodUnits=0
LoadDefaultTemplates=0
AlternateSignatureAlgorithm=0

[BasicConstraintsExtension]
PathLength=1
Critical=Yes
"""


def options(**given: Any) -> dict[str, Any]:
    return {"content": None, **dict.fromkeys(capolicy.STRUCTURED), **given}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {
                "policies": [
                    {
                        "name": "InternalPolicy",
                        "oid": "1.3.6.1.4.1.99999.1",
                        "notice": "Legal policy statement",
                        "url": "http://pki.corp.example/cps.html",
                    },
                    {"name": "Other", "oid": "2.5.29.32.0", "notice": None, "url": None},
                ],
                "renewal_key_size": 4096,
                "renewal_validity": "20 years",
                "crl_period": "26 weeks",
                "crl_delta_period": "0 days",
                "load_default_templates": False,
                "alternate_signature_algorithm": False,
                "path_length": 1,
            },
            WHOLE,
        ),
        (
            {"load_default_templates": True},
            '[Version]\nSignature="$Windows NT$"\n\n[Certsrv_Server]\nLoadDefaultTemplates=1\n',
        ),
        ({"policies": []}, '[Version]\nSignature="$Windows NT$"\n'),
        (
            {"content": '[Version]\nSignature= "$Windows NT$"\r\n[Certsrv_Server]'},
            '[Version]\nSignature= "$Windows NT$"\n[Certsrv_Server]\n',
        ),
    ],
)
def test_text(given: dict[str, Any], expected: str):
    text = capolicy.text(options(**given), "config: capolicy")
    assert text is not None
    assert text.encode("ascii") == expected.replace("\n", "\r\n").encode("ascii")
    assert capolicy.text(options(content=text), "x") == text, "what was made is taken as it is"


def test_nothing_asked_for():
    assert capolicy.text(options(), "x") is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"content": "[Version]\nSignature=x"}, 'has no \\[Version\\] with Signature="\\$Windows NT\\$"'),
        ({"content": '[Version]\nSignature="$Windows NT$"\n;ä'}, "must be ASCII"),
        ({"content": "x", "path_length": 1}, "content is the whole file; give it without path_length"),
        ({"path_length": -1}, "path_length: -1 is negative"),
        ({"renewal_validity": "long"}, "renewal_validity: 'long' is not a period"),
        ({"policies": [{"name": "My Policy", "oid": "1.2.3"}]}, "cannot name a section"),
        ({"policies": [{"name": "Version", "oid": "1.2.3"}]}, "cannot name a section"),
        ({"policies": [{"name": "P", "oid": "policy"}]}, "is no object identifier"),
        ({"policies": [{"name": "P", "oid": "1.2.3", "notice": 'say "x"'}]}, "without quotes"),
        ({"policies": [{"name": "P", "oid": "1.2.3", "url": "http://x\r\n[Certsrv_Server]"}]}, "line ends"),
    ],
)
def test_refused(given: dict[str, Any], message: str):
    with pytest.raises(FormatError, match=message):
        capolicy.text(options(**given), "config: capolicy")
