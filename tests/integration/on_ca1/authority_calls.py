# SPDX-License-Identifier: GPL-3.0-or-later
# mypy: ignore-errors
"""Runs on ca1: calls of the stand-in authority, on a machine of their own but in the lab's domain. JSON in, JSON out.

In: {"folder", "calls": [[method, arguments]]}; out: a list of {"result"} or {"error", "hresult"}. Bytes are base64, accounts are names.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import sys
from datetime import datetime
from pathlib import Path

from lab.windows_ca.authority import Authority, CertSrvError, InstallOptions, SambaDirectory
from lab.windows_ca.machine import Machine

SECRETS = Path("/etc/windows_ca")


def simple(value):
    if dataclasses.is_dataclass(value):
        return {
            field.name: simple(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.name not in ("key", "certificate")
        } | ({"certificate": simple(value.certificate)} if isinstance(getattr(value, "certificate", None), bytes) else {})
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: simple(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [simple(item) for item in value]
    return value


def call(authority, method, arguments):
    if method == "install":
        credential = arguments.pop("credential", None)
        return authority.install(InstallOptions(**arguments), tuple(credential) if credential else None)
    if method == "submit":
        request = base64.b64decode(arguments["request"])
        return authority.submit(request, arguments["attributes"], authority.identify(arguments["caller"]))
    if method == "certificates":
        return [ca.der for ca in authority.certificates]
    if "caller" in arguments:
        arguments["caller"] = authority.identify(arguments["caller"])
    return getattr(authority, method)(**arguments)


def main() -> None:
    asked = json.load(sys.stdin)
    machine = Machine(Path(asked["folder"]))
    with machine.transaction():
        machine.features["ADCS-Cert-Authority"] = True
    directory = SambaDirectory(
        "dc1.corp.example", "CORP.EXAMPLE", "CORP", keytab=SECRETS / "ca1.keytab", machine_account="CA1$", folder=machine.folder
    )
    authority = Authority(machine, directory)
    answers = []
    for method, arguments in asked["calls"]:
        try:
            answers.append({"result": simple(call(authority, method, arguments))})
        except CertSrvError as error:
            answers.append({"error": str(error), "hresult": error.hresult})
    answers.append({"result": authority.events})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
