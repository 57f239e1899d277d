# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's VPN hosts, as far as they are plans, and the material of its VPN tests: openssl says what the certificates and CRLs are."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from lab import domain, processes, root, settings, tunnels
from lab.vpn_pki import DAY, CrlServer, User, UserCa, crl_pem

ALICE = User.named("alice.andersson")


def test_a_gateway_is_on_both_networks_and_the_inner_server_on_one():
    outside, inside = processes.network_commands(settings.HOSTS["vpn1"], 7)
    assert [line.split()[-2] for line in outside if line.startswith("link set")] == ["lab0", "lab1"]
    assert [line for line in inside if line.startswith("addr")] == [
        "addr add 10.83.0.30/24 dev eth0",
        "addr add 10.83.0.31/24 dev eth0",
        "addr add 10.84.0.30/24 dev eth1",
    ]
    outside, inside = processes.network_commands(settings.HOSTS["inner1"], 7)
    assert [line.split()[-2] for line in outside if line.startswith("link set")] == ["lab1"]
    assert not any("default" in line for line in inside)


def test_a_host_without_vpn_has_one_address_and_its_own_name():
    outside, inside = processes.network_commands(settings.HOSTS["dc1"], 7)
    assert outside == ["link add to-dc1 type veth peer name eth0 netns 7", "link set to-dc1 master lab0 up"]
    assert inside[1:] == ["addr add 10.83.0.10/24 dev eth0", "link set eth0 up", "route add default via 10.83.0.1"]
    hosts = domain.hosts_file(settings.HOSTS["dc1"])
    assert hosts == "127.0.0.1 localhost\n::1 localhost\n10.83.0.10 dc1.corp.example dc1\n"


def test_hosts_know_the_names_that_users_sign_in_at():
    hosts = domain.hosts_file(settings.HOSTS["client1"], settings.HOSTS.values()).splitlines()
    assert "10.83.0.31 vpn.corp.example" in hosts and "10.83.0.40 gw.corp.example" in hosts
    assert len([line for line in hosts if "client1" in line]) == 1


def test_names_of_links_fit_into_the_kernels_15_characters():
    for plan in settings.HOSTS.values():
        outside, _inside = processes.network_commands(plan, 7)
        assert all(len(line.split()[2]) <= 15 for line in outside)


def test_a_layer_belongs_to_its_root(monkeypatch):
    first = root.VPN.path
    monkeypatch.setattr(root, "PACKAGES", (*root.PACKAGES, "one-more"))
    assert root.VPN.path != first
    assert first.name.startswith("layer-vpn-")


def test_the_clients_command_line_has_no_pin_and_asks_nobody():
    gateway = tunnels.Gateway("https://staff.vpn.corp.example", address="10.83.0.31")
    line = tunnels.command(gateway, "pkcs11:token=alice;id=%01?pin-source=/var/lib/cards/alice.pin", "alice", None, False)
    assert "--non-inter" in line and "--passwd-on-stdin" not in line and not any("pin-value" in word for word in line)
    assert "--resolve=staff.vpn.corp.example:10.83.0.31" in line and line[-1] == gateway.url


@pytest.fixture(scope="module")
def authorities() -> tuple[UserCa, UserCa]:
    """One, and a foreign one of the same name."""
    return UserCa(), UserCa()


@pytest.fixture(scope="module")
def public_key() -> rsa.RSAPublicKey:
    return rsa.generate_private_key(65537, 2048).public_key()


def verdict(folder: Path, ca: UserCa, certificate: bytes, crl: bytes, *options: str) -> str:
    (folder / "ca.pem").write_bytes(ca.pem)
    (folder / "leaf.pem").write_bytes(certificate)
    (folder / "ca.crl").write_bytes(crl_pem(crl))
    command = [
        "openssl",
        "verify",
        "-x509_strict",
        "-purpose",
        "sslclient",
        "-crl_check",
        "-CAfile",
        "ca.pem",
        "-CRLfile",
        "ca.crl",
        *options,
    ]
    done = subprocess.run([*command, "leaf.pem"], cwd=folder, capture_output=True, text=True, check=False)
    return "good" if done.returncode == 0 else done.stderr


def test_openssl_says_what_cards_are(tmp_path, authorities, public_key):
    ca, foreign = authorities
    revoked = ca.issue(public_key, ALICE)
    ca.revoke(revoked)
    crl = ca.crl()
    cases = [
        (ca.issue(public_key, ALICE), "good"),
        (revoked, "certificate revoked"),
        (ca.issue(public_key, ALICE, begins=-9 * DAY, ends=-DAY), "certificate has expired"),
        (ca.issue(public_key, ALICE, begins=DAY), "certificate is not yet valid"),
        (ca.issue(public_key, ALICE, purposes=[ExtendedKeyUsageOID.CODE_SIGNING]), "unsuitable certificate purpose"),
        (foreign.issue(public_key, ALICE), "unable to get local issuer certificate"),
    ]
    for certificate, expected in cases:
        assert expected in verdict(tmp_path, ca, certificate.public_bytes(Encoding.PEM), crl), expected
    assert foreign.certificate.subject == ca.certificate.subject


def test_openssl_says_what_crls_are(tmp_path, authorities, public_key):
    ca, foreign = authorities
    good = ca.issue(public_key, ALICE).public_bytes(Encoding.PEM)
    assert verdict(tmp_path, ca, good, ca.crl()) == "good"
    assert "CRL has expired" in verdict(tmp_path, ca, good, ca.expired_crl())
    assert verdict(tmp_path, ca, good, ca.crl(signer=foreign)) != "good"
    shown = subprocess.run(["openssl", "crl", "-noout", "-crlnumber"], input=crl_pem(ca.crl()), capture_output=True, check=True).stdout
    assert int(shown.decode().partition("=")[2], 16) == ca.crl_number


def test_a_card_names_its_user_in_three_ways(authorities, public_key):
    pem = authorities[0].issue(public_key, ALICE).public_bytes(Encoding.PEM)
    shown = subprocess.run(["openssl", "x509", "-noout", "-subject", "-ext", "subjectAltName"], input=pem, capture_output=True, check=True)
    text = shown.stdout.decode()
    assert "CN = alice.andersson" in text or "CN=alice.andersson" in text
    assert "email:alice.andersson@corp.example" in text and "othername" in text.lower()


def test_the_crl_server_goes_down_and_comes_back():
    with CrlServer("127.0.0.1") as server:
        url = server.put("users.crl", b"one")
        assert urllib.request.urlopen(url, timeout=2).read() == b"one"
        server.put("users.crl", b"two")
        assert urllib.request.urlopen(url, timeout=2).read() == b"two"
        server.down()
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(url, timeout=2)
        server.up()
        server.up()
        assert urllib.request.urlopen(url, timeout=2).read() == b"two"
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(server.url("other.crl"), timeout=2)
        assert server.requests == ["users.crl", "users.crl", "users.crl", "other.crl"]


def test_a_gateways_log_is_read_until_no_more_comes():
    logs = iter(["old", "old", "old\nrefused", "old\nrefused: revoked", "old\nrefused: revoked", "never asked"])
    assert tunnels.log_since(tunnels.Gateway("https://x", log=lambda: next(logs)), 4, settled=False) == "refused: revoked"
    assert next(logs) == "never asked"


def test_a_silent_gateway_is_not_waited_for_long():
    assert tunnels.log_since(tunnels.Gateway("https://x"), 0, settled=False, patience=0.15) == ""
