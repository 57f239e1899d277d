# SPDX-License-Identifier: GPL-3.0-or-later
"""CA certificates and CRLs in the directory of a real domain controller; `ldbsearch` and `openssl` read back."""

from __future__ import annotations

import base64
import datetime
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from ansible_collections.certlogon.core.plugins.module_utils.directory.trusted_certificates import TrustedCertificates
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.modules.ad_trusted_certificates import EXAMPLES

MODULE = "certlogon.core.ad_trusted_certificates"
BASE = "CN=Public Key Services,CN=Services,CN=Configuration,DC=corp,DC=example"
ROOTS, NTAUTH, CDP = f"CN=Certification Authorities,{BASE}", f"CN=NTAuthCertificates,{BASE}", f"CN=CDP,{BASE}"
PLACEHOLDER = b"\0"

Stored = dict[str, dict[str, list[bytes]]]


class Files:
    """The lab's certificates: `path(name)`, `der(name)`."""

    def __init__(self, lab: Any) -> None:
        self.folder = Path(lab.files["root_ca"]).parent

    def path(self, name: str) -> str:
        return str(self.folder / f"{name}.pem")

    def der(self, name: str) -> bytes:
        return base64.b64decode("".join(Path(self.path(name)).read_text().split("-----")[2].split()))


@pytest.fixture
def files(lab: Any) -> Files:
    return Files(lab)


@pytest.fixture(autouse=True)
def stores(run_resource: Callable[..., Any]) -> Iterator[None]:
    """Empty stores, and afterwards what was in them before."""

    def points() -> list[dict[str, Any]]:
        found = run_resource(TrustedCertificates(), state="gathered")["gathered"]
        return [item for item in found if item["store"] == "cdp"]

    before = run_resource(TrustedCertificates(), state="gathered")["gathered"]
    run_resource(TrustedCertificates(), points(), "deleted")
    run_resource(TrustedCertificates(), [entry(store) for store in ("root", "intermediate", "ntauth")], "replaced")
    yield
    run_resource(TrustedCertificates(), points(), "deleted")
    run_resource(TrustedCertificates(), before, "replaced")


def below(lab: Any, container: str, object_class: str = "certificationAuthority") -> Stored:
    return {entry["cn"][0].decode(): entry for entry in lab.ldbsearch(container, f"(objectClass={object_class})")}


def certificates(lab: Any, container: str) -> dict[str, set[bytes]]:
    return {name: set(entry["cacertificate"]) for name, entry in below(lab, container).items()}


def openssl(lab: Any, der: bytes, *arguments: str) -> str:
    pem = f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(der).decode()}-----END CERTIFICATE-----\n"
    return str(lab.run("dc1", "openssl", "x509", "-noout", *arguments, stdin=pem).stdout)


def entry(store: str, *paths: str, **further: Any) -> dict[str, Any]:
    return {"store": store, "certificates": [{"path": path} for path in paths], **further}


def test_rhythm(lab: Any, files: Files, run_resource: Callable[..., Any]) -> None:
    root, issuing, vpn, rogue = (files.path(name) for name in ("root-ca", "issuing-ca", "vpn-ca", "rogue-ca"))
    der = {name: files.der(name) for name in ("root-ca", "issuing-ca", "vpn-ca", "rogue-ca")}
    steps: list[tuple[str, list[dict[str, Any]], dict[str, set[str]]]] = [
        ("merged", [entry("root", root), entry("ntauth", issuing)], {"root": {"root-ca"}, "ntauth": {"issuing-ca"}}),
        ("merged", [entry("ntauth", vpn, rogue)], {"root": {"root-ca"}, "ntauth": {"issuing-ca", "vpn-ca", "rogue-ca"}}),
        ("replaced", [entry("ntauth", issuing, vpn)], {"root": {"root-ca"}, "ntauth": {"issuing-ca", "vpn-ca"}}),
        ("deleted", [entry("ntauth", vpn)], {"root": {"root-ca"}, "ntauth": {"issuing-ca"}}),
        ("replaced", [entry("root", rogue), entry("ntauth")], {"root": {"rogue-ca"}, "ntauth": set()}),
    ]

    def stored() -> dict[str, set[bytes]]:
        ntauth = lab.ldbsearch(NTAUTH)
        return {
            "root": set().union(*certificates(lab, ROOTS).values()),
            "ntauth": set(ntauth[0]["cacertificate"]) if ntauth else set(),
        }

    for state, config, expected in steps:
        before = stored()
        predicted = run_resource(TrustedCertificates(), config, state, check_mode=True)
        assert predicted["changed"] and stored() == before, "check mode writes nothing"
        done = run_resource(TrustedCertificates(), config, state)
        assert done == predicted
        wanted = {store: {der[name] for name in names} for store, names in expected.items()}
        assert stored() == {store: ders or {PLACEHOLDER} for store, ders in wanted.items()}
        assert not run_resource(TrustedCertificates(), config, state)["changed"]
    assert len(below(lab, ROOTS)) == 1, "the emptied object is gone"


