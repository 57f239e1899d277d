# SPDX-License-Identifier: GPL-3.0-or-later
"""What a configuration tree means for users who sign in: which CAs, which names, which realms, who gets in. Pure.

Sign-in policies are looked at in their order and the first that fits counts; `*` fits any host name (Ivanti's administration guide
22.7R2, sign-in policies). A policy whose URL is a host name alone serves tunnels too, as a virtual host of ocserv; all others are for
browsers only. Tunnels are opened by a certificate, by a RADIUS server, or by a certificate and then a RADIUS server.
"""

from __future__ import annotations

import base64
import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from lab.connect_secure.data import names
from lab.connect_secure.state import Tree, elements
from lab.connect_secure.wire import load

STATUS = {"None": "none", "Use OCSP": "ocsp", "Use CRLs": "crl", "Use OCSP with CRL fallback": "ocsp_crl"}
CDP_SOURCES = {
    "CDP(s) specified in the Trusted Client CA": "ca_certificate",
    "CDP(s) specified in client certificates": "client_certificate",
    "Manually configured CDP": "manual",
}
RESTRICTIONS = {
    "Allow all users": "none",
    "Allow all users and remember certificate information": "optional",
    "Only allow users with a client-side certificate signed by Trusted Client CAs": "required",
}
NONE = ("", "-", "None")
# A custom RADIUS rule that shows what the server asks.
CHALLENGE_RULE = {"attribute": "Reply-Message", "operator": "matches the expression", "action": "show Generic Login page"}
SAME_USER = "<USER>"
SERVER_KINDS = ("certificate", "radius", "ldap", "local", "saml")
_EXPRESSION = re.compile(r"""\s*(\w+(?:\.[\w-]+)*)\s*(=|!=)\s*(['"])([^'"]*)\3\s*""")


class Refused(Exception):
    """The data plane cannot do what is configured; the message says what, for whom, and what would do."""


@dataclass(frozen=True)
class Cdp:
    url: str
    user: str = ""
    password: str = ""


@dataclass(frozen=True)
class Authority:
    """A trusted client CA. `frequency`: of its CRL's downloads, in the appliance's hours. `cdps`: of `manual`, in order. `responder`: of
    OCSP; empty: those that certificates name."""

    name: str
    certificate: x509.Certificate
    status: str = "none"
    verify_ca: bool = False
    client_authentication: bool = True
    negotiation: bool = True
    cdp_source: str = "ca_certificate"
    cdps: tuple[Cdp, ...] = ()
    frequency: int = 24
    responder: str = ""

    @property
    def checks_crl(self) -> bool:
        return self.status in ("crl", "ocsp_crl")

    @property
    def asks_ocsp(self) -> bool:
        return self.status in ("ocsp", "ocsp_crl")

    @property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


@dataclass(frozen=True)
class DeviceCertificate:
    """`pem`: without its issuers. `external`: whether it is bound to an external port. The key is elsewhere: see `public_key_id`."""

    name: str
    certificate: x509.Certificate
    external: bool

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def public_key_id(self) -> str:
        key = self.certificate.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        digest = hashes.Hash(hashes.SHA256())
        digest.update(key)
        return digest.finalize().hex()

    def names_host(self, host: str) -> bool:
        try:
            found = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
        except x509.ExtensionNotFound:
            found = []
        wildcard = "*." + host.partition(".")[2]
        return any(name.lower() in (host, wildcard) for name in found)


@dataclass(frozen=True)
class Rule:
    """A role mapping rule: by user names (`test`: is, is not; * and ? are wildcards) or by one comparison of a certificate's variable."""

    name: str
    roles: tuple[str, ...]
    stop: bool
    test: str = "is"
    user_names: tuple[str, ...] = ()
    variable: str = ""
    value: str = ""

    def fits(self, user: str, certificate: x509.Certificate | None) -> bool:
        if not self.variable:
            found = any(fnmatch.fnmatchcase(user.lower(), name.lower()) for name in self.user_names)
        elif self.variable == "userName":
            found = fnmatch.fnmatchcase(user.lower(), self.value.lower())
        else:
            texts = names.values(self.variable, certificate) if certificate is not None else []
            found = any(fnmatch.fnmatchcase(text, self.value) for text in texts)
        return found == (self.test == "is")


