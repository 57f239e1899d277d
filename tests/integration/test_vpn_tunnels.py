# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets into the inner network: both gateways, made by the playbook `site`, and tried by openconnect and Chromium with cards.

A cookie is no login: "up" is a page of the inner network that came through the tunnel. What only one kind of gateway has is tried in its
own tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID

from lab import browser
from lab.cards import CardBox
from lab.labs import Lab
from lab.tunnels import Gateway, Tunnel, open_tunnel, try_tunnel
from lab.vpn_pki import DAY, CrlServer, User, UserCa, UserCard

CONTROL = "10.83.0.100"
NAMES = {"vpn1": "vpn.corp.example", "gw1": "gw.corp.example"}
POOLS = {"vpn1": "10.85.1.", "gw1": "10.85.2."}
LOGS = {"vpn1": "cat /var/lib/connect_secure/log/user-access.log", "gw1": "cat /var/log/ocserv.log"}
ANCHOR = "/srv/vpn-server-ca.pem"
PASSPHRASE = "only for the way there"
USERS, SERVERS = "Tunnel User CA", "Tunnel Server CA"
STATE = "/var/lib/connect_secure"
SECOND = DAY / 86400


@dataclass(frozen=True)
class Refresh:
    """What became of a command to fetch the CRLs: `told` is all that the administrator reads."""

    good: bool
    told: str


