# SPDX-License-Identifier: GPL-3.0-or-later
"""A new device CA while certificates of the one before are good: each has its CRL, until its last certificate has ended."""

from __future__ import annotations

import shutil
import subprocess
from types import SimpleNamespace

import pytest

pytest.importorskip("starlette", reason="Starlette is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.testclient import TestClient

from passivekey.errors import ConfigurationError
from passivekey.protocol import certificates, messages
from passivekey.server import backup, cli
from passivekey.server.keyring import Keyring
from passivekey.server.service import PENDING_LIFE, Service
from passivekey.server.store import Store
from passivekey.server.web import Fronts, application

DAY = 86400
ORIGIN = "https://passivekey.corp.example"


@pytest.fixture
def service(service, tmp_path):
    """With keys of its own, which are rotated."""
    path = shutil.copy(service.keyring._path, tmp_path / "keys.json")
    service.keyring = Keyring.load(path, service.keyring._passphrase)
    return service


@pytest.fixture
def client(service):
    return TestClient(application(service, Fronts()), base_url=ORIGIN)


def certificate_of(workstation):
    with workstation.service.store.transaction(reading=True) as transaction:
        return x509.load_der_x509_certificate(transaction.certificate(workstation.device)[0])


def distribution_point(certificate):
    [point] = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    return point.full_name[0].value


def number(der):
    return x509.load_der_x509_crl(der).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def judged(folder, client, certificate, at):
    """What openssl says of a device certificate by what its own addresses give: the CA and the CRL of who issued it."""
    address = distribution_point(certificate)
    files = {"crl": client.get(address).content, "ca": client.get(address.replace("/crl/", "/ca/")).content}
    for name, kind in (("crl", "crl"), ("ca", "x509")):
        subprocess.run(["openssl", kind, "-inform", "DER", "-out", folder / name], input=files[name], check=True, capture_output=True)
    (folder / "device").write_bytes(certificate.public_bytes(Encoding.PEM))
    command = ["openssl", "verify", "-x509_strict", "-attime", str(at), "-crl_check", "-CAfile", "ca", "-CRLfile", "crl", "device"]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "good" if found.returncode == 0 else found.stderr


def test_certificates_of_both_cas_are_judged_by_openssl(service, client, pc, workstation, alice, tmp_path, clock):
    other, old_ca = workstation(alice).complete(), service.ca_certificate()
    service.keyring.rotate("ca", service.now)
    new = workstation(alice).complete()
    assert client.get("/v1/ca").content != old_ca
    assert distribution_point(certificate_of(pc)) != distribution_point(certificate_of(new))
    for device in (pc, other, new):
        assert judged(tmp_path, client, certificate_of(device), service.now) == "good"
    service.revoke(pc.device, "lost", by="admin")
    service.revoke(new.device, "lost", by="admin")
    clock.now += 60
    for device, verdict in ((pc, "revoked"), (other, "good"), (new, "revoked")):
        assert verdict in judged(tmp_path, client, certificate_of(device), service.now)
    lists = [x509.load_der_x509_crl(client.get(distribution_point(certificate_of(device))).content) for device in (pc, new)]
    assert [[entry.serial_number for entry in each] for each in lists] == [[certificate_of(each).serial_number] for each in (pc, new)]
    assert lists[0].issuer != lists[1].issuer, "whoever looks for a CRL by its issuer's name finds the right one"


def test_both_lists_in_one_file(service, client, pc, workstation, alice, tmp_path):
    """As a relying party has them that fetched all it could."""
    service.keyring.rotate("ca", service.now)
    new = workstation(alice).complete()
    text = {"ca": b"", "crl": b""}
    for device in (pc, new):
        address = distribution_point(certificate_of(device))
        text["crl"] += x509.load_der_x509_crl(client.get(address).content).public_bytes(Encoding.PEM)
        text["ca"] += x509.load_der_x509_certificate(client.get(address.replace("/crl/", "/ca/")).content).public_bytes(Encoding.PEM)
        (tmp_path / f"{device.device}.pem").write_bytes(certificate_of(device).public_bytes(Encoding.PEM))
    for name, content in text.items():
        (tmp_path / name).write_bytes(content)
    verify = ["openssl", "verify", "-attime", str(service.now), "-crl_check", "-CAfile", "ca", "-CRLfile", "crl"]
    subprocess.run([*verify, f"{pc.device}.pem", f"{new.device}.pem"], cwd=tmp_path, check=True, capture_output=True)


def test_an_enrolment_that_a_new_ca_comes_into_the_middle_of(service, workstation, alice):
    """The agent verifies its certificate by the CA of the same answer."""
    device = workstation(alice)
    first = device.enroll()
    service.keyring.rotate("ca", service.now)
    again = device.enroll()
    assert again == first
    certificate, ca = (x509.load_der_x509_certificate(messages.octets(again[name])) for name in ("certificate", "ca"))
    certificate.verify_directly_issued_by(ca)


@pytest.mark.parametrize("name", ["0" * 40, "x", "%2e%2e", "a%00b", "%F0%9F%94%91", "f" * 5000])
def test_unknown_authorities(client, name):
    assert {client.get(f"/v1/{kind}/{name}").status_code for kind in ("crl", "ca")} == {404}


def test_numbers_grow_over_cas_workers_clocks_and_restores(service, client, pc, tmp_path, clock, monkeypatch):
    def ask():
        service._crls.clear()  # as another worker does, and one that was restarted
        return [number(client.get(f"/v1/crl/{name}").content) for name in service.keyring.authorities]

    service.keyring.rotate("ca", service.now)
    seen = [ask(), ask()]
    clock.now -= 10 * DAY
    seen.append(ask())
    backup.save(service, tmp_path / "backup")
    service.store.close()
    service.store = Store(f"sqlite:///{tmp_path}/restored.db")
    service._crls.clear()
    client.get("/v1/crl")  # a server that serves the new database already
    backup.restore(service, tmp_path / "backup")
    seen.append(ask())
    for each in zip(*seen, strict=True):
        assert list(each) == sorted(set(each)), "of each issuer they only grow"


def test_a_ca_stays_until_its_last_certificate_has_ended(service, client, pc, workstation, alice, capsys, monkeypatch, clock):
    monkeypatch.setattr(cli, "opened", lambda _given: service)
    given = SimpleNamespace(rules=service.rules)
    [old] = service.keyring.authorities
    service.keyring.rotate("ca", service.now)
    new = workstation(alice).complete()

    def run(command, **words):
        assert command(given, SimpleNamespace(**words)) == 0
        return capsys.readouterr().out

    assert f"{ORIGIN}/v1/crl/{old}" in run(cli.keys) and "stays: 1 certificates, the last until 2027-04-15" in run(cli.drop, purpose="ca")
    service.revoke(pc.device, "lost", by="admin")
    clock.now += 89 * DAY
    new_one = workstation(alice).complete()
    assert "stays" in run(cli.drop, purpose="ca"), "revoked certificates are on its CRL"
    assert len(list(x509.load_der_x509_crl(client.get(f"/v1/crl/{old}").content))) == 1
    clock.now += 2 * DAY
    assert len(list(x509.load_der_x509_crl(client.get(f"/v1/crl/{old}").content))) == 0, "what has ended is not listed"
    assert run(cli.drop, purpose="ca").endswith("dropped\n") and run(cli.drop, purpose="ca") == "ca: nothing to drop\n"
    assert client.get(f"/v1/crl/{old}").status_code == 404
    assert old not in Keyring.load(service.keyring._path, service.keyring._passphrase).authorities
    assert [entry["event"] for entry in service.audit.read()][-1] == "drop"
    assert certificates.issuer_id(certificate_of(new_one).public_bytes(Encoding.DER)) in run(cli.keys)
    assert new.device != new_one.device


def test_cookie_keys_out_of_use_are_dropped(service, pc, capsys, monkeypatch):
    monkeypatch.setattr(cli, "opened", lambda _given: service)
    cookie = pc.cookie()
    service.keyring.rotate("cookie", service.now)
    cli.drop(None, SimpleNamespace(purpose="cookie"))
    assert capsys.readouterr().out == "cookie: nothing to drop\n"
    assert service.check("intranet.corp.example", "", cookie, "").session
    service.keyring.rotate("cookie", service.now)
    cli.drop(None, SimpleNamespace(purpose="cookie"))
    assert "dropped" in capsys.readouterr().out and sum(key["purpose"] == "cookie" for key in service.keyring.overview()) == 2


def test_certificates_of_devices_that_never_came_to_their_end_are_revoked(service, client, workstation, alice, tmp_path, clock):
    device = workstation(alice)
    device.enroll()
    certificate = certificate_of(device)
    clock.now += PENDING_LIFE + 1
    with service.store.transaction() as transaction:
        assert transaction.clean(service.now, PENDING_LIFE, 28800) == [device.device]
    assert "revoked" in judged(tmp_path, client, certificate, service.now)
    backup.save(service, tmp_path / "backup")
    service.store.close()
    service.store = Store(f"sqlite:///{tmp_path}/restored.db")
    backup.restore(service, tmp_path / "backup")
    clock.now += 60
    assert "revoked" in judged(tmp_path, client, certificate, service.now), "a restored backup knows it"
    clock.now += 91 * DAY
    with service.store.transaction() as transaction:
        transaction.clean(service.now, PENDING_LIFE, 28800)
        assert transaction.revoked_certificates(0) == []


def test_running_servers_take_up_new_keys(service, client, pc, workstation, alice, monkeypatch):
    """Rotated by a command beside them: logins and enrolments go on, and no seed is left under a key that is gone."""
    monkeypatch.setattr("passivekey.server.keyring.FOLLOWED", 0.2)
    path = service.keyring._path
    other = Keyring.load(path, service.keyring._passphrase)
    kids = {purpose: other.rotate(purpose, service.now) for purpose in ("storage", "cookie", "policy", "ca")}
    monkeypatch.setattr(service, "keyring", Keyring(path, other._passphrase, other._salt, service.keyring._keys[:4]))
    monkeypatch.setattr(service.keyring, "_looked", float("inf"))  # a server that has not looked yet
    monkeypatch.setattr(service.keyring, "_seen", None)
    command = Service(service.rules, service.store, other, service.directory, service.audit, service.clock)
    cli.rewrap(command)
    state = service.radius(alice.name, "pass", "", "")
    assert service.radius(alice.name, pc.code(), state, "") == "", "the seed is under a key that this server has not seen"
    late = workstation(alice).complete()
    with service.store.transaction(reading=True) as transaction:
        assert {transaction.seed(device.device)[1] for device in (pc, late)} == {kids["storage"]}
    assert next(key["kid"] for key in service.keyring.cookie_jwks) == kids["cookie"]
    assert certificates.authority_id(service.keyring.ca[0]) == next(iter(other.authorities))
    path.unlink()
    service.keyring._looked = 0.0
    assert service.keyring.storage[0] == kids["storage"], "a file that is away changes nothing"


def test_a_server_that_has_not_the_key_says_so(service, client, pc, alice, tmp_path):
    other = Keyring.load(shutil.copy(service.keyring._path, tmp_path / "other.json"), service.keyring._passphrase)
    other.rotate("storage", service.now)
    cli.rewrap(Service(service.rules, service.store, other, service.directory, service.audit, service.clock))
    api = TestClient(application(service, Fronts(radius="secret")), base_url=ORIGIN)
    words = {"username": alice.name, "password": "pass"}
    state = api.post("/v1/radius", json=words, headers={"Authorization": "Bearer secret"}).json()["reply:State"]
    answer = api.post("/v1/radius", json={**words, "password": pc.code(), "state": state}, headers={"Authorization": "Bearer secret"})
    assert answer.status_code == 503 and answer.headers["content-type"] == "application/problem+json"


def test_names_of_cas(tmp_path):
    host = "passivekey." + "a" * 40 + ".example"
    ring = Keyring.create(tmp_path / "keys.json", "correct horse battery staple", "P" * 58, host, 1_800_000_000)
    names = []
    for _time in range(10):
        ring.rotate("ca", 1_800_000_000)
        names.append(ring.ca[0].subject.rfc4514_string())
    assert names[0] == f"CN={'P' * 58} G2" and names[-1].endswith("P G11") and len(set(names)) == 10
    with pytest.raises(ConfigurationError, match="59 characters, 58 are the most"):
        Keyring.create(tmp_path / "other.json", "correct horse battery staple", "P" * 59, host, 1_800_000_000)
