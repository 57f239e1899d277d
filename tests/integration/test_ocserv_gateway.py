# SPDX-License-Identifier: GPL-3.0-or-later
"""Role ocserv_gateway on gw1: from a bare host to a gateway that cards open; every failure of CRLs; sessions of revoked users.

Judges: openconnect with cards on client1 and a page of the inner network, openssl s_client, occtl, ocserv --test-config.
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from lab.cards import CardBox
from lab.labs import Lab
from lab.tunnels import Gateway, Tunnel, open_tunnel, try_tunnel
from lab.vpn_pki import CrlServer, User, UserCa, UserCard

pytestmark = pytest.mark.vpn

ROLE = "certlogon.core.ocserv_gateway"
GW = "gw1.corp.example"
FOLDER = "/etc/ocserv/certlogon"
STATE = "/var/lib/certlogon/vpn"
LOG = "/var/log/ocserv.log"
MADE = (
    f"{FOLDER} /etc/ocserv/ocserv.conf {STATE} /usr/local/lib/certlogon /usr/local/sbin/certlogon-gateway /etc/cron.d/certlogon-gateway"
    f" /etc/sysctl.d/60-certlogon-vpn.conf /run/certlogon-ocserv.json {LOG}"
)
BARE = f"""
rm -f /etc/cron.d/certlogon-gateway
pid=$(cat /run/ocserv.pid 2>/dev/null) && kill $pid && while [ -d /proc/$pid ]; do sleep 0.1; done
rm -rf {MADE} /run/ocserv.pid
"""


class GatewayUnderTest:
    """gw1 with a users' CA of its own, whose CRL is served from control."""

    def __init__(self, lab: Any, folder: Path, server: CrlServer) -> None:
        self.lab, self.folder, self.server = lab, folder, server
        self.ca = UserCa(crl_url=server.url("users.crl"))
        self.box = CardBox.of_lab(Lab(lab.status["name"]), host="client1")
        self.requests = folder / "requests"
        self.sockets = tempfile.mkdtemp(prefix="gw")
        (folder / "users.pem").write_bytes(self.ca.pem)
        self.publish()

    def variables(self) -> dict[str, Any]:
        host = self.lab.status["hosts"]["gw1"]
        return {
            "ansible_host": host["address"],
            "ansible_user": "root",
            "ansible_ssh_private_key_file": host["ssh_key"],
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={host['ssh_known_hosts']}",
            "ansible_control_path_dir": self.sockets,
            "ansible_pipelining": True,
            "ansible_python_interpreter": "/usr/bin/python3",
            "vpn_gateway_server_names": ["gw.corp.example"],
            "vpn_gateway_address_pool": host["pool"],
            "vpn_gateway_networks": ["10.84.0.0/24"],
            "vpn_gateway_trusted_client_cas": [
                {"certificate": {"path": str(self.folder / "users.pem")}, "primary_cdp": self.server.url("users.crl")}
            ],
            "certlogon_enrollment_method": "file",
            "ocserv_requests": str(self.requests),
        }

    def run(
        self, playbook: Callable[..., Any], *, changes: Mapping[str, Any] | None = None, only: Sequence[str] = ("main",), **options: Any
    ) -> Any:
        """The role, or `only` some files of its tasks."""
        inventory = self.folder / "gateways.yml"
        inventory.write_text(json.dumps({"vpn_gateways": {"hosts": {GW: {**self.variables(), **(changes or {})}}}}))
        tasks = [{"name": "Role", "ansible.builtin.import_role": {"name": ROLE, "tasks_from": file}} for file in only]
        play = {"connection": "ssh", "vars": {}}
        return playbook(tasks, inventory=inventory, play=play, connection={}, **options)

    # ---- the authorities

    def answer(self) -> None:
        """What the person does who carries the gateway's request."""
        files, request = Path(self.lab.files["folder"]), self.requests / f"{GW}.csr"
        command = ["openssl", "x509", "-req", "-in", request, "-CA", files / "issuing-ca.pem", "-CAkey", files / "issuing-ca.key"]
        command += ["-days", "365", "-copy_extensions", "copyall"]
        issued = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout
        chain = (files / "issuing-ca.pem").read_text() + (files / "root-ca.pem").read_text()
        (self.requests / f"{GW}.answer").write_text(issued + chain)

    def publish(self, crl: bytes | None = None) -> None:
        self.server.put("users.crl", self.ca.crl() if crl is None else crl)

    def card(self, name: str, ca: UserCa | None = None, **options: Any) -> UserCard:
        return (ca or self.ca).card(self.box, f"gw-{secrets.token_hex(4)}", User.named(name), **options)

    # ---- the gateway

    def shell(self, script: str, check: bool = True) -> str:
        return str(self.lab.run("gw1", "sh", "-c", script, check=check).stdout)

    def keep(self, *arguments: str) -> tuple[int, str, dict[str, Any]]:
        """certlogon-gateway: exit code, what it tells the administrator, its result."""
        done = self.lab.run("gw1", "certlogon-gateway", *arguments, check=False)
        return done.returncode, done.stderr, json.loads(done.stdout or "{}")

    def refresh(self, *arguments: str) -> dict[str, Any]:
        code, words, result = self.keep("refresh", *arguments)
        assert code == 0, words
        return result

    def log(self) -> str:
        return self.shell(f"cat {LOG}", check=False)

    def gateway(self) -> Gateway:
        return Gateway("https://gw.corp.example", log=self.log)

    def attempt(self, card: UserCard | None, **options: Any) -> Tunnel:
        return try_tunnel(self.lab, self.gateway(), card.uri if card else None, **options)

    def open(self, card: UserCard) -> Any:
        return open_tunnel(self.lab, self.gateway(), card.uri)

    def users(self) -> list[str]:
        shown = json.loads(self.shell("occtl -j show users") or "[]")
        return sorted(row["Username"] for row in shown)

    def shown(self) -> str:
        """The serial number of the certificate on port 443, its chain verified up to the lab's root."""
        files = self.lab.files
        command = ["openssl", "s_client", "-connect", "gw.corp.example:443", "-CAfile", files["root_ca"], "-no-CApath", "-no-CAstore"]
        command += ["-verify_return_error", "-verify_hostname", "gw.corp.example", "-servername", "gw.corp.example"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=20)
        assert "Verify return code: 0 (ok)" in done.stdout, done.stdout + done.stderr
        return subprocess.run(
            ["openssl", "x509", "-noout", "-serial"], input=done.stdout, capture_output=True, text=True, check=True
        ).stdout

    def state(self) -> str:
        """All that the role could change."""
        sums = f"find {MADE} -type f ! -name .lock ! -name status.json ! -name '*.log' -exec sha256sum {{}} + 2>/dev/null | sort"
        return self.shell(f"{sums}; cat /run/ocserv.pid 2>/dev/null", check=False)


