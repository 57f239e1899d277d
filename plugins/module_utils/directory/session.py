# SPDX-License-Identifier: GPL-3.0-or-later
"""An LDAP session with a domain controller: one connection, paged reads, typed errors. It knows no resource."""

from __future__ import annotations

import datetime
import random
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.directory import principals, spnego_bind
from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.directory.names import escape_filter, rdn_value
from ansible_collections.certlogon.core.plugins.module_utils.directory.principals import Principal
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import Sid
from ansible_collections.certlogon.core.plugins.module_utils.errors import SessionLost, UserError
from ansible_collections.certlogon.core.plugins.module_utils.libraries import ldap3, ldap3_exceptions

PAGE_SIZE = 1000
"""MaxPageSize of a default domain ([MS-ADTS] 3.1.1.3.4.6)."""

CLOCK_TOLERANCE = 300
"""Seconds: the clock skew that Kerberos allows (RFC 4120 1.6)."""

STRONG_AUTH_REQUIRED = 8
"""LDAP result code (RFC 4511 4.1.9)."""

_SD_FLAGS = "1.2.840.113556.1.4.801"
_PERMISSIVE_MODIFY = "1.2.840.113556.1.4.1413"
_TREE_DELETE = "1.2.840.113556.1.4.805"

Warn = Callable[[str], None]
Value = bytes | str | int  # pylint: disable=unsupported-binary-operation  # judged for Python 3.8


class DirectoryError(UserError):
    """The server refused an operation; `code` is the LDAP result code (RFC 4511 4.1.9)."""

    code = 0


class NoSuchAttribute(DirectoryError):
    """A value to delete is not there: somebody else was faster."""


class NoSuchObject(DirectoryError):
    """The object is not there (any more)."""


class AccessDenied(DirectoryError):
    """The account lacks a right."""


class AlreadyExists(DirectoryError):
    """There is an object of that name already."""


_ERRORS: dict[int, type[DirectoryError]] = {16: NoSuchAttribute, 32: NoSuchObject, 50: AccessDenied, 68: AlreadyExists}

# The AD-specific part of an invalidCredentials answer: "... data 52e, ..."
_BIND_REASONS = {
    "35b": "the TLS channel it sees is another one than ours; is there a proxy between that ends TLS?",
    "490": "wrong user name or password",
    "57": "it takes no such sign-in over TLS; use tls=none (the connection is then sealed), auth=kerberos or auth=simple",
    "525": "there is no such account",
    "52e": "wrong user name or password",
    "530": "the account may not sign in at this time",
    "531": "the account may not sign in from this computer",
    "532": "the password has expired; set a new one",
    "533": "the account is disabled",
    "568": "too many connections for this account",
    "701": "the account has expired",
    "773": "the password must be changed before the first sign-in; set a new one",
    "775": "the account is locked out",
}
_SASL_REASONS = {
    "NT_STATUS_LOGON_FAILURE": "52e",
    "NT_STATUS_WRONG_PASSWORD": "52e",
    "NT_STATUS_NO_SUCH_USER": "525",
    "NT_STATUS_PASSWORD_EXPIRED": "532",
    "NT_STATUS_PASSWORD_MUST_CHANGE": "773",
    "NT_STATUS_ACCOUNT_DISABLED": "533",
    "NT_STATUS_ACCOUNT_EXPIRED": "701",
    "NT_STATUS_ACCOUNT_LOCKED_OUT": "775",
}


@dataclass(frozen=True)
class Modify:
    """One change of one attribute; `operation` is add, delete or replace."""

    operation: str
    attribute: str
    values: Sequence[Value] = ()


class Entry:
    """A directory object as read: raw values, attribute names without case."""

    __slots__ = ("_attributes", "dn")

    def __init__(self, dn: str, attributes: Mapping[str, Sequence[bytes]]) -> None:
        self.dn = dn
        self._attributes = {name.lower(): list(values) for name, values in attributes.items() if values}

    def has(self, name: str) -> bool:
        return name.lower() in self._attributes

    def raws(self, name: str) -> list[bytes]:
        return self._attributes.get(name.lower(), [])

    def raw(self, name: str) -> bytes | None:
        values = self.raws(name)
        return values[0] if values else None

    def texts(self, name: str) -> list[str]:
        return [value.decode("utf-8", "replace") for value in self.raws(name)]

    def text(self, name: str) -> str | None:
        values = self.texts(name)
        return values[0] if values else None

    def integer(self, name: str) -> int | None:
        value = self.raw(name)
        return None if value is None else int(value)


