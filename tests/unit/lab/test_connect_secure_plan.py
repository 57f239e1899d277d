# SPDX-License-Identifier: GPL-3.0-or-later
"""The data plane's decisions: what a configuration means for who signs in, which certificates are good, which CRLs may be used."""

from __future__ import annotations

import datetime as dt
import importlib.util
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from lab.connect_secure.data import front, names, ocserv, ocsp
from lab.connect_secure.data.crls import Crls
from lab.connect_secure.data.judge import closed, judge
from lab.connect_secure.data.log import Log
from lab.connect_secure.data.plan import Authority, Cdp, Decision, Plan, RadiusServer, Realm, Refused, plan
from lab.connect_secure.data.sessions import Session, Sessions, worker
from lab.vpn_pki import CrlServer, User, UserCa, crl_pem

DAY = dt.timedelta(days=1)
KEY = rsa.generate_private_key(65537, 2048).public_key()
CA = UserCa("Users CA")
NOW = dt.datetime.now(dt.timezone.utc)


def certificate(user: str = "alice", ca: UserCa = CA, **options: Any) -> x509.Certificate:
    return ca.issue(KEY, User.named(user), **options)


def rule(*roles: str, stop: bool = False, names: tuple[str, ...] = ("*",), test: str = "is", expression: str = "") -> dict[str, Any]:
    condition: dict[str, Any] = {"user-name": {"test": test, "user-names": list(names)}}
    if expression:
        condition = {"custom-expression": {"expressions": expression}}
    return {"name": "+".join(roles) or "none", "roles": list(roles), "stop-rules-processing": str(stop).lower(), **condition}


def server(template: str = "<certAttr.CN>") -> dict[str, Any]:
    return {"certificate": {"settings": {"user-name-template": template}}}