@pytest.fixture(scope="module")
def made(vpn_lab: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayUnderTest]:
    with CrlServer(vpn_lab.status["hosts"]["control"]["address"], 0, "control.corp.example") as server:
        found = GatewayUnderTest(vpn_lab, tmp_path_factory.mktemp("gateway"), server)
        found.shell(BARE)
        yield found
        found.shell(BARE)


@pytest.fixture
def role(made: GatewayUnderTest, playbook: Callable[..., Any]) -> Callable[..., Any]:
    return lambda **options: made.run(playbook, **options)


@pytest.fixture
def gw(made: GatewayUnderTest, role: Callable[..., Any]) -> GatewayUnderTest:
    """Configured by the test before, or now; with a good CRL."""
    if not made.shell("cat /run/ocserv.pid", check=False):
        role()
        made.answer()
        role()
    made.server.down()
    made.server.up()
    made.publish()
    made.keep("refresh")
    return made


@pytest.fixture(scope="module")
def alice(made: GatewayUnderTest) -> UserCard:
    return made.card("alice.andersson")


def names(run: Any) -> set[str]:
    return {task.task.rpartition(" : ")[2] for task in run.changed}


def test_from_a_bare_host_to_a_gateway_that_a_card_opens(made: GatewayUnderTest, role: Callable[..., Any], alice: UserCard) -> None:
    bare = made.state()
    foreseen = role(check=True)
    assert made.state() == bare, "a check changes nothing"
    assert {"Say why a certificate is needed", "Run certlogon-gateway refresh", "Write the configuration", "Run it by cron"} <= names(
        foreseen
    )

    waiting = role()
    assert "Until then the gateway is not started." in waiting.output
    assert made.shell("cat /run/ocserv.pid", check=False) == ""
    assert "PRIVATE" not in "".join(path.read_text() for path in made.requests.iterdir())

    made.answer()
    done = role()
    assert "NOT ENFORCEABLE by ocserv" in done.output and "in force until" in done.output
    assert made.shell(f"stat -c %a {FOLDER} {FOLDER}/current/key.pem").split() == ["700", "600"]
    made.shell("ocserv --test-config -c /etc/ocserv/ocserv.conf 2>&1")
    assert made.shown()
    tunnel = made.attempt(alice)
    assert tunnel.up and tunnel.page == made.lab.status["hosts"]["inner1"]["text"], tunnel.words
    assert tunnel.address.startswith("10.85.2.")

    settled = made.state()
    again = role()
    assert not again.changed, names(again)
    assert not role(check=True).changed
    assert made.state() == settled