class Directory:
    """A bound connection with what the server says of itself."""

    def __init__(self, connection: Any, options: ConnectionOptions, host: str, root: Entry) -> None:
        self._connection = connection
        self.options = options
        self.address = host
        self.host = root.text("dnsHostName") or host
        self.domain_dn = _required(root, "defaultNamingContext")
        self.configuration_dn = _required(root, "configurationNamingContext")
        self.schema_dn = _required(root, "schemaNamingContext")
        self.root_domain_dn = _required(root, "rootDomainNamingContext")
        self.is_samba = "samba" in (root.text("vendorName") or "").lower()
        self.time_difference = _time_difference(root)

    @property
    def domain(self) -> str:
        return dns_name(self.domain_dn)

    @property
    def forest(self) -> str:
        return dns_name(self.root_domain_dn)

    @property
    def public_key_services(self) -> str:
        return f"CN=Public Key Services,CN=Services,{self.configuration_dn}"

    @cached_property
    def domain_sid(self) -> Sid:
        return self._sid_of(self, self.domain_dn)

    @cached_property
    def root_domain_sid(self) -> Sid:
        """The domain of Enterprise Admins, to whom the PKI belongs; other domains' controllers know it by the global catalogue."""
        if self.root_domain_dn.lower() == self.domain_dn.lower():
            return self.domain_sid
        with self.global_catalogue() as catalogue:
            return self._sid_of(catalogue, self.root_domain_dn)

    @staticmethod
    def _sid_of(directory: Directory, dn: str) -> Sid:
        entry = directory.get(dn, ["objectSid"])
        value = entry.raw("objectSid") if entry else None
        if value is None:
            raise UserError(f"{dn}: {directory.host} shows no objectSid of the domain; may the account read it?")
        return Sid.from_bytes(value)

    @cached_property
    def domains(self) -> dict[str, str]:
        """The forest's domains: NetBIOS name -> distinguished name."""
        found = self.search(
            f"CN=Partitions,{self.configuration_dn}", "(&(objectClass=crossRef)(nETBIOSName=*))", ["nETBIOSName", "nCName"], "level"
        )
        return {entry.text("nETBIOSName") or "": entry.text("nCName") or "" for entry in found}

    @contextmanager
    def global_catalogue(self) -> Iterator[Directory]:
        """A session with the global catalogue on this server, with the same account."""
        port = 3269 if self.options.tls == "ldaps" else 3268
        with _session(self.options, self.host, port, _silent) as catalogue:
            yield catalogue

    @cached_property
    def pdc_emulator(self) -> str:
        """DNS name of the domain controller that holds the PDC emulator role."""
        head = self.get(self.domain_dn, ["fSMORoleOwner"])
        owner = head.text("fSMORoleOwner") if head else None
        server = self.get(owner.partition(",")[2], ["dNSHostName"]) if owner else None
        name = server.text("dNSHostName") if server else None
        if not name:
            raise UserError(
                f"{self.domain}: {self.host} does not know the PDC emulator (fSMORoleOwner {owner!r}); "
                "name a server and set use_pdc_emulator=false"
            )
        return name

    def search(
        self,
        base: str,
        filter: str = "(objectClass=*)",
        attributes: Iterable[str] = ("*",),
        scope: str = "subtree",
        *,
        descriptor: int = 0,
    ) -> list[Entry]:
        """All objects below `base` that match, in pages; referrals are not followed. Raises `NoSuchObject` where `base` is absent."""
        return list(self.stream(base, filter, attributes, scope, descriptor=descriptor))

    def stream(
        self,
        base: str,
        filter: str = "(objectClass=*)",
        attributes: Iterable[str] = ("*",),
        scope: str = "subtree",
        *,
        descriptor: int = 0,
    ) -> Iterator[Entry]:
        """`search` for more objects than memory should hold: one page at a time. Other operations may stand between two pages."""
        cookie: bytes | None = None
        wanted = list(attributes)
        while True:
            answer = self._do(
                base,
                "search",
                base,
                filter,
                search_scope=scope.upper(),
                attributes=wanted,
                controls=_controls(descriptor),
                paged_size=None if scope == "base" else PAGE_SIZE,
                paged_cookie=cookie,
            )
            cookie = self._connection.result.get("controls", {}).get("1.2.840.113556.1.4.319", {}).get("value", {}).get("cookie")
            for item in answer:
                if item["type"] == "searchResEntry":
                    yield Entry(item["dn"], item["raw_attributes"])
            if not cookie:
                return

    def get(self, dn: str, attributes: Iterable[str] = ("*",), *, descriptor: int = 0) -> Entry | None:
        try:
            found = self.search(dn, "(objectClass=*)", attributes, "base", descriptor=descriptor)
        except NoSuchObject:
            return None
        return found[0] if found else None

    def add(self, dn: str, attributes: Mapping[str, Value | Sequence[Value]], *, descriptor: int = 0) -> None:
        encoded = {name: _encoded(values) for name, values in attributes.items()}
        self._do(dn, "add", dn, None, {name: values for name, values in encoded.items() if values}, controls=_controls(descriptor))

    def modify(self, dn: str, changes: Iterable[Modify], *, descriptor: int = 0, permissive: bool = False) -> None:
        """All changes or none; deleting the old value and adding the new one of a single-valued attribute is compare-and-swap."""
        operations: dict[str, list[tuple[str, list[bytes]]]] = {}
        for change in changes:
            operations.setdefault(change.attribute, []).append((f"MODIFY_{change.operation.upper()}", _encoded(change.values)))
        if operations:
            self._do(dn, "modify", dn, operations, controls=_controls(descriptor, permissive))

    def delete(self, dn: str, *, tree: bool = False) -> None:
        self._do(dn, "delete", dn, controls=[(_TREE_DELETE, True, None)] if tree else None)

    def resolve(self, wanted: Iterable[str]) -> dict[str, Principal]:
        """The principals by the names given; raises one `UserError` that lists every unknown or ambiguous one."""
        return principals.resolve(self, list(wanted))

    def principal_names(self, sids: Iterable[Sid]) -> dict[Sid, str]:
        """What an administrator would call these SIDs; a SID that nobody knows is its own name."""
        return principals.names(self, list(sids))

    def may_create(self, container: str, object_class: str) -> bool:
        """Whether the account may create such an object there (allowedChildClassesEffective, [MS-ADTS] 3.1.1.4.5.10)."""
        return self._effective(container, "allowedChildClassesEffective", object_class)

    def may_write(self, dn: str, attribute: str) -> bool:
        """Whether the account may write this attribute (allowedAttributesEffective, [MS-ADTS] 3.1.1.4.5.8)."""
        return self._effective(dn, "allowedAttributesEffective", attribute)

    def _effective(self, dn: str, attribute: str, value: str) -> bool:
        entry = self.get(dn, [attribute])
        return entry is not None and value.lower() in {text.lower() for text in entry.texts(attribute)}

    def _do(self, subject: str, operation: str, *arguments: Any, **named: Any) -> list[Any]:
        """One LDAP operation; its entries, or the error it ended with."""
        connection = self._connection
        try:
            getattr(connection, operation)(*arguments, **named)
        except ldap3_exceptions.LDAPCommunicationError as error:
            raise SessionLost(f"{self.host}: the connection was lost: {_text(error)}") from error
        except ldap3_exceptions.LDAPExceptionError as error:
            raise DirectoryError(f"{subject}: {operation}: {_text(error)}") from error
        result = connection.result
        if result["result"] != 0:
            raise _refusal(subject, operation, result)
        return connection.response or []