@dataclass(frozen=True)
class RadiusServer:
    """`hosts`: the server, and its backup if it has one. `challenges`: whether a custom rule shows users what the server asks."""

    name: str
    hosts: tuple[str, ...]
    port: int
    secret: str = field(repr=False)
    nas_identifier: str = ""
    timeout: int = 30
    retries: int = 0
    challenges: bool = False

    @property
    def patience(self) -> int:
        """Seconds after which nobody answers any more."""
        return self.timeout * (self.retries + 1) * len(self.hosts)


@dataclass(frozen=True)
class Realm:
    """`server_kind`: of the authentication server, `template` and `server_title` if that is a certificate server. `restriction`: none,
    optional, required; `restrictions`: (variable, expected value), all of which a certificate must fulfil. `secondary_user`: the template
    of the user name for the additional server; `ends`: whether the session ends where that refuses."""

    name: str
    server: str
    server_kind: str
    server_title: str = ""
    template: str = ""
    secondary: str = ""
    secondary_user: str = ""
    ends: bool = False
    restriction: str = "none"
    restrictions: tuple[tuple[str, str], ...] = ()
    rules: tuple[Rule, ...] = ()

    def roles(self, user: str, certificate: x509.Certificate | None) -> list[str]:
        """By the rules in their order, up to the first that fits and says stop."""
        found: list[str] = []
        for rule in self.rules:
            if rule.fits(user, certificate):
                found += [role for role in rule.roles if role not in found]
                if rule.stop:
                    break
        return found

    def refuses(self, certificate: x509.Certificate) -> str:
        """Why the realm's certificate restrictions do not let this certificate in; empty if they do."""
        for variable, expected in self.restrictions if self.restriction == "required" else ():
            found = names.values(variable, certificate)
            if not any(fnmatch.fnmatchcase(text, expected) for text in found):
                what = f"{variable} is {', '.join(found) or 'not there'}, {expected} is demanded"
                return f"certificate restriction of the realm {self.name}: {what}"
        return ""


@dataclass(frozen=True)
class Policy:
    """A sign-in policy. `host`: * or a name in lower case; `path`: begins and ends with /."""

    url: str
    host: str
    path: str
    administrators: bool
    enabled: bool
    realms: tuple[Realm, ...]

    def fits(self, host: str, path: str) -> bool:
        return self.host in ("*", host.lower()) and self.path == path


@dataclass(frozen=True)
class VirtualHost:
    """Of ocserv: `user_oid` as its option cert-user-oid takes it; empty where no certificate is asked for. `radius`: who else is asked."""

    host: str
    realm: Realm
    user_oid: str
    radius: RadiusServer | None = None


@dataclass(frozen=True)
class Decision:
    """About one who signs in. `reason`: empty if allowed."""

    user: str = ""
    realm: str = ""
    roles: tuple[str, ...] = ()
    reason: str = ""
    server: str = ""
    server_kind: str = ""