def test_who_is_refused_and_why(gw: GatewayUnderTest) -> None:
    day = dt.timedelta(days=1)
    revoked = gw.card("revoked.user")
    gw.ca.revoke(revoked.certificate)
    gw.publish()
    gw.refresh()
    foreign = gw.card("alice.andersson", ca=UserCa())
    cases = {
        "Certificate is required": None,
        "certificate chain is revoked": revoked,
        "certificate issuer is unknown": foreign,
        "certificate chain uses expired certificate": gw.card("late.user", begins=-3 * day, ends=-day),
    }
    for words, card in cases.items():
        attempt = gw.attempt(card)
        assert not attempt.up and words in attempt.gateway_log, attempt.gateway_log
    purpose = gw.card("code.signer", purposes=[ExtendedKeyUsageOID.CODE_SIGNING])
    assert gw.attempt(purpose).up, "ocserv looks at purposes now: say so in docs/ocserv.md, and enforce them"


def test_the_user_name_is_that_of_the_template(gw: GatewayUnderTest, role: Callable[..., Any], alice: UserCard) -> None:
    key = f"{FOLDER}/current/key.pem"
    gw.shell(f"chown daemon {key}; chmod 644 {key}")
    with gw.open(alice) as tunnel:
        assert tunnel.up and gw.users() == ["alice.andersson"]
        changed = role(changes={"vpn_gateway_user_name_template": "<certAttr.altName.Email>", "vpn_gateway_dns_domains": ["corp.example"]})
        assert names(changed) == {"Keep the private key to root", "Write the configuration", "Run certlogon-gateway apply"}
        assert tunnel.fetch() == tunnel.page, "a reload leaves sessions alone"
    assert gw.shell(f"stat -c '%U %a' {key}").split() == ["root", "600"]
    with gw.open(alice) as tunnel:
        assert tunnel.up and gw.users() == ["alice.andersson@corp.example"]
    gw.shell("sed -i 's/SAN.rfc822name./2.5.4.3/; /^split-dns/d' /etc/ocserv/ocserv.conf; certlogon-gateway apply")