@contextmanager
def connect(options: ConnectionOptions, warn: Warn, *, host: str | None = None) -> Iterator[Directory]:
    """A session with the first server that answers; dead ones in the list are passed over with a warning. `host`: this one only."""
    hosts = [host] if host else list(options.server) or discover(options.domain or "", options.timeout)
    failures: list[str] = []
    for name in hosts:
        try:
            session = _session(options, name, options.default_port, warn)
            directory = session.__enter__()
        except SessionLost as error:
            failures.append(str(error))
            continue
        for failure in failures:
            warn(f"server: {failure}; using {name}")
        try:
            yield directory
        finally:
            session.__exit__(None, None, None)
        return
    raise UserError("server: no domain controller answered: " + "; ".join(failures))


def discover(domain: str, timeout: int) -> list[str]:
    """The domain controllers that DNS offers, best first ([MS-ADTS] 6.3.6.1, RFC 2782)."""
    # imported where it is needed: most runs name their servers, and it costs as much as ldap3
    from ansible_collections.certlogon.core.plugins.module_utils.libraries import dns_resolver

    name = f"_ldap._tcp.dc._msdcs.{domain}"
    try:
        answer = dns_resolver.resolve(name, "SRV", lifetime=timeout)
    except Exception as error:  # dnspython raises its own and the socket's
        raise UserError(
            f"domain: DNS has no domain controllers for {domain!r} ({name}): {_text(error)}; set server, or mend the resolver"
        ) from error
    records = sorted(answer, key=lambda record: (record.priority, -record.weight * random.random()))
    return [str(record.target).rstrip(".") for record in records]


