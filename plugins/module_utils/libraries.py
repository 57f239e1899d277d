# SPDX-License-Identifier: GPL-3.0-or-later
"""Third-party libraries, each imported when it is first asked for here, and only then.

Ansible imports modules on machines that lack them (documentation, sanity tests), so a missing library must not fail at import;
it fails at its first use, with one line that names it. And a task that speaks no SMB must not pay for SMB's import.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError

if TYPE_CHECKING:
    import dns.resolver as dns_resolver
    import jinja2
    import ldap3
    import ldap3.core.exceptions as ldap3_exceptions
    import ldap3.protocol.sasl.sasl as ldap3_sasl
    import pkcs11
    import requests
    import smbprotocol
    import smbprotocol.connection as smb_connection
    import smbprotocol.exceptions as smb_exceptions
    import smbprotocol.open as smb_open
    import smbprotocol.session as smb_session
    import smbprotocol.tree as smb_tree
    import spnego
    import spnego.channel_bindings as spnego_channel_bindings
    import urllib3
    import yaml
    from cryptography import x509
    from cryptography.hazmat import primitives as crypto
    from cryptography.hazmat.primitives import ciphers as crypto_ciphers
    from cryptography.hazmat.primitives.asymmetric import ec as crypto_ec
    from cryptography.hazmat.primitives.asymmetric import padding as crypto_padding
    from cryptography.hazmat.primitives.asymmetric import rsa as crypto_rsa
    from cryptography.hazmat.primitives.asymmetric import utils as crypto_signatures
    from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12

# name here -> (module, distribution)
_LIBRARIES = {
    "crypto": ("cryptography.hazmat.primitives", "cryptography"),
    "crypto_ciphers": ("cryptography.hazmat.primitives.ciphers", "cryptography"),
    "crypto_ec": ("cryptography.hazmat.primitives.asymmetric.ec", "cryptography"),
    "crypto_padding": ("cryptography.hazmat.primitives.asymmetric.padding", "cryptography"),
    "crypto_rsa": ("cryptography.hazmat.primitives.asymmetric.rsa", "cryptography"),
    "crypto_signatures": ("cryptography.hazmat.primitives.asymmetric.utils", "cryptography"),
    "dns_resolver": ("dns.resolver", "dnspython"),
    "jinja2": ("jinja2", "Jinja2"),
    "ldap3": ("ldap3", "ldap3"),
    "ldap3_exceptions": ("ldap3.core.exceptions", "ldap3"),
    "ldap3_sasl": ("ldap3.protocol.sasl.sasl", "ldap3"),
    "pkcs7": ("cryptography.hazmat.primitives.serialization.pkcs7", "cryptography"),
    "pkcs11": ("pkcs11", "python-pkcs11"),
    "pkcs12": ("cryptography.hazmat.primitives.serialization.pkcs12", "cryptography"),
    "requests": ("requests", "requests"),
    "smb_connection": ("smbprotocol.connection", "smbprotocol"),
    "smb_exceptions": ("smbprotocol.exceptions", "smbprotocol"),
    "smb_open": ("smbprotocol.open", "smbprotocol"),
    "smb_session": ("smbprotocol.session", "smbprotocol"),
    "smb_tree": ("smbprotocol.tree", "smbprotocol"),
    "smbprotocol": ("smbprotocol", "smbprotocol"),
    "spnego": ("spnego", "pyspnego"),
    "spnego_channel_bindings": ("spnego.channel_bindings", "pyspnego"),
    "urllib3": ("urllib3", "urllib3"),
    "x509": ("cryptography.x509", "cryptography"),
    "yaml": ("yaml", "PyYAML"),
}


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


def kerberos_is_missing() -> UserError:
    """What to say where pyspnego raises ImportError: Kerberos is an extra of it, which is compiled."""
    return UserError(
        f"auth: Kerberos needs the Python libraries gssapi and krb5, which are missing in {sys.executable}; install them there: "
        "pip install 'pyspnego[kerberos]' (compiled; on Debian it needs gcc, python3-dev and libkrb5-dev)"
    )


def __getattr__(name: str) -> Any:
    """The library by its name here (PEP 562)."""
    if name not in _LIBRARIES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, distribution = _LIBRARIES[name]
    try:
        library: Any = import_module(module)
    except ImportError:
        library = _Missing(distribution)
    globals()[name] = library
    return library


__all__ = [
    "crypto",
    "crypto_ciphers",
    "crypto_ec",
    "crypto_padding",
    "crypto_rsa",
    "crypto_signatures",
    "dns_resolver",
    "jinja2",
    "kerberos_is_missing",
    "ldap3",
    "ldap3_exceptions",
    "ldap3_sasl",
    "pkcs7",
    "pkcs11",
    "pkcs12",
    "requests",
    "smb_connection",
    "smb_exceptions",
    "smb_open",
    "smb_session",
    "smb_tree",
    "smbprotocol",
    "spnego",
    "spnego_channel_bindings",
    "urllib3",
    "x509",
    "yaml",
]