def test_a_crl_that_ends_while_the_gateway_runs(gw: GatewayUnderTest, alice: UserCard) -> None:
    """Refused to the second by the gate, then by TLS; the administrator is told; open again by itself."""
    with gw.open(alice) as session:
        assert session.up
        ends = time.time() + 6
        gw.publish(gw.ca.crl(ends=dt.timedelta(seconds=6)))
        gw.keep("refresh")
        gw.server.down()
        time.sleep(max(0, ends - time.time()) + 1.1)
        late = gw.attempt(alice)
        assert not late.up and ("a CRL has ended" in late.gateway_log or "issuer is unknown" in late.gateway_log), late.gateway_log
        code, words, result = gw.keep("tick")
        assert code == 2 and "no certificate of it opens the gateway" in words and "it expired at" in words
        assert result["authorities"][0]["problem"].startswith("it expired at")
        assert "issuer is unknown" in gw.attempt(alice).gateway_log
        assert gw.shell(f"cat {STATE}/trust.pem") == "" and json.loads(gw.shell(f"cat {STATE}/status.json"))["code"] == 2
        assert session.fetch() == session.page, "sessions of before go on"
        gw.server.up()
        gw.publish()
        code, words, result = gw.keep("tick")
        assert (code, result["changes"][1:]) == (0, ["Corp Example VPN User CA let in"]), words
        assert gw.attempt(alice).up


def test_what_is_no_good_never_replaces_what_is(gw: GatewayUnderTest, alice: UserCard) -> None:
    revoked = gw.card("revoked.again")
    gw.ca.revoke(revoked.certificate)
    gw.publish()
    gw.refresh()
    foreign = UserCa()
    bad = {
        "signed by none of the trusted CAs": foreign.crl(),
        "is not a CRL": b"<html>Not here</html>",
        "it expired at": gw.ca.expired_crl(),
        "404": None,
    }
    for words, crl in bad.items():
        gw.server.files.clear()
        if crl is not None:
            gw.publish(crl)
        code, told, result = gw.keep("refresh")
        assert code == 1 and words in told and "The one in place is in force until" in told, told
        assert "no usable CRL at http://control.corp.example" in result["authorities"][0]["trouble"]
        assert not gw.attempt(revoked).up
    assert gw.attempt(alice).up
    gw.shell(f"rm {STATE}/crl.pem {STATE}/*-user-ca-*.crl.pem")
    code, told, _more = gw.keep("tick")
    assert code == 2 and "There is no CRL of it" in told
    assert not gw.attempt(alice).up
    gw.shell(f"""sed -i 's/"without_crl": "refuse"/"without_crl": "stop"/' {FOLDER}/gateway.json""")
    assert gw.keep("tick")[2]["service"] == "stop"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("gw.corp.example", 443), 5)
    gw.publish()
    code, told, result = gw.keep("tick")
    assert (code, result["service"]) == (0, "start"), told
    assert gw.attempt(alice).up and not gw.attempt(revoked).up
    gw.shell(f"""sed -i 's/"without_crl": "stop"/"without_crl": "refuse"/' {FOLDER}/gateway.json""")


def test_a_revoked_users_live_session_ends_and_nobody_elses(gw: GatewayUnderTest, alice: UserCard) -> None:
    bob = gw.card("bob.berg")
    with ExitStack() as stack:
        hers, his = stack.enter_context(gw.open(alice)), stack.enter_context(gw.open(bob))
        assert hers.up and his.up
        gw.ca.revoke(bob.certificate)
        gw.publish()
        begun = time.monotonic()
        result = gw.refresh(f"--serial={bob.certificate.serial_number:x}")
        assert sorted(result["sessions_cut"]) == ["alice.andersson", "bob.berg"]
        deadline = begun + 10
        while hers.fetch(1) != hers.page:
            assert time.monotonic() < deadline, "her client did not come back"
        print(f"back after {time.monotonic() - begun:.1f} s")
        assert his.fetch(1) == "" and gw.users() == ["alice.andersson"]
        assert "certificate chain is revoked" in gw.log()
        assert gw.keep("refresh", "--serial=0123456789abcdef")[0] == 2, "a serial number that no CRL has"
        result = gw.refresh("--user=ALICE.Andersson")
        assert result["sessions_ended"] == ["alice.andersson"]
        assert hers.fetch(1) == "" and gw.users() == []


