# SPDX-License-Identifier: GPL-3.0-or-later
"""What is configured on the stand-in appliance takes effect: openconnect with cards for tunnels, requests and openssl for browsers.

Configured by REST with requests alone, so that the stand-in is tried without the collection.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID

from lab.cards import CardBox
from lab.labs import Lab
from lab.tunnels import Gateway, Tunnel, open_tunnel, try_tunnel
from lab.vpn_pki import CrlServer, User, UserCa, UserCard

pytestmark = pytest.mark.vpn

CONTROL = "10.83.0.100"
EXTERNAL = "10.83.0.31"
HOST, STAFF = "vpn.corp.example", "staff.vpn.corp.example"
FOLDER = "/var/lib/connect_secure"
AUTHENTICATION = "configuration/authentication"
SERVERS, SIGN_IN = f"{AUTHENTICATION}/auth-servers/auth-server", f"{AUTHENTICATION}/signin/urls/access-url"
REALMS, ROLES = "configuration/users/user-realms/realm", "configuration/users/user-roles/user-role"
CERTIFICATES = "configuration/system/configuration/certificates"
DEVICES = f"{CERTIFICATES}/device-certificates/device-certificate"
CLIENT_CAS = f"{CERTIFICATES}/trusted-client-cas/trusted-client-ca"
CA = "Try VPN User CA"
HOUR = 2.0  # seconds that an hour of the CRL download frequency takes
# Else openconnect waits a second for DTLS, which virtual hosts of ocserv 1.3.0 do not have.
QUICK = ("--no-dtls",)
MINUTE = dt.timedelta(minutes=1)


class Rest:
    """The appliance's interface: one login, then the key."""

    def __init__(self, lab: Any) -> None:
        account = lab.account("vpn_admin")
        self._url = f"https://{lab.status['hosts']['vpn1']['address']}/api/v1"
        self.session = requests.Session()
        self.session.trust_env, self.session.verify = False, lab.files["ca_bundle"]
        login = self.session.post(
            f"{self._url}/realm_auth", auth=(account["username"], account["password"]), json={"realm": account["realm"]}
        )
        self.session.auth = login.json()["api_key"], ""

    def __call__(self, method: str, path: str, body: Any = None, *, expect: int | None = None) -> requests.Response:
        answer = self.session.request(method, f"{self._url}/{path}", json=body)
        assert answer.status_code == expect if expect else answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def policies(self, policies: list[dict[str, Any]]) -> None:
        """All sign-in policies, in order."""
        self("PUT", SIGN_IN.rpartition("/")[0], {"access-url": policies})


