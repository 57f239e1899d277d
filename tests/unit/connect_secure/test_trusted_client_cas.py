# SPDX-License-Identifier: GPL-3.0-or-later
"""Trusted client CAs: against the stand-in in this process, judged by plain requests on its tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.trusted_client_cas import TrustedClientCas
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.tests.unit.certificates.directory_server import directory
from ansible_collections.certlogon.core.tests.unit.connect_secure.authorities import Authority, Files, bundle, served
from ansible_collections.certlogon.core.tests.unit.connect_secure.boxes import Box, box

CA = TrustedClientCas()
KIND = "trusted-client-ca"


class Downloads:
    """In the place of the data plane: notes which CRLs it is told to download, and gets none of the CA called Broken."""

    def __init__(self) -> None:
        self.cas: list[str] = []

    def connect(self, state: Any) -> None: ...

    def check(self, tree: Any) -> None: ...

    def apply(self, tree: Any) -> None: ...

    def sessions(self) -> list[dict[str, Any]]:
        return []

    def end_session(self, session_id: str) -> None: ...

    def update_crl(self, ca: str) -> None:
        from lab.connect_secure.answers import Refused

        self.cas.append(ca)
        if ca == "Broken":
            raise Refused(422, "the CRL has expired")


DOWNLOADS = Downloads()


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with box(tmp_path_factory.mktemp("trusted-client-cas"), data_plane=DOWNLOADS) as found:
        yield found


@pytest.fixture(autouse=True)
def emptied(appliance: Box) -> None:
    """Each test begins without CAs; the judge removes them, not the module."""
    for one in appliance.elements(KIND):
        assert appliance.ask("DELETE", f"configuration/system/configuration/certificates/trusted-client-cas/{KIND}/{one['name']}").ok


@pytest.fixture(scope="module")
def web() -> Iterator[Files]:
    with ExitStack() as stack:
        yield stack.enter_context(served())


def given(authority: Authority, **options: Any) -> dict[str, Any]:
    return {"certificate": {"content": authority.pem}, **options}


def manual(authority: Authority, url: str, **options: Any) -> dict[str, Any]:
    return given(authority, status_checking="crl", cdp_source="manual", primary_cdp=url, **options)


# ---- the rhythm


def test_full_rhythm(appliance: Box, web: Files) -> None:
    ca = Authority()
    web["good.crl"] = ca.crl()
    done = appliance.rhythm(CA, config=[manual(ca, f"{web.url}/good.crl", crl_download_frequency=4)])
    assert (done["changes"], appliance.warnings) == ([{"name": ca.label, "action": "create"}], [])
    assert [(one["url"], one["number"], one["problems"]) for one in done["crls"]] == [(f"{web.url}/good.crl", 7, [])]
    assert ca.sha256 in done["diff"][0]["after"]["certificate"]
    (found,) = appliance.elements(KIND)
    assert found["certificate"] == ca.pem
    assert found["client-certificate-status-checking"] == "Use CRLs"
    assert found["crl-settings"] == {
        "cdp-source": "Manually configured CDP",
        "primary-cdp": {"url": f"{web.url}/good.crl"},
        "crl-download-frequency": "4",
    }
    changed = appliance.rhythm(CA, config=[{"name": "Corp CA", "crl_download_frequency": 9999}])
    assert changed["diff"][0]["before"] == {"crl_download_frequency": 4}
    assert changed["diff"][0]["after"] == {"crl_download_frequency": 9999}
    gathered = appliance.run(CA, state="gathered")["gathered"]
    assert appliance.run(CA, config=gathered, state="replaced")["changed"] is False
    appliance.rhythm(CA, config=[given(ca)], state="replaced")
    assert appliance.elements(KIND)[0]["client-certificate-status-checking"] == "None"
    appliance.rhythm(CA, config=[{"certificate": {"sha256": ca.sha256.upper()}}], state="deleted")
    assert appliance.elements(KIND) == []


def test_nothing_changes_with_two_requests(appliance: Box) -> None:
    ca = Authority()
    appliance.run(CA, config=[given(ca)])
    from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import RUN, Run
    from ansible_collections.certlogon.core.plugins.module_utils.resource import run

    done = Run()
    task = {option: line.get("default") for option, line in CA.argument_spec().items()}
    run(CA, {**task, **appliance.connection(), "config": [given(ca)], RUN: done}, check_mode=False, warn=print)
    assert (done.logins, done.requests) == (1, 3)  # the login, the list, and one element to see whether the list is complete


def test_the_address_of_a_crl_means_that_it_is_used(appliance: Box, web: Files) -> None:
    ca = Authority()
    web["implied.crl"] = ca.crl()
    appliance.rhythm(CA, config=[given(ca, status_checking="crl", primary_cdp=f"{web.url}/implied.crl")])
    assert appliance.elements(KIND)[0]["crl-settings"]["cdp-source"] == "Manually configured CDP"


def test_rendered_asks_nobody(appliance: Box) -> None:
    ca = Authority()
    (found,) = appliance.run(CA, state="rendered", host="192.0.2.1", config=[given(ca, trusted_for_client_authentication=False)])[
        "rendered"
    ]
    assert (found["name"], found["participate_in_negotiation"], found["crl_download_frequency"]) == ("Corp CA", False, 24)


# ---- identity


def test_two_of_one_name_side_by_side(appliance: Box) -> None:
    old, new = Authority(), Authority()
    appliance.rhythm(CA, config=[given(old)])
    appliance.rhythm(CA, config=[given(old, participate_in_negotiation=False), given(new)])
    there = {one["certificate"]: one["participate-in-client-certificate-negotiation"] for one in appliance.elements(KIND)}
    assert there == {old.pem: "false", new.pem: "true"}
    with pytest.raises(UserError, match=r"config \(corp ca\): 2 trusted client CAs are called so .*certificate.sha256"):
        appliance.run(CA, config=[{"name": "corp ca", "status_checking": "none"}])
    appliance.rhythm(CA, config=[{"certificate": {"sha256": old.sha256}}], state="deleted")
    assert [one["certificate"] for one in appliance.elements(KIND)] == [new.pem]


@pytest.mark.parametrize("form", ["pem", "p7b", "p7b-pem"])
def test_chain(appliance: Box, tmp_path: Path, form: str) -> None:
    root = Authority("Corp Root")
    issuing = Authority("Corp Issuing", root)
    file = tmp_path / "chain"
    file.write_bytes(bundle(form, root, issuing))
    entry = {"certificate": {"path": str(file)}, "crl_download_frequency": 7}
    with pytest.raises(UserError, match=r"holds 2 certificates .*import_chain=true"):
        appliance.run(CA, config=[entry])
    done = appliance.rhythm(CA, config=[{**entry, "import_chain": True}])
    assert [one["name"] for one in done["changes"]] == [root.label, issuing.label]
    frequencies = {one["name"]: one["crl-settings"]["crl-download-frequency"] for one in appliance.elements(KIND)}
    assert frequencies == {"Corp Root": "24", "Corp Issuing": "7"}


def test_one_of_a_file_and_der(appliance: Box, tmp_path: Path) -> None:
    root = Authority("Corp Root")
    file, der = tmp_path / "chain.pem", tmp_path / "root.der"
    file.write_bytes(bundle("pem", root, Authority("Corp Issuing", root)))
    der.write_bytes(bundle("der", root))
    appliance.rhythm(CA, config=[{"certificate": {"path": str(file), "subject": "cn=corp root"}}])
    assert [one["certificate"] for one in appliance.elements(KIND)] == [root.pem]
    assert appliance.run(CA, config=[{"certificate": {"path": str(der)}}])["changed"] is False


# ---- dependencies


def test_negotiation_needs_trust(appliance: Box) -> None:
    ca = Authority()
    with pytest.raises(UserError, match="participate_in_negotiation: is true, but trusted_for_client_authentication is false"):
        appliance.run(CA, config=[given(ca, trusted_for_client_authentication=False, participate_in_negotiation=True)])
    appliance.run(CA, config=[given(ca)])
    appliance.rhythm(CA, config=[given(ca, trusted_for_client_authentication=False)])
    assert "participate_in_negotiation is switched off" in appliance.warnings[0]
    assert appliance.elements(KIND)[0]["participate-in-client-certificate-negotiation"] == "false"
    with pytest.raises(UserError, match="needs trusted_for_client_authentication, which is false on the appliance"):
        appliance.run(CA, config=[given(ca, participate_in_negotiation=True)])


def test_fall_back_needs_a_cdp(appliance: Box) -> None:
    ca = Authority()
    with pytest.raises(UserError, match=r"cdp_source: is ca_certificate, but .* names no CDP, and the OCSP check falls back to CRLs"):
        appliance.run(CA, config=[given(ca, status_checking="ocsp_crl")])
    with pytest.raises(UserError, match="primary_cdp: is missing, but status_checking is crl"):
        appliance.run(CA, config=[given(ca, status_checking="crl", cdp_source="manual")])
    appliance.rhythm(CA, config=[given(ca, status_checking="ocsp", ocsp_responder="http://ocsp.corp.example")])
    assert appliance.elements(KIND)[0]["ocsp-settings"] == {"responder-url": "http://ocsp.corp.example"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crl_download_frequency": 0}, "crl_download_frequency: 0 is no number of hours from 1 to 9999"),
        ({"crl_download_frequency": 10000}, "crl_download_frequency: 10000 is no number"),
        ({"primary_cdp": "ftp://x/y.crl"}, "primary_cdp: 'ftp://x/y.crl' begins with 'ftp'"),
        ({"backup_cdp": "ldap:///CN=x?certificateRevocationList"}, "backup_cdp: .* names no server"),
        ({"primary_cdp": "ldap://dc1/CN=x?certificateRevocationList?base?(a=b"}, "primary_cdp: .* a parenthesis is not closed"),
        ({"primary_cdp": "http://x/y.crl", "primary_cdp_username": "CN=a"}, "primary_cdp_username: is for a directory"),
        ({"primary_cdp_password": "s3cret-pw"}, "primary_cdp_password: is given without primary_cdp_username"),
        (
            {"cdp_source": "client_certificate", "primary_cdp": "http://x/y.crl"},
            "primary_cdp: is given, but cdp_source is client_certificate",
        ),
        ({"primary_cdp": "http://u:s3cret-pw@x/y.crl"}, r"primary_cdp: 'http://\*{8}@x/y.crl' holds an account"),
        ({"ocsp_responder": "http://u:s3cret-pw@x/"}, r"ocsp_responder: 'http://\*{8}@x/' holds an account"),
        ({"certificate": {"content": " "}}, r"certificate.content: is empty; give the CA's certificate \(is the variable"),
        ({"ocsp_responder": "ldap://dc1/CN=x?certificateRevocationList"}, "ocsp_responder: .* is no http"),
    ],
)
def test_refused_before_anything_is_asked(appliance: Box, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        appliance.run(CA, host="192.0.2.1", config=[given(Authority(), **options)])
    assert "s3cret-pw" not in str(error.value)


@pytest.mark.parametrize(
    ("made", "switch", "message"),
    [
        ({"ca": False}, "allow_not_a_ca", r"is not a CA certificate \(basicConstraints\); give the certificate of the CA"),
        ({"days": (-30, -1)}, "allow_expired", "expired on .*; give the renewed certificate"),
        ({"days": (1, 30)}, "allow_expired", "is not valid before"),
        ({"weak": True}, "allow_weak", "RSA key of 1024 bits"),
    ],
)
def test_bad_ca_certificates(appliance: Box, made: dict[str, Any], switch: str, message: str) -> None:
    ca = Authority(**made)
    with pytest.raises(UserError, match=rf"{message}.*{switch}=true"):
        appliance.run(CA, config=[given(ca)])
    assert appliance.elements(KIND) == []
    if switch == "allow_not_a_ca":
        # the stand-in refuses it, too, and says so in its own words
        done = appliance.run(CA, config=[given(ca, **{switch: True})])
        assert done["failed"]
        assert "is not a CA certificate" in done["msg"]
    else:
        assert appliance.run(CA, config=[given(ca, **{switch: True})])["changed"] is True


# ---- CRLs


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("foreign", "was made by another CA of the name|was not made by the key"),
        ("other", "is of CN=Other CA, not of CN=Corp CA"),
        ("expired", "ended on"),
        ("future", "is not valid before"),
        ("delta", "is a delta CRL"),
        ("junk", "neither PEM nor DER"),
    ],
)
def test_bad_crls_stop_everything(appliance: Box, web: Files, name: str, message: str) -> None:
    ca = Authority()
    web.update(
        foreign=Authority().crl(),
        other=Authority("Other CA").crl(),
        expired=ca.crl(hours=(-9, -1)),
        future=ca.crl(hours=(2, 9)),
        delta=ca.crl(delta=True),
        junk=b"<html>",
    )
    with pytest.raises(UserError, match=rf"{re.escape(ca.label)}: primary_cdp: {web.url}/{name}:? .*({message})"):
        appliance.run(CA, config=[manual(ca, f"{web.url}/{name}")])
    assert appliance.elements(KIND) == []
    assert appliance.run(CA, config=[manual(ca, f"{web.url}/{name}")], cdp_check="skip")["changed"] is True


def test_unreachable_is_a_warning_unless_required(appliance: Box, web: Files) -> None:
    ca = Authority()
    entry = manual(ca, f"{web.url}/none.crl")
    with pytest.raises(UserError, match=r"HTTP 404.*\(cdp_required is true\)"):
        appliance.run(CA, config=[entry], cdp_required=True)
    assert appliance.run(CA, config=[entry])["changed"] is True
    assert "was not fetched from the control node; see that the appliance can" in appliance.warnings[0]


def test_ends_before_the_next_download(appliance: Box, web: Files) -> None:
    ca = Authority()
    web["short.crl"] = ca.crl(hours=(-1, 12))
    entry = manual(ca, f"{web.url}/short.crl", crl_download_frequency=24)
    with pytest.raises(UserError, match="the next download is up to 24 hours away; in between nobody gets in"):
        appliance.run(CA, config=[entry], crl_ends_before_download="fail")
    appliance.run(CA, config=[entry])
    assert "the next download is up to 24 hours away" in appliance.warnings[0]
    assert appliance.run(CA, config=[{**entry, "crl_download_frequency": 6}], crl_ends_before_download="fail")["changed"] is True


def test_crl_of_each_ca_of_the_chain(appliance: Box, web: Files) -> None:
    root = Authority("Corp Root")
    issuing = Authority("Corp Issuing", root, cdp=f"{web.url}/root.crl")
    web.update({"issuing.crl": issuing.crl(), "root.crl": root.crl()})
    entry = manual(issuing, f"{web.url}/issuing.crl", verify_trusted_client_ca=True)
    done = appliance.run(CA, check=True, config=[entry])
    assert [one["option"] for one in done["crls"]] == ["primary_cdp"]
    assert "the issuer of CN=Corp Issuing (CN=Corp Root) is not among the CAs known here" in appliance.warnings[0]
    done = appliance.run(CA, check=True, config=[entry, given(root)])
    assert [(one["option"], one["issuer"]) for one in done["crls"]] == [
        ("primary_cdp", "CN=Corp Issuing"),
        ("verify_trusted_client_ca", "CN=Corp Root"),
    ]
    web["root.crl"] = root.crl(issuing.certificate.serial_number)
    with pytest.raises(UserError, match="the CRL names CN=Corp Issuing itself, revoked since"):
        appliance.run(CA, config=[entry, given(root)])
    assert appliance.elements(KIND) == []


def test_the_ca_certificates_own_cdp_is_its_issuers(appliance: Box, web: Files) -> None:
    root = Authority("Corp Root", cdp=f"{web.url}/root2.crl")
    issuing = Authority("Corp Issuing", root, cdp=f"{web.url}/root2.crl")
    web["root2.crl"] = root.crl()
    assert appliance.run(CA, check=True, config=[given(root, status_checking="crl")])["changed"] is True
    with pytest.raises(UserError, match=r"cdp_source: .* is of CN=Corp Root, not of CN=Corp Issuing"):
        appliance.run(CA, check=True, config=[given(issuing, status_checking="crl")])


def test_ldap_cdp_with_an_account(appliance: Box) -> None:
    ca, account = Authority(), ("CN=reader,DC=corp", "Reader-pw-1")
    with directory("CN=Corp CA,DC=corp", {"certificateRevocationList;binary": [Authority().crl(), ca.crl()]}, account) as server:
        url = f"ldap://127.0.0.1:{server.server_address[1]}/CN=Corp%20CA,DC=corp?certificateRevocationList;binary"
        entry = manual(ca, url, primary_cdp_username=account[0], primary_cdp_password=account[1])
        done = appliance.rhythm(CA, config=[entry], cdp_required=True)
        always = {**entry, "update_secrets": "always", "primary_cdp_password": "Other-pw-2"}
        with pytest.raises(UserError, match="invalidCredentials") as error:
            appliance.run(CA, config=[always], cdp_required=True)
        changed = appliance.run(CA, config=[always], cdp_check="skip")
    assert (done["crls"][0]["problems"], changed["changed"]) == ([], True)
    assert not re.search("Reader-pw-1|Other-pw-2", f"{done}{changed}{error.value}")
    assert appliance.elements(KIND)[0]["crl-settings"]["primary-cdp"]["password-encrypted"]


def test_delta_crls_are_reported(appliance: Box, web: Files) -> None:
    """The CRL says where its delta is; the base is what is needed."""
    from datetime import timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    ca = Authority()
    point = x509.DistributionPoint([x509.UniformResourceIdentifier("http://crl/delta.crl")], None, None, None)
    builder = x509.CertificateRevocationListBuilder(
        ca.certificate.subject, ca.certificate.not_valid_before_utc, ca.certificate.not_valid_after_utc
    )
    builder = builder.add_extension(x509.FreshestCRL([point]), False)
    web["base.crl"] = builder.sign(ca.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    done = appliance.run(CA, check=True, config=[manual(ca, f"{web.url}/base.crl")])
    assert done["crls"][0]["delta_cdps"] == ["http://crl/delta.crl"]
    assert timedelta(hours=done["crls"][0]["hours_left"]) > timedelta(290)


def test_update_crl(appliance: Box, web: Files) -> None:
    ca = Authority()
    web["update.crl"] = ca.crl()
    appliance.run(CA, config=[manual(ca, f"{web.url}/update.crl")])
    task = {"config": [{"name": "Corp CA"}], "update_crl": True}
    assert appliance.run(CA, check=True, **task)["diff"][0]["after"] == {"crl": "downloaded now"}
    assert DOWNLOADS.cas == []
    done = appliance.run(CA, **task)
    assert (done["changed"], done["changes"]) == (True, [{"name": ca.label, "action": "update"}])
    broken = Authority("Broken")
    web["broken.crl"] = broken.crl()
    done = appliance.run(CA, config=[manual(broken, f"{web.url}/broken.crl")], update_crl=True)
    assert DOWNLOADS.cas == ["Corp CA", "Broken"]
    assert [one.get("failed", False) for one in done["changes"]] == [False, True]
    assert "the CRL has expired" in done["msg"]


# ---- bad days


def test_a_half_done_import_is_repaired(appliance: Box, web: Files) -> None:
    """Imported, and the connection gone before the settings: the next run finds it by its certificate."""
    ca = Authority()
    web["good.crl"] = ca.crl()
    assert appliance.ask("POST", "system/certificates/trusted-client-cas", {"cert": ca.pem}).ok
    done = appliance.rhythm(CA, config=[manual(ca, f"{web.url}/good.crl")])
    assert [one["action"] for one in done["changes"]] == ["update"]


def test_unknown_names_say_what_there_is(appliance: Box) -> None:
    appliance.run(CA, config=[given(Authority())])
    with pytest.raises(
        UserError, match=r"config \(Crop CA\): is no trusted client CA of the appliance, which has Corp CA; give its certificate"
    ):
        appliance.run(CA, config=[{"name": "Crop CA", "status_checking": "crl"}])


def test_the_same_certificate_twice(appliance: Box) -> None:
    ca = Authority()
    with pytest.raises(UserError, match="is also that of"):
        appliance.run(CA, config=[given(ca), {**given(ca), "certificate": {"content": ca.pem + "\n"}}])


def test_two_entries_that_mean_one_ca(appliance: Box) -> None:
    ca = Authority()
    appliance.run(CA, config=[given(ca)])
    both = [given(ca), {"name": "Corp CA"}]
    with pytest.raises(UserError, match=r"config \(Corp CA\): .* is also that of config \(certificate .*\); put all of its options"):
        appliance.run(CA, config=both)
    done = appliance.rhythm(CA, config=both, state="deleted")
    assert [one["action"] for one in done["changes"]] == ["delete"] and appliance.elements(KIND) == []


def test_what_somebody_else_imported_meanwhile_is_not_imported_twice(appliance: Box) -> None:
    ca = Authority()

    class Meanwhile(TrustedClientCas):
        def authorize(self, session: Any, plan: Any, current: Any) -> None:
            assert appliance.ask("POST", "system/certificates/trusted-client-cas", {"cert": ca.pem, "name": "Another name"}).ok

    done = appliance.run(Meanwhile(), config=[given(ca)])
    assert "somebody else imported it since this run read it; nothing was written, run again" in done["msg"]
    assert [one["name"] for one in appliance.elements(KIND)] == ["Another name"]


@pytest.mark.parametrize("gone", [True, False])
def test_what_somebody_changed_meanwhile_is_not_deleted(appliance: Box, gone: bool) -> None:
    appliance.run(CA, config=[given(Authority())])
    place = f"configuration/system/configuration/certificates/trusted-client-cas/{KIND}/Corp CA"
    change = {"path": place, "delete": True} if gone else {"path": place, "body": {"crl-settings": {"crl-download-frequency": "7"}}}
    # just before the second time that it is read
    appliance.handle.faults = {"console": {"method": "GET", "path": f"{KIND}/Corp", "after": 1, "change": [change]}}
    try:
        result = appliance.run(CA, config=[{"name": "Corp CA"}], state="deleted")
    finally:
        appliance.handle.faults = {}
    assert ("somebody else changed it since this run read it; it was not deleted" in result.get("msg", "")) is not gone
    assert len(appliance.elements(KIND)) == (0 if gone else 1)


def test_a_ca_that_an_earlier_play_would_have_made_is_foreseen(appliance: Box, tmp_path: Path) -> None:
    path = str(tmp_path / "corp-ca.pem")
    config = [{"certificate": {"path": path}, "status_checking": "crl", "cdp_source": "manual", "primary_cdp": "http://ca1/Corp.crl"}]
    foreseen = appliance.run(CA, config=config, check=True, expected_certificates=[path])
    [diff] = foreseen["diff"]
    assert diff["after_header"] == f"the CA in {path}" and "known after apply" in diff["after"]["certificate"]
    assert diff["after"]["primary_cdp"] == "http://ca1/Corp.crl" and appliance.elements(KIND) == []
    with pytest.raises(UserError, match="cannot be read"):
        appliance.run(CA, config=config, check=True)
    done = appliance.run(CA, config=config, expected_certificates=[path])
    assert done["failed"] and "was to be there by now" in done["msg"] and appliance.elements(KIND) == []
