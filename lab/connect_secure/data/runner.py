# SPDX-License-Identifier: GPL-3.0-or-later
"""The data plane at work: haproxy on the external port hands tunnels to ocserv and browsers to nginx; CRLs are fetched when due; what
was configured is in force when `apply` returns.

Tunnels and browsers share port 443, as on the appliance: a browser's TLS hello names protocols (ALPN), openconnect's (9.12) names none.
All processes are started by one thread and end with it.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab.connect_secure import certificates
from lab.connect_secure.data import front, ocserv, ocsp, sessions
from lab.connect_secure.data.crls import Crls, replace
from lab.connect_secure.data.judge import closed, judge
from lab.connect_secure.data.log import Log
from lab.connect_secure.data.plan import Authority, Plan, Policy, Realm, Refused, plan
from lab.connect_secure.data.radius import PORTS, Relay
from lab.connect_secure.faults import Faults
from lab.connect_secure.state import State, Tree

HAPROXY = """\
global
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 1d
    timeout server 1d
frontend external
    bind {external}:443
    tcp-request inspect-delay 5s
    tcp-request content accept if {{ req.ssl_hello_type 1 }}
    use_backend browsers if {{ req.ssl_alpn -m found }}
    default_backend tunnels
backend browsers
    server nginx 127.0.0.1:{front} send-proxy
backend tunnels
    server ocserv 127.0.0.1:{ocserv} send-proxy
