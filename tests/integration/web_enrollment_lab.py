# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA on ca1 for tests of its web enrollment: made by adcs_authority, with the templates that Windows publishes by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

STATE = "/var/lib/windows_ca"
CA = "Corp Web CA"
ENROLL = r"C:\Windows\system32\CertSrv\CertEnroll"
AUTHORITY: dict[str, Any] = {
    "name": CA,
    "type": "enterprise_root",
    "key": {"algorithm": "RSA", "size": 2048},
    "hash": "SHA256",
    "validity": "10 years",
    "cdp": [
        {"url": rf"{ENROLL}\<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl", "flags": ["publish_base", "publish_delta"]},
        {"url": "http://ca1.corp.example/CertEnroll/<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl", "flags": ["include_in_certificates"]},
    ],
    "crl_period": "3 days",
    "crl_delta_period": "12 hours",
}


def reset(lab: Any) -> None:
    """A host on which nothing was ever configured, and a directory without what its CA left there."""
    lab.kill("ca1")
    lab.run("ca1", "sh", "-c", f"rm -rf {STATE}/*")
    lab.start("ca1")
    base = f"CN=Public Key Services,CN=Services,CN=Configuration,{lab.status['base_dn']}"
    found = lab.ldbsearch(base, f"(|(cn={CA})(cn=ca1))", "cn")
    for dn in sorted((entry["dn"][0].decode() for entry in found), key=len, reverse=True):
        lab.run("dc1", "ldbdel", "-H", "/var/lib/samba/private/sam.ldb", dn, check=False)


def authority_task(lab: Any, **options: Any) -> dict[str, Any]:
    who = lab.account("administrator")
    signed_in = {"install_username": who["netbios"], "install_password": who["password"]}
    return {"certlogon.core.adcs_authority": {"config": [{**AUTHORITY, **options}], **signed_in}}


def web_task(state: str = "merged", **options: Any) -> dict[str, Any]:
    return {"certlogon.core.adcs_web_enrollment": {"state": state, "config": [options or {"site": "Default Web Site"}]}}


def ready(lab: Any, on_ca1: Callable[..., Any]) -> None:
    """The CA with its web enrollment, as a site would have it."""
    on_ca1([authority_task(lab), web_task("replaced")])


def saved(lab: Any) -> Mapping[str, Any]:
    """The stand-in's state as it lies on its disk."""
    found: Mapping[str, Any] = json.loads(lab.run("ca1", "cat", f"{STATE}/machine.json").stdout)
    return found