@contextmanager
def _session(options: ConnectionOptions, host: str, port: int, warn: Warn) -> Iterator[Directory]:
    connection = _open(options, host, port)
    try:
        root = _root_dse(connection, host)
        _judge_clock(options, host, _time_difference(root), warn)
        _bind(connection, options, root.text("dnsHostName") or host)
        if not options.validate_certs and options.tls != "none":
            warn(f"validate_certs: the certificate of {host} was not verified; set ca_path instead")
        yield Directory(connection, options, host, root)
    finally:
        # a farewell only: the server may be gone already, and then there is nobody to say it to
        connection.strategy.close()


def _open(options: ConnectionOptions, host: str, port: int) -> Any:
    """An open, not yet authenticated connection; `SessionLost` where nobody answers, `UserError` where the answer is not trusted."""
    tls = ldap3.Tls()
    context = _tls_context(options)
    trouble: list[ssl.SSLError] = []

    def wrap_socket(connection: Any, do_handshake: bool = False) -> None:
        # ldap3's own check of host names is that of an old Python: no IP addresses, no SNI
        try:
            connection.socket = context.wrap_socket(connection.socket, server_hostname=host, do_handshake_on_connect=do_handshake)
        except ssl.SSLError as error:
            trouble.append(error)
            raise

    tls.wrap_socket = wrap_socket
    server = ldap3.Server(host, port, use_ssl=options.tls == "ldaps", tls=tls, get_info=ldap3.NONE, connect_timeout=options.timeout)
    sasl = {} if options.auth == "simple" else {"authentication": ldap3.SASL, "sasl_mechanism": "GSS-SPNEGO"}
    connection = ldap3.Connection(
        server,
        auto_referrals=False,
        receive_timeout=options.timeout,
        check_names=False,
        auto_encode=False,
        return_empty_attributes=False,
        **sasl,
    )
    try:
        connection.open(read_server_info=False)
        if options.tls == "starttls" and not connection.start_tls(read_server_info=False):
            raise UserError(f"tls: {host} does not offer StartTLS: {connection.result['message']}")
    except (ldap3_exceptions.LDAPExceptionError, OSError, UnicodeError) as error:  # the last for a name that can be none
        if any(isinstance(item, ssl.SSLCertVerificationError) for item in trouble):
            raise UserError(_untrusted(host, trouble[0], options)) from error
        raise SessionLost(f"{host}:{port} does not answer: {_text(error)}") from error
    return connection


def _tls_context(options: ConnectionOptions) -> ssl.SSLContext:
    try:
        # with ca_path, only that file counts: a CA bundle in the environment does not widen it
        context = ssl.create_default_context(cafile=options.ca_path)
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"ca_path: {options.ca_path} cannot be read as PEM certificates: {error}") from error
    if not options.validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _untrusted(host: str, error: ssl.SSLError, options: ConnectionOptions) -> str:
    reason = getattr(error, "verify_message", "") or str(error)
    store = options.ca_path or "the system's trust store"
    return f"tls: the certificate of {host} is not trusted by {store}: {reason}; set ca_path to the CA that issued it"


def _root_dse(connection: Any, host: str) -> Entry:
    attributes = [
        "configurationNamingContext",
        "currentTime",
        "defaultNamingContext",
        "dnsHostName",
        "rootDomainNamingContext",
        "schemaNamingContext",
        "vendorName",
    ]
    try:
        connection.search("", "(objectClass=*)", search_scope="BASE", attributes=attributes)
    except ldap3_exceptions.LDAPExceptionError as error:
        raise SessionLost(f"{host} does not answer: {_text(error)}") from error
    entries = [item for item in connection.response or [] if item["type"] == "searchResEntry"]
    if not entries:
        raise UserError(f"server: {host} shows no rootDSE ({connection.result['description']}); is it a domain controller?")
    return Entry("", entries[0]["raw_attributes"])