"""
POLL = 0.5  # seconds between looks at what is due
WATCH = 5.0  # seconds between looks at whose tunnels have ended without a word
APPLY_TIMEOUT = 30


class DataPlane:
    """What lab.connect_secure.appliance.DataPlane asks for. `folder`: our own; the log is in `log` beside it."""

    def __init__(self, folder: Path, external_address: str, inner: str, pool: str, node: str = "localhost2") -> None:
        self.folder, self._node = folder, node
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.log = Log(folder.parent / "log/user-access.log")
        self._networks = ocserv.Networks(external_address, inner, pool)
        self._paths = ocserv.Paths(folder)
        self._faults = Faults(folder.parent)
        self._crls = Crls(folder / "crls", self.log.system, lambda: float(self._faults.get("hour_seconds") or 3600))
        self._words = ocserv.Words(self._tunnel_refused)
        self._sessions = sessions.Sessions()
        self._state: State | None = None
        self._plan = Plan()
        self._wanted: Plan | None = None
        self._closed: dict[str, str] = {}
        self._files: dict[str, bytes] = {}
        self._hosts: set[str] = set()
        self._relays: dict[str, Relay] = {}
        self._asks_radius: set[tuple[str, bool]] = set()  # hosts, and whether they want a certificate as well
        self._children: dict[str, Child] = {}
        self._turns = threading.Condition()
        self._asked = self._served = 0
        self._wake, self._ended = threading.Event(), threading.Event()
        self._status = b""
        self._watched = 0.0
        self._seen_crls: list[bytes] = []
        self._thread: threading.Thread | None = None

    # What the control plane asks

    def connect(self, state: State) -> None:
        self._state = state

    def check(self, tree: Tree) -> None:
        """Raises Refused for what cannot take effect."""
        plan(tree, self._secrets())

    def apply(self, tree: Tree) -> None:
        """In force when it returns; a configuration that the data plane refuses leaves the one before in force, and a line in the log."""
        try:
            self._wanted = plan(tree, self._secrets())
        except Refused as refused:
            self.log.system(f"the configuration is not in force: {refused}")
            return
        if self._thread is None:
            self._start()
        self._settle()

    def sessions(self) -> list[dict[str, Any]]:
        return self._sessions.records(list(ocserv.users(self._paths)), self._node)

    def end_session(self, session_id: str) -> None:
        worker = sessions.worker(session_id)
        if worker is not None:
            self._end(worker, "ended by an administrator")

    def update_crl(self, ca: str) -> None:
        """Raises Refused with why the CRL was not had."""
        authority = next((authority for authority in self._plan.authorities if authority.name == ca), None)
        if authority is None:
            raise Refused(f"the trusted client CA '{ca}' does not exist")
        if not authority.checks_crl:
            raise Refused(f"no CRL is used for the trusted client CA '{ca}': its certificate status checking is {authority.status}")
        reason = self._crls.update(authority)
        self._settle()
        if reason:
            raise Refused(f"CRL of the trusted client CA '{ca}': {reason}")

    def crl_in_use(self, ca: str) -> bytes | None:
        """DER; None where there is none that certificates are checked against."""
        authority = next((authority for authority in self._plan.authorities if authority.name == ca), None)
        crl = self._crls.in_hand(authority) if authority is not None and authority.checks_crl else None
        return None if crl is None else crl.public_bytes(serialization.Encoding.DER)

    def status(self) -> dict[str, Any]:
        """As in status.json: the console's CRL status, and who is denied as a whole."""
        return {
            "crls": [self._crls.status(authority) for authority in self._plan.authorities if authority.checks_crl],
            "denied": dict(self._closed),
            "warnings": list(self._plan.warnings),
            "hosts": [host.host for host in self._plan.hosts],
            "running": sorted(name for name, child in self._children.items() if child.alive),
        }

    def stop(self) -> None:
        self._ended.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(10)

    def _settle(self) -> None:
        """Wait until what is wanted now is in force."""
        with self._turns:
            self._asked += 1
            turn = self._asked
            self._wake.set()
            self._turns.wait_for(lambda: self._served >= turn, APPLY_TIMEOUT)

    # The one thread that starts processes and writes files

    def _start(self) -> None:
        ocserv.prepare(self._paths)
        _make_nobody(self.folder)
        _GateServer(self._paths.gate_socket, self._gate).start()
        threading.Thread(target=front.Service(self.folder / "front.sock", self._browser).serve_forever, daemon=True).start()
        threading.Thread(target=self._download, name="crls", daemon=True).start()
        self._thread = threading.Thread(target=self._work, name="data-plane", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._ended.is_set():
            self._wake.wait(POLL)
            self._wake.clear()
            turn = self._asked
            try:
                self._take_wanted()
                self._refresh()
                self._watch()
            except Exception as error:  # the data plane goes on with what it had, and says so
                self.log.system(f"FAULT IN THE STAND-IN: {error!r}")
                print(f"data plane: {error!r}", flush=True)
            with self._turns:
                self._served = turn
                self._turns.notify_all()
        for child in self._children.values():
            child.end()

    def _take_wanted(self) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is None:
            return
        old = {authority.fingerprint: authority for authority in self._plan.authorities}
        for warning in wanted.warnings:
            if warning not in self._plan.warnings:
                self.log.system(f"WARNING: {warning}")
        self._plan = wanted
        for authority in wanted.authorities:
            before = old.get(authority.fingerprint)
            if before is not None and _crl_settings(before) != _crl_settings(authority):
                self._crls.forget(authority)

    def _refresh(self) -> None:
        """Write what changed, and let the processes know. A CA that has no good CRL is in no file, so that nobody of it gets past TLS."""
        now = datetime.datetime.now(datetime.timezone.utc)
        shut = {}
        for authority in self._plan.authorities:
            if authority.client_authentication:
                reason = closed(authority, self._plan.authorities, self._crls.find, now)
                if reason:
                    shut[authority.name] = reason
        for name in sorted(shut.keys() | self._closed.keys()):
            if shut.get(name) != self._closed.get(name):
                denied = f"everyone of the CA {name} is DENIED: {shut.get(name)}"
                self.log.system(denied if name in shut else f"users of the CA {name} are let in again")
        self._closed = shut
        keys = self._device_files()
        if not keys:
            self._stop_listeners("no device certificate is bound to an external port")
            return
        self._settle_relays()
        changed = self._write(keys, shut)
        asks = {(host.host, bool(host.user_oid)) for host in self._plan.hosts if host.radius is not None}
        if self._asks_radius != asks:  # ocserv looks at this at its start only
            self._asks_radius = asks
            self._restart("ocserv", "which sign-in policies ask a RADIUS server has changed")
        self._run("ocserv", ocserv.command(self._paths), self._read_ocserv, self._reload_ocserv if "ocserv.conf" in changed else None)
        nginx = changed & {"nginx.conf", "front-negotiation.pem", "front-trusted.pem", "front-crl.pem"}
        self._run("nginx", front.command(self.folder), self._read_nginx, self._reload_nginx if nginx else None)
        self._run("haproxy", ["haproxy", "-db", "-f", str(self.folder / "haproxy.cfg")], self._read_other, None)
        seen = [crl.signature for authority in self._plan.authorities if (crl := self._crls.in_hand(authority)) is not None]
        if seen != self._seen_crls:
            self._seen_crls = seen
            self._end_revoked()
        status = json.dumps(self.status(), indent=1).encode()
        if status != self._status:
            replace(self.folder / "status.json", status)
            self._status = status

    def _settle_relays(self) -> None:
        """One for each host that asks a RADIUS server."""
        wanted = {host.host: host.radius for host in self._plan.hosts if host.radius is not None}
        for host in self._relays.keys() - wanted.keys():
            self._relays.pop(host).close()
        for host, server in wanted.items():
            if host in self._relays:
                self._relays[host].radius = server
            else:
                taken = {relay.port for relay in self._relays.values()}
                port = next(port for port in PORTS if port not in taken)
                self._relays[host] = Relay(server, partial(self._radius_refused, host), port)

    def _radius_refused(self, host: str, user: str, address: str, reason: str) -> None:
        self.log.refused("tunnel", host, address, reason, None, who=user or "somebody")

    def _device_files(self) -> dict[str, bytes]:
        """Certificate with its issuers, and key, of each device certificate on an external port, by file name."""
        assert self._state is not None
        found: dict[str, bytes] = {}
        for number, device in enumerate(device for device in self._plan.certificates if device.external):
            found[f"device-{number}.pem"] = (device.pem + certificates.device_chain(self._state, device.pem)).encode()
            found[f"device-{number}.key"] = certificates.device_key(self._state, device.pem).encode()
        return found

    def _write(self, keys: dict[str, bytes], shut: dict[str, str]) -> set[str]:
        """The names of the files that are others now."""
        bound = [device.name for device in self._plan.certificates if device.external]
        files = {name: (self.folder / f"device-{number}.pem", self.folder / f"device-{number}.key") for number, name in enumerate(bound)}
        known = self._plan.authorities
        trusted = [authority for authority in known if authority.client_authentication and authority.name not in shut]
        hosts = {host.host for host in self._plan.hosts}
        running = "ocserv" in self._children and self._children["ocserv"].alive
        stale = sorted(self._hosts - hosts) if running else []
        self._hosts = hosts | set(stale)
        nobody, no_crl = (self.folder / "nobody.pem").read_text(), (self.folder / "nobody.crl.pem").read_text()
        good = [crl for authority in trusted if authority.status == "crl" and not isinstance(crl := self._crls.find(authority), str)]
        in_hand = [held for authority in known if authority.status == "crl" and (held := self._crls.in_hand(authority)) is not None]
        subjects = [authority.certificate.subject for authority in known]
        topless = [authority.certificate for authority in known if authority.certificate.issuer not in subjects]
        complete = 0 < len(known) == len(in_hand) and not topless
        negotiated = [authority for authority in known if authority.negotiation]
        content: dict[str, str | bytes] = {
            **keys,
            "ocserv-ca.pem": "".join(authority.pem for authority in trusted) or nobody,
            "ocserv-crl.pem": "".join(map(_pem, good)) + no_crl,
            "front-negotiation.pem": "".join(map(front.anchor, topless)) + ("".join(authority.pem for authority in negotiated) or nobody),
            "front-trusted.pem": "".join(authority.pem for authority in known if not authority.negotiation) or nobody,
            "front-crl.pem": "".join(map(_pem, in_hand)) + no_crl,
            "ocserv.conf": ocserv.configuration(self._plan, self._paths, self._networks, files, stale),
            "nginx.conf": front.configuration(self._plan, self.folder, files, crl=complete),
            **self._radius_files(),
            "haproxy.cfg": HAPROXY.format(external=self._networks.external, front=front.PORT, ocserv=ocserv.PORT),
        }
        changed = set()
        for name, text in content.items():
            data = text if isinstance(text, bytes) else text.encode()
            if self._files.get(name) != data:
                replace(self.folder / name, data)
                self._files[name] = data
                changed.add(name)
        if changed & {name for name in content if name.startswith("device-")}:
            changed |= {"ocserv.conf", "nginx.conf"}
        return changed

    def _radius_files(self) -> dict[str, str]:
        found = {}
        for host, relay in self._relays.items():
            path = self._paths.radius(host)
            found[path.name] = relay.client_configuration(f"{path}.servers")
            found[f"{path.name}.servers"] = f"127.0.0.1 {relay.secret}\n"
        return found

    def _restart(self, name: str, reason: str) -> None:
        """End a process that runs; the next `_run` starts it."""
        child = self._children.pop(name, None)
        if child is not None and child.alive:
            self.log.system(f"{name} is started again, which ends all tunnels: {reason}")
            child.end()
            self._sessions.clear()

    def _run(self, name: str, command: list[str], read: Callable[[str], None], reload: Callable[[], None] | None) -> None:
        child = self._children.get(name)
        if child is not None and child.alive:
            if reload is not None:
                reload()
            return
        if child is not None:
            self.log.system(f"{name} has ended with code {child.code}; it is started again")
            if name == "ocserv":
                self._sessions.clear()
        if name == "ocserv":
            for left in (self._paths.pid, self._paths.control):
                left.unlink(missing_ok=True)
        self._children[name] = child = Child(command, read)
        ports = {"ocserv": ocserv.PORT, "nginx": front.PORT}
        if not child.listens("127.0.0.1" if name in ports else self._networks.external, ports.get(name, 443)):
            self.log.system(f"FAULT IN THE STAND-IN: {name} does not listen; see {self.folder / 'processes.txt'}")

    def _stop_listeners(self, reason: str) -> None:
        if self._children:
            self.log.system(f"the external port is closed: {reason}")
        for child in self._children.values():
            child.end()
        self._children.clear()
        self._sessions.clear()

    def _watch(self) -> None:
        """Forget sessions that ended without a word of ocserv's script."""
        if not self._sessions.all() or time.monotonic() - self._watched < WATCH:
            return
        self._watched = time.monotonic()
        alive = {int(user["ID"]) for user in ocserv.users(self._paths)}
        for session in self._sessions.all():
            if session.worker not in alive and time.time() - session.since > 10:
                self._sessions.remove(session.worker)

    def _reload_ocserv(self) -> None:
        if wrong := ocserv.test(self._paths):
            self.log.system(f"FAULT IN THE STAND-IN: ocserv refuses its configuration: {wrong}")
            return
        ocserv.occtl(self._paths, "reload")
        time.sleep(0.3)

    def _reload_nginx(self) -> None:
        if wrong := front.test(self.folder):
            self.log.system(f"FAULT IN THE STAND-IN: nginx refuses its configuration: {wrong}")
            return
        self._children["nginx"].signal(signal.SIGHUP)
        time.sleep(0.2)

    # CRLs

    def _download(self) -> None:
        while not self._ended.wait(POLL):
            for authority in self._plan.authorities:
                if authority.checks_crl and self._crls.due(authority):
                    self._crls.update(authority)
                    self._wake.set()

    def _end_revoked(self) -> None:
        """Inferred: the appliance looks at a certificate when its user signs in; that a CRL ends the sessions of those it names is ours,
        and can be switched off (`keep_revoked_sessions` in faults.json)."""
        if self._faults.get("keep_revoked_sessions"):
            return
        now = datetime.datetime.now(datetime.timezone.utc)
        for session in self._sessions.all():
            if session.certificate is None:
                continue
            verdict = judge(session.certificate, self._plan.authorities, lambda authority, _: self._crls.find(authority), now)
            if verdict.revoked:
                self._end(session.worker, f"certificate {verdict.reason}")

    def _end(self, worker: int, reason: str) -> None:
        ocserv.occtl(self._paths, "disconnect", "id", str(worker))
        session = self._sessions.remove(worker)
        if session is not None:
            self.log.ended("tunnel", session.host, session.address, session.decision.user, reason)

    # Those who come

    def _tunnel_refused(self, host: str, address: str, certificate: x509.Certificate | None, words: str) -> None:
        """ocserv refused somebody: say why, by our own judgement of the certificate."""
        reason = "no certificate was presented"
        if all(virtual.host != host for virtual in self._plan.hosts):
            reason = "no sign-in policy for tunnels has this name"
        elif certificate is not None:
            reason = self._judge(certificate) or "ocserv refuses what we would not"
        self.log.refused("tunnel", host, address, reason, certificate, f"ocserv: {words}")

    def _judge(self, certificate: x509.Certificate) -> str:
        now = datetime.datetime.now(datetime.timezone.utc)
        return judge(certificate, self._plan.authorities, self._crls.find_for, now, self._ask_ocsp).reason

    def _ask_ocsp(self, certificate: x509.Certificate, authority: Authority) -> str | None:
        try:
            return ocsp.status(certificate, authority)
        except ocsp.NoAnswer as reason:
            self.log.system(f"OCSP of the CA {authority.name}: {reason}{'; its CRL decides' if authority.checks_crl else ''}")
            return None

    def _gate(self, question: dict[str, str]) -> bool:
        """ocserv's script: may this user have his tunnel, now that TLS is content?"""
        worker, host = int(question.get("id") or 0), question.get("vhost", "")
        if question.get("reason") == "disconnect":
            session = self._sessions.remove(worker)
            if session is not None:
                self.log.ended("tunnel", host, session.address, session.decision.user, "the tunnel was closed")
            return True
        certificate, address = self._words.certificate_of(worker), self._words.address_of(worker) or question.get("ip_real", "")
        virtual, user = next((virtual for virtual in self._plan.hosts if virtual.host == host), None), question.get("username", "")
        if virtual is None or (virtual.user_oid and certificate is None):
            reason = "no sign-in policy for tunnels has this name" if virtual is None else "no certificate is known of this connection"
            self.log.refused("tunnel", host, address, reason, certificate)
            return False
        if not virtual.user_oid:
            certificate = None  # not asked for, and so not looked at
        realm = virtual.realm
        decision = self._plan.decide(realm, certificate, user)
        reason = (self._judge(certificate) if certificate is not None else "") or decision.reason
        if reason:
            self.log.refused("tunnel", host, address, reason, certificate, who="" if certificate is not None else user)
            return False
        agent = question.get("user_agent", "")
        self._sessions.add(sessions.Session(worker, host, address, decision, certificate, agent, time.time()))
        text = f"realm {realm.name}, roles {', '.join(decision.roles)}, address {question.get('ip_remote')}"
        self.log.admitted("tunnel", host, address, decision.user, text, certificate)
        return True

    def _browser(self, visit: front.Visit) -> front.Page:
        policy = self._plan.policy(visit.host, visit.path)
        if policy is None or not policy.realms:
            return self._refuse(visit, 404, "No sign-in page here", f"no sign-in policy fits https://{visit.host}{visit.path}")
        asked = visit.query.get("realm", [policy.realms[0].name])[0]
        realm = next((realm for realm in policy.realms if realm.name == asked), None)
        if realm is None:
            return self._refuse(visit, 404, "No such realm", f"the sign-in policy {policy.url} has no realm {asked}")
        reason = self._browser_reason(visit, realm)
        if reason:
            return self._refuse(visit, 403, "You are not signed in", reason)
        if realm.server_kind != "certificate" or realm.secondary:
            return self._other_server(visit, policy, realm)
        assert visit.certificate is not None
        decision = self._plan.decide(realm, visit.certificate)
        if decision.reason:
            return self._refuse(visit, 403, "You are not signed in", decision.reason)
        roles = ", ".join(decision.roles)
        self.log.admitted("browser", visit.host, visit.address, decision.user, f"realm {realm.name}, roles {roles}", visit.certificate)
        return front.Page(
            200,
            f"Welcome, {decision.user}",
            f"Your certificate has signed you in{' as an administrator' if policy.administrators else ''}.",
            {
                "User": decision.user,
                "Realm": realm.name,
                "Roles": roles,
                "Sign-in policy": policy.url,
                "Certificate": visit.certificate.subject.rfc4514_string(),
                "Issuer": visit.certificate.issuer.rfc4514_string(),
                "Serial number": f"{visit.certificate.serial_number:x}",
            },
            {f"Realm {other.name}": f"{visit.path}?realm={quote(other.name)}" for other in policy.realms if other is not realm},
        )

    def _browser_reason(self, visit: front.Visit, realm: Realm) -> str:
        """Why not even the realm's server is asked; empty if it is."""
        demanded = realm.server_kind == "certificate" or realm.restriction == "required"
        if visit.certificate is None:
            return "no certificate was presented" if demanded else ""
        judged = self._judge(visit.certificate)
        if not judged and visit.verify.startswith("FAILED"):
            judged = f"nginx does not accept the certificate: {visit.verify.removeprefix('FAILED:')}"
        return (judged or realm.refuses(visit.certificate)) if demanded else ""

    def _other_server(self, visit: front.Visit, policy: Policy, realm: Realm) -> front.Page:
        asked = f"{realm.server} ({realm.server_kind}){f' and {realm.secondary}' if realm.secondary else ''}"
        text = f"the realm {realm.name} authenticates with {asked}; this front signs in with certificates only"
        where = " Administrators sign in to the management port." if policy.administrators else ""
        page = self._refuse(visit, 501, "Not modelled", text)
        return front.Page(page.status, page.title, page.text + where, {"Realm": realm.name, "Sign-in policy": policy.url})

    def _refuse(self, visit: front.Visit, status: int, title: str, reason: str) -> front.Page:
        words = f"nginx: {visit.verify}" if visit.verify not in ("", "SUCCESS", "NONE") else ""
        self.log.refused("browser", visit.host, visit.address, reason, visit.certificate, words)
        facts = {"Certificate": visit.certificate.subject.rfc4514_string()} if visit.certificate is not None else {}
        return front.Page(status, title, f"{reason[:1].upper()}{reason[1:]}.", facts)

    # What the processes say

    def _read_ocserv(self, line: str) -> None:
        if self._words.read(line):
            self._read_other(f"ocserv: {line}")

    def _read_nginx(self, line: str) -> None:
        self._read_other(f"nginx: {line}")

    def _read_other(self, line: str) -> None:
        with (self.folder / "processes.txt").open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}\n")

    def _secrets(self) -> dict[str, str]:
        return self._state.private["secrets"] if self._state is not None else {}