@dataclass(frozen=True)
class Plan:
    """`warnings`: what an administrator should know and is no error."""

    authorities: tuple[Authority, ...] = ()
    certificates: tuple[DeviceCertificate, ...] = ()
    policies: tuple[Policy, ...] = ()
    hosts: tuple[VirtualHost, ...] = ()
    warnings: tuple[str, ...] = ()

    def policy(self, host: str, path: str) -> Policy | None:
        """The first enabled policy that fits; a path without its last slash is as with it."""
        wanted = path if path.endswith("/") else f"{path}/"
        return next((policy for policy in self.policies if policy.enabled and policy.fits(host, wanted)), None)

    def names(self) -> list[str]:
        """The host names of all policies, without *."""
        return list(dict.fromkeys(policy.host for policy in self.policies if policy.enabled and policy.host != "*"))

    def certificate_for(self, host: str) -> DeviceCertificate | None:
        """The certificate on the external port that names this host; else the first on that port."""
        bound = [certificate for certificate in self.certificates if certificate.external]
        return next((certificate for certificate in bound if certificate.names_host(host)), bound[0] if bound else None)

    def decide(self, realm: Realm, certificate: x509.Certificate | None, user: str = "") -> Decision:
        """Whether one with this certificate, which was found good, is let into the realm and with which roles; None: the realm asks for
        none. `user`: who the tunnel says it is, if it has said so."""
        name = user or (names.fill(realm.template, certificate) if certificate is not None else "")
        roles = tuple(realm.roles(name, certificate)) if name else ()
        if not name:
            reason = f"no user name: the certificate has nothing for the template {realm.template} of {realm.server}"
        else:
            reason = realm.refuses(certificate) if certificate is not None else ""
        if not reason and not roles:
            reason = f"no role: no role mapping rule of the realm {realm.name} fits the user {name}"
        return Decision(name, realm.name, roles, reason, realm.server_title or realm.server, realm.server_kind)


def plan(tree: Tree, secret: Mapping[str, str] | None = None) -> Plan:
    """Raises Refused. `secret`: what the tree's `*-encrypted` members stand for."""
    servers = {server["name"]: server for server in _all(tree, "auth_server")}
    realms = {
        (kind, wire["name"]): _realm(wire, servers)
        for kind, resource in (("user", "user_realm"), ("admin", "admin_realm"))
        for wire in _all(tree, resource)
    }
    policies = tuple(_policy(wire, realms) for wire in _all(tree, "sign_in_policy"))
    hosts, warnings = [], []
    for policy in policies:
        if not policy.enabled or policy.administrators or policy.host == "*" or policy.path != "/":
            continue
        first = next(other for other in policies if other.enabled and other.fits(policy.host, "/"))
        if first is not policy:
            warnings.append(f"sign-in policy '{policy.url}' is never reached: '{first.url}' comes before it and fits the same names")
        else:
            hosts.append(_virtual_host(policy, servers, secret or {}))
    return Plan(
        tuple(_authority(wire, secret or {}) for wire in _all(tree, "trusted_client_ca")),
        tuple(_device_certificate(wire) for wire in _all(tree, "device_certificate")),
        policies,
        tuple(hosts),
        tuple(warnings),
    )


def _all(tree: Tree, resource: str) -> list[dict[str, Any]]:
    return elements(tree, load().paths[resource])


def _virtual_host(policy: Policy, servers: Mapping[str, dict[str, Any]], secret: Mapping[str, str]) -> VirtualHost:
    what = f"sign-in policy '{policy.url}'"
    if len(policy.realms) != 1:
        found = ", ".join(realm.name for realm in policy.realms) or "none"
        raise Refused(f"stand-in: {what}: a tunnel needs exactly one realm, for ocserv cannot ask which; it has: {found}")
    realm = policy.realms[0]
    if realm.server_kind == "radius" and not realm.secondary:
        if realm.restriction == "required":
            found = f"the realm '{realm.name}' demands a certificate before '{realm.server}' (radius)"
            raise Refused(
                f"stand-in: {what}: {found}; for tunnels that is modelled the other way round only, with the RADIUS server as additional"
            )
        return VirtualHost(policy.host, realm, "", _radius(what, servers[realm.server], secret))
    if realm.server_kind != "certificate":
        raise Refused(
            f"stand-in: {what}: the realm '{realm.name}' authenticates with '{realm.server}' ({realm.server_kind})"
            f"{f' and {realm.secondary!r}' if realm.secondary else ''}; only certificate servers, with or without an additional RADIUS "
            "server, and RADIUS servers are modelled for tunnels"
        )
    oid = names.user_oid(realm.template)
    if oid is None:
        raise Refused(
            f"stand-in: {what}: the user name template '{realm.template}' of '{realm.server}' cannot be expressed for a tunnel: ocserv "
            "takes one attribute of the subject (such as <certAttr.CN>) or <certAttr.altName.Email>. A URL with a path is for browsers "
            "alone and takes any"
        )
    if not realm.secondary:
        return VirtualHost(policy.host, realm, oid)
    additional = servers.get(realm.secondary, {})
    if "radius" not in additional or realm.secondary_user not in ("", SAME_USER) or not realm.ends:
        raise Refused(
            f"stand-in: {what}: the realm '{realm.name}' has the additional server '{realm.secondary}'; for tunnels only a RADIUS server "
            f"is modelled, for the same user ({SAME_USER}), and with an end of the session where it refuses"
        )
    return VirtualHost(policy.host, realm, oid, _radius(what, additional, secret))


