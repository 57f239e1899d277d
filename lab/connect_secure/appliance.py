# SPDX-License-Identifier: GPL-3.0-or-later
"""One stand-in appliance without its network: `handle(Request) -> Answer`, its beginning, its system operations."""

from __future__ import annotations

import base64
import datetime
import io
import json
import os
import secrets
import time
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lab.connect_secure import accounts, certificates
from lab.connect_secure.answers import Answer, NotModelled, Refused, Request, data, envelope, gone, written
from lab.connect_secure.configuration import Configuration
from lab.connect_secure.dialect import Dialect
from lab.connect_secure.faults import Faults
from lab.connect_secure.state import State, Tree
from lab.connect_secure.wire import load

REALM = "Admin Users"
API = "/api/v1/"


class DataPlane(Protocol):
    """What the control plane asks of the data plane.

    `connect` comes first and once: the state that secrets (`state.secret`), private keys (`certificates.device_key`) and issuers
    (`certificates.device_chain`) are read from. `check` raises an exception whose class is named Refused, with a message, for what the
    tunnel cannot express; `apply` follows each accepted change, and the start; `sessions` are records as /system/active-users has them;
    `update_crl` raises Refused with why the CRL was not had.
    """

    def connect(self, state: State) -> None: ...
    def check(self, tree: Tree) -> None: ...
    def apply(self, tree: Tree) -> None: ...
    def sessions(self) -> list[dict[str, Any]]: ...
    def end_session(self, session_id: str) -> None: ...
    def update_crl(self, ca: str) -> None: ...
    def crl_in_use(self, ca: str) -> bytes | None: ...