class Site:
    """Both gateways, one CA for users with its CRL server, and cards at client1."""

    def __init__(self, lab: Any, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        self.crls = CrlServer(CONTROL)
        self.ca = UserCa(USERS, crl_url=self.crls.url("users.crl"))
        self.servers = UserCa(SERVERS)
        self.box = CardBox.of_lab(Lab(lab.status["name"]), host="client1")
        self._cards: dict[str, UserCard] = {}
        self.template = "<certAttr.CN>"
        self.first_run = ""
        self.publish()
        lab.run("client1", "sh", "-c", f"cat > {ANCHOR}", stdin=self.servers.pem.decode())

    # ---- what Ansible does

    def inventory(self) -> Path:
        """Both gateways as an administrator would write them down."""
        hosts = self.lab.status["hosts"]
        (self.folder / "users.pem").write_bytes(self.ca.pem)
        (self.folder / "servers.pem").write_bytes(self.servers.pem)
        common = {
            "vpn_gateway_trusted_client_cas": [
                {"certificate": {"path": str(self.folder / "users.pem")}, "primary_cdp": self.ca.crl_url, "cdp_source": "manual"}
            ],
            "vpn_gateway_user_name_template": self.template,
            "certlogon_enrollment_method": "file",
        }
        administrator = self.lab.account("vpn_admin")
        appliance = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "ansible_user": administrator["name"],
            "ansible_password": administrator["password"],
            "ansible_httpapi_ca_path": self.lab.files["ca_bundle"],
            "connect_secure_anchor_path": str(self.folder / "servers.pem"),
        }
        gateway = {
            "ansible_host": hosts["gw1"]["address"],
            "ansible_user": "root",
            "ansible_ssh_private_key_file": hosts["gw1"]["ssh_key"],
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={hosts['gw1']['ssh_known_hosts']} -o StrictHostKeyChecking=yes",
            "ansible_control_path_dir": str(self.folder / "ssh"),
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_pipelining": True,
            "vpn_gateway_address_pool": hosts["gw1"]["pool"],
            "vpn_gateway_networks": ["10.84.0.0/24"],
            "vpn_gateway_crl_download_frequency": 0.001,
        }
        groups = {
            "vpn_appliances": {"vpn1.corp.example": common | self.device("vpn1") | appliance},
            "vpn_gateways": {"gw1.corp.example": common | self.device("gw1") | gateway},
        }
        path = self.folder / "hosts.yml"
        path.touch(mode=0o600)
        path.write_text(json.dumps({group: {"hosts": found} for group, found in groups.items()}))
        return path

    def device(self, host: str) -> dict[str, Any]:
        given = {"pkcs12_path": str(self.pkcs12(host)), "pkcs12_passphrase": PASSPHRASE}
        return {"vpn_gateway_server_names": [NAMES[host]], "vpn_gateway_device_certificate": given}

    def pkcs12(self, host: str) -> Path:
        """The device certificate of a gateway, made elsewhere."""
        path = self.folder / f"{host}.p12"
        if not path.exists():
            certificate, key = self.servers.server_certificate(NAMES[host])
            path.write_bytes(
                pkcs12.serialize_key_and_certificates(
                    NAMES[host].encode(),
                    load_pem_private_key(key, None),  # type: ignore[arg-type]
                    x509.load_pem_x509_certificate(certificate),
                    None,
                    BestAvailableEncryption(PASSPHRASE.encode()),
                )
            )
        return path

    def play(self, *arguments: str, fails: bool = False) -> str:
        """The playbook `site`; its output."""
        line = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(self.inventory()), "certlogon.core.site", *arguments]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "CERTLOGON_ENROLLMENT"))}
        environment = kept | {"ANSIBLE_HOME": str(self.folder / "ansible"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_RETRY_FILES_ENABLED": "0"}
        done = subprocess.run(line, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        output = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, output[-5000:]
        return output

    # ---- the appliance's own interface, for what no role does

    def rest(self) -> tuple[requests.Session, str]:
        account = self.lab.account("vpn_admin")
        session = requests.Session()
        session.trust_env, session.verify = False, self.lab.files["ca_bundle"]
        url = "https://vpn1.corp.example/api/v1"
        login = session.post(f"{url}/realm_auth", auth=(account["name"], account["password"]), json={"realm": account["realm"]})
        session.auth = (login.json()["api_key"], "")
        return session, url

    def faults(self, **faults: Any) -> None:
        self.lab.run("vpn1", "sh", "-c", f"cd {STATE} && cat > faults.new && mv faults.new faults.json", stdin=json.dumps(faults))

    # ---- cards and CRLs

    def card(self, name: str, user: str, ca: UserCa | None = None, **options: Any) -> UserCard:
        if name not in self._cards:
            self._cards[name] = (ca or self.ca).card(self.box, f"tunnel-{name}", User.named(user), **options)
        return self._cards[name]

    def publish(self, crl: bytes | None = None) -> None:
        self.crls.put("users.crl", self.ca.crl() if crl is None else crl)

    def refresh(self, host: str) -> Refresh:
        """A gateway is made to fetch its CRLs now."""
        if host == "gw1":
            done = self.lab.run("gw1", "/usr/local/sbin/certlogon-gateway", "refresh", check=False)
            return Refresh(done.returncode == 0, done.stdout + done.stderr)
        session, url = self.rest()
        answer = session.post(f"{url}/system/certificates/trusted-client-cas/{USERS}/update-crl")
        return Refresh(answer.ok, answer.text)

    # ---- users

    def gateway(self, host: str) -> Gateway:
        return Gateway(
            f"https://{NAMES[host]}", ca_file=ANCHOR, log=lambda: str(self.lab.run(host, "sh", "-c", LOGS[host], check=False).stdout)
        )

    def login(self, host: str, card: UserCard | None, **options: Any) -> Tunnel:
        return try_tunnel(self.lab, self.gateway(host), card.uri if card else None, **options)

    def clean(self) -> None:
        """The next test of gateways finds them as they were: the appliance with its first configuration, gw1 with nothing that runs."""
        self.crls.down()
        self.faults()
        self.lab.kill("vpn1")
        self.lab.run("vpn1", "sh", "-c", f"rm -rf {STATE}/*")
        self.lab.start("vpn1")
        self.lab.run("gw1", "sh", "-c", "rm -f /etc/cron.d/certlogon-gateway")
        self.lab.kill("gw1")
        self.lab.run("gw1", "rm", "-rf", "/etc/ocserv/certlogon", "/var/lib/certlogon/vpn", "/etc/ocserv/ocserv.conf")
        self.lab.start("gw1")


@pytest.fixture(scope="module")
def site(vpn_lab: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(vpn_lab, tmp_path_factory.mktemp("site"))
    try:
        made.first_run = made.play()
        yield made
    finally:
        with suppress(AssertionError, pytest.fail.Exception):
            made.clean()


@pytest.fixture(params=["vpn1", "gw1"])
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def good_crl(site: Site) -> Iterator[None]:
    """Whatever a test does to the CRL, the next one finds a good one in use."""
    yield
    site.crls.up()
    site.publish()
    for name in NAMES:
        assert site.refresh(name).good


def gone(tunnel: Tunnel, seconds: float) -> float | None:
    """After how many seconds nothing comes through a tunnel any more."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if not tunnel.fetch(0.5):
            return time.monotonic() - began
    return None


def test_card_and_pin_open_a_tunnel_that_carries_a_page(site: Site, host: str) -> None:
    with open_tunnel(site.lab, site.gateway(host), site.card("alice", "alice.andersson").uri) as tunnel:
        assert tunnel.up, tunnel.words + tunnel.gateway_log
        assert tunnel.page == site.lab.status["hosts"]["inner1"]["text"]
        assert tunnel.address.startswith(POOLS[host])
        assert "alice.andersson" in tunnel.gateway_log
        assert tunnel.fetch() == tunnel.page
    assert gone(tunnel, 3) is not None


def test_a_wrong_pin_reaches_no_gateway(site: Site, host: str) -> None:
    card = site.card("alice", "alice.andersson")
    site.lab.run("client1", "sh", "-c", "printf 000000 > /var/lib/cards/wrong.pin")
    uri = card.uri.replace(str(card.card.pin_file), "/var/lib/cards/wrong.pin")
    attempt = try_tunnel(site.lab, site.gateway(host), uri)
    assert not attempt.up and "Error in provided PIN" in attempt.words


REASONS = {
    "no card": ("no certificate was presented", "Certificate is required"),
    "expired": ("the certificate expired at", "uses expired certificate"),
    "not yet valid": ("the certificate is not valid before", "uses not yet valid certificate"),
    "foreign CA of the same name": ("unknown CA: it names", "The certificate issuer is unknown"),
    "wrong EKU": ("wrong EKU: the certificate is for codeSigning", ""),
}
"""Of each refusal, what the appliance's log says and what ocserv's; empty: ocserv does not look at it, and the role says so."""


def who_is_refused(site: Site, case: str) -> UserCard | None:
    name = "alice.andersson"
    makers = {
        "no card": lambda: None,
        "expired": lambda: site.card("expired", name, begins=-10 * DAY, ends=-DAY),
        "not yet valid": lambda: site.card("early", name, begins=DAY),
        "foreign CA of the same name": lambda: site.card("foreign", name, UserCa(USERS)),
        "wrong EKU": lambda: site.card("code", name, purposes=[ExtendedKeyUsageOID.CODE_SIGNING]),
    }
    return makers[case]()


@pytest.mark.parametrize("case", REASONS)
def test_who_is_refused_and_what_the_log_says(site: Site, host: str, case: str) -> None:
    attempt = site.login(host, who_is_refused(site, case))
    reason = REASONS[case][host == "gw1"]
    if reason:
        assert not attempt.up, "has a tunnel"
        assert reason in attempt.gateway_log, attempt.gateway_log
    else:
        told = " ".join(site.first_run.split())
        assert attempt.up and "does not look at" in told


def test_another_users_card_opens_no_account_but_its_own(site: Site, host: str) -> None:
    attempt = site.login(host, site.card("bob", "bob.berg"), user="alice.andersson")
    assert "bob.berg" in attempt.gateway_log and "alice.andersson" not in attempt.gateway_log


@pytest.mark.usefixtures("good_crl")
def test_a_revoked_card_is_out_seconds_after_the_gateway_was_told(site: Site, host: str) -> None:
    card = site.card(f"rita-{host}", "rita.roth")
    with open_tunnel(site.lab, site.gateway(host), card.uri) as tunnel:
        assert tunnel.up, tunnel.words + tunnel.gateway_log
        site.ca.revoke(card.certificate)
        site.publish()
        began = time.monotonic()
        assert site.refresh(host).good
        attempt = site.login(host, card)
        seconds = time.monotonic() - began
        assert not attempt.up and "certificate chain is revoked" in attempt.gateway_log
        assert seconds < 10
        assert gone(tunnel, 5) is not None, "the session of the revoked user goes on"
    assert site.login(host, site.card("alice", "alice.andersson")).up


BAD_CRLS = {
    "expired": lambda site: site.ca.expired_crl(),
    "of another CA of the same name": lambda site: site.ca.crl(signer=UserCa(USERS)),
    "no CRL": lambda site: b"<html>It works!</html>",
}


@pytest.mark.usefixtures("good_crl")
@pytest.mark.parametrize("kind", BAD_CRLS)
def test_a_bad_crl_lets_nobody_in_who_should_not(site: Site, host: str, kind: str) -> None:
    """The appliance then shuts the CA out; ocserv's gateway goes on with the CRL that it has and that is in force. Both say so."""
    revoked, good = site.card("ruth", "ruth.rask"), site.card("alice", "alice.andersson")
    site.ca.revoke(revoked.certificate)
    site.publish()
    assert site.refresh(host).good
    site.publish(BAD_CRLS[kind](site))
    refresh = site.refresh(host)
    assert not refresh.good and "CRL" in refresh.told
    assert not site.login(host, revoked).up
    assert site.login(host, good).up is (host == "gw1")
    site.publish()
    assert site.refresh(host).good
    assert site.login(host, good).up and not site.login(host, revoked).up


@pytest.mark.usefixtures("good_crl")
def test_without_crl_server_the_crl_serves_until_its_end(site: Site, host: str) -> None:
    good = site.card("alice", "alice.andersson")
    site.publish(site.ca.crl(begins=-SECOND, ends=6 * SECOND))
    end = time.monotonic() + 6
    assert site.refresh(host).good
    site.crls.down()
    refresh = site.refresh(host)
    assert not refresh.good and site.crls.url("users.crl") in refresh.told
    assert site.login(host, good).up
    time.sleep(max(0.0, end - time.monotonic()) + 1)
    attempt = site.login(host, good)
    assert not attempt.up
    told = site.refresh(host)
    assert not told.good and "expired" in told.told + attempt.gateway_log


REVOKED = {"vpn1": "REFUSED rolf.rask: revoked at", "gw1": "certificate chain is revoked"}
"""What the log says. The appliance has two places where a revoked card ends, and which one it is when the CRL has just come is chance."""


@pytest.mark.usefixtures("good_crl")
def test_a_revoked_card_is_out_within_the_download_frequency_though_nobody_told(site: Site) -> None:
    """The appliance counts hours, here of two seconds. On the other gateway a fetch is due after 4 seconds here, and what cron does each
    minute is done then (that cron does it is tried in that gateway's own tests)."""
    card = site.card("rolf", "rolf.rask")
    assert all(site.login(host, card).up for host in NAMES)
    before = {host: len(site.gateway(host).log()) for host in NAMES}
    site.faults(hour_seconds=2)
    site.ca.revoke(card.certificate)
    site.publish()
    try:
        deadline = time.monotonic() + 45
        for host in NAMES:
            while site.login(host, card).up:
                assert time.monotonic() < deadline, f"{host} lets the revoked card in"
                time.sleep(1)
                site.lab.run("gw1", "/usr/local/sbin/certlogon-gateway", "tick", check=False)
            assert not site.login(host, card).up
            assert REVOKED[host] in site.gateway(host).log()[before[host] :]
    finally:
        site.faults()


# ---- browsers


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(os.environ.get("CERTLOGON_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))


def test_a_browser_signs_in_with_a_software_certificate(site: Site, screenshots: Path) -> None:
    packed, _chain = site.ca.pkcs12(User.named("alice.andersson"), "secret")
    page = browser.by_software_certificate(site.lab, f"https://{NAMES['vpn1']}/", packed, "secret", issuer=USERS, ca_file=ANCHOR)
    page.save(screenshots / "software.png")
    assert "Welcome, alice.andersson" in page.text and page.screenshot.startswith(b"\x89PNG"), page


def test_a_browser_signs_in_with_the_card_whose_pin_is_typed(site: Site, screenshots: Path) -> None:
    card = site.card("alice", "alice.andersson").card
    page = browser.by_card(site.lab, f"https://{NAMES['vpn1']}/", card, issuer=USERS, ca_file=ANCHOR)
    page.save(screenshots / "card.png")
    assert page.pin_dialogs == 1 and "Welcome, alice.andersson" in page.text, page


def test_a_browser_with_a_wrong_pin_or_no_card_sees_why(site: Site) -> None:
    card = site.card("alice", "alice.andersson").card
    wrong = Path("/var/lib/cards/wrong.pin")
    site.lab.run("client1", "sh", "-c", f"printf 000000 > {wrong}")
    page = browser.by_card(site.lab, f"https://{NAMES['vpn1']}/", card, issuer=USERS, ca_file=ANCHOR, pin_file=wrong)
    assert page.pin_dialogs > 1 and "Welcome" not in page.text and "certificate" in page.text.lower(), page


@pytest.mark.usefixtures("good_crl")
def test_a_browser_with_a_revoked_card_sees_why(site: Site) -> None:
    revoked = site.card("ruth", "ruth.rask")
    site.ca.revoke(revoked.certificate)
    site.publish()
    assert site.refresh("vpn1").good
    page = browser.by_card(site.lab, f"https://{NAMES['vpn1']}/", revoked.card, issuer=USERS, ca_file=ANCHOR)
    assert "Revoked at" in page.text, page


# ---- bad days


def test_an_appliance_that_reboots_in_the_middle_of_a_run_is_repaired_by_the_next(site: Site) -> None:
    site.template = "<certAttr.altName.Email>"
    only = ("--limit", "vpn1.corp.example")
    site.faults(reboot={"seconds": 2, "when": "after", "method": "PUT", "times": 1})
    try:
        told = site.play(*only, fails=True)
        assert "vpn1.corp.example" in told
    finally:
        site.faults()
    time.sleep(2)
    site.play(*only)
    again = site.play(*only)
    assert "changed=0" in again
    attempt = site.login("vpn1", site.card("alice", "alice.andersson"))
    assert attempt.up and "alice.andersson@corp.example" in attempt.gateway_log