class Site:
    """The lab's appliance, configured: a CA with its CRL, a certificate server, two realms, sign-in policies."""

    def __init__(self, lab: Any) -> None:
        self.lab, self.rest = lab, Rest(lab)
        self.crls = CrlServer(CONTROL)
        self.url = self.crls.url("users.crl")
        self.ca = UserCa(CA, crl_url=self.url)
        self.box = CardBox.of_lab(Lab(lab.status["name"]), host="client1")
        self.cards: dict[str, UserCard] = {}
        self.tag = secrets.token_hex(3)
        self.before = self.rest("GET", SIGN_IN.rpartition("/")[0]).json()["access-url"]
        self.faults(hour_seconds=HOUR)
        self.publish()
        lab.run("client1", "sh", "-c", "cat > /srv/try-vpn-ca.pem", stdin=self.ca.pem.decode())

    def configure(self) -> None:
        for name in (HOST, STAFF):
            cert, key = self.ca.server_certificate(name)
            packed = pkcs12.serialize_key_and_certificates(
                name.encode(),
                serialization.load_pem_private_key(key, None),  # type: ignore[arg-type]
                x509.load_pem_x509_certificate(cert),
                None,
                BestAvailableEncryption(b"secret"),
            )
            body = {
                "cert": base64.b64encode(packed).decode(),
                "password": "secret",
                "externalPorts": ["external" if name == HOST else "staff"],
            }
            self.rest("POST", "system/certificates/device-certificates", body, expect=201)
        self.rest("POST", "system/certificates/trusted-client-cas", {"cert": self.ca.pem.decode()}, expect=201)
        self.settings()
        self.rest("POST", ROLES, {"name": "Try Staff"}, expect=201)
        for server, template in (("Try Card", "<certAttr.CN>"), ("Try UPN", "<certAttr.altName.UPN>")):
            self.rest("POST", SERVERS, {"name": server, "certificate": {"settings": {"user-name-template": template}}}, expect=201)
            names = [f"{user}*" for user in ("alice", "rita", "eve", "wanda", "carol")]
            rule = {
                "name": "staff",
                "roles": ["Try Staff"],
                "stop-rules-processing": "true",
                "user-name": {"test": "is", "user-names": names},
            }
            self.rest("POST", REALMS, {"name": server, "authentication-server": server, "role-mapping-rules": {"rule": [rule]}}, expect=201)
        others = [other for other in self.before if other["url-pattern"] not in (f"{HOST}/", f"{STAFF}/")]
        self.rest.policies([policy(f"{HOST}/", "Try Card"), policy(f"{STAFF}/", "Try Card"), policy("*/portal/", "Try UPN"), *others])

    def settings(self, **changes: Any) -> None:
        """Of the trusted client CA."""
        crl = {"cdp-source": "Manually configured CDP", "primary-cdp": {"url": self.url}, "crl-download-frequency": "1"}
        body = {"client-certificate-status-checking": "Use CRLs", "crl-settings": crl | changes}
        self.rest("PUT", f"{CLIENT_CAS}/{quote(CA)}", body)

    def card(self, name: str, user: str, **options: Any) -> UserCard:
        if name not in self.cards:
            self.cards[name] = options.pop("ca", self.ca).card(self.box, f"{self.tag}-{name}", User.named(user), **options)
        return self.cards[name]

    def publish(self, crl: bytes | None = None) -> None:
        self.crls.put("users.crl", crl if crl is not None else self.ca.crl())

    def update(self, *, expect: int | None = None) -> requests.Response:
        return self.rest("POST", f"system/certificates/trusted-client-cas/{quote(CA)}/update-crl", expect=expect)

    def faults(self, **faults: Any) -> None:
        script = f"cd {FOLDER} && cat > faults.new && mv faults.new faults.json"
        self.lab.run("vpn1", "sh", "-c", script, stdin=json.dumps(faults))

    def log(self) -> str:
        return str(self.lab.run("vpn1", "sh", "-c", f"cat {FOLDER}/log/user-access.log 2>/dev/null", check=False).stdout)

    def gateway(self, host: str = HOST) -> Gateway:
        return Gateway(f"https://{host}", ca_file="/srv/try-vpn-ca.pem", address=EXTERNAL, log=self.log)

    def login(self, card: UserCard | None, host: str = HOST) -> Tunnel:
        return try_tunnel(self.lab, self.gateway(host), card.uri if card else None, arguments=QUICK)

    def sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.rest("GET", "system/active-users").json()["active-users"]["active-user-records"][
            "active-user-record"
        ]
        return found

    def clean(self) -> None:
        self.faults()
        self.rest.policies(self.before)
        for path, names in (
            (REALMS, ("Try Card", "Try UPN")),
            (SERVERS, ("Try Card", "Try UPN")),
            (ROLES, ("Try Staff",)),
            (CLIENT_CAS, (CA,)),
        ):
            for name in names:
                self.rest("DELETE", f"{path}/{quote(name)}")
        for name in (HOST, STAFF):
            self.rest("PUT", f"{DEVICES}/{name}", {"external-ports": []})
            self.rest("DELETE", f"{DEVICES}/{name}")
        self.crls.down()


def policy(url: str, *realms: str) -> dict[str, Any]:
    return {"url-pattern": url, "enabled": "true", "user": {"realms": list(realms)}}


