# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a server would start with what its settings name: said before the one that runs is stopped."""

from __future__ import annotations

import ssl

from passivekey.errors import ConfigurationError
from passivekey.server import store
from passivekey.server.keyring import Keyring
from passivekey.server.passphrase import passphrase
from passivekey.server.settings import Settings
from passivekey.server.spnego import Acceptor


def judge(given: Settings) -> None:
    """Open keys, keytab, certificates and database as a server would, and change nothing. Raises `ConfigurationError`."""
    Keyring.load(given.keys, passphrase(given.passphrase))
    if given.keytab:
        Acceptor(given.rules.host, given.keytab)
    _certificates(given)
    store.judge(given.database)


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
