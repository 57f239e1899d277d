# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts looked at on a real domain controller: `ldbmodify` and `samba-tool dsacl` make what is to be found."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.certlogon.core.plugins.module_utils.compliance import read_only
from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import load
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judging import judge
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Target
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observers import accounts
from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import CONNECTION, ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.directory.mapping_rights import ATTRIBUTE, PUBLIC_INFORMATION
from ansible_collections.certlogon.core.tests.unit.compliance.test_judges_mappings import OTHER_SID, STRONG, certificate

ALICE, ADMIN, WRITER = "alice.andersson", "domain.admin", "plain.user"
CONTROLS = {control.id: control for control in load().of("domain", accounts.STREAM)}


@pytest.fixture(scope="module")
def known(lab: Any) -> dict[str, dict[str, str]]:
    """DN and SID of the accounts."""
    found = {}
    for name in (ALICE, ADMIN, WRITER):
        entry = lab.ldbsearch("DC=corp,DC=example", f"(sAMAccountName={name})", "objectSid")[0]
        found[name] = {"dn": entry["dn"][0].decode(), "sid": entry["objectsid"][0].decode()}
    return found


@pytest.fixture(scope="module", autouse=True)
def faults(lab: Any, known: dict[str, dict[str, str]]) -> Iterator[None]:
    alice, admin, writer = (known[name] for name in (ALICE, ADMIN, WRITER))
    right = f"(OA;;WP;{ATTRIBUTE};;{writer['sid']})"
    change(lab, alice["dn"], "userCertificate", certificate(OTHER_SID), certificate(days=-1))
    change(lab, alice["dn"], "altSecurityIdentities", STRONG, "X509:<RFC822>alice@corp.example")
    change(lab, writer["dn"], "altSecurityIdentities", STRONG)
    change(lab, admin["dn"], "adminCount", "1")
    lab.run("dc1", "samba-tool", "dsacl", "set", f"--objectdn={admin['dn']}", f"--sddl={right}")
    yield
    lab.run("dc1", "samba-tool", "dsacl", "delete", f"--objectdn={admin['dn']}", f"--sddl={right}")
    for account, attribute in ((alice, "userCertificate"), (alice, "altSecurityIdentities"), (writer, "altSecurityIdentities")):
        change(lab, account["dn"], attribute)
    change(lab, admin["dn"], "adminCount")


def change(lab: Any, dn: str, attribute: str, *values: str | bytes) -> None:
    encoded = [value if isinstance(value, bytes) else value.encode() for value in values]
    lines = "".join(f"{attribute}:: {base64.b64encode(value).decode()}\n" for value in encoded)
    lab.ldbmodify(f"dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{lines}\n")


@pytest.fixture
def look(connection_as: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[[str], Observation]:
    def looked(account: str) -> Observation:
        options = ArgumentSpecValidator(CONNECTION).validate(connection_as(account)).validated_parameters
        observation = Observation(Target("domain", "corp.example"), datetime.datetime.now(datetime.timezone.utc).isoformat())
        with read_only.directory(ConnectionOptions.from_params(options), print, read_only.Asked(observation.asked)) as directory:
            accounts.observe(directory, {"folder": str(tmp_path), "parameters": {}}, observation)
        return observation

    return looked


@pytest.mark.parametrize("account", ["administrator", WRITER])
def test_faults_are_found(look: Callable[[str], Observation], known: Any, tmp_path: Path, account: str) -> None:
    """By an administrator as by an account without any right to write."""
    observation = look(account)
    assert observation.asked.keys() == {"ldap bind", "ldap search"}
    results = {result.control.id: result for result in observation.results(CONTROLS)}
    assert observation.facts["accounts"]["accounts"] >= 2 and not any(result.counts["unknown"] for result in results.values())
    assert results["account-certificate-binding"].counts["pass"] and results["account-mapping-weak"].counts["pass"] >= 2
    lines = [json.loads(line) for name in observation.annexes.values() for line in (tmp_path / name).read_text().splitlines()]
    found = {(line["control"], line["evidence"]["account"]): line for line in lines}
    assert {pair for pair in found if pair[1] in (ALICE, WRITER)} == {
        ("account-certificate-sid", ALICE),
        ("account-certificate-issuer", ALICE),
        ("account-certificate-expired", ALICE),
        ("account-mapping-weak", ALICE),
        ("account-mapping-issuer", ALICE),
        ("account-mapping-issuer", WRITER),
    } | {pair for pair in found if pair[0] == "account-mapping-shared" and pair[1] in (ALICE, WRITER)}
    assert results["account-mapping-shared"].counts["fail"] == 1, "whichever of the two was read later"
    evidence = found["account-certificate-sid", ALICE]["evidence"]
    assert (evidence["sid"], evidence["certificate_sid"]) == (known[ALICE]["sid"], OTHER_SID)
    assert found["account-mapping-weak", ALICE]["evidence"]["form"] == "rfc822"
    control = next(control for control in load().controls if control.id == "account-mapping-writers")
    [result] = judge([control], Facts(observation.target, observation.facts, datetime.datetime.now(datetime.timezone.utc)), {})
    assert [verdict.subject for verdict in result.verdicts] == [ADMIN] and result.status == "fail"
    assert [writer["sid"] for writer in result.verdicts[0].evidence["writers"]] == [known[WRITER]["sid"]]
    assert set(result.passes) >= {"Administrator", "krbtgt"}


def test_hidden_attributes_are_unknown(lab: Any, look: Callable[[str], Observation], known: Any) -> None:
    """Samba leaves out what may not be read, as Windows does; the administrator still sees it."""
    right = f"(OD;;RP;{PUBLIC_INFORMATION};;{known[WRITER]['sid']})"
    lab.run("dc1", "samba-tool", "dsacl", "set", f"--objectdn={known[ALICE]['dn']}", f"--sddl={right}")
    try:
        seen, all_of_it = look(WRITER), look("administrator")
    finally:
        lab.run("dc1", "samba-tool", "dsacl", "delete", f"--objectdn={known[ALICE]['dn']}", f"--sddl={right}")
    assert seen.facts["accounts"]["mappings"] == all_of_it.facts["accounts"]["mappings"] - 2
    for result in seen.results(CONTROLS):
        assert "Read altSecurityIdentities" in [verdict.right for verdict in result.verdicts if verdict.status == "unknown"]
    assert not any(result.counts["unknown"] for result in all_of_it.results(CONTROLS))