def test_the_timers_job_takes_a_new_crl_and_starts_what_died(gw: GatewayUnderTest, alice: UserCard) -> None:
    """What cron runs every minute, as cron runs it, unless cron is quicker."""
    gw.ca.revoke(gw.card("someone").certificate)
    gw.publish()
    gw.shell(f"""sed -i 's/ed": "20[0-9]*/ed": "2000/' {STATE}/status.json; kill -9 $(cat /run/ocserv.pid)""")
    job = gw.shell("sed -n 's/^[*] [*] [*] [*] [*] root //p' /etc/cron.d/certlogon-gateway")
    assert "certlogon-gateway tick" in job
    gw.shell(f"env -i PATH=/usr/bin:/bin sh -c '{job.strip()}'")
    end = time.monotonic() + 10
    while json.loads(gw.shell(f"cat {STATE}/status.json"))["service"] != "start" and time.monotonic() < end:
        time.sleep(0.2)
    told = json.loads(gw.shell(f"cat {STATE}/status.json"))
    assert (told["service"], told["running"], told["authorities"][0]["revoked"]) == ("start", True, len(gw.ca.revoked))
    assert gw.attempt(alice).up


def test_an_interrupted_run_is_finished_by_the_next_and_a_renewal_leaves_sessions_alone(
    gw: GatewayUnderTest, role: Callable[..., Any], alice: UserCard
) -> None:
    before, files = gw.shown(), Path(gw.lab.files["folder"])
    with gw.open(alice) as session:
        assert session.up
        # As if a renewal had died between installing key and certificate and the reload: the next run only has to tell ocserv.
        script = (Path(__file__).parents[2] / "roles/ocserv_gateway/files/make_request.sh").read_text()
        make = "-s -- /CN=gw.corp.example DNS:gw.corp.example -algorithm RSA -pkeyopt rsa_keygen_bits:2048"
        gw.lab.run("gw1", "sh", "-c", f"mkdir {FOLDER}/next && cd {FOLDER}/next && sh {make}", stdin=script)
        request = gw.shell(f"cat {FOLDER}/next/request.pem")
        command = ["openssl", "x509", "-req", "-CA", files / "issuing-ca.pem", "-CAkey", files / "issuing-ca.key", "-days", "300"]
        issued = (
            subprocess.run(
                [*map(str, command), "-copy_extensions", "copyall"], input=request, capture_output=True, text=True, check=True
            ).stdout
            + (files / "issuing-ca.pem").read_text()
        )
        gw.lab.run(
            "gw1",
            "sh",
            "-c",
            f"cat > {FOLDER}/next/cert.pem && cd {FOLDER} && mv next 0123456789abcdef && ln -sfn 0123456789abcdef current",
            stdin=issued,
        )
        assert gw.shown() == before
        finished = role()
        assert names(finished) <= {"Run certlogon-gateway apply"}, "or nothing, if cron was quicker"
        assert gw.shown() != before
        assert session.fetch() == session.page
        assert gw.attempt(alice).up
        foreseen = role(check=True, changes={"vpn_gateway_device_certificate": {"renew_before": 10000, "key_type": "ec"}})
        assert "its key is not EC prime256v1" in foreseen.output


