# SPDX-License-Identifier: GPL-3.0-or-later
"""Third-party libraries, imported once and in one place.

Ansible imports modules on machines that lack them (documentation, sanity tests), so a missing library must not fail at import;
it fails at its first use, with one line that names it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError

if TYPE_CHECKING:
    import dns.resolver as dns_resolver
    import ldap3
    import ldap3.core.exceptions as ldap3_exceptions
    import ldap3.protocol.sasl.sasl as ldap3_sasl
    import smbclient
    import smbprotocol
    import smbprotocol.connection as smb_connection
    import smbprotocol.exceptions as smb_exceptions
    import smbprotocol.open as smb_open
    import smbprotocol.session as smb_session
    import smbprotocol.tree as smb_tree
    import spnego
    import spnego.channel_bindings as spnego_channel_bindings
    from cryptography import x509
    from cryptography.hazmat import primitives as crypto
    from cryptography.hazmat.primitives.serialization import pkcs7


class _Missing:
    """Stands where a library would be; says which one is missing as soon as it is needed."""

    def __init__(self, distribution: str) -> None:
        self._distribution = distribution

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise UserError(
            f"the Python library {self._distribution} is missing in {sys.executable}; install it there: pip install {self._distribution}"
        )


def _library(module: str, distribution: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        return _Missing(distribution)


if not TYPE_CHECKING:
    ldap3 = _library("ldap3", "ldap3")
    ldap3_exceptions = _library("ldap3.core.exceptions", "ldap3")
    ldap3_sasl = _library("ldap3.protocol.sasl.sasl", "ldap3")
    spnego = _library("spnego", "pyspnego")
    spnego_channel_bindings = _library("spnego.channel_bindings", "pyspnego")
    smbclient = _library("smbclient", "smbprotocol")
    smbprotocol = _library("smbprotocol", "smbprotocol")
    smb_connection = _library("smbprotocol.connection", "smbprotocol")
    smb_exceptions = _library("smbprotocol.exceptions", "smbprotocol")
    smb_open = _library("smbprotocol.open", "smbprotocol")
    smb_session = _library("smbprotocol.session", "smbprotocol")
    smb_tree = _library("smbprotocol.tree", "smbprotocol")
    x509 = _library("cryptography.x509", "cryptography")
    crypto = _library("cryptography.hazmat.primitives", "cryptography")
    pkcs7 = _library("cryptography.hazmat.primitives.serialization.pkcs7", "cryptography")
    dns_resolver = _library("dns.resolver", "dnspython")

__all__ = [
    "crypto",
    "dns_resolver",
    "ldap3",
    "ldap3_exceptions",
    "ldap3_sasl",
    "pkcs7",
    "smb_connection",
    "smb_exceptions",
    "smb_open",
    "smb_session",
    "smb_tree",
    "smbclient",
    "smbprotocol",
    "spnego",
    "spnego_channel_bindings",
    "x509",
]