def _radius(what: str, wire: dict[str, Any], secret: Mapping[str, str]) -> RadiusServer:
    settings = wire["radius"]["settings"]
    rules = settings.get("custom-rules", {}).get("rule", [])
    for rule in rules:
        odd = [f"{name} '{rule.get(name)}'" for name, value in CHALLENGE_RULE.items() if rule.get(name, value) != value]
        odd += [f"value '{rule.get('value')}'"] if rule.get("value", "*") not in ("", "*") else []
        odd += (
            [] if rule.get("response-packet-type") == "Access Challenge" else [f"response-packet-type '{rule.get('response-packet-type')}'"]
        )
        if odd:
            raise Refused(
                f"stand-in: {what}: the custom RADIUS rule '{rule.get('name', '')}' of '{wire['name']}' has {', '.join(odd)}; for tunnels "
                "only those are modelled that show the Reply-Message of any Access Challenge on the Generic Login page"
            )
    return RadiusServer(
        name=wire["name"],
        hosts=tuple(filter(None, (settings.get("radius-server", ""), settings.get("backup-server", {}).get("radius-server", "")))),
        port=int(settings.get("authentication-port") or 1812),
        secret=secret.get(settings.get("shared-secret-encrypted", ""), ""),
        nas_identifier=settings.get("nas-identifier", ""),
        timeout=int(settings.get("timeout") or 30),
        retries=int(settings.get("retries") or 0),
        challenges=bool(rules),
    )


def _policy(wire: dict[str, Any], realms: Mapping[tuple[str, str], Realm]) -> Policy:
    url = wire["url-pattern"]
    host, _, path = url.partition("/")
    kind = "admin" if "admin" in wire else "user"
    if not re.fullmatch(r"\*|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", host):
        raise Refused(f"sign-in policy '{url}': the URL begins with a host name or with *")
    if not re.fullmatch(r"[A-Za-z0-9._~/-]*", path):
        raise Refused(f"sign-in policy '{url}': a path has letters, digits and - . _ ~ /")
    path = "/" + (f"{path.strip('/')}/" if path.strip("/") else "")
    found = tuple(realms[kind, title] for title in wire.get(kind, {}).get("realms", []) if (kind, title) in realms)
    return Policy(url, host.lower(), path, kind == "admin", wire.get("enabled", "true") == "true", found)


