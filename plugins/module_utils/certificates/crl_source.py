# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs fetched from where they are distributed, within limits of time and size. Knows nothing of what is in them."""

from __future__ import annotations

import math
import ssl
import time
from dataclasses import dataclass
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.certificates.cdp import HttpCdp, LdapCdp
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError

SIZE_LIMIT = 256 * 1024 * 1024
CHUNK = 64 * 1024


@dataclass(frozen=True, repr=False)
class Account:
    """Whom to be for the directory: a DN, or what else the server takes for one in a simple bind."""

    name: str
    password: str


def fetch(cdp: HttpCdp | LdapCdp, timeout: float, account: Account | None = None, *, limit: int = SIZE_LIMIT) -> list[bytes]:
    """What is there, in the encoding it has there; a directory may hold several values. Raises `UserError`."""
    return [http(cdp.url, timeout, limit=limit)] if isinstance(cdp, HttpCdp) else ldap(cdp, timeout, account, limit=limit)


def http(url: str, timeout: float, *, limit: int = SIZE_LIMIT) -> bytes:
    """Raises `UserError`. `timeout` is for the whole of it, in seconds, however slowly the server answers."""
    # a task that fetches nothing must not pay for the import
    from ansible_collections.certlogon.core.plugins.module_utils.libraries import requests

    deadline = time.monotonic() + timeout
    body = bytearray()
    try:
        with requests.Session() as session:
            # proxies of the environment lead outside, as they should; its CA bundle and .netrc are not for this
            session.trust_env = False
            proxies = requests.utils.get_environ_proxies(url)
            with session.get(url, timeout=timeout, stream=True, proxies=proxies) as answer:
                status = answer.status_code
                # what is there, and no waiting until a chunk is full: or else a server that drips would be waited for without end
                read = getattr(answer.raw, "read1", answer.raw.read)
                while status == 200 and len(body) <= limit:
                    part = read(CHUNK, decode_content=True)
                    if not part:
                        break
                    body += part
                    if time.monotonic() > deadline:
                        raise UserError(
                            f"CRL {url}: did not come within {timeout:g} seconds; is the server overloaded? Or raise the timeout"
                        )
    except UserError:
        raise
    except Exception as error:  # requests, urllib3 and the socket have no common base class
        kind = type(error).__name__
        raise UserError(f"CRL {url}: cannot be fetched ({kind}); is the server up, and its name known here?") from error
    if status != 200:
        raise UserError(f"CRL {url}: the server answers HTTP {status}; publish the CRL there (adcs_crl)")
    if len(body) > limit:
        raise UserError(f"CRL {url}: is larger than {limit} bytes")
    return bytes(body)


def ldap(cdp: LdapCdp, timeout: float, account: Account | None, *, limit: int = SIZE_LIMIT) -> list[bytes]:
    """Every value of the attribute, of every object found. Raises `UserError`."""
    from ansible_collections.certlogon.core.plugins.module_utils.libraries import ldap3, ldap3_exceptions

    try:
        found = _search(ldap3, cdp, timeout, account)
    except ldap3_exceptions.LDAPException as error:
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"CRL {cdp}: cannot be fetched ({text}); is the directory up, its name known here, and its port open?") from error
    except (OSError, ValueError) as error:
        raise UserError(f"CRL {cdp}: cannot be fetched ({error}); is the directory up, and its name known here?") from error
    if sum(map(len, found)) > limit:
        raise UserError(f"CRL {cdp}: is larger than {limit} bytes")
    return found


def _search(ldap3: Any, cdp: LdapCdp, timeout: float, account: Account | None) -> list[bytes]:
    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=ssl.get_default_verify_paths().cafile) if cdp.secure else None
    server = ldap3.Server(cdp.host, cdp.port, cdp.secure, tls=tls, get_info=ldap3.NONE, connect_timeout=timeout)
    connection = ldap3.Connection(
        server,
        account.name if account else None,
        account.password if account else None,
        receive_timeout=math.ceil(timeout),  # the library hands it to the system as a whole number
        auto_referrals=False,
        read_only=True,
        check_names=False,
    )
    try:
        if not connection.bind():
            raise UserError(f"CRL {cdp}: {_refusal(connection.result)}")
        scopes = {"base": ldap3.BASE, "one": ldap3.LEVEL, "sub": ldap3.SUBTREE}
        connection.search(cdp.base, cdp.filter, scopes[cdp.scope], attributes=[cdp.attribute], time_limit=max(1, int(timeout)))
        result, response = connection.result, connection.response or []
    finally:
        connection.unbind()
    if result["result"] != 0:
        raise UserError(f"CRL {cdp}: {_refusal(result)}")
    wanted = cdp.attribute.partition(";")[0].casefold()
    entries = [one for one in response if one.get("type") == "searchResEntry"]
    values = [
        bytes(value)
        for entry in entries
        for name, content in entry["raw_attributes"].items()
        if name.partition(";")[0].casefold() == wanted
        for value in content
    ]
    if not values:
        what = f"the object there has no {wanted}" if entries else "there is no such object"
        raise UserError(
            f"CRL {cdp}: {what}, or it is not to be read by {_who(account)}; publish the CRL there, or give an account that may"
        )
    return values


def _who(account: Account | None) -> str:
    return account.name if account else "somebody without an account"


def _refusal(result: Any) -> str:
    text = f"{result.get('description')} {result.get('message') or ''}".strip()
    remedies = {
        "invalidCredentials": "give the right account and password of the CDP",
        "noSuchObject": "mend the base DN, or publish the CRL there",
        "operationsError": "the directory answers nobody without an account: give one for the CDP",
        "insufficientAccessRights": "give an account that may read the object",
        "strongerAuthRequired": "the directory wants TLS: write ldaps:// if the appliance can speak it",
    }
    remedy = remedies.get(str(result.get("description")), "mend the address")
    return f"the directory refuses: {' '.join(text.split())[:200]}; {remedy}"
