# SPDX-License-Identifier: GPL-3.0-or-later
# mypy: ignore-errors
"""Runs on ca1, where a keytab and the domain are: sign in to the gate by Kerberos, with and without channel bindings. Prints JSON."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import gssapi
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from gssapi.raw import IOV, ChannelBindings, IOVBufferType, wrap_iov

from lab.windows_ca.gate import Gate, end_point_binding

SECRETS = Path("/etc/windows_ca")
SPNEGO, KERBEROS = gssapi.OID.from_int_seq("1.3.6.1.5.5.2"), gssapi.OID.from_int_seq("1.2.840.113554.1.2.2")


def sign_in(gate: Gate, mechanism: gssapi.OID, binding: bytes | None, require: bool, host: str = "ca1.corp.example") -> dict:
    bindings = None if binding is None else ChannelBindings(application_data=binding)
    name = gssapi.Name(f"HTTP@{host}", gssapi.NameType.hostbased_service)
    client = gssapi.SecurityContext(name=name, mech=mechanism, usage="initiate", channel_bindings=bindings)
    conversation = gate.new_conversation(allow={"negotiate", "kerberos"}, require_channel_binding=require)
    token, answer = client.step(), None
    while token:
        answer = conversation.step("Negotiate " + base64.b64encode(token).decode())
        proof = next((value.partition(" ")[2] for value in answer.www_authenticate if " " in value), "")
        token = client.step(base64.b64decode(proof)) if proof and not client.complete else None
    sealed = None
    if answer.authenticated:
        parts = IOV(IOVBufferType.header, b"hello", IOVBufferType.padding, std_layout=False)
        wrap_iov(client, parts, confidential=True)
        sealed = conversation.unwrap(parts[0].value, parts[1].value + (parts[2].value or b"")).decode()
    return {"account": answer.authenticated, "error": answer.error, "method": conversation.method, "sealed": sealed}


def main() -> None:
    certificate = x509.load_pem_x509_certificate((SECRETS / "winrm.pem").read_bytes()).public_bytes(serialization.Encoding.DER)
    gate = Gate(SECRETS / "ca1.keytab", SECRETS / "ntlm_users", lambda: certificate)
    right, wrong = end_point_binding(certificate), b"tls-server-end-point:" + bytes(32)
    found = {
        f"{name} {word} {'required' if require else 'optional'}": sign_in(gate, mechanism, binding, require)
        for name, mechanism in (("spnego", SPNEGO), ("kerberos", KERBEROS))
        for word, binding in (("right", right), ("wrong", wrong), ("none", None))
        for require in (False, True)
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