def codes(secret: str = "6d", rule: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    """A RADIUS server; `rule`: what is different in its challenge rule."""
    shown = {
        "name": "Ask",
        "response-packet-type": "Access Challenge",
        "attribute": "Reply-Message",
        "operator": "matches the expression",
        "value": "*",
        "action": "show Generic Login page",
    }
    own = {"radius-server": "10.0.0.9", "shared-secret-encrypted": secret, "custom-rules": {"rule": [shown | (rule or {})]}}
    return {"radius": {"settings": own | settings}}


def additional(**changes: str) -> dict[str, Any]:
    own = {"name": "Codes", "username-template": "<USER>", "end-session-if-authentication-fails": "true"}
    return {"secondary-authentication-settings": own | changes}


def policy(url: str, *realms: str, kind: str = "user", enabled: bool = True) -> dict[str, Any]:
    return {"url-pattern": url, "enabled": str(enabled).lower(), kind: {"realms": list(realms)}}


def tree(
    *policies: dict[str, Any],
    servers: dict[str, dict[str, Any]] | None = None,
    rules: tuple[dict[str, Any], ...] = (),
    realm: dict[str, Any] | None = None,
    authorities: tuple[dict[str, Any], ...] = (),
) -> dict[str, Any]:
    """One realm "Staff" with the server "Card", one "Portal" with "Mail", one administrators' realm "Admins" with "Local"."""
    known = {"Card": server(), "Mail": server("<certAttr.altName.UPN>"), "Local": {"local": {}}, **(servers or {})}
    staff = {"name": "Staff", "authentication-server": "Card", "role-mapping-rules": {"rule": list(rules)}, **(realm or {})}
    portal = {"name": "Portal", "authentication-server": "Mail", "role-mapping-rules": {"rule": [rule("Users")]}}
    return {
        "configuration": {
            "authentication": {
                "auth-servers": {"auth-server": [{"name": name, **content} for name, content in known.items()]},
                "signin": {"urls": {"access-url": list(policies)}},
            },
            "users": {"user-realms": {"realm": [staff, portal]}},
            "administrators": {"admin-realms": {"realm": [{"name": "Admins", "authentication-server": "Local"}]}},
            "system": {"configuration": {"certificates": {"trusted-client-cas": {"trusted-client-ca": list(authorities)}}}},
        }
    }


def staff(**options: Any) -> tuple[Plan, Realm]:
    made = plan(tree(policy("vpn.corp.example/", "Staff"), **options))
    return made, made.hosts[0].realm


# User names


@pytest.mark.parametrize(
    ("template", "oid", "name"),
    [
        ("<certAttr.CN>", "2.5.4.3", "alice"),
        ("<certDN.CN>", "2.5.4.3", "alice"),
        ("<certAttr.altName.Email>", "SAN(rfc822name)", "alice@corp.example"),
        ("<certAttr.altName.UPN>", None, "alice@corp.example"),
        ("<certAttr.altName.UPNid>", None, "alice"),
        ("<certAttr.altName.UPNDomain>", None, "corp.example"),
        ("card-<certAttr.CN>", None, "card-alice"),
        ("<certAttr.CN>@<certAttr.altName.EmailDomain>", None, "alice@corp.example"),
        ('<certAttr.CN SEP=":">', None, "alice"),
        ("<certAttr.OU>", "2.5.4.11", ""),
        ("<issuerDN.CN>", None, "Users CA"),
    ],
)
def test_user_name_template(template: str, oid: str | None, name: str) -> None:
    assert (names.user_oid(template), names.fill(template, certificate())) == (oid, name)


@pytest.mark.parametrize("template", ["<certAttr.altName.fascn>", "<certAttr.cn>", "<user>", "<certAttr.CN", "certAttr.CN>"])
def test_unknown_template_is_refused(template: str) -> None:
    with pytest.raises(Refused, match="realm 'Staff', server 'Card'"):
        plan(tree(servers={"Card": server(template)}))


def test_serial_number_is_the_certificates() -> None:
    found = certificate()
    assert names.fill("<certAttr.serialNumber>", found) == f"{found.serial_number:x}"


# Sign-in policies


def test_hosts_and_order() -> None:
    made = plan(
        tree(
            policy("vpn.corp.example/", "Staff"),
            policy("VPN2.corp.example/portal", "Portal"),
            policy("off.corp.example/", "Portal", enabled=False),
            policy("*/admin/", "Admins", kind="admin"),
            policy("*/", "Portal"),
            policy("late.corp.example/", "Portal"),
        )
    )
    assert [host.host for host in made.hosts] == ["vpn.corp.example"]
    assert made.warnings == ("sign-in policy 'late.corp.example/' is never reached: '*/' comes before it and fits the same names",)
    found = {
        (host, path): made.policy(host, path).url if made.policy(host, path) else None  # type: ignore[union-attr]
        for host, path in (
            ("vpn.corp.example", "/"),
            ("vpn2.corp.example", "/portal"),
            ("vpn2.corp.example", "/"),
            ("late.corp.example", "/"),
            ("off.corp.example", "/"),
            ("vpn.corp.example", "/admin/"),
            ("vpn.corp.example", "/other/"),
        )
    }
    assert list(found.values()) == ["vpn.corp.example/", "VPN2.corp.example/portal", "*/", "*/", "*/", "*/admin/", None]


def test_radius_server_of_a_tunnel() -> None:
    more = {"timeout": "3", "retries": "2", "backup-server": {"radius-server": "10.0.0.10"}, "nas-identifier": "vpn1"}
    alone = plan(tree(policy("vpn.corp.example/", "Staff"), servers={"Card": codes(**more)}), {"6d": "s3cret"})
    (host,) = alone.hosts
    assert host.radius == RadiusServer("Card", ("10.0.0.9", "10.0.0.10"), 1812, "s3cret", "vpn1", 3, 2, challenges=True)
    assert host.user_oid == "" and host.radius.patience == 18 and "s3cret" not in repr(alone)
    (both,) = plan(tree(policy("vpn.corp.example/", "Staff"), servers={"Codes": codes()}, realm=additional())).hosts
    assert both.user_oid == "2.5.4.3" and both.radius is not None and both.radius.name == "Codes"
    silent = plan(tree(policy("vpn.corp.example/", "Staff"), servers={"Card": codes(**{"custom-rules": {"rule": []}})})).hosts[0].radius
    assert silent is not None and not silent.challenges


def test_radius_user_gets_roles_by_name() -> None:
    made = plan(tree(policy("vpn.corp.example/", "Staff"), servers={"Card": codes()}, rules=(rule("Users", names=("al*",)),)))
    realm = made.hosts[0].realm
    assert made.decide(realm, None, "alice").roles == ("Users",)
    assert made.decide(realm, None, "bob").reason == "no role: no role mapping rule of the realm Staff fits the user bob"
    assert "no user name" in made.decide(realm, None).reason


@pytest.mark.parametrize(
    ("policies", "options", "message"),
    [
        (
            [policy("vpn.corp.example/", "Portal")],
            {},
            "the user name template '<certAttr.altName.UPN>' of 'Mail' cannot be expressed for a tunnel",
        ),
        (
            [policy("vpn.corp.example/", "Staff", "Portal")],
            {},
            "a tunnel needs exactly one realm, for ocserv cannot ask which; it has: Staff, Portal",
        ),
        ([policy("vpn.corp.example/")], {}, "it has: none"),
        (
            [policy("vpn.corp.example/", "Staff")],
            {"servers": {"Card": {"ldap": {}}}},
            "authenticates with 'Card' (ldap); only certificate servers, with or without an additional RADIUS server, and",
        ),
        (
            [policy("vpn.corp.example/", "Staff")],
            {
                "servers": {"Card": codes()},
                "realm": {
                    "authentication-policy": {
                        "certificate": {
                            "certificate-restriction": "Only allow users with a client-side certificate signed by Trusted Client CAs"
                        }
                    }
                },
            },
            "demands a certificate before 'Card' (radius); for tunnels that is modelled the other way round only",
        ),
        (
            [policy("vpn.corp.example/", "Staff")],
            {"servers": {"Card": codes(rule={"action": "show Next Token page"})}},
            "the custom RADIUS rule 'Ask' of 'Card' has action 'show Next Token page'; for tunnels only those are modelled",
        ),
        (
            [policy("vpn.corp.example/", "Staff")],
            {"servers": {"Card": codes(rule={"response-packet-type": "Access Reject", "value": "x*"})}},
            "has value 'x*', response-packet-type 'Access Reject'",
        ),
        (
            [policy("vpn.corp.example/", "Staff")],
            {"servers": {"Codes": codes()}, "realm": additional(**{"username-template": "<certAttr.CN>"})},
            "only a RADIUS server is modelled, for the same user (<USER>)",
        ),
        (
            [policy("vpn.corp.example/", "Staff")],
            {"servers": {"Codes": codes()}, "realm": additional(**{"end-session-if-authentication-fails": "false"})},
            "and with an end of the session where it refuses",
        ),
        (
            [policy("vpn.corp.example/", "Staff")],
            {"servers": {"Card": codes()}, "realm": additional()},
            "authenticates with 'Card' (radius) and 'Codes'; only certificate servers",
        ),
        (
            [policy("vpn.corp.example/", "Staff")],
            {"servers": {"Codes": {"ldap": {}}}, "realm": additional()},
            "has the additional server 'Codes'; for tunnels only a RADIUS server is modelled",
        ),
        ([policy("v pn/", "Portal")], {}, "the URL begins with a host name or with *"),
        ([policy("*/a b/", "Portal")], {}, "a path has letters, digits"),
        (
            [],
            {"rules": (rule("Users", expression="time.day = Mon and userName = 'x'"),)},
            "only expressions VARIABLE = 'value' are modelled",
        ),
    ],
)
def test_what_takes_no_effect_is_refused(policies: list[dict[str, Any]], options: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused) as refused:
        plan(tree(*policies, **options))
    assert message in str(refused.value)


def test_browsers_take_any_template_and_server() -> None:
    made = plan(tree(policy("vpn.corp.example/portal/", "Portal"), policy("*/", "Portal", "Staff"), servers={"Card": {"ldap": {}}}))
    assert made.hosts == ()


# Realms: restrictions, roles


@pytest.mark.parametrize(
    ("rules", "roles"),
    [
        ((rule("A"), rule("B")), ("A", "B")),
        ((rule("A", stop=True), rule("B")), ("A",)),
        ((rule("A", names=("bob",)), rule("B", names=("ALI*",))), ("B",)),
        ((rule("A", names=("alice",), test="is not"),), ()),
        ((rule("A", names=("bob", "alice")), rule("A", "B")), ("A", "B")),
        ((rule("A", expression="userName = 'alice'"),), ("A",)),
        ((rule("A", expression='certAttr.altName.UPN = "*@corp.example"'),), ("A",)),
        ((rule("A", expression="certDN.CN != 'alice'"),), ()),
        ((), ()),
    ],
)
def test_roles(rules: tuple[dict[str, Any], ...], roles: tuple[str, ...]) -> None:
    made, realm = staff(rules=rules)
    decision = made.decide(realm, certificate())
    assert decision.roles == roles
    assert decision.reason == ("" if roles else "no role: no role mapping rule of the realm Staff fits the user alice")


@pytest.mark.parametrize(
    ("field", "expected", "allowed"),
    [
        ("CN", "alice", True),
        ("CN", "bob", False),
        ("issuerDN.CN", "Users*", True),
        ("altName.UPN", "*@other.example", False),
        ("OU", "*", False),
    ],
)
def test_certificate_restrictions(field: str, expected: str, allowed: bool) -> None:
    mode = "Only allow users with a client-side certificate signed by Trusted Client CAs"
    values = {"certificate-value": [{"certificate-field": field, "expected-value": expected}]}
    restriction = {"authentication-policy": {"certificate": {"certificate-restriction": mode, "certificate-values": values}}}
    made, realm = staff(rules=(rule("Users"),), realm=restriction)
    reason = made.decide(realm, certificate()).reason
    assert not reason if allowed else "certificate restriction of the realm Staff" in reason and f"{expected} is demanded" in reason


def test_no_user_name_no_entry() -> None:
    made, realm = staff(rules=(rule("Users"),), servers={"Card": server("<certAttr.OU>")})
    assert made.decide(realm, certificate()).reason == "no user name: the certificate has nothing for the template <certAttr.OU> of Card"


# Certificates


def authority(ca: UserCa = CA, **options: Any) -> Authority:
    return Authority("Users", ca.certificate, **options)


def crl_of(ca: UserCa, **options: Any) -> x509.CertificateRevocationList:
    return x509.load_der_x509_crl(ca.crl(**options))


@pytest.mark.parametrize(
    ("found", "authorities", "reason"),
    [
        (certificate(), [authority()], ""),
        (certificate(), [], "unknown CA: no trusted client CA is called CN=Users CA"),
        (certificate(ca=UserCa("Users CA")), [authority()], "but was signed with another key"),
        (certificate(), [authority(client_authentication=False)], "the CA Users is not trusted for client authentication"),
        (certificate(ends=-DAY / 2), [authority()], "the certificate expired at"),
        (certificate(begins=DAY), [authority()], "the certificate is not valid before"),
        (certificate(purposes=[ExtendedKeyUsageOID.CODE_SIGNING]), [authority()], "wrong EKU: the certificate is for codeSigning"),
        (certificate(purposes=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), [authority()], ""),
    ],
)
def test_certificates(found: x509.Certificate, authorities: list[Authority], reason: str) -> None:
    said = judge(found, authorities, lambda *_: "not asked for", NOW).reason
    assert reason in said if reason else said == ""


def test_revocation() -> None:
    ca = UserCa()
    found, other = certificate(ca=ca), certificate(ca=ca)
    ca.revoke(found)
    crl, trusted = crl_of(ca), [authority(ca, status="crl")]
    assert "revoked at" in judge(found, trusted, lambda *_: crl, NOW).reason
    assert judge(found, trusted, lambda *_: crl, NOW).revoked
    assert judge(other, trusted, lambda *_: crl, NOW).reason == ""
    assert judge(other, trusted, lambda *_: "its CRL has expired", NOW).reason == "everyone of the CA Users is denied: its CRL has expired"
    assert judge(found, [authority(ca)], lambda *_: crl, NOW).reason == "", "status checking is off"


def test_ca_is_verified_by_the_crl_of_the_ca_above() -> None:
    root, issuing = UserCa("Root CA"), UserCa("Issuing CA")
    name = issuing.certificate.subject
    builder = x509.CertificateBuilder(root.name, name, issuing.key.public_key(), 7, NOW - DAY, NOW + DAY)
    issuing.certificate = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(
        root.key, hashes.SHA256()
    )
    below = Authority("Issuing", issuing.certificate, status="crl", verify_ca=True)
    above = Authority("Root", root.certificate, status="crl", client_authentication=False)
    crls: dict[str, Any] = {"Issuing": crl_of(issuing), "Root": crl_of(root)}
    find: Callable[..., Any] = lambda authority, *_: crls[authority.name]  # noqa: E731
    user = certificate(ca=issuing)
    assert judge(user, [below, above], find, NOW).reason == ""
    assert "but its issuer CN=Root CA is no trusted client CA" in judge(user, [below], find, NOW).reason
    crls["Root"] = "its CRL has expired"
    assert judge(user, [below, above], find, NOW).reason == "the CA Issuing: everyone of the CA Root is denied: its CRL has expired"
    root.revoke(issuing.certificate)
    crls["Root"] = crl_of(root)
    assert "the CA Issuing: revoked at" in closed(below, [below, above], find, NOW)


# CRLs


@pytest.fixture
def served() -> Any:
    with CrlServer("127.0.0.1") as server:
        yield server


def test_crl_downloads(served: CrlServer, tmp_path: Path) -> None:
    ca, said = UserCa(), []  # type: ignore[var-annotated]
    crls = Crls(tmp_path, said.append)
    url = served.put("users.crl", ca.crl())
    user = authority(ca, status="crl", cdp_source="manual", cdps=(Cdp(f"{url}.missing"), Cdp(url)), frequency=5)
    assert crls.find(user) == "its CRL has not been downloaded yet" and crls.due(user)
    assert crls.update(user) == "" and not crls.due(user) and not isinstance(crls.find(user), str), "the backup CDP serves"
    assert crls.due(user, time.time() + 5 * 3600 + 60)
    served.put("users.crl", crl_pem(ca.crl()))
    assert crls.update(user) == "" and crls.status(user)["number"] == 2, "PEM is read too"
    del served.files["users.crl"]
    assert "cannot be downloaded" in crls.update(user)
    assert not isinstance(crls.find(user), str), "the one in hand serves until it expires"
    assert "has expired" in str(crls.find(user, NOW + 8 * DAY))
    assert not isinstance(Crls(tmp_path, said.append).find(user), str), "it survives a restart"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda ca: ca.crl(signer=UserCa()), "its CRL is foreign: not signed with the CA's key"),
        (lambda ca: UserCa("Other").crl(), "its CRL is foreign: issued by CN=Other"),
        (lambda ca: ca.expired_crl(), "its CRL has expired at"),
        (lambda ca: ca.crl(begins=DAY), "its CRL is not valid before"),
        (lambda ca: b"junk", "what was downloaded is no CRL"),
        (lambda ca: b"", "what was downloaded is no CRL"),
    ],
)
def test_bad_crl_denies_though_a_good_one_is_in_hand(
    served: CrlServer, tmp_path: Path, make: Callable[[UserCa], bytes], reason: str
) -> None:
    ca, said = UserCa(), []  # type: ignore[var-annotated]
    crls = Crls(tmp_path, said.append)
    user = authority(ca, status="crl", cdp_source="manual", cdps=(Cdp(served.put("users.crl", ca.crl())),))
    assert crls.update(user) == ""
    served.put("users.crl", make(ca))
    assert reason in crls.update(user) and reason in str(crls.find(user))
    assert any(reason in text for text in said)
    assert reason in str(Crls(tmp_path, said.append).find(user)), "a restart opens nothing"
    served.down()
    assert "cannot be downloaded" in crls.update(user) and reason in str(crls.find(user))
    served.up()
    served.put("users.crl", ca.crl())
    assert crls.update(user) == "" and not isinstance(crls.find(user), str)