class Child:
    """A process of ours that ends when we do; `read` gets its lines. To be made by a thread that lives as long as it shall."""

    def __init__(self, command: list[str], read: Callable[[str], None]) -> None:
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert self._process.stdout is not None
        threading.Thread(target=self._lines, args=(self._process.stdout, read), daemon=True).start()

    @staticmethod
    def _lines(stream: IO[str], read: Callable[[str], None]) -> None:
        for line in stream:
            read(line.rstrip("\n"))

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def code(self) -> int | None:
        return self._process.poll()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def listens(self, address: str, port: int, timeout: float = 10) -> bool:
        deadline = time.monotonic() + timeout
        while self.alive and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
                return True
            time.sleep(0.05)
        return False

    def end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _GateServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path: Path, decide: Callable[[dict[str, str]], bool]) -> None:
        path.unlink(missing_ok=True)
        self.decide = decide
        super().__init__(str(path), _GateHandler)

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, name="gate", daemon=True).start()


class _GateHandler(socketserver.StreamRequestHandler):
    server: _GateServer

    def handle(self) -> None:
        question = json.loads(self.rfile.readline() or b"{}")
        self.wfile.write(b"allow\n" if self.server.decide(question) else b"deny\n")


def _crl_settings(authority: Authority) -> tuple[Any, ...]:
    return authority.status, authority.cdp_source, authority.cdps, authority.frequency


def _pem(crl: x509.CertificateRevocationList) -> str:
    return crl.public_bytes(serialization.Encoding.PEM).decode()


def _make_nobody(folder: Path) -> None:
    """A CA that has issued nothing, and its CRL: for files that may not be empty."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Nobody")])
    begin, end = datetime.datetime(2020, 1, 1), datetime.datetime(2049, 1, 1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    authority = (
        builder.not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    crl = x509.CertificateRevocationListBuilder().issuer_name(name).last_update(begin).next_update(end).sign(key, hashes.SHA256())
    replace(folder / "nobody.pem", authority.public_bytes(serialization.Encoding.PEM))
    replace(folder / "nobody.crl.pem", crl.public_bytes(serialization.Encoding.PEM))
