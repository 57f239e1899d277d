# SPDX-License-Identifier: GPL-3.0-or-later
"""What a TLS port shows to anybody: its certificates, and which versions of TLS it takes. Handshakes only."""

from __future__ import annotations

import socket
import ssl
import warnings
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates import endpoints
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load
from ansible_collections.certlogon.core.plugins.module_utils.certificates.chains import parsed
from ansible_collections.certlogon.core.plugins.module_utils.compliance import seen
from ansible_collections.certlogon.core.plugins.module_utils.compliance.read_only import Asked
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
_REFUSED = ("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "WRONG_VERSION_NUMBER")
"""How OpenSSL names a server that does not take the one version offered."""


def shown(host: str, port: int, server_name: str, timeout: int, asked: Asked) -> dict[str, Any]:
    """`certificates` (PEM, the server's own first) and `version` of a handshake. Raises `UserError`."""
    asked.ask("tls", "handshake")
    found = endpoints.show(host, port, start_tls=False, server_name=server_name, timeout=timeout)
    return {"host": host, "port": port, "server_name": server_name, "version": found.tls_version, "certificates": _pems(found.certificates)}


def _pems(ders: tuple[bytes, ...]) -> list[str]:
    found = []
    for content in ders:
        try:
            found.append(seen.pem(parsed(load(content))))
        except FormatError:
            found.append("")
    return found


def versions(host: str, port: int, server_name: str, timeout: int, asked: Asked) -> dict[str, bool | None]:
    """Which versions the port takes; None where it cannot be told, as where this machine's own OpenSSL does not offer one."""
    found: dict[str, bool | None] = {}
    hung_up = []
    for name, version in VERSIONS.items():
        asked.ask("tls", "handshake")
        try:
            found[name] = _takes(host, port, server_name, timeout, version)
        except (ssl.SSLEOFError, ConnectionError):
            found[name] = None
            hung_up.append(name)
    # some say no by hanging up; but who hangs up on every version has said nothing about any
    return found | dict.fromkeys(hung_up, False) if any(found.values()) else found


def _takes(host: str, port: int, server_name: str, timeout: int, version: ssl.TLSVersion) -> bool | None:
    """Raises `ssl.SSLEOFError` or `ConnectionError` where the server hangs up on it."""
    try:
        connection = socket.create_connection((host, port), timeout)
    except (OSError, ValueError):
        return None
    with connection:
        try:
            with _offering(version).wrap_socket(connection, server_hostname=server_name) as secured:
                return secured.version() is not None
        except (ssl.SSLEOFError, ConnectionError):
            raise
        except ssl.SSLError as error:
            return False if any(sign in (error.reason or "") for sign in _REFUSED) else None
        except (OSError, ValueError):
            return None


def _offering(version: ssl.TLSVersion) -> ssl.SSLContext:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the versions that are looked for are the deprecated ones
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    return context