class Appliance:
    """`quiet`: a write without warnings is answered with 204, as the vendor's table allows. `names`: this appliance's words where they are
    not the table's (dialect.py).

    `certificate`, `key` (PEM): the device certificate that a new appliance has on its management port. `data_plane`: None for a
    control plane alone. `log`: is told of writes and refusals.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        certificate: str,
        key: str,
        version: str = "22.7R2.10",
        node: str = "localhost2",
        admin: str = "admin",
        password: str = "",
        key_lifetime: float = 3600,
        max_sessions: int = 1000,
        shallow: bool = False,
        quiet: bool = False,
        names: Mapping[str, str] | None = None,
        data_plane: DataPlane | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.version, self.node, self.admin = version, node, admin
        self.state = State(folder)
        self.faults = Faults(folder)
        self.counts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.asked: deque[str] = deque(maxlen=100)
        self.data_plane = data_plane
        self._dialect = Dialect(names) if names else None
        self._log, self._quiet = log, quiet
        if not self.state.tree:
            self.state.tree = _beginning(self.state, node, admin, password or secrets.token_urlsafe(12))
            _first_certificate(self.state, certificate, key)
            self.state.save()
        self.password = self.state.secret(_administrator(self.state.tree, admin)["password-encrypted"])
        self.configuration = Configuration(self.state, shallow=shallow)
        self.configuration.checks.append(self._check_data_plane)
        self.accounts = accounts.Accounts(self.state, version, lifetime=key_lifetime, max_sessions=max_sessions, clock=self.clock)
        if data_plane is not None:
            data_plane.connect(self.state)
            data_plane.apply(self.state.tree)
            self.state.subscribe(data_plane.apply)

    def clock(self) -> float:
        return time.time() + float(self.faults.get("clock_offset") or 0)

    def now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.clock(), datetime.timezone.utc)

    def management_certificate(self) -> tuple[str, str]:
        """What the management port serves: certificate and its issuers, key; both PEM."""
        for entry in certificates.listed(self.state.tree, certificates.DEVICE):
            if entry["management-port"] == "true":
                text = entry["certificate"]
                return text + certificates.device_chain(self.state, text), certificates.device_key(self.state, text)
        raise AssertionError("the management port has no certificate")

    def metrics(self) -> dict[str, Any]:
        """`requests`, `logins`, `connections`, `refused`, `inferred`, `status_NNN`; `what_was_refused`: how often which `stand-in:`
        text; `asked`: the last requests, method and path."""
        return {**self.counts, "what_was_refused": dict(self.refused), "asked": list(self.asked)}

    def count_on(self, metrics: dict[str, Any]) -> None:
        """From where the process before this one came to."""
        self.refused.update(metrics["what_was_refused"])
        self.counts.update({name: number for name, number in metrics.items() if isinstance(number, int)})

    def _check_data_plane(self, tree: Tree) -> None:
        if self.data_plane is None:
            return
        try:
            self.data_plane.check(tree)
        except Exception as error:
            if type(error).__name__ != "Refused":
                raise
            raise Refused(422, str(error)) from error

    def handle(self, request: Request) -> Answer:
        """One request; every refusal is an answer."""
        self.asked.append(f"{request.method} {request.path}{'?' * bool(request.query)}{request.query}")
        if self._dialect is not None:
            return self._dialect.answer(self._answer(self._dialect.request(request)))
        return self._answer(request)

    def _answer(self, request: Request) -> Answer:
        with self.state.lock:
            try:
                answer = self._route(request)
            except Refused as refused:
                if isinstance(refused, NotModelled):
                    self.counts["refused"] += 1
                    self.refused[refused.messages[0]] += 1
                answer = envelope(refused.status, errors=refused.messages)
        if self._quiet and answer.body == written(answer.status).body:
            answer = Answer(204, headers=answer.headers)
        if self._log and (request.method != "GET" or answer.status >= 400):
            self._log(f"{request.client}: {request.method} {request.path}: {answer.status} {_told(answer)}")
        if "X-Stand-In" in answer.headers:
            self.counts["inferred"] += 1
        return answer

    def console(self, changes: list[dict[str, Any]]) -> None:
        """An administrator at the console changes something, past the REST interface's login."""
        with self.state.lock:
            for change in changes:
                if change.get("delete"):
                    self.configuration.delete(change["path"])
                else:
                    self.configuration.put(change["path"], change["body"])

    def _route(self, request: Request) -> Answer:
        if not request.path.startswith(API):
            raise Refused(404, f"The resource {request.path} does not exist")
        path = request.path[len(API) :]
        if path.strip("/") in ("auth", "realm_auth"):
            self.counts["login_attempts"] += 1
            answer = self.accounts.login(
                Request(request.method, path, request.query, request.headers, request.body),
                table_full=bool(self.faults.get("session_table_full")),
            )
            self.counts["logins"] += 1
            return answer
        self.accounts.session(request, expire_after=self.faults.get("expire_key"))
        if path.split("/")[0] == "configuration":
            return self._configuration(request.method, path, request)
        return self._system(request, path.strip("/"))

    def _configuration(self, method: str, path: str, request: Request) -> Answer:
        if method == "GET":
            return self.configuration.get(path)
        if method == "POST":
            return self.configuration.post(path, request.json())
        if method == "PUT":
            return self.configuration.put(path, request.json())
        if method == "DELETE":
            answer = self.configuration.delete(path)
            certificates.forget_unused_keys(self.state)
            return answer
        raise NotModelled(f"the verb {method}")

    def _system(self, request: Request, path: str) -> Answer:
        segments = [unquote(segment) for segment in path.split("/")]
        known = {
            ("GET", "system/system-information"): self._information,
            ("GET", "system/status/ntp"): self._ntp,
            ("GET", "system/binary-configuration"): self._backup,
            ("GET", "system/active-users"): self._active_users,
            ("POST", "system/certificates/device-certificates"): self._import_device,
            ("POST", "system/certificates/certificate-requests"): self._create_request,
            ("POST", "system/certificates/trusted-client-cas"): self._import_client_cas,
        }.get((request.method, path))
        if known is not None:
            return known(request)
        match (request.method, *segments):
            case ("DELETE", "system", "active-users", "session", session_id):
                return self._end_session(session_id)
            case ("DELETE", "system", "certificates", "certificate-requests", name):
                return self._delete_request(name)
            case ("POST", "system", "certificates", "certificate-requests", name, "certificate"):
                return self._import_signed(name, request)
            case ("POST", "system", "certificates", "trusted-client-cas", name, "update-crl"):
                return self._update_crl(name)
            case ("GET", "system", "certificates", "trusted-client-cas", name, "crl"):
                return self._crl_in_use(name)
        raise NotModelled(f"{request.method} {path}", 404)

    # System

    def _information(self, request: Request) -> Answer:
        software = {
            "software": {"build": self.version.partition("R")[2] or "1", "version": self.version, "name": "Connect Secure (stand-in)"}
        }
        return data(
            {
                "system-information": {
                    "hardware-model": "stand-in",
                    "host-name": self.node,
                    "machine-id": "STANDIN0000000",
                    "os-name": "ive-sa",
                    "os-version": self.version,
                    "serial-number": "0000000000",
                },
                "software-inventory": software,
                "rollback-partition-information": {"build": "", "version": ""},
            }
        )

    def _ntp(self, request: Request) -> Answer:
        raise NotModelled("system/status/ntp: the fields of its answer", 404)

    def _backup(self, request: Request) -> Answer:
        """Base64, in lines, of a ZIP of system.cfg and user.cfg; another one each time, as on an appliance."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, part in (("system.cfg", "system"), ("user.cfg", "users")):
                content = json.dumps({"stand-in": part, "configuration": self.state.tree["configuration"], "salt": os.urandom(16).hex()})
                archive.writestr(name, content)
        return Answer(200, base64.encodebytes(packed.getvalue()), "text/plain")

    def _active_users(self, request: Request) -> Answer:
        query = {name: values[-1] for name, values in parse_qs(request.query).items()}
        unknown = sorted(set(query) - {"number", "start", "name"})
        if unknown:
            raise NotModelled(f"active-users with {unknown[0]}")
        try:
            number, start = int(query.get("number", 200)), int(query.get("start", 0))
        except ValueError:
            raise Refused(422, "number, start: a number is expected") from None
        records = self.data_plane.sessions() if self.data_plane else []
        if "name" in query:
            records = [record for record in records if record.get("active-user-name", "").casefold() == query["name"].casefold()]
        page = records[start : start + number]
        return data(
            {
                "active-users": {
                    "active-user-records": {
                        "active-user-record": page,
                        "is-last-record": "true" if start + number >= len(records) else "false",
                    },
                    "total-matched-record-number": len(records),
                    "total-returned-record-number": len(page),
                    "user-login-permission": "true",
                }
            }
        )

    def _end_session(self, session_id: str) -> Answer:
        records = self.data_plane.sessions() if self.data_plane else []
        if self.data_plane is None or all(record.get("session-id") != session_id for record in records):
            raise Refused(404, f"The session {session_id} does not exist")
        self.data_plane.end_session(session_id)
        return gone()

    # Certificates

    def _accept(self, tree: Tree) -> tuple[str, ...]:
        warnings = self.configuration.settle(tree)
        self.state.accept(tree)
        return warnings

    def _import_device(self, request: Request) -> Answer:
        tree = self.state.copy()
        warnings = certificates.import_device(self.state, tree, request.json(), self.now())
        return written(201, (*warnings, *self._accept(tree)))

    def _create_request(self, request: Request) -> Answer:
        tree = self.state.copy()
        name = certificates.create_request(self.state, tree, request.json())
        self._accept(tree)
        return envelope(201, info=(f"Certificate request '{name}' is pending",), inferred=True)

    def _delete_request(self, name: str) -> Answer:
        tree = self.state.copy()
        certificates.delete_request(tree, name)
        self._accept(tree)
        certificates.forget_unused_keys(self.state)
        return gone(inferred=True)

    def _import_signed(self, name: str, request: Request) -> Answer:
        tree = self.state.copy()
        warnings = certificates.import_signed(self.state, tree, name, request.json(), self.now())
        return written(201, (*warnings, *self._accept(tree)), inferred=True)

    def _import_client_cas(self, request: Request) -> Answer:
        tree = self.state.copy()
        names, warnings = certificates.import_client_cas(tree, request.json(), self.now())
        warnings += self._accept(tree)
        info = tuple(f"Trusted client CA '{name}' was imported" for name in names)
        return envelope(201, info=info, warnings=tuple(warnings), inferred=True)

    def _crl_in_use(self, name: str) -> Answer:
        crl = self.data_plane.crl_in_use(name) if self.data_plane else None
        if crl is None:
            raise Refused(404, f"There is no CRL of the trusted client CA '{name}'")
        return data({"crl": base64.b64encode(crl).decode()}, inferred=True)

    def _update_crl(self, name: str) -> Answer:
        if all(entry["name"] != name for entry in certificates.listed(self.state.tree, certificates.CLIENT_CA)):
            raise Refused(404, f"The trusted client CA '{name}' does not exist")
        if self.data_plane is None:
            raise NotModelled("this control plane has no data plane that could fetch a CRL")
        try:
            self.data_plane.update_crl(name)
        except Exception as error:
            if type(error).__name__ != "Refused":
                raise
            raise Refused(422, str(error)) from error
        return written(200, inferred=True)


def _told(answer: Answer) -> str:
    """The messages of an answer, and nothing of a login's."""
    result = json.loads(answer.body or b"{}").get("result", {})
    return "; ".join(entry["message"] for kind in ("warnings", "errors") for entry in result.get(kind, []))


