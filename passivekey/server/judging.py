# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a server would start with what its settings name: said before the one that runs is stopped."""

from __future__ import annotations

import ssl

from passivekey.errors import ConfigurationError
from passivekey.protocol.errors import Refused
from passivekey.server import store
from passivekey.server.keyring import Keyring
from passivekey.server.ldap import LdapDirectory
from passivekey.server.passphrase import passphrase
from passivekey.server.settings import Settings
from passivekey.server.spnego import Acceptor

_NOBODY = "S-1-0-0"


def judge(given: Settings) -> None:
    """Open keys, keytab, certificates and database and ask the directory, as a server does; change nothing. Raises `ConfigurationError`."""
    Keyring.load(given.keys, passphrase(given.passphrase))
    if given.keytab:
        Acceptor(given.rules.host, given.keytab)
    _certificates(given)
    store.judge(given.database)
    _directory(given)


def _certificates(given: Settings) -> None:
    if given.certificate:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(given.certificate, given.certificate_key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"tls: {given.certificate} and {given.certificate_key} are no pair: {error}") from error
    ca_file = given.directory.ca_file
    if ca_file:
        try:
            ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"directory.ca_file: {ca_file} holds no CA: {error}") from error


def _directory(given: Settings) -> None:
    """Whoever it is that is looked for."""
    try:
        LdapDirectory(given.directory).by_sid(_NOBODY)
    except Refused as error:
        wrong = f"no domain controller answers as {given.directory.username or 'anybody'}"
        remedy = "is directory.password_file its password, and directory.ca_file their CA?"
        raise ConfigurationError(f"directory: {wrong} ({', '.join(given.directory.servers)}); {remedy}") from error
