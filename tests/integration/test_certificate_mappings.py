# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate mappings of accounts on a real domain controller; `ldbsearch` and `openssl` read back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.certlogon.core.plugins.module_utils.directory.certificate_mappings import CertificateMappings
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.modules.ad_certificate_mappings import EXAMPLES

MODULE = "certlogon.core.ad_certificate_mappings"
USER = "alice.andersson"
KEY, SKI = "X509:<SHA1-PUKEY>50bf88e67522ab8ce093ce51830ab0bcf8ba7824", "X509:<SKI>77bf4cdb"
WEAK, KERBEROS = "X509:<RFC822>alice@corp.example", "Kerberos:alice@PARTNER.EXAMPLE"


@pytest.fixture(autouse=True)
def account(lab: Any) -> Iterator[dict[str, str]]:
    """DN and SID of the account, whose mappings are taken away afterwards."""
    found = lab.ldbsearch("DC=corp,DC=example", f"(sAMAccountName={USER})", "objectSid")[0]
    yield {"dn": found["dn"][0].decode(), "sid": found["objectsid"][0].decode()}
    write(lab, found["dn"][0].decode())


@pytest.fixture
def leaf(lab: Any) -> str:
    return str(Path(lab.files["root_ca"]).parent / "odd/leaf.pem")


def write(lab: Any, dn: str, *values: str) -> None:
    lines = "".join(f"altSecurityIdentities: {value}\n" for value in values)
    lab.ldbmodify(f"dn: {dn}\nchangetype: modify\nreplace: altSecurityIdentities\n{lines}\n")


def stored(lab: Any) -> set[str]:
    entry = lab.ldbsearch("DC=corp,DC=example", f"(sAMAccountName={USER})", "altSecurityIdentities")[0]
    return {value.decode() for value in entry.get("altsecurityidentities", [])}


def test_rhythm(lab: Any, run_resource: Callable[..., Any], account: dict[str, str]) -> None:
    write(lab, account["dn"], KERBEROS)
    steps: list[tuple[str, list[str], set[str]]] = [
        ("merged", [KEY], {KEY, KERBEROS}),
        ("merged", [SKI, WEAK], {KEY, SKI, WEAK, KERBEROS}),
        ("replaced", [SKI], {SKI, KERBEROS}),
        ("replaced", [KEY], {KEY, KERBEROS}),
        ("deleted", [KEY.replace("bf88", "BF88")], {KERBEROS}),
        ("deleted", [KERBEROS], set()),
    ]
    for state, mappings, expected in steps:
        config, before = [{"user": USER, "mappings": mappings}], stored(lab)
        predicted = run_resource(CertificateMappings(), config, state, check_mode=True)
        assert predicted["changed"] and stored(lab) == before, "check mode writes nothing"
        assert run_resource(CertificateMappings(), config, state) == predicted
        assert stored(lab) == expected
        assert predicted["diff"][0]["after"] == {"mappings": sorted(expected, key=str.casefold)}
        assert not run_resource(CertificateMappings(), config, state)["changed"]


def test_forms(lab: Any, run_resource: Callable[..., Any], account: dict[str, str], leaf: str) -> None:
    """What openssl says of the certificate is what the mappings hold."""
    forms = ("issuer_serial", "ski", "sha1_public_key", "issuer_sid")
    run_resource(CertificateMappings(), [{"user": USER, "certificates": [{"path": leaf, "form": form} for form in forms]}])
    arguments = ("-noout", "-serial", "-issuer", "-nameopt", "RFC2253", "-ext", "subjectKeyIdentifier")
    text = lab.run("dc1", "openssl", "x509", *arguments, stdin=Path(leaf).read_text()).stdout
    serial = bytes.fromhex(re.search("serial=([0-9A-F]+)", text)[1])  # type: ignore[index]
    issuer = ",".join(reversed(re.search("issuer=(.*)", text)[1].split(",")))  # type: ignore[index]
    ski = re.search("Key Identifier: *\n *([0-9A-F:]+)", text)[1].replace(":", "").lower()  # type: ignore[index]
    key = lab.run("dc1", "sh", "-c", PUBLIC_KEY_SHA1, stdin=Path(leaf).read_text()).stdout.split()[-1]
    assert stored(lab) == {
        f"X509:<I>{issuer}<SR>{serial[::-1].hex()}",
        f"X509:<SKI>{ski}",
        f"X509:<SHA1-PUKEY>{key}",
        f"X509:<I>{issuer}<SID>{account['sid']}",
    }