def _realm(wire: dict[str, Any], servers: Mapping[str, dict[str, Any]]) -> Realm:
    name, server = wire["name"], wire.get("authentication-server", "None")
    found = servers.get(server, {})
    kind = next((kind for kind in SERVER_KINDS if kind in found), "none")
    settings = found.get("certificate", {}).get("settings", {})
    additional = wire.get("secondary-authentication-settings", {})
    secondary = additional.get("name", "-")
    restriction = wire.get("authentication-policy", {}).get("certificate", {})
    template = settings.get("user-name-template", "<certDN.CN>") if kind == "certificate" else ""
    try:
        names.check(template)
        fields = restriction.get("certificate-values", {}).get("certificate-value", [])
        restrictions = tuple((_variable(field.get("certificate-field", "")), field.get("expected-value", "")) for field in fields)
        rules = tuple(_rule(rule) for rule in wire.get("role-mapping-rules", {}).get("rule", []))
    except names.UnknownVariable as unknown:
        raise Refused(f"stand-in: realm '{name}', server '{server}': {unknown}") from None
    return Realm(
        name=name,
        server=server,
        server_kind=kind,
        server_title=settings.get("logical-auth-server-name", ""),
        template=template,
        secondary="" if secondary in NONE else secondary,
        secondary_user=additional.get("username-template", ""),
        ends=additional.get("end-session-if-authentication-fails") == "true",
        restriction=RESTRICTIONS.get(restriction.get("certificate-restriction", ""), "none"),
        restrictions=restrictions,
        rules=rules,
    )


def _variable(field: str) -> str:
    """A restriction's field: a variable, or an attribute of the subject or an alternative name alone."""
    for candidate in (field, f"certAttr.{field}", f"certAttr.{field.upper()}"):
        try:
            names.check(f"<{candidate}>")
        except names.UnknownVariable:
            continue
        return candidate
    raise names.UnknownVariable(f"the certificate field '{field}' is not modelled")


def _rule(wire: dict[str, Any]) -> Rule:
    name, roles, stop = wire.get("name", ""), tuple(wire.get("roles", [])), wire.get("stop-rules-processing") == "true"
    if "custom-expression" not in wire:
        condition = wire.get("user-name", {})
        return Rule(name, roles, stop, condition.get("test", "is"), tuple(condition.get("user-names", [])))
    expression = wire["custom-expression"].get("expressions", "")
    match = _EXPRESSION.fullmatch(expression)
    if match is None:
        raise Refused(f"stand-in: role mapping rule '{name}': only expressions VARIABLE = 'value' are modelled, not: {expression}")
    if match.group(1) != "userName":
        names.check(f"<{match.group(1)}>")
    return Rule(name, roles, stop, "is" if match.group(2) == "=" else "is not", variable=match.group(1), value=match.group(4))


def _authority(wire: dict[str, Any], secret: Mapping[str, str]) -> Authority:
    settings = wire.get("crl-settings", {})
    status = STATUS.get(wire.get("client-certificate-status-checking", "None"), "none")
    trusted = wire.get("trusted-for-client-authentication", "true") == "true"
    return Authority(
        name=wire["name"],
        certificate=read_certificate(wire["certificate"]),
        status=status,
        verify_ca=wire.get("verify-trusted-client-ca") == "true",
        client_authentication=trusted,
        negotiation=trusted and wire.get("participate-in-client-certificate-negotiation", "true") == "true",
        cdp_source=CDP_SOURCES.get(settings.get("cdp-source", ""), "ca_certificate"),
        cdps=tuple(
            Cdp(place["url"], place.get("admin-dn", ""), secret.get(place.get("password-encrypted", ""), ""))
            for place in (settings.get("primary-cdp", {}), settings.get("backup-cdp", {}))
            if place.get("url")
        ),
        frequency=int(settings.get("crl-download-frequency") or 24),
        responder=wire.get("ocsp-settings", {}).get("responder-url", ""),
    )


def _device_certificate(wire: dict[str, Any]) -> DeviceCertificate:
    return DeviceCertificate(wire["name"], read_certificate(wire["certificate"]), bool(wire.get("external-ports")))


def read_certificate(text: str) -> x509.Certificate:
    """PEM, or base64 of DER."""
    if "-----BEGIN" in text:
        return x509.load_pem_x509_certificate(text.encode())
    return x509.load_der_x509_certificate(base64.b64decode(text))