@pytest.fixture(scope="module")
def site(vpn_lab: Any) -> Iterator[Site]:
    made = Site(vpn_lab)
    try:
        made.configure()
        made.update()
        yield made
    finally:
        with suppress(AssertionError):
            made.clean()


@pytest.fixture
def good_crl(site: Site) -> Iterator[Site]:
    """Whatever a test does to the CRL, the next one finds a good one."""
    yield site
    site.settings()
    site.publish()
    site.update()


def wait(condition: Callable[[], Any], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


# Tunnels


def test_card_opens_a_tunnel_that_the_appliance_lists_and_ends(site: Site) -> None:
    with open_tunnel(site.lab, site.gateway(), site.card("alice", "alice").uri, arguments=QUICK) as tunnel:
        assert tunnel.up, tunnel.words
        assert "ADMITTED alice: realm Try Card, roles Try Staff" in tunnel.gateway_log
        (session,) = site.sessions()
        assert (session["active-user-name"], session["authentication-realm"], session["user-roles"]) == ("alice", "Try Card", "Try Staff")
        assert (session["network-connect-ip"], session["primary-auth-server-type"]) == (tunnel.address, "certificate")
        assert tunnel.fetch() == tunnel.page
        site.rest("DELETE", f"system/active-users/session/{session['session-id']}", expect=204)
        assert wait(lambda: not tunnel.fetch(0.5)), "the tunnel goes on"
        assert site.sessions() == []
    assert "ENDED alice: ended by an administrator" in site.log()


def refused_cards(site: Site) -> dict[str, tuple[UserCard | None, str, str]]:
    """By what is wrong: the card, our reason, and ocserv's own words, if it is ocserv that refuses."""
    foreign = UserCa(CA)
    return {
        "no card": (None, "no certificate was presented", "[ocserv: "),
        "expired": (
            site.card("expired", "eve", begins=-10 * MINUTE, ends=-MINUTE),
            "the certificate expired at",
            "uses expired certificate",
        ),
        "not yet valid": (
            site.card("early", "eve", begins=60 * MINUTE),
            "the certificate is not valid before",
            "uses not yet valid certificate",
        ),
        "wrong EKU": (
            site.card("code", "wanda", purposes=[ExtendedKeyUsageOID.CODE_SIGNING]),
            "wrong EKU: the certificate is for codeSigning, clientAuth is demanded",
            "does not match the intended purpose",
        ),
        "foreign CA of the same name": (
            site.card("foreign", "alice", ca=foreign),
            f"unknown CA: it names CN={CA} as its issuer, but was signed with another key",
            "issuer is unknown",
        ),
        "other CA": (
            site.card("other", "alice", ca=UserCa("Another CA")),
            "unknown CA: no trusted client CA is called CN=Another CA",
            "issuer is unknown",
        ),
        "no role": (site.card("norole", "nobody"), "no role: no role mapping rule of the realm Try Card fits the user nobody", ""),
    }


def test_who_is_refused_and_why(site: Site) -> None:
    for what, (card, reason, words) in refused_cards(site).items():
        attempt = site.login(card)
        assert not attempt.up, f"{what}: has a tunnel"
        assert reason in attempt.gateway_log and words in attempt.gateway_log, f"{what}: {attempt.gateway_log}"
    assert site.login(site.card("alice", "alice")).up


def test_cards_open_tunnels_again_after_a_power_cut(site: Site) -> None:
    """What was configured is in force when the appliance answers again, without a change that brings it about."""
    with open_tunnel(site.lab, site.gateway(), site.card("alice", "alice").uri, arguments=QUICK) as tunnel:
        assert tunnel.up, tunnel.words
        site.lab.kill("vpn1")
        site.lab.start("vpn1")
        site.rest = Rest(site.lab)
    assert site.login(site.card("alice", "alice")).up


def test_every_host_name_has_its_own_certificate_and_others_none(site: Site) -> None:
    assert site.login(site.card("alice", "alice"), STAFF).up
    assert not site.login(site.card("alice", "alice"), "partners.vpn.corp.example").up


def test_mail_address_as_user_name_without_an_end_to_live_tunnels(site: Site) -> None:
    settings = f"{SERVERS}/Try%20Card"
    with open_tunnel(site.lab, site.gateway(), site.card("alice", "alice").uri, arguments=QUICK) as tunnel:
        site.rest("PUT", settings, {"certificate": {"settings": {"user-name-template": "<certAttr.altName.Email>"}}})
        try:
            attempt = site.login(site.card("carol", "carol"))
            assert attempt.up and "ADMITTED carol@corp.example:" in attempt.gateway_log
        finally:
            site.rest("PUT", settings, {"certificate": {"settings": {"user-name-template": "<certAttr.CN>"}}})
        assert tunnel.fetch() == tunnel.page, "a reload has ended the tunnel"


@pytest.mark.parametrize("template", ["<certAttr.altName.UPN>", "<certAttr.serialNumber>", "card-<certAttr.CN>"])
def test_names_that_tunnels_cannot_have_are_refused_at_the_write(site: Site, template: str) -> None:
    answer = site.rest("PUT", f"{SERVERS}/Try%20Card", {"certificate": {"settings": {"user-name-template": template}}}, expect=422)
    (error,) = answer.json()["result"]["errors"]
    assert error["message"].startswith("stand-in: sign-in policy 'vpn.corp.example/'") and template in error["message"]


def test_what_is_no_certificate_server_is_refused_for_tunnels(site: Site) -> None:
    answer = site.rest("PUT", f"{REALMS}/Try%20Card", {"authentication-server": "System Local"}, expect=422)
    assert "only certificate servers, with or without an additional RADIUS server" in answer.text


# CRLs


def test_revoked_within_the_download_frequency(good_crl: Site) -> None:
    site = good_crl
    card = site.card("rita", "rita")
    with open_tunnel(site.lab, site.gateway(), card.uri, arguments=QUICK) as tunnel:
        assert tunnel.up, tunnel.words
        site.ca.revoke(card.certificate)
        site.publish()
        assert wait(lambda: not tunnel.fetch(0.5), HOUR + 5), "the session of a revoked user goes on"
    attempt = site.login(card)
    assert not attempt.up and "REFUSED rita: revoked at" in attempt.gateway_log and "certificate chain is revoked" in attempt.gateway_log
    assert "ENDED rita: certificate revoked at" in site.log()


def test_bad_crls_deny_everyone_of_the_ca(good_crl: Site) -> None:
    site, card = good_crl, good_crl.card("alice", "alice")
    for crl, reason in (
        (site.ca.crl(signer=UserCa(CA)), "its CRL is foreign: not signed with the CA's key"),
        (UserCa("Another CA").crl(), "its CRL is foreign: issued by CN=Another CA"),
        (site.ca.expired_crl(), "its CRL has expired at"),
        (b"<html>Not Found</html>", "what was downloaded is no CRL"),
    ):
        site.publish(crl)
        assert reason in site.update(expect=422).text
        attempt = site.login(card)
        assert not attempt.up and f"REFUSED alice: everyone of the CA {CA} is denied: {reason}" in attempt.gateway_log, attempt.gateway_log
    site.publish()
    site.update()
    assert site.login(card).up, "a good CRL does not open the CA again"


def test_unreachable_crl_serves_until_it_expires_and_denies_then(good_crl: Site) -> None:
    site, card = good_crl, good_crl.card("alice", "alice")
    site.publish(site.ca.crl(ends=dt.timedelta(seconds=4)))
    site.update()
    until = time.monotonic() + 4
    site.crls.down()
    try:
        site.update(expect=422)
        assert site.login(card).up
        time.sleep(max(0.0, until - time.monotonic()) + 1)
        attempt = site.login(card)
        assert not attempt.up
        assert "its CRL has expired at" in attempt.gateway_log and "cannot be downloaded from" in attempt.gateway_log
        site.lab.kill("vpn1")
        site.lab.start("vpn1")
        site.rest = Rest(site.lab)
        assert not site.login(card).up, "a restart opens what was denied"
    finally:
        site.crls.up()
    site.publish()
    site.update()
    assert site.login(card).up


def test_crl_from_the_place_that_the_client_certificate_names(good_crl: Site) -> None:
    site, card = good_crl, good_crl.card("alice", "alice")
    site.settings(**{"cdp-source": "CDP(s) specified in client certificates"})
    asked = len(site.crls.requests)
    assert site.login(card).up
    assert len(site.crls.requests) > asked


# OCSP


@contextmanager
def responder(folder: Path, ca: UserCa, certificate: x509.Certificate, *, revoked: bool = False) -> Iterator[str]:
    """The URL of OpenSSL's responder, which knows this certificate."""
    pem, date, serial = serialization.Encoding.PEM, "%y%m%d%H%M%SZ", f"{certificate.serial_number:X}"
    (folder / "ca.pem").write_bytes(ca.pem)
    (folder / "ca.key").write_bytes(ca.key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    state, since = ("R", dt.datetime.now(dt.timezone.utc).strftime(date)) if revoked else ("V", "")
    until, number = certificate.not_valid_after_utc.strftime(date), serial if len(serial) % 2 == 0 else f"0{serial}"
    (folder / "index.txt").write_text("\t".join([state, until, since, number, "unknown", "/CN=alice"]) + "\n")
    command = ["openssl", "ocsp", "-index", "index.txt", "-CA", "ca.pem", "-rsigner", "ca.pem", "-rkey", "ca.key", "-ndays", "1"]
    with subprocess.Popen([*command, "-port", "8099"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None and b"ACCEPT" in process.stdout.readline()
        try:
            yield f"http://{CONTROL}:8099/"
        finally:
            process.kill()


def test_ocsp_decides_and_crls_only_where_they_may(good_crl: Site, tmp_path: Path) -> None:
    site, card = good_crl, good_crl.card("alice", "alice")
    settings = f"{CLIENT_CAS}/{quote(CA)}"
    with responder(tmp_path, site.ca, card.certificate) as url:
        body = {"client-certificate-status-checking": "Use OCSP", "ocsp-settings": {"responder-url": url}}
        site.rest("PUT", settings, body)
        assert site.login(card).up
    with responder(tmp_path, site.ca, card.certificate, revoked=True):
        attempt = site.login(card)
        assert not attempt.up and f"says the OCSP responder {url}" in attempt.gateway_log
    attempt = site.login(card)
    assert not attempt.up and f"no OCSP responder of the CA {CA} has answered" in attempt.gateway_log
    site.rest("PUT", settings, {"client-certificate-status-checking": "Use OCSP with CRL fallback"})
    site.update()
    assert site.login(card).up, "the CRL does not stand in for a responder that does not answer"


# Browsers


class Browser:
    """requests with a software certificate of this CA."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._folder = folder
        (folder / "ca.pem").write_bytes(site.ca.pem)

    def certificate(self, ca: UserCa, user: str, **options: Any) -> tuple[x509.Certificate, tuple[str, str]]:
        key = rsa.generate_private_key(65537, 2048)
        found = ca.issue(key.public_key(), User.named(user), **options)
        pem = serialization.Encoding.PEM
        name = self._folder / f"{found.serial_number:x}"
        name.with_suffix(".pem").write_bytes(found.public_bytes(pem))
        name.with_suffix(".key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return found, (str(name.with_suffix(".pem")), str(name.with_suffix(".key")))

    def get(self, path: str, files: tuple[str, str] | None, host: str = HOST) -> tuple[int, str]:
        certificate = ["--cert", files[0], "--key", files[1]] if files else []
        command = ["curl", "-sS", "--cacert", str(self._folder / "ca.pem"), "--resolve", f"{host}:443:{EXTERNAL}", *certificate]
        done = subprocess.run([*command, "-w", "\n%{http_code}", f"https://{host}{path}"], capture_output=True, text=True, check=True)
        page, _newline, code = done.stdout.rpartition("\n")
        return int(code), page


@pytest.fixture(scope="module")
def browser(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return Browser(site, tmp_path_factory.mktemp("browser"))


def test_sign_in_page_says_who_and_which_realm(site: Site, browser: Browser) -> None:
    _found, files = browser.certificate(site.ca, "alice")
    status, page = browser.get("/", files)
    assert status == 200 and "Welcome, alice</h1>" in page and "Try Card" in page and "Try Staff" in page
    status, page = browser.get("/portal/", files)
    assert status == 200 and "Welcome, alice@corp.example</h1>" in page and "*/portal/" in page
    assert browser.get("/admin/", files)[0] == 501, "administrators' passwords are not modelled in the front"
    assert browser.get("/nowhere/", files)[0] == 404


def test_browsers_are_refused_with_a_page_that_says_why(good_crl: Site, browser: Browser) -> None:
    site = good_crl
    revoked, revoked_files = browser.certificate(site.ca, "rita")
    assert browser.get("/", revoked_files)[0] == 200
    site.ca.revoke(revoked)
    site.publish()
    site.update()
    for files, reason in (
        (revoked_files, "Revoked at"),
        (None, "No certificate was presented."),
        (browser.certificate(site.ca, "wanda", purposes=[ExtendedKeyUsageOID.CODE_SIGNING])[1], "Wrong EKU:"),
        (browser.certificate(site.ca, "eve", begins=-10 * MINUTE, ends=-MINUTE)[1], "The certificate expired at"),
        (browser.certificate(UserCa(CA), "alice")[1], "Unknown CA:"),
        (browser.certificate(site.ca, "nobody")[1], "No role:"),
    ):
        status, page = browser.get("/", files)
        assert status == 403 and reason in page, page
    assert "browser vpn.corp.example 10.83.0.100 REFUSED rita: revoked at" in site.log()
    assert "[nginx: FAILED:certificate revoked]" in site.log()


def test_expired_crl_denies_browsers(good_crl: Site, browser: Browser) -> None:
    site = good_crl
    _found, files = browser.certificate(site.ca, "alice")
    site.publish(site.ca.expired_crl())
    site.update(expect=422)
    status, page = browser.get("/", files)
    assert status == 403 and "its CRL has expired" in page


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_no_session_is_resumed(site: Site, browser: Browser, tmp_path: Path, version: str) -> None:
    """A resumed session would escape the CRL."""
    _found, (certificate, key) = browser.certificate(site.ca, "alice")
    command = ["openssl", "s_client", "-connect", f"{EXTERNAL}:443", "-servername", HOST, "-alpn", "http/1.1", version]
    command += ["-cert", certificate, "-key", key, "-ign_eof"]
    ask = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
    saved = tmp_path / "session"
    first = subprocess.run([*command, "-sess_out", str(saved)], input=ask, capture_output=True, text=True, check=False)
    assert "Welcome, alice" in first.stdout
    if saved.exists():
        second = subprocess.run([*command, "-sess_in", str(saved)], input=ask, capture_output=True, text=True, check=False)
        assert "Reused, TLS" not in second.stdout and "New, TLS" in second.stdout


def test_configurations_please_nginx_and_ocserv_themselves(site: Site) -> None:
    data = f"{FOLDER}/data"
    site.lab.run("vpn1", "nginx", "-t", "-c", f"{data}/nginx.conf")
    site.lab.run("vpn1", "ocserv", "--test-config", "-c", f"{data}/ocserv.conf")
    site.lab.run("vpn1", "haproxy", "-c", "-f", f"{data}/haproxy.cfg")
    status = json.loads(site.lab.run("vpn1", "cat", f"{data}/status.json").stdout)
    assert status["running"] == ["haproxy", "nginx", "ocserv"] and status["crls"][0]["usable"]