def _administrator(tree: Tree, name: str) -> dict[str, Any]:
    servers = tree["configuration"]["authentication"]["auth-servers"]["auth-server"]
    users = next(server for server in servers if server["name"] == accounts.ADMINISTRATORS)["local"]["users"]["user"]
    return next(user for user in users if user["username"] == name)


def _beginning(state: State, node: str, admin: str, password: str) -> Tree:
    """A new appliance's configuration: the names are the product's own defaults where they are known (Administrators, Admin Users,
    Users, */admin/)."""
    administrator = {"username": admin, "fullname": "", "enabled": "true", "allow-rest-api-access": "enabled"}
    administrator["password-encrypted"] = state.keep_secret(password)
    policy = {"certificate": {"certificate-restriction": "Allow all users", "certificate-values": {"certificate-value": []}}}
    realm: dict[str, Any] = {"directory-server": "None", "accounting-server": "None", "secondary-authentication-settings": {"name": "-"}}
    everyone = {"stop-rules-processing": "false", "user-name": {"test": "is", "user-names": ["*"]}}
    tree: Tree = {"configuration": {}}
    content: dict[str, list[dict[str, Any]]] = {
        "auth_server": [
            {"name": accounts.ADMINISTRATORS, "local": {"users": {"user": [administrator]}}},
            {"name": "System Local", "local": {"users": {"user": []}}},
        ],
        "admin_role": [{"name": ".Administrators"}, {"name": ".Read-Only Administrators"}],
        "user_role": [{"name": "Users"}],
        "admin_realm": [
            {
                "name": REALM,
                "authentication-server": accounts.ADMINISTRATORS,
                **json.loads(json.dumps(realm)),
                "authentication-policy": json.loads(json.dumps(policy)),
                "role-mapping-rules": {"rule": [{"name": "Administrators", "roles": [".Administrators"], **everyone}]},
            }
        ],
        "user_realm": [
            {
                "name": "Users",
                "authentication-server": "System Local",
                **realm,
                "authentication-policy": policy,
                "role-mapping-rules": {"rule": [{"name": "Users", "roles": ["Users"], **everyone}]},
            }
        ],
        "sign_in_policy": [
            {"url-pattern": "*/admin/", "enabled": "true", "admin": {"realms": [REALM]}},
            {"url-pattern": "*/", "enabled": "true", "user": {"realms": ["Users"]}},
        ],
        **{resource: [] for resource in (certificates.DEVICE, certificates.REQUEST, certificates.CLIENT_CA)},
        "syslog_setting": [{"node": node, "syslog-servers": {"syslog-server": []}}],
        "vlan": [],
    }
    for resource, elements in content.items():
        *way, last = (node if segment == "{node}" else segment for segment in load().paths[resource].split("/"))
        here: dict[str, Any] = tree
        for segment in way:
            here = here.setdefault(segment, {})
        here[last] = elements
    system = tree["configuration"]["system"]["configuration"]
    system |= {"saml-configuration": {"settings": {"saml-fqdn": ""}}, "telemetry": {"enable": "true"}}
    return tree


def _first_certificate(state: State, certificate: str, key: str) -> None:
    own, *issuers = x509.load_pem_x509_certificates(certificate.encode())
    private = serialization.load_pem_private_key(key.encode(), None)
    element = certificates.add_device(state, state.tree, "first", own, private, issuers)
    element["management-port"] = "true"
