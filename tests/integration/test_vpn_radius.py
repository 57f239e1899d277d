# SPDX-License-Identifier: GPL-3.0-or-later
"""Password and code at both gateways: openconnect on client1, ocserv with radcli, FreeRADIUS and the PassiveKey server behind it.

On vpn1 the appliance is a stand-in, but the tunnel, radcli and the RADIUS servers are real.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12

pytest.importorskip("joserfc", reason="joserfc is not installed")
pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
pytest.importorskip("starlette", reason="Starlette is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytest.importorskip("gssapi", reason="gssapi is not installed")

from ansible_collections.certlogon.core.tests.integration.passivekey_lab import (
    HOST,
    Domain,
    Gateway,
    Service,
    Workstation,
    radius_server,
    server_certificate,
)
from ansible_collections.certlogon.core.tests.integration.test_connect_secure_data import (
    CLIENT_CAS,
    DEVICES,
    EXTERNAL,
    QUICK,
    SERVERS,
    Rest,
)
from ansible_collections.certlogon.core.tests.integration.test_connect_secure_data import FOLDER as APPLIANCE
from ansible_collections.certlogon.core.tests.integration.test_ocserv_gateway import BARE, FOLDER, LOG, GatewayUnderTest
from lab import tunnels
from lab.tunnels import Tunnel, try_tunnel
from lab.vpn_pki import CrlServer

pytestmark = [pytest.mark.vpn, pytest.mark.passivekey]

USER = "pk.rita"
NAME = "vpn2.corp.example"
SERVER = "Codes of PassiveKey"
END_RELAY = "pid=$(cut -d' ' -f1 /run/certlogon-radius.pid 2>/dev/null) && kill $pid; rm -f /run/certlogon-radius.pid"


@pytest.fixture(scope="module")
def domain(lab: Any) -> Iterator[Domain]:
    found = Domain(lab).begin()
    found.user(USER)
    found.group("PK Users", USER)
    found.service("pk.service", HOST)
    yield found
    found.end()


@pytest.fixture(scope="module")
def service(lab: Any, domain: Domain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    found = Service(tmp_path_factory.mktemp("passivekey"), lab.files["ca_bundle"])
    found.prepare(lab.files, lab.account("svc-vpn"), domain.keytab(f"HTTP/{HOST}"), domain.sid("PK Users")).start()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def radius(vpn_lab: Any, passivekey_lab: Any, service: Service) -> Iterator[Gateway]:
    with radius_server(passivekey_lab, service) as found:
        yield found


@pytest.fixture
def device(service: Service, domain: Domain) -> Callable[[], Workstation]:
    """A device more of the user: a code opens one session only, and a device has a new one every 30 seconds."""
    return lambda: Workstation(service, f"PC-{secrets.token_hex(3)}").enroll((USER, domain.passwords[USER]))


@pytest.fixture(scope="module")
def text(vpn_lab: Any) -> str:
    """The page behind the gateways."""
    return str(vpn_lab.status["hosts"]["inner1"]["text"])


def given(files: Mapping[str, str], folder: Path, name: str) -> dict[str, str]:
    """A device certificate that was made elsewhere."""
    path = folder / f"{name}.p12"
    if not path.exists():
        chain, key = server_certificate(files, folder, name)
        first, *rest = x509.load_pem_x509_certificates(chain.read_bytes())
        private: Any = load_pem_private_key(key.read_bytes(), None)
        path.write_bytes(pkcs12.serialize_key_and_certificates(name.encode(), private, first, rest, BestAvailableEncryption(b"opening")))
    return {"pkcs12_path": str(path), "pkcs12_passphrase": "opening"}


def radius_variables(radius: Gateway) -> dict[str, Any]:
    return {
        "vpn_gateway_sign_in": "radius",
        "vpn_gateway_radius_servers": [{"address": radius.address, "secret": radius.secret.decode()}],
        "vpn_gateway_radius_timeout": 4,
    }


# ---- ocserv


class OcservUnderTest(GatewayUnderTest):
    radius: Gateway

    def variables(self) -> dict[str, Any]:
        return {
            **super().variables(),
            **radius_variables(self.radius),
            "vpn_gateway_device_certificate": given(self.lab.files, self.folder, "gw.corp.example"),
            "ocserv_settings": {"max-ban-score": 0},
        }

    def login(self, password: str, code: str, card: Any = None) -> Tunnel:
        return self.attempt(card, user=USER, stdin=f"{password}\n{code}\n")

    def trusted(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.variables()["vpn_gateway_trusted_client_cas"]
        return found

    def probed(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads(self.shell("certlogon-gateway radius", check=False))
        return found


@pytest.fixture(scope="module")
def ocserv(vpn_lab: Any, radius: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OcservUnderTest]:
    with CrlServer(vpn_lab.status["hosts"]["control"]["address"], 0, "control.corp.example") as server:
        found = OcservUnderTest(vpn_lab, tmp_path_factory.mktemp("gateway"), server)
        found.radius = radius
        found.shell(f"{END_RELAY}; {BARE}")
        yield found
        found.shell(f"{END_RELAY}; {BARE}")


def test_a_password_and_a_code_open_ocserv(ocserv: OcservUnderTest, playbook: Any, domain: Domain, device: Any, text: str) -> None:
    alone = {"vpn_gateway_trusted_client_cas": []}
    done = ocserv.run(playbook, changes=alone)
    settled = ocserv.state()
    assert not ocserv.run(playbook, changes=alone).changed and ocserv.state() == settled
    password, secret = domain.passwords[USER], ocserv.radius.secret.decode()
    assert secret not in done.output and ocserv.shell(f"stat -c %a%U {FOLDER}/radius/servers") == "600root\n"
    assert ocserv.probed() == [{"server": f"{ocserv.radius.address}:1812", "answer": "challenge", "problem": ""}]

    first = device()
    code = first.code()
    tunnel = ocserv.login(password, code)
    assert tunnel.up and tunnel.page == text, tunnel.words
    assert "Enter your PassiveKey code" in tunnel.words
    refused = {
        "replayed": ocserv.login(password, code),
        "wrong code": ocserv.login(password, "000000"),
        "code of the other channel": ocserv.login(password, first.code("enrollment")),
        "wrong password": ocserv.login("wrong", device().code()),
    }
    for what, attempt in refused.items():
        assert not attempt.up and "401" in attempt.words, f"{what}: {attempt.words}"


def test_a_card_and_a_code_open_it(ocserv: OcservUnderTest, playbook: Any, domain: Domain, device: Any, text: str) -> None:
    """After the change, whoever has but one of them stays out; after others, either opens it, and the card alone."""
    settled, both = ocserv.state(), {"vpn_gateway_sign_in": "certificate_and_radius"}
    foreseen = ocserv.run(playbook, changes=both, check=True)
    assert "Write the configuration" in {task.task.rpartition(" : ")[2] for task in foreseen.changed}
    assert ocserv.radius.secret.decode() not in foreseen.output and ocserv.state() == settled
    ocserv.run(playbook, changes=both)
    settled = ocserv.state()
    assert not ocserv.run(playbook, changes=both).changed and ocserv.state() == settled

    password = domain.passwords[USER]
    hers, others = ocserv.card(USER), ocserv.card("alice.andersson")
    tunnel = ocserv.login(password, device().code(), hers)
    assert tunnel.up and tunnel.page == text, tunnel.words
    code = device().code()
    assert not ocserv.login(password, code).up, "no card"
    assert not ocserv.login(password, code, others).up, "somebody else's card"
    assert not ocserv.login(password, "000000", hers).up, "wrong code"

    ocserv.run(playbook, changes={"vpn_gateway_sign_in": "certificate_or_radius"})
    assert ocserv.attempt(hers).up and ocserv.login(password, device().code()).up, "either"
    assert not ocserv.login(password, "000000").up and not ocserv.attempt(None).up, "none of both"

    ocserv.run(playbook, changes={"vpn_gateway_sign_in": "certificate"})
    assert ocserv.attempt(hers).up and not ocserv.login(password, device().code()).up
    assert ocserv.shell(f"ls {FOLDER}/radius; pgrep -f certlogon_[r]adius", check=False) == "", "neither secret nor relay stays"
    ocserv.run(playbook)
    assert ocserv.login(password, device().code()).up


# ---- the stand-in for Connect Secure


class ApplianceUnderTest:
    def __init__(self, lab: Any, radius: Gateway, folder: Path) -> None:
        self.lab, self.radius, self.folder, self.rest = lab, radius, folder, Rest(lab)

    def run(self, playbook: Callable[..., Any], **changes: Any) -> Any:
        account = self.lab.account("vpn_admin")
        variables = {
            "ansible_host": self.lab.status["hosts"]["vpn1"]["fqdn"],
            "ansible_user": account["username"],
            "ansible_password": account["password"],
            "ansible_httpapi_ca_path": self.lab.files["ca_bundle"],
            "vpn_gateway_server_names": [NAME],
            "vpn_gateway_device_certificate": given(self.lab.files, self.folder, NAME),
            "connect_secure_external_ports": ["codes"],
            "connect_secure_backup_dir": str(self.folder / "backups"),
            "connect_secure_requests": str(self.folder / "requests"),
            "connect_secure_radius_server": SERVER,
            "connect_secure_user_realm": "Users with codes",
            **radius_variables(self.radius),
            "vpn_gateway_radius_retries": 0,
            **changes,
        }
        inventory = self.folder / "appliances.yml"
        inventory.write_text(json.dumps({"vpn_appliances": {"hosts": {"vpn1.corp.example": variables}}}))
        tasks = [{"name": "Role", "ansible.builtin.import_role": {"name": "certlogon.core.connect_secure_gateway"}}]
        return playbook(tasks, inventory=inventory, play={"connection": "local", "vars": {}}, connection={})

    def log(self) -> str:
        return str(self.lab.run("vpn1", "sh", "-c", f"cat {APPLIANCE}/log/user-access.log 2>/dev/null", check=False).stdout)

    def login(self, password: str, code: str, card: Any = None) -> Tunnel:
        gateway = tunnels.Gateway(f"https://{NAME}", address=EXTERNAL, log=self.log)
        stdin = f"{password}\n{code}\n" if password else ""
        return try_tunnel(self.lab, gateway, card.uri if card else None, user=USER, stdin=stdin, arguments=QUICK)

    def server(self, **settings: Any) -> None:
        self.rest("PUT", f"{SERVERS}/{SERVER}", {"radius": {"settings": settings}})

    def clean(self) -> None:
        policies = self.rest("GET", "configuration/authentication/signin/urls").json()["access-url"]
        self.rest.policies([policy for policy in policies if policy["url-pattern"] != f"{NAME}/"])
        for path in (
            "configuration/users/user-realms/realm/Users with codes",
            f"{SERVERS}/{SERVER}",
            f"{SERVERS}/Certificates",
            f"{CLIENT_CAS}/Corp%20Example%20VPN%20User%20CA",
        ):
            self.rest("DELETE", path)
        shown = self.rest("GET", DEVICES.rpartition("/")[0]).json()["device-certificate"]
        for name in (one["name"] for one in shown if one.get("external-ports") == ["codes"]):
            self.rest("PUT", f"{DEVICES}/{quote(name)}", {"external-ports": []})
            self.rest("DELETE", f"{DEVICES}/{quote(name)}")


@pytest.fixture(scope="module")
def appliance(vpn_lab: Any, radius: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApplianceUnderTest]:
    found = ApplianceUnderTest(vpn_lab, radius, tmp_path_factory.mktemp("appliance"))
    yield found
    found.clean()


def test_a_password_and_a_code_open_the_appliance(
    appliance: ApplianceUnderTest, playbook: Any, domain: Domain, device: Any, text: str
) -> None:
    done = appliance.run(playbook)
    assert appliance.radius.secret.decode() not in done.output
    assert not appliance.run(playbook).changed
    password, first = domain.passwords[USER], device()
    code = first.code()
    tunnel = appliance.login(password, code)
    assert tunnel.up and tunnel.page == text, tunnel.words
    assert "Enter your PassiveKey code" in tunnel.words
    assert f"ADMITTED {USER}: realm Users with codes, roles Users" in tunnel.gateway_log
    replayed = appliance.login(password, code)
    assert f"REFUSED {USER}: the RADIUS server {SERVER} refuses what was typed" in replayed.gateway_log
    for attempt in (replayed, appliance.login(password, "000000"), appliance.login("wrong", device().code())):
        assert not attempt.up and "401" in attempt.words, attempt.words


def test_without_its_rule_the_appliance_shows_no_question(appliance: ApplianceUnderTest, domain: Domain, device: Any) -> None:
    settings = appliance.rest("GET", f"{SERVERS}/{SERVER}").json()["radius"]["settings"]
    appliance.server(**{"custom-rules": {"rule": []}})
    attempt = appliance.login(domain.passwords[USER], device().code())
    assert not attempt.up and "asks back (Access-Challenge), and it has no custom RADIUS rule" in attempt.gateway_log
    appliance.server(**{"custom-rules": settings["custom-rules"]})
    assert appliance.login(domain.passwords[USER], device().code()).up, "no tunnel had to end for that"


def test_a_card_and_a_code_open_the_appliance(
    appliance: ApplianceUnderTest, ocserv: OcservUnderTest, playbook: Any, domain: Domain, device: Any, text: str
) -> None:
    """The RADIUS server is the realm's additional one then, and the user's name comes from the card."""
    both = {"vpn_gateway_sign_in": "certificate_and_radius", "vpn_gateway_trusted_client_cas": ocserv.trusted()}
    appliance.run(playbook, **both)
    assert not appliance.run(playbook, **both).changed
    password, hers, others = domain.passwords[USER], ocserv.card(USER), ocserv.card("alice.andersson")
    tunnel = appliance.login(password, device().code(), hers)
    assert tunnel.up and tunnel.page == text, tunnel.words
    assert f"ADMITTED {USER}: realm Users with codes" in tunnel.gateway_log
    code = device().code()
    for card, typed in ((None, (password, code)), (others, (password, code)), (hers, (password, "000000")), (hers, ("", ""))):
        attempt = appliance.login(*typed, card)
        assert not attempt.up, attempt.gateway_log
    appliance.run(playbook)
    assert appliance.login(password, device().code()).up


# ---- both


def test_no_radius_server_lets_nobody_in(
    ocserv: OcservUnderTest, appliance: ApplianceUnderTest, playbook: Any, passivekey_lab: Any, domain: Domain, device: Any
) -> None:
    """The backup is asked where the first is down; where none answers, both gateways say so. Leaves FreeRADIUS down."""
    code, password = device().code(), domain.passwords[USER]
    appliance.server(**{"backup-server": {"radius-server": appliance.radius.address}, "radius-server": "10.83.0.99", "timeout": "1"})
    assert appliance.login(password, code).up
    passivekey_lab.run("pk1", "kill", appliance.radius.process)
    time.sleep(0.2)
    attempt = appliance.login(password, device().code())
    assert not attempt.up and "10.83.0.99:1812: " in attempt.gateway_log and f"; {appliance.radius.address}:1812: " in attempt.gateway_log
    told = ocserv.run(playbook, only=("status", "probe"))
    assert f"RADIUS server {ocserv.radius.address}:1812: " in told.output and not told.changed
    assert not ocserv.login(password, device().code(), ocserv.card(USER)).up
    deadline = time.monotonic() + 10
    while f"certlogon-radius: {ocserv.radius.address}:1812: " not in ocserv.shell(f"cat {LOG}"):
        assert time.monotonic() < deadline, "the log says which server does not answer"
        time.sleep(0.5)