BAD = {
    "it reads no UPN": {"vpn_gateway_user_name_template": "<certAttr.altName.UPN>"},
    "asks no OCSP responder": {"vpn_gateway_trusted_client_cas": [{"certificate": {"path": "/x"}, "status_checking": "ocsp"}]},
    "by http, https or file only": {"vpn_gateway_trusted_client_cas": [{"certificate": {"path": "/x"}, "primary_cdp": "ldap://dc/CN=x"}]},
    "is not within 0 and 9999 hours": {
        "vpn_gateway_trusted_client_cas": [{"certificate": {"path": "/x"}, "primary_cdp": "http://x/", "crl_download_frequency": 10000}]
    },
    "primary_cpd is no word for a CA": {"vpn_gateway_trusted_client_cas": [{"certificate": {"path": "/x"}, "primary_cpd": "http://x/"}]},
    "auth, crl: the role sets that itself": {"ocserv_settings": {"auth": "plain", "crl": "/none", "idle-timeout": 9}},
    "is none of C, CN": {"vpn_gateway_group_attribute": "UPN"},
    "other characters than letters": {"vpn_gateway_groups": [{"name": "../ocserv.conf"}]},
    "names no address for users": {"vpn_gateway_server_names": []},
    '"vpn.büro.example": these are no names of hosts': {"vpn_gateway_server_names": ["gw.corp.example", "vpn.büro.example"]},
    "there is none, and vpn_gateway_sign_in is radius": {"vpn_gateway_sign_in": "radius", "vpn_gateway_trusted_client_cas": []},
    "codes.example: secret is missing, longer than 48": {
        "vpn_gateway_sign_in": "certificate_and_radius",
        "vpn_gateway_radius_servers": [{"address": "codes.example", "secret": "two words"}],
    },
    "port 70000 is not within": {
        "vpn_gateway_sign_in": "radius",
        "vpn_gateway_radius_servers": [{"address": "codes.example:1812 is", "secret": "x", "port": 70000}],
    },
    "exclude each other": {
        "vpn_gateway_sign_in": "radius",
        "vpn_gateway_radius_servers": [{"address": "codes.example", "secret": "x"}],
        "vpn_gateway_groups": [{"name": "Staff"}],
        "ocserv_radius_groupconfig": True,
    },
    "less than 1, which radcli": {
        "vpn_gateway_sign_in": "radius",
        "vpn_gateway_radius_servers": [{"address": "codes.example", "secret": "x"}],
        "vpn_gateway_radius_retries": 0,
    },
}


def test_what_ocserv_cannot_do_is_refused_before_anything_is_touched(made: GatewayUnderTest, playbook: Callable[..., Any]) -> None:
    tasks = []
    for number, variables in enumerate(BAD.values()):
        good = {"vpn_gateway_trusted_client_cas": [{"certificate": {"path": "/x"}, "primary_cdp": "http://x/"}]}
        include = {"name": ROLE, "tasks_from": "refuse"}
        block = [{"name": f"Case {number}", "ansible.builtin.include_role": include, "vars": good | variables}]
        rescue = [{"name": "Refused", "ansible.builtin.debug": {"msg": "{{ ansible_failed_result.msg }}"}}]
        tasks.append({"block": block, "rescue": rescue})
    said = [task.msg for task in playbook(tasks).tasks if task.task == "Refused"]
    assert len(said) == len(BAD)
    for words, message in zip(BAD, said, strict=True):
        assert words in message, message


def test_a_ca_that_is_a_leaf_or_not_dedicated_is_refused(gw: GatewayUnderTest, role: Callable[..., Any]) -> None:
    settled = gw.state()
    (gw.folder / "leaf.pem").write_text(gw.shell(f"openssl x509 -in {FOLDER}/current/cert.pem"))
    leaf = [{"certificate": {"path": str(gw.folder / "leaf.pem")}, "primary_cdp": gw.server.url("users.crl")}]
    assert "is not the certificate of a CA" in role(changes={"vpn_gateway_trusted_client_cas": leaf}, fails=True).output
    issuing = [{"certificate": {"path": gw.lab.files["issuing_ca"]}, "primary_cdp": gw.server.url("users.crl")}]
    refused = role(changes={"vpn_gateway_trusted_client_cas": issuing, "vpn_gateway_dedicated_ca": True}, fails=True)
    assert "has issued this gateway's own certificate" in refused.output
    assert gw.state() == settled