def _bind(connection: Any, options: ConnectionOptions, host: str) -> None:
    try:
        if options.auth == "simple":
            connection.user, connection.password, connection.authentication = options.username, options.password, ldap3.SIMPLE
            connection.bind(read_server_info=False)
            result = connection.result
        else:
            result = spnego_bind.bind(connection, options, host)
    except ldap3_exceptions.LDAPExceptionError as error:
        raise SessionLost(f"{host}: the connection was lost while signing in: {_text(error)}") from error
    if result["result"] != 0:
        raise UserError(
            f"{host} refused {options.username or 'the ticket in the credential cache'} (auth={options.auth}): {_bind_reason(result)}"
        )


def _bind_reason(result: Mapping[str, Any]) -> str:
    """The server's refusal in words ([MS-ADTS] 3.1.1.3.1.3 gives the codes no names; they are Windows' own logon errors)."""
    message = str(result.get("message") or "")
    code = message.partition("data ")[2].partition(",")[0].strip().lower()
    code = next((value for status, value in _SASL_REASONS.items() if status in message), code)
    if result["result"] == STRONG_AUTH_REQUIRED:
        return f"it asks for stronger protection ({message.strip()}); use auth=negotiate without tls, or auth=simple with tls=ldaps"
    return _BIND_REASONS.get(code) or f"{result['description']} {message}".strip()


def _judge_clock(options: ConnectionOptions, host: str, difference: float, warn: Warn) -> None:
    """Kerberos clients hide a clock that is off, or fail with another reason; the server's own time tells."""
    if abs(difference) <= CLOCK_TOLERANCE:
        return
    side = "ahead of" if difference > 0 else "behind"
    message = f"the clock of this machine is {round(abs(difference) / 60)} minutes {side} the clock of {host}; set it (NTP)"
    if options.auth == "kerberos":
        raise UserError(f"auth: kerberos: {message}")
    warn(message)


def _time_difference(root: Entry) -> float:
    """Seconds by which this machine is ahead of the server."""
    text = root.text("currentTime")
    if not text:
        return 0.0
    there = datetime.datetime.strptime(text, "%Y%m%d%H%M%S.0Z").replace(tzinfo=datetime.timezone.utc)
    return (datetime.datetime.now(datetime.timezone.utc) - there).total_seconds()


def _required(root: Entry, name: str) -> str:
    value = root.text(name)
    if not value:
        raise UserError(f"server: the rootDSE has no {name}; is this a domain controller?")
    return value


def _refusal(subject: str, operation: str, result: Mapping[str, Any]) -> DirectoryError:
    kind = _ERRORS.get(result["result"], DirectoryError)
    detail = " ".join(str(result.get("message") or "").replace("\0", "").split())
    error = kind(f"{subject}: the server refused to {operation}: {result['description']}" + (f" ({detail})" if detail else ""))
    error.code = result["result"]
    return error


def _controls(descriptor: int, permissive: bool = False) -> list[tuple[str, bool, bytes | None]] | None:
    controls: list[tuple[str, bool, bytes | None]] = []
    if descriptor:
        controls.append((_SD_FLAGS, True, bytes([0x30, 3, 2, 1, descriptor])))
    if permissive:
        controls.append((_PERMISSIVE_MODIFY, True, None))
    return controls or None


def _encoded(values: Value | Sequence[Value]) -> list[bytes]:
    if isinstance(values, (bytes, str, int)):
        values = [values]
    return [value if isinstance(value, bytes) else str(value).encode() for value in values]


def _text(error: BaseException) -> str:
    if isinstance(error, socket.timeout):
        return "timed out"
    return " ".join(str(error).split()) or type(error).__name__


def _silent(message: str) -> None:
    """For a second session with a server that has been warned of already."""


def dns_name(dn: str) -> str:
    """`DC=corp,DC=example` -> `corp.example`."""
    return ".".join(rdn_value(part) for part in dn.split(",") if part.strip().upper().startswith("DC="))


__all__ = [
    "AccessDenied",
    "AlreadyExists",
    "Directory",
    "DirectoryError",
    "Entry",
    "Modify",
    "NoSuchAttribute",
    "NoSuchObject",
    "connect",
    "discover",
    "dns_name",
    "escape_filter",
    "rdn_value",
]
