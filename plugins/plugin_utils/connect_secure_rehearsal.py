# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of an appliance that is as it should be, played through without any appliance.

Ansible forks a process for each task, from the one that loads this. What the first run of any code takes longer than the second (Python
settles into its own code, OpenSSL looks up its algorithms, expressions are compiled) would be taken anew for each appliance: a third of
all that an unchanged one costs. Here it is taken once.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import tempfile
from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible.module_utils.common.parameters import remove_values

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import gateway
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.client import ApplianceSession
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import SESSION, ConnectionOptions, Run
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.table import Table
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.transport import Answer, Transport, trust
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.whole_appliance import WholeAppliance
from ansible_collections.certlogon.core.plugins.module_utils.libraries import crypto, crypto_ec, x509
from ansible_collections.certlogon.core.plugins.plugin_utils.in_process import plain

NAME = "localhost"
TIMES = 2
"""More made no difference that could be measured."""


def rehearse(validator: Any, whole: WholeAppliance, times: int = TIMES) -> list[dict[str, Any]]:
    """The results, all of them unchanged. Raises `UserError` where a library is missing."""
    key, certificate = _pair()
    pem = certificate.public_bytes(crypto.serialization.Encoding.PEM).decode()
    own = {"key_type": "ec", "curve": "P-256"}
    words = {
        "host": NAME,
        "username": "nobody",
        "password": "nothing",
        "gateway": {"server_names": [NAME], "device_certificate": own},
        "trusted_client_cas": [{"certificate": {"content": pem}, "primary_cdp": f"http://{NAME}/ca.crl"}],
        "cdp_check": "skip",
    }
    table = Table.load()
    answers = _answers(table, words, pem)
    results = []
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(_text(key) + pem)
        file.flush()
        far_end = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        far_end.load_cert_chain(file.name)
        for _time in range(times):
            checked = validator.validate(plain(gateway.expanded({**words, "ca_path": file.name})))
            params, run = plain(checked.validated_parameters), Run()
            options = ConnectionOptions.from_params(params)
            with closing(_Stage(options, run, far_end, answers)) as transport:
                session = ApplianceSession(options, table, transport, run, _ignored)
                outcome = whole.run({**params, SESSION: session}, check_mode=True, warn=_ignored)
            results.append(remove_values(outcome, checked._no_log_values))
    return results


class _Stage(Transport):
    """Both ends of a connection; the far one has answered before it is asked."""

    def __init__(self, options: ConnectionOptions, run: Run, far_end: ssl.SSLContext, answers: Mapping[str, Any]) -> None:
        super().__init__(options, run)
        self._answers = answers
        near, far = socket.socketpair()
        for end in (near, far):
            end.setblocking(False)
        context = trust(options)
        client = context.wrap_socket(near, server_hostname=NAME, do_handshake_on_connect=False)
        self._far = far_end.wrap_socket(far, server_side=True, do_handshake_on_connect=False)
        for _step in range(3):
            for end in (client, self._far):
                with suppress(ssl.SSLWantReadError):
                    end.do_handshake()
        for end in (client, self._far):
            end.setblocking(True)
        self._connection = http.client.HTTPSConnection(NAME, context=context)
        self._connection.sock = client

    def close(self) -> None:
        super().close()
        self._far.close()

    def _once(self, method: str, path: str, *rest: Any) -> Answer:
        body = json.dumps(self._answers[path]).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._far.sendall(head.encode() + body)
        return super()._once(method, path, *rest)

    def _connected(self, where: str) -> http.client.HTTPSConnection:
        if self._connection is None:
            raise AssertionError(where)
        return self._connection


def _text(key: Any) -> str:
    serialization = crypto.serialization
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    text: bytes = key.private_bytes(*form)
    return text.decode()


def _ignored(_text: str) -> None:
    pass


def _pair() -> tuple[Any, Any]:
    """A key, and the certificate that it signs itself: the appliance's, and that of the users' CA."""
    key, now = crypto_ec.generate_private_key(crypto_ec.SECP256R1()), datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(365))
    builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), False)
    return key, builder.sign(key, crypto.hashes.SHA256())


def _answers(table: Table, words: Mapping[str, Any], pem: str) -> dict[str, Any]:
    """What an appliance that is as `words` want it answers, by path."""
    wanted = gateway.expanded(words)
    (authority,), (server,), (realm,), (policy,) = (
        wanted[part] for part in ("trusted_client_cas", "auth_servers", "realms", "sign_in_policies")
    )
    device = {"certificate": pem, "external_ports": wanted["device_certificates"][0]["external_ports"]}
    elements = {
        "device_certificate": {**device, "name": NAME},
        "trusted_client_ca": {**authority, "certificate": pem, "name": NAME},
        "auth_server": {"name": server["name"], "certificate": server["certificate"]},
        "user_realm": {name: value for name, value in realm.items() if name not in ("kind", "secondary_authentication")},
        "sign_in_policy": {"url": policy["url"], "enabled": True, "user": {"realms": policy["realms"]}},
    }
    answers: dict[str, Any] = {table.operation(name).address(): {"api_key": "none"} for name in table.login}
    for resource, element in elements.items():
        shape = table.resource(resource)
        wire = shape.encode(element)
        answers[shape.plural()] = {shape.member: [wire]}
        answers[shape.path(shape.name_of(wire))] = wire
    return answers