def test_cdps_of_certificates(served: CrlServer, tmp_path: Path) -> None:
    ca = UserCa(crl_url=served.url("users.crl"))
    served.put("users.crl", ca.crl())
    crls = Crls(tmp_path, lambda _: None)
    user = authority(ca, status="crl", cdp_source="client_certificate")
    assert not crls.due(user), "nobody has shown a certificate yet"
    assert not isinstance(crls.find_for(user, certificate(ca=ca)), str)
    assert "no distribution point is known" in crls.update(authority(UserCa("Bare"), status="crl"))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ldap:///CN=CDP?certificateRevocationList", "the URL names no server"),
        ("ftp://host/x.crl", "only http and ldap are modelled"),
        ("http://", "no host"),
    ],
)
def test_distribution_points_that_cannot_be_asked(tmp_path: Path, url: str, reason: str) -> None:
    user = authority(status="crl", cdp_source="manual", cdps=(Cdp(url),))
    assert reason in Crls(tmp_path, lambda _: None).update(user)


def test_crl_from_a_directory(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("directory_server", Path(__file__).parents[1] / "certificates/directory_server.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    dn, login = "CN=Users CA,CN=CDP,DC=corp,DC=example", ("CN=reader,DC=corp,DC=example", "secret")
    with module.directory(dn, {"certificateRevocationList;binary": [CA.crl()]}, login) as server:
        url = f"ldap://127.0.0.1:{server.server_address[1]}/{quote(dn)}?certificateRevocationList?base?(objectClass=*)"
        crls = Crls(tmp_path, lambda _: None)
        user = authority(status="crl", cdp_source="manual", cdps=(Cdp(url, *login),))
        assert crls.update(user) == "" and not isinstance(crls.find(user), str)
        assert "cannot be downloaded" in crls.update(authority(status="crl", cdp_source="manual", cdps=(Cdp(url, login[0], "wrong"),)))


# OCSP


@pytest.fixture
def responder(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """`responder(ca, certificate, revoked=False)` -> URL of OpenSSL's responder for this certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    started = []

    def start(ca: UserCa, found: x509.Certificate, *, revoked: bool = False, signer: UserCa | None = None) -> str:
        (tmp_path / "ca.pem").write_bytes(ca.pem)
        signer = signer or ca
        (tmp_path / "signer.pem").write_bytes(signer.pem)
        (tmp_path / "signer.key").write_bytes(signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        date = "%y%m%d%H%M%SZ"
        serial = f"{found.serial_number:X}"
        line = [
            "R" if revoked else "V",
            found.not_valid_after_utc.strftime(date),
            NOW.strftime(date) + ",keyCompromise" if revoked else "",
            serial if len(serial) % 2 == 0 else f"0{serial}",
            "unknown",
            "/CN=alice",
        ]
        (tmp_path / "index.txt").write_text("\t".join(line) + "\n")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [
            "openssl",
            "ocsp",
            "-index",
            "index.txt",
            "-CA",
            "ca.pem",
            "-rsigner",
            "signer.pem",
            "-rkey",
            "signer.key",
            "-ndays",
            "1",
        ]
        process = subprocess.Popen(
            [*command, "-port", str(port)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert "ACCEPT" in process.stdout.readline()
        return f"http://127.0.0.1:{port}/"

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_ocsp_of_openssl(responder: Callable[..., str]) -> None:
    found, other = certificate(), certificate()
    assert ocsp.status(found, authority(status="ocsp", responder=responder(CA, found))) == ""
    revoked = authority(status="ocsp", responder=responder(CA, found, revoked=True))
    assert "(keyCompromise), says the OCSP responder" in ocsp.status(found, revoked)
    assert "does not know the certificate" in ocsp.status(other, revoked)


def test_ocsp_that_is_not_believed(responder: Callable[..., str]) -> None:
    found = certificate()
    with pytest.raises(ocsp.NoAnswer, match="is foreign"):
        ocsp.status(found, authority(responder=responder(CA, found, signer=UserCa("Users CA"))))
    with pytest.raises(ocsp.NoAnswer, match="cannot be reached"):
        ocsp.status(found, authority(responder="http://127.0.0.1:9/"))
    with pytest.raises(ocsp.NoAnswer, match="none is configured, and the certificate names none"):
        ocsp.status(found, authority())


@pytest.mark.parametrize(
    ("status", "said", "reason"),
    [
        ("ocsp", "", ""),
        ("ocsp", "revoked, says the responder", "revoked, says the responder"),
        ("ocsp", None, "no OCSP responder of the CA Users has answered"),
        ("ocsp_crl", "", ""),
        ("ocsp_crl", None, "everyone of the CA Users is denied: its CRL has expired"),
        ("crl", "revoked", "everyone of the CA Users is denied: its CRL has expired"),
    ],
)
def test_ocsp_falls_back_to_crls_only_where_it_may(status: str, said: str | None, reason: str) -> None:
    trusted = [authority(status=status)]
    assert judge(certificate(), trusted, lambda *_: "its CRL has expired", NOW, lambda *_: said).reason == reason


# What ocserv and nginx are told, and what they say


def made_plan() -> Plan:
    element = {
        "name": "first",
        "certificate": UserCa("vpn").server_certificate("vpn.corp.example")[0].decode(),
        "external-ports": ["external"],
    }
    whole = tree(policy("vpn.corp.example/", "Staff"), policy("*/", "Portal"))
    whole["configuration"]["system"]["configuration"]["certificates"]["device-certificates"] = {"device-certificate": [element]}
    return plan(whole)


def test_configurations(tmp_path: Path) -> None:
    files = {"first": (tmp_path / "c.pem", tmp_path / "c.key")}
    networks = ocserv.Networks("10.83.0.31", "10.84.0.30", "10.85.1.0/24")
    text = ocserv.configuration(made_plan(), ocserv.Paths(tmp_path), networks, files, ["gone.corp.example"])
    default, gone, host = text.split("[vhost:")
    assert "nobody.pem" in default and "nobody.pem" in gone and "ocserv-ca.pem" not in default + gone
    assert host.startswith("vpn.corp.example]") and "cert-user-oid = 2.5.4.3" in host and "ca-cert = " in host and "ocserv-ca.pem" in host
    assert "route = 10.84.0.0/24" in host
    nginx = front.configuration(made_plan(), tmp_path, files, crl=True)
    assert "ssl_session_tickets off;" in nginx and "ssl_session_cache off;" in nginx and "ssl_crl " in nginx
    assert "server_name vpn.corp.example;" in nginx and "default_server" in nginx


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is missing")
def test_anchor_is_what_openssl_trusts_without_the_ca_above(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(front.anchor(CA.certificate))
    said = subprocess.run(
        ["openssl", "x509", "-in", str(tmp_path / "ca.pem"), "-noout", "-text"], capture_output=True, text=True, check=True
    )
    assert "Trusted Uses:\n  TLS Web Client Authentication" in said.stdout and "No Rejected Uses" in said.stdout


def test_words_of_ocserv() -> None:
    found = certificate()
    said: list[Any] = []
    words = ocserv.Words(lambda *what: said.append(what))
    lines = (
        "worker: 10.83.0.50 client requested hostname: vpn.corp.example",
        f"peer: 17 {found.public_bytes(Encoding.DER).hex()}",
        "worker[vhost:vpn.corp.example]: 10.83.0.50 client certificate verification failed: The certificate is NOT trusted. Revoked. ",
        "GnuTLS error (at worker-vpn.c:889): Certificate is required.",
        "worker[vhost:vpn.corp.example]: 10.83.0.50 client certificate verification succeeded",
    )
    assert [words.read(line) for line in lines] == [True, False, True, True, True]
    assert (words.certificate_of(17), words.address_of(17), words.certificate_of(18)) == (found, "10.83.0.50", None)
    assert said == [
        ("vpn.corp.example", "10.83.0.50", found, "The certificate is NOT trusted. Revoked."),
        ("vpn.corp.example", "10.83.0.50", None, "Certificate is required."),
    ]


def test_sessions_are_those_that_ocserv_knows() -> None:
    sessions = Sessions()
    for number, user in ((17, "alice"), (18, "bob")):
        sessions.add(
            Session(
                number,
                "vpn.corp.example",
                "",
                Decision(user, "Staff", ("A", "B"), server_kind="certificate"),
                certificate(user),
                "agent",
                0,
            )
        )
    (record,) = sessions.records([{"ID": 17, "IPv4": "10.85.1.5"}, {"ID": 99}], "node")
    assert (record["active-user-name"], record["network-connect-ip"], record["user-roles"]) == ("alice", "10.85.1.5", "A, B")
    assert worker(record["session-id"]) == 17 and worker("x") is None


def test_log_has_one_line_for_a_refusal(tmp_path: Path) -> None:
    log = Log(tmp_path / "log/user-access.log")
    found = certificate()
    for _time in range(2):
        log.refused("tunnel", "vpn.corp.example", "10.0.0.1", "revoked at\nnoon", found, "ocserv: revoked")
    (line,) = (tmp_path / "log/user-access.log").read_text().splitlines()
    assert " tunnel vpn.corp.example 10.0.0.1 REFUSED alice: revoked at noon [ocserv: revoked] (subject=CN=alice" in line
    assert f"serial={found.serial_number:x}" in line


def test_page_is_text_and_not_markup() -> None:
    page = front.render(front.Page(403, "You & I", "<script>", {"User": "<b>"}, {"Realm <x>": "/?realm=%3C"}))
    assert "You &amp; I" in page and "&lt;script&gt;" in page and "<b>" not in page and "Realm &lt;x&gt;" in page