def test_objects_are_as_ad_cs_makes_them(lab: Any, files: Files, run_resource: Callable[..., Any]) -> None:
    run_resource(
        TrustedCertificates(),
        [entry("root", files.path("root-ca")), entry("intermediate", files.path("issuing-ca")), entry("ntauth", files.path("issuing-ca"))],
    )
    aia = below(lab, f"CN=AIA,{BASE}")
    for objects, name, file in (
        (below(lab, ROOTS), "Corp Example Root CA", "root-ca"),
        (aia, "Corp Example Issuing CA", "issuing-ca"),
        ({"": lab.ldbsearch(NTAUTH)[0]}, "", "issuing-ca"),
    ):
        found = objects[name]
        assert found["objectclass"] == [b"top", b"certificationAuthority"]
        assert found["cacertificate"] == [files.der(file)]
        assert found["authorityrevocationlist"] == found["certificaterevocationlist"] == [PLACEHOLDER]
    subject = openssl(lab, aia["Corp Example Issuing CA"]["cacertificate"][0], "-subject", "-fingerprint", "-sha256")
    shown = run_resource(TrustedCertificates(), state="gathered")["gathered"]
    item = next(item for item in shown if item["store"] == "intermediate")["certificates"][0]
    assert item["sha256"].upper() in subject.replace(":", "") and "Corp Example Issuing CA" in subject
    assert item["content"] in Path(files.path("issuing-ca")).read_text()


def test_export_and_undo(lab: Any, files: Files, run_resource: Callable[..., Any]) -> None:
    """What `gathered` returns changes nothing, and brings everything back where it was destroyed; expired certificates included."""
    odd = [files.path(f"odd/{name}") for name in ("expired-ca", "weak-ca")]
    config = [
        entry("root", files.path("root-ca"), *odd, allow_expired=True, allow_weak=True),
        entry("ntauth", files.path("issuing-ca")),
        {"store": "cdp", "name": "Corp Example Root CA", "host": "rootca", "crl": {"content": crl(files, 1)}},
    ]
    run_resource(TrustedCertificates(), config)
    export = run_resource(TrustedCertificates(), state="gathered")["gathered"]
    before = (certificates(lab, ROOTS), below(lab, CDP, "cRLDistributionPoint"))
    for state in ("merged", "replaced"):
        result = run_resource(TrustedCertificates(), export, state)
        assert not result["changed"] and not result["warnings"]
    run_resource(TrustedCertificates(), [entry("root", files.path("rogue-ca")), entry("ntauth")], "replaced")
    run_resource(TrustedCertificates(), [entry for entry in export if entry["store"] == "cdp"], "deleted")
    run_resource(TrustedCertificates(), export, "replaced")
    after = (certificates(lab, ROOTS), below(lab, CDP, "cRLDistributionPoint"))
    assert after[0] == before[0]
    assert [point["certificaterevocationlist"] for point in after[1].values()] == [
        point["certificaterevocationlist"] for point in before[1].values()
    ]
    only = run_resource(TrustedCertificates(), [{"store": "ntauth"}], "gathered")["gathered"]
    assert [entry["store"] for entry in only] == ["ntauth"]


def test_ansible_and_the_module_process(lab: Any, files: Files, playbook: Callable[..., Any]) -> None:
    config = [
        entry("root", files.path("root-ca")),
        {"store": "ntauth", "certificates": [{"content": Path(files.path("issuing-ca")).read_text()}]},
    ]
    task = {"name": "publish", MODULE: {"config": config}}
    by_module = {**task, "environment": {"A": "b"}}
    predicted = playbook([task, by_module], check=True)
    assert [one.changed for one in predicted.tasks] == [True, True] and certificates(lab, ROOTS) == {}
    assert "CN=Corp Example Root CA" in predicted.output and "BEGIN CERTIFICATE" not in predicted.output, "a diff that can be read"
    done = playbook([by_module, task, by_module])
    assert [one.changed for one in done.tasks] == [True, False, False]
    assert certificates(lab, ROOTS) == {"Corp Example Root CA": {files.der("root-ca")}}


