# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs fetched by the host that a task is delegated to, with curl, for networks that the control node is not in."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates.cdp import Cdp, HttpCdp
from ansible_collections.certlogon.core.plugins.module_utils.certificates.crl_source import SIZE_LIMIT, Account
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError

Execute = Callable[..., Mapping[str, Any]]
"""Runs a shell command over the task's connection: rc, stdout, stderr."""

_VALUE = re.compile(r"^\s*(?:certificate|authority|delta)RevocationList(?:;binary)?:: ([A-Za-z0-9+/=]+)\s*$", re.MULTILINE | re.IGNORECASE)


_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"})
"""Of quoted values in curl's configuration (curl(1), --config)."""


class CrlDelegate:
    def __init__(self, host: str | None, execute: Execute) -> None:
        self._host = host
        self._execute = execute

    def fetch(self, cdp: Cdp, timeout: float, account: Account | None) -> list[bytes]:
        """The values at the CDP. Raises `UserError`."""
        if not self._host:
            raise UserError(
                "cdp_check: is delegate, but the task is delegated to no host; give it delegate_to, or set cdp_check=controller"
            )
        # as standard input, for everybody on the host sees the arguments of a process
        done = self._execute("curl --config - | base64 | tr -d '\\n'", in_data=_configuration(cdp, timeout, account))
        text = str(done.get("stdout") or "").strip()
        try:
            content = base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            content = b""
        if not content:
            said = " ".join(str(done.get("stderr") or "").split())[-200:] or "no answer"
            raise UserError(f"CRL {cdp}: cannot be fetched by {self._host} ({said}); is the server up, and curl there?")
        return [content] if isinstance(cdp, HttpCdp) else _values(content, cdp, self._host)


def _configuration(cdp: Cdp, timeout: float, account: Account | None) -> bytes:
    """curl's configuration file."""
    if not isinstance(cdp, HttpCdp) and not cdp.attribute.endswith(";binary"):
        # or else curl writes the value as it is into its text
        cdp = replace(cdp, attribute=f"{cdp.attribute};binary")
    options = {"url": str(cdp), "max-time": f"{timeout:g}", "max-filesize": str(SIZE_LIMIT)}
    if account:
        options["user"] = f"{account.name}:{account.password}"
    lines = ["silent", "show-error", "fail"]
    for name, value in options.items():
        escaped = value.translate(_ESCAPES)
        lines.append(f'{name} = "{escaped}"')
    return ("\n".join(lines) + "\n").encode()


def _values(content: bytes, cdp: Cdp, host: str) -> list[bytes]:
    found = [base64.b64decode(value) for value in _VALUE.findall(content.decode("utf-8", "replace"))]
    if not found:
        raise UserError(f"CRL {cdp}: the directory shows {host} no CRL there; publish it, or give an account that may read it")
    return found