# the content of the bit string is the last element of subjectPublicKeyInfo
PUBLIC_KEY_SHA1 = "openssl x509 -noout -pubkey | openssl rsa -pubin -RSAPublicKey_out -outform DER 2>/dev/null | sha1sum | cut -d' ' -f1"


@pytest.mark.parametrize("form", ["sam", "netbios", "upn", "dn", "sid", "upper"])
def test_every_way_to_name_the_account(lab: Any, run_resource: Callable[..., Any], account: dict[str, str], form: str) -> None:
    who = lab.account(USER)
    names = {"sam": USER, "netbios": who["netbios"], "upn": who["upn"], "dn": account["dn"], "sid": account["sid"], "upper": USER.upper()}
    config = [{"user": names[form], "mappings": [KEY]}]
    assert run_resource(CertificateMappings(), config)["changes"] == [{"name": names[form], "action": "update"}]
    assert stored(lab) == {KEY}
    assert not run_resource(CertificateMappings(), config, "replaced")["changed"]
    assert run_resource(CertificateMappings(), [{"user": names[form]}], "gathered")["gathered"] == config


def test_gathered_is_accepted_and_changes_nothing(lab: Any, run_resource: Callable[..., Any], account: dict[str, str]) -> None:
    write(lab, account["dn"], KEY, WEAK, KERBEROS)
    gathered = run_resource(CertificateMappings(), state="gathered")["gathered"]
    assert {"user": USER, "mappings": sorted([KEY, WEAK, KERBEROS], key=str.casefold)} in gathered
    for state in ("merged", "replaced"):
        result = run_resource(CertificateMappings(), gathered, state, strict=True)
        assert not result["changed"] and any(WEAK in warning for warning in result["warnings"])


def test_ansible_and_the_module_process(lab: Any, playbook: Callable[..., Any], leaf: str) -> None:
    task = {"name": "map", MODULE: {"config": [{"user": USER, "certificates": [{"path": leaf}], "mappings": [WEAK]}]}}
    by_module = {**task, "environment": {"A": "b"}}
    predicted = playbook([task, by_module], check=True)
    assert [one.changed for one in predicted.tasks] == [True, True] and stored(lab) == set()
    assert "is a weak mapping" in predicted.output
    done = playbook([by_module, task, by_module])
    assert [one.changed for one in done.tasks] == [True, False, False]
    assert len(stored(lab)) == 2


def test_examples(lab: Any, playbook: Callable[..., Any], leaf: str) -> None:
    tasks = yaml.safe_load(EXAMPLES.replace("/etc/certlogon/alice.pem", leaf).replace("/etc/certlogon/alice-lost.pem", leaf))
    for option in ("server", "username", "password"):
        tasks[0][MODULE].pop(option)
    done = playbook(tasks)
    assert [one.changed for one in done.tasks] == [True, True, False, False]
    assert {"user": USER, "mappings": [KEY]} in done.last["gathered"]


def test_strict_refuses_to_add_weak_mappings(lab: Any, run_resource: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="is a weak mapping"):
        run_resource(CertificateMappings(), [{"user": USER, "mappings": [KEY, WEAK]}], strict=True)
    assert stored(lab) == set()


def test_unknown_accounts_are_named_together(lab: Any, run_resource: Callable[..., Any]) -> None:
    names = ["nobody.atall", "x@corp.example", "S-1-5-21-9-9-9-9", "CN=No,DC=corp,DC=example", "CORP\\nobody"]
    with pytest.raises(UserError) as caught:
        run_resource(CertificateMappings(), [{"user": name, "mappings": [KEY]} for name in [*names, USER]])
    assert len(str(caught.value).splitlines()) == len(names)
    assert stored(lab) == set()


def test_missing_rights_are_named(lab: Any, run_resource: Callable[..., Any], connection_as: Any) -> None:
    with pytest.raises(UserError, match=f"{USER}: this account may not write altSecurityIdentities"):
        run_resource(CertificateMappings(), [{"user": USER, "mappings": [KEY]}], **connection_as("plain.user"))
    assert stored(lab) == set()


def test_what_another_tool_adds_in_between_survives(
    lab: Any, run_resource: Callable[..., Any], connection: dict[str, Any], account: dict[str, str]
) -> None:
    resource = CertificateMappings()
    defaults = {name: option.get("default") for name, option in resource.argument_spec().items()}
    params = {**defaults, **connection, "config": [{"user": USER, "mappings": [KEY], "certificates": None}]}
    with resource.open(params, print) as session:
        plan = resource.plan(params, resource.read(session, params))
        write(lab, account["dn"], SKI)
        resource.apply(session, plan.changes[0])
    assert stored(lab) == {KEY, SKI}