def test_examples(files: Files, playbook: Callable[..., Any], tmp_path: Path) -> None:
    """The documented examples, with the lab's files in place of theirs."""
    replacements = {f"/etc/certlogon/{name}": str(files.folder / name) for name in ("root-ca.pem", "issuing-ca.cer", "issuing-ca.pem")}
    (tmp_path / "root-ca.crl").write_text(crl(files, 3))
    text = EXAMPLES.replace("/etc/certlogon/root-ca.crl", str(tmp_path / "root-ca.crl"))
    for documented, ours in replacements.items():
        text = text.replace(documented, ours)
    tasks = yaml.safe_load(text)
    for option in ("server", "username", "password"):
        tasks[0][MODULE].pop(option)
    done = playbook(tasks)
    assert [one.changed for one in done.tasks] == [True, False, False, False, True, False]
    exported = {item["store"]: item for item in done.last["gathered"]}
    assert [len(exported[store]["certificates"]) for store in ("root", "intermediate", "ntauth")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("odd/leaf.pem", "is not a CA certificate"),
        ("odd/expired-ca.pem", "expired on"),
        ("odd/future-ca.cer", "is not valid before"),
        ("odd/weak-ca.cer", "key of 1024 bits"),
        ("odd/garbage.cer", "is neither PEM nor DER nor base64"),
        ("odd/truncated.cer", "is no certificate"),
    ],
)
def test_bad_certificates_are_refused_before_writing(lab: Any, files: Files, run_resource: Any, file: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        run_resource(TrustedCertificates(), [entry("root", files.path("root-ca")), entry("ntauth", str(files.folder / file))])
    assert message in str(caught.value) and len(str(caught.value).splitlines()) == 1
    assert certificates(lab, ROOTS) == {}


def test_renewed_certificates_share_an_object(lab: Any, files: Files, run_resource: Callable[..., Any]) -> None:
    renewed = renew(files, "root-ca")
    both = [{"store": "root", "certificates": [{"path": files.path("root-ca")}, {"content": renewed}]}]
    run_resource(TrustedCertificates(), both[:1])
    assert {name: len(values) for name, values in certificates(lab, ROOTS).items()} == {"Corp Example Root CA": 2}
    run_resource(TrustedCertificates(), [entry("root", files.path("root-ca"))], "replaced")
    assert certificates(lab, ROOTS) == {"Corp Example Root CA": {files.der("root-ca")}}


def test_crl(lab: Any, files: Files, run_resource: Callable[..., Any]) -> None:
    def point(number: int | None) -> list[dict[str, Any]]:
        return [
            {
                "store": "cdp",
                "name": "Corp Example Root CA",
                "host": "rootca",
                **({"crl": {"content": crl(files, number)}} if number else {}),
            }
        ]

    def stored() -> dict[str, list[bytes]]:
        return below(lab, CDP, "cRLDistributionPoint")["Corp Example Root CA"]

    assert run_resource(TrustedCertificates(), point(None))["changes"] == [{"name": "cdp rootca/Corp Example Root CA", "action": "create"}]
    assert stored()["dn"] == [f"CN=Corp Example Root CA,CN=rootca,{CDP}".encode()]
    assert stored()["certificaterevocationlist"] == stored()["deltarevocationlist"] == [PLACEHOLDER]
    assert run_resource(TrustedCertificates(), point(5))["changed"]
    text = lab.run(
        "dc1", "openssl", "crl", "-noout", "-crlnumber", "-issuer", stdin=as_pem(stored()["certificaterevocationlist"][0])
    ).stdout
    assert "crlNumber=0x05" in text or "crlNumber=05" in text, text
    older = run_resource(TrustedCertificates(), point(4))
    assert not older["changed"] and "is newer than the one in config" in older["warnings"][0]
    assert not run_resource(TrustedCertificates(), point(None), "replaced")["changed"]
    assert run_resource(TrustedCertificates(), point(None), "deleted")["changed"]
    assert below(lab, CDP, "cRLDistributionPoint") == {}
    assert not run_resource(TrustedCertificates(), point(None), "deleted")["changed"]


def test_a_placeholder_left_by_an_installation(lab: Any, files: Files, run_resource: Callable[..., Any]) -> None:
    """AD CS makes NTAuthCertificates with nothing but placeholders first."""
    zero = base64.b64encode(PLACEHOLDER).decode()
    attributes = ("cACertificate", "authorityRevocationList", "certificateRevocationList")
    if lab.ldbsearch(NTAUTH):
        lab.ldbmodify(f"dn: {NTAUTH}\nchangetype: delete\n\n")
    lines = "".join(f"{attribute}:: {zero}\n" for attribute in attributes)
    lab.ldbmodify(f"dn: {NTAUTH}\nchangetype: add\nobjectClass: certificationAuthority\n{lines}\n")
    run_resource(TrustedCertificates(), [entry("ntauth", files.path("issuing-ca"))])
    assert lab.ldbsearch(NTAUTH)[0]["cacertificate"] == [files.der("issuing-ca")]


def test_two_runs_at_once_lose_nothing(lab: Any, files: Files, run_resource: Callable[..., Any]) -> None:
    names = ("root-ca", "issuing-ca", "vpn-ca", "rogue-ca")
    for _round in range(5):
        run_resource(TrustedCertificates(), [entry("ntauth")], "replaced")
        runs = [threading.Thread(target=run_resource, args=(TrustedCertificates(), [entry("ntauth", files.path(name))])) for name in names]
        for one in runs:
            one.start()
        for one in runs:
            one.join()
        assert set(lab.ldbsearch(NTAUTH)[0]["cacertificate"]) == {files.der(name) for name in names}


def test_missing_rights_are_named_before_writing(lab: Any, files: Files, run_resource: Callable[..., Any], connection_as: Any) -> None:
    with pytest.raises(UserError, match="root: this account may not create a certificationAuthority in CN=Certification Authorities"):
        run_resource(TrustedCertificates(), [entry("root", files.path("root-ca"))], **connection_as("plain.user"))
    assert certificates(lab, ROOTS) == {}


def as_pem(der: bytes) -> str:
    return x509.load_der_x509_crl(der).public_bytes(serialization.Encoding.PEM).decode()


def signer(files: Files, name: str) -> tuple[x509.Certificate, Any]:
    key = serialization.load_pem_private_key(Path(files.path(name)).with_suffix(".key").read_bytes(), None)
    return x509.load_der_x509_certificate(files.der(name)), key


def crl(files: Files, number: int) -> str:
    authority, key = signer(files, "root-ca")
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.subject)
        .last_update(now)
        .next_update(now + datetime.timedelta(days=9))
    )
    signed = builder.add_extension(x509.CRLNumber(number), critical=False).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def renew(files: Files, name: str) -> str:
    """The CA's certificate once more, with another serial number."""
    old, key = signer(files, name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(old.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def test_the_certificate_of_an_enrollment_service(lab: Any, files: Files, run_resource: Callable[..., Any]) -> None:
    """Read from the directory in the same session: nobody has to carry a file from the CA."""
    config = [{"store": "ntauth", "certificates": [{"enrollment_service": "corp example issuing ca"}]}]
    assert run_resource(TrustedCertificates(), config, check_mode=True)["changed"]
    run_resource(TrustedCertificates(), config)
    [found] = lab.ldbsearch(NTAUTH, "(objectClass=*)", "cACertificate", scope="base")
    assert found["cacertificate"] == [files.der("issuing-ca")]
    assert not run_resource(TrustedCertificates(), config)["changed"]

    root = [{"store": "root", "certificates": [{"enrollment_service": "Corp Example Issuing CA", "chain": "root"}]}]
    with pytest.raises(UserError, match=r"root: certificates\[0\]: chain: the issuer of .*Corp Example Issuing CA"):
        run_resource(TrustedCertificates(), root)
    run_resource(TrustedCertificates(), [{"store": "intermediate", "certificates": [{"path": files.path("root-ca")}]}])
    [change] = run_resource(TrustedCertificates(), root)["diff"]
    assert "Root CA" in str(change["after"])
    run_resource(TrustedCertificates(), config, "deleted")
    assert lab.ldbsearch(NTAUTH, "(objectClass=*)", "cACertificate", scope="base")[0]["cacertificate"] == [PLACEHOLDER]


def test_an_authority_to_come_is_foreseen_in_check_mode_only(lab: Any, files: Files, run_resource: Callable[..., Any]) -> None:
    config = [{"store": "ntauth", "certificates": [{"path": files.path("vpn-ca")}, {"enrollment_service": "Corp New CA"}]}]
    expected = {"expected_authorities": ["Corp New CA"]}
    [diff] = run_resource(TrustedCertificates(), config, check_mode=True, **expected)["diff"]
    assert "the certificate of enrollment service Corp New CA (known after apply)" in diff["after"]["certificates"]
    with pytest.raises(UserError, match="there is no enterprise CA 'Corp New CA'"):
        run_resource(TrustedCertificates(), config, check_mode=True)
    result = run_resource(TrustedCertificates(), config, **expected)
    assert result["failed"] and "Corp New CA is not there yet" in result["msg"]
    values = [
        value for found in lab.ldbsearch(NTAUTH, "(objectClass=*)", "cACertificate", scope="base") for value in found["cacertificate"]
    ]
    assert files.der("vpn-ca") not in values
