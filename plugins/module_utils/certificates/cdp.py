# SPDX-License-Identifier: GPL-3.0-or-later
"""CRL distribution points as people and certificates write them: HTTP addresses, and LDAP addresses (RFC 4516) of a CRL (RFC 4523)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias
from urllib.parse import quote, unquote_to_bytes, urlsplit

from ansible_collections.certlogon.core.plugins.module_utils.directory.names import split_dn
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

ATTRIBUTES = ("certificateRevocationList", "authorityRevocationList", "deltaRevocationList")
SCOPES = {"base": "base", "one": "one", "onelevel": "one", "sub": "sub", "subtree": "sub"}
PRESENT = "(objectClass=*)"
LONGEST, DEEPEST = 4096, 32
PORTS = {"http": 80, "https": 443, "ldap": 389, "ldaps": 636}


@dataclass(frozen=True)
class HttpCdp:
    """A CRL at an HTTP address."""

    url: str

    @property
    def secure(self) -> bool:
        return self.url.lower().startswith("https:")

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True)
class LdapCdp:
    """A CRL in a directory. `scope` is base, one or sub; `filter` has its parentheses; `base` and `filter` are not percent-encoded."""

    secure: bool
    host: str
    port: int
    base: str
    attribute: str
    scope: str
    filter: str

    def __str__(self) -> str:
        """The canonical address (RFC 4516 2.1)."""
        scheme = "ldaps" if self.secure else "ldap"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[scheme] else f":{self.port}"
        base, sought = quote(self.base, safe=",=+ ").replace(" ", "%20"), quote(self.filter, safe="()=*&|!:<>~")
        return f"{scheme}://{host}{port}/{base}?{self.attribute}?{self.scope}?{sought}"


Cdp: TypeAlias = "HttpCdp | LdapCdp"

_FORM = "write ldap://server/base?certificateRevocationList;binary?base?(objectClass=cRLDistributionPoint)"


def parse(text: str) -> Cdp:
    """Raises `FormatError` that says which part is wrong."""
    if len(text) > LONGEST:
        raise FormatError(f"is longer than {LONGEST} characters")
    if not text:
        raise FormatError(f"is empty; write http://server/name.crl, or {_FORM.removeprefix('write ')}")
    wrong = next((character for character in text if character.isspace() or not character.isprintable()), None)
    if wrong is not None:
        raise FormatError(f"has the character {wrong!r}, which no address may have; write a space as %20")
    scheme = text.partition(":")[0].lower()
    if scheme in ("http", "https"):
        return _http(text)
    if scheme in ("ldap", "ldaps") and text[len(scheme) :].startswith("://"):
        return _ldap(text, scheme)
    raise FormatError(f"begins with {scheme[:20]!r}, but a CRL is fetched from http://, https://, ldap:// or ldaps:// only")


# ---- HTTP


def _http(text: str) -> HttpCdp:
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise FormatError(f"is no address: {error}") from None
    if not host or not text[len(parts.scheme) :].startswith("://"):
        raise FormatError("names no server; write http://server/name.crl")
    if parts.username is not None or parts.password is not None:
        raise FormatError("holds an account; everybody sees it there, so write the address without one")
    _check_encoding(parts.path + parts.query, "path")
    return HttpCdp(text)


# ---- LDAP


def _ldap(text: str, scheme: str) -> LdapCdp:
    authority, slash, rest = text[len(scheme) + 3 :].partition("/")
    host, port = _authority(authority, scheme)
    if not slash:
        raise FormatError(f"names no base DN; {_FORM}")
    parts = rest.split("?")
    if len(parts) > 5:
        raise FormatError("has more than five parts between question marks; write a question mark within a part as %3F")
    base, attributes, scope, sought, extensions = (*parts, "", "", "", "", "")[:5]
    if any(one.startswith("!") for one in extensions.split(",")):
        raise FormatError(f"has the critical extension {extensions!r}, which no reader of CRLs knows; leave it out")
    return LdapCdp(
        scheme == "ldaps",
        host,
        port,
        _base(_decode(base, "base DN")),
        _attribute(_decode(attributes, "attribute")),
        _scope(_decode(scope, "scope")),
        _filter(_decode(sought, "filter")),
    )


def _authority(text: str, scheme: str) -> tuple[str, int]:
    if not text:
        raise FormatError(
            "names no server: a member of the domain would ask its own controller, but an appliance has none; "
            f"write {scheme}://dc1.corp.example/…"
        )
    if "@" in text:
        raise FormatError("holds an account; give it in the options for the account, and write the address without one")
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise FormatError(f"names the server {text!r}: {error}") from None
    if not host or parts.path or (":" not in host and not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.-])?", host)):
        raise FormatError(f"names the server {text!r}, which is no host name or address")
    if port == 0:
        raise FormatError("names port 0; leave the port out, or give the right one")
    return host, port or PORTS[scheme]


def _decode(text: str, what: str) -> str:
    _check_encoding(text, what)
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError(f"has a {what} that is not UTF-8 once it is decoded; encode it as UTF-8, then each octet as %XX") from None


def _check_encoding(text: str, what: str) -> None:
    """RFC 3986 2.1: a percent sign begins two hexadecimal digits."""
    found = re.search(r"%(?![0-9A-Fa-f]{2}).{0,2}", text)
    if found:
        raise FormatError(f"has {found.group()!r} in its {what}, but % begins two hexadecimal digits; write a percent sign as %25")


_RDN_PART = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]*|\d+(\.\d+)+)\s*=(.*)", re.DOTALL)


def _base(text: str) -> str:
    """RFC 4514, as far as it can be told without a schema."""
    if not text:
        raise FormatError(f"names no base DN; {_FORM}")
    if "\0" in text:
        raise FormatError("has a NUL in its base DN")
    for rdn in split_dn(text):
        for part in re.findall(r"(?:\\.|[^+\\])+", rdn, re.DOTALL) or [rdn]:
            _check_part(part, rdn)
    return text


def _check_part(part: str, rdn: str) -> None:
    found = _RDN_PART.fullmatch(part)
    if not found or not found.group(3):
        raise FormatError(f"has {rdn!r} in its base DN, which is no attribute=value; write a comma within a value as %5C,")
    value = found.group(3)
    if re.search(r'(?<!\\)(?:\\\\)*["<>;]', value):
        raise FormatError(f'has one of " < > ; in {rdn!r} of its base DN; write a backslash (%5C) before it')
    # a backslash is followed by two hexadecimal digits, or by one of the characters that need it (RFC 4514 2.4)
    bad = re.search(r"\\(?![0-9A-Fa-f]{2}|[ \"#+,;<=>\\]).?", re.sub(r"\\\\", "", value), re.DOTALL)
    if bad:
        raise FormatError(f"has {bad.group()!r} in {rdn!r} of its base DN, which escapes nothing")


def _attribute(text: str) -> str:
    if not text:
        raise FormatError(f"names no attribute; {_FORM}")
    if "," in text:
        raise FormatError(f"names several attributes ({text}); name the one that holds the CRL")
    name, *options = text.split(";")
    known = {one.casefold(): one for one in ATTRIBUTES}
    if name.casefold() not in known:
        near = get_close_matches(name, ATTRIBUTES, 1)
        hint = f"did you mean {near[0]}?" if near else f"a CRL is in {ATTRIBUTES[0]}"
        raise FormatError(f"names the attribute {name[:60]!r}, which holds no CRL; {hint}")
    others = [one for one in options if one.casefold() != "binary"]
    if others:
        raise FormatError(f"asks for {text!r}; the only option of an attribute that holds a CRL is ;binary")
    return known[name.casefold()] + (";binary" if options else "")


def _scope(text: str) -> str:
    if not text:
        return "base"
    if text.casefold() not in SCOPES:
        near = get_close_matches(text.casefold(), SCOPES, 1)
        hint = f"; did you mean {SCOPES[near[0]]}?" if near else ""
        raise FormatError(f"has the scope {text[:30]!r}, but a scope is base, one or sub{hint}")
    return SCOPES[text.casefold()]


# ---- filters (RFC 4515)

_ITEM = re.compile(
    r"(?P<attribute>(?:[A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)+)(?:;[A-Za-z0-9-]+)*)?(?P<dn>:dn)?(?P<rule>:[A-Za-z0-9.-]+)?"
    r"(?P<kind>:=|~=|>=|<=|=)(?P<value>[^()]*)",
    re.DOTALL,
)


def _filter(text: str) -> str:
    """With parentheses around it: AD CS writes its CDPs without, which RFC 4516 does not allow and everybody reads."""
    if not text:
        return PRESENT
    wrapped = text if text.startswith("(") else f"({text})"
    end = _component(wrapped, 0, 0)
    if end != len(wrapped):
        raise FormatError(f"has {wrapped[end : end + 30]!r} after the end of its filter; count the parentheses of {text[:100]!r}")
    return wrapped


def _component(text: str, position: int, depth: int) -> int:
    """Where the filter that begins here ends."""
    if depth > DEEPEST:
        raise FormatError(f"has a filter nested deeper than {DEEPEST}")
    if text[position : position + 1] != "(":
        raise FormatError(f"has a filter with {text[position : position + 20]!r} where a parenthesis should open")
    position += 1
    kind = text[position : position + 1]
    if kind in ("&", "|", "!"):
        position, count = position + 1, 0
        while text[position : position + 1] == "(":
            position, count = _component(text, position, depth + 1), count + 1
        if count == 0 or (kind == "!" and count > 1):
            raise FormatError(f"has a filter with {count} parts after {kind!r}")
    else:
        position = _item(text, position)
    if text[position : position + 1] != ")":
        raise FormatError(f"has a filter in which a parenthesis is not closed: {text[:100]!r}")
    return position + 1


def _item(text: str, position: int) -> int:
    found = _ITEM.match(text, position)
    shown = text[position : position + 40]
    if not found or not (found["attribute"] or found["rule"]):
        raise FormatError(f"has a filter with {shown!r} where attribute=value should be")
    if (found["dn"] or found["rule"]) and found["kind"] != ":=":
        raise FormatError(f"has a filter with {shown!r}; a matching rule goes with :=")
    value = found["value"]
    if "\0" in value or re.search(r"\\(?![0-9A-Fa-f]{2})", value):
        raise FormatError(f"has a filter with {shown!r}; a backslash begins two hexadecimal digits")
    if found["kind"] != "=" and "*" in value:
        raise FormatError(f"has a filter with {shown!r}; a star is only for = (write it as \\2a)")
    return found.end()
