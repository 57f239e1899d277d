# SPDX-License-Identifier: GPL-3.0-or-later
"""The report for readers outside: names and SIDs replaced by pseudonyms, the same name by the same one everywhere (pure).

A pseudonym is a kind and some letters of an HMAC of the name: with the same key, reports of different nights still compare; without the
key nobody can try names. First all names are collected from the places of a report that hold names (targets, subjects, certificates, …)
and taken apart (CORP\\alice, alice@corp.example, CN=alice,DC=corp,DC=example); then they are replaced wherever they stand, and so is
what looks like a SID, a DN, a mail address, an address or a thumbprint. What every domain has (S-1-5-11, Domain Users) stays.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import PurePath
from typing import Any
from urllib.parse import quote, urlsplit

LETTERS = 8
"""Of a pseudonym: 40 bits, enough for a million names."""

_WELL_KNOWN = frozenset(
    name.strip()
    for name in """
    admin users; administrator; administrators; aia; anonymous; anonymous logon; authenticated users; builtin; cards; cdp;
    cert publishers; certenroll; certificate templates; certification authorities; certsrv; com; computers; configuration;
    default domain controllers policy; default domain policy; domain; default-first-site-name; domain admins; domain computers;
    domain controllers; domain guests; domain users; enrollment services; enterprise admins; enterprise domain controllers;
    enterprise key admins; enterprise read-only domain controllers; everyone; group policy creator owners; guest; guests;
    key admins; key recovery agents; kra; krbtgt; local; local service; localhost; net; network service; nt authority;
    ntauthcertificates; oid; org; policies; pre-windows 2000 compatible access; protected users; public key services;
    read-only domain controllers; root; schema admins; servers; services; sites; system; users; www
    """.replace("\n", " ").split(";")
)
_WELL_KNOWN_RIDS = {498, *range(500, 504), *range(512, 528), 553, 571, 572}
"""[MS-DTYP] 2.4.2.4: accounts that every domain has."""

_PUBLIC = frozenset(
    {
        "format",
        "status",
        "severity",
        "kind",
        "id",
        "family",
        "references",
        "remedy",
        "title",
        "why",
        "not_applicable",
        "control",
        "from",
        "to",
    }
)
"""Members that hold the catalogue's own words, and the formats'."""

_NAMES = {
    **dict.fromkeys(("account", "owner", "who", "holders", "readers"), "account"),
    **dict.fromkeys(("server", "held_by", "host", "computers"), "host"),
    **dict.fromkeys(("template", "issuer", "policy", "winner", "link", "links", "places", "wmi_filters"), "name"),
}
_KINDS = {
    "domain": "domain",
    **dict.fromkeys(("domain_controller", "certification_authority", "connect_secure", "ocserv", "passivekey"), "host"),
}

_RDN = r"(?:[A-Za-z]{1,20}|\d+(?:\.\d+)+)="
_DN = rf"{_RDN}(?:\\.|[^,\\\"])+(?:,\s?{_RDN}(?:\\.|[^,\\\"])+)*,\s?{_RDN}[^\s,;:'\"\])]+"
_FORMS = "|".join(
    (
        r"(?P<sid>S-1-5-21(?:-\d+){3,4})",
        rf"(?P<dn>{_DN})",
        r"(?P<mail>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)",
        r"(?P<address>(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\.?\w))",
        r"(?P<thumbprint>(?<![0-9A-Za-z-])(?:[0-9A-F]{16,128}|[0-9a-f]{16,128}|(?:[0-9A-Fa-f]{2}:){7,}[0-9A-Fa-f]{2})(?![0-9A-Za-z-]))",
        r"(?P<address6>(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f]{0,4})(?:%\w+)?(?!\w))",
    )
)


def hide(report: Mapping[str, Any], key: bytes) -> dict[str, Any]:
    """The report with pseudonyms; `key` is a secret of the site (16 bytes or more), kept where the baseline is compared."""
    names = [(kind, name, name.casefold()) for kind, name in _names(report)]
    kept = [one for one in names if len(one[2]) > 2 and one[2] not in _WELL_KNOWN and not one[2].isdecimal()]
    known = {folded: kind for kind, _name, folded in kept}
    text = _replacer(known, {name: folded for _kind, name, folded in kept}, key)
    hidden: dict[str, Any] = _walk({**report, "chain": _numbered(report["chain"])}, text, key)
    run = report["run"]
    hidden["run"] |= {"title": text(run["title"]), "pseudonyms": True, "catalogue_sha256": run["catalogue_sha256"]}
    if run["waivers"]:
        hidden["run"]["waivers"]["sha256"] = run["waivers"]["sha256"]
    return hidden


def _numbered(chain: Mapping[str, Any]) -> dict[str, Any]:
    """The chain with numbers for its nodes' ids, which are made of names."""
    ids = {node["id"]: f"{node['kind']}/{number}" for number, node in enumerate(chain["nodes"], 1)}
    return {
        "nodes": [{**node, "id": ids[node["id"]]} for node in chain["nodes"]],
        "edges": [{**edge, "from": ids[edge["from"]], "to": ids[edge["to"]]} for edge in chain["edges"]],
    }


def _pseudonym(kind: str, name: str, key: bytes) -> str:
    digest = hmac.new(key, f"{kind}\0{name.casefold()}".encode(), hashlib.sha256).digest()
    return f"{kind}-{base64.b32encode(digest).decode().lower()[:LETTERS]}"


def _walk(value: Any, text: Callable[[str], str], key: bytes, member: str = "") -> Any:
    if member in _PUBLIC:
        return value
    if isinstance(value, str):
        if member in ("fingerprint", "unlisted"):  # of names, and thus something to try names on
            return hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:32]
        return text(PurePath(value).name if member == "path" else value)
    if isinstance(value, Mapping):
        return {name if member != "evidence" else text(name): _walk(inside, text, key, name) for name, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return [_walk(inside, text, key, member) for inside in value]
    return value


def _spellings(name: str) -> set[str]:
    """As texts have it, and as addresses of CRLs have it, where names are percent-encoded.

    Regular expressions look over the case of single letters only, and not over that of what is encoded.
    """
    ways = {name} if name.isascii() else {name, name.casefold(), name.lower(), name.upper()}
    return ways | {quote(way) for way in ways}


def _replacer(known: Mapping[str, str], names: Mapping[str, str], key: bytes) -> Callable[[str], str]:
    """`known` has the kind of each name without case, `names` the spellings that the report has of them."""
    domains = sorted({name for name, kind in known.items() if kind == "domain"}, key=len, reverse=True)
    hosts = [rf"(?P<below>(?:[\w-]+\.)+(?:{'|'.join(map(re.escape, domains))}))(?![\w-])"] if domains else []
    plain = {spelling.casefold(): folded for name, folded in names.items() for spelling in _spellings(name)}
    plain |= {spelling: plain[spelling.casefold()] for name in names for spelling in _spellings(name)}
    words = sorted(plain, key=len, reverse=True)
    listed = [rf"(?<!\w)(?P<word>{'|'.join(map(re.escape, words))})(?!\w)"] if words else []
    pattern = re.compile("|".join([*listed, *hosts, _FORMS]), re.IGNORECASE)

    def replace(found: re.Match[str]) -> str:
        form, name = found.lastgroup or "", found[0]
        if form == "sid":
            rid = name.rpartition("-")[2]
            return f"{_pseudonym('sid', name, key)}-{rid}" if int(rid) in _WELL_KNOWN_RIDS else _pseudonym("sid", name, key)
        if form == "word":
            name = plain.get(name) or plain.get(name.casefold(), name)
            return _pseudonym(known.get(name, "name"), name, key)
        if form == "address6":
            return _address(name, key)
        return _pseudonym({"below": "host", "mail": "account"}.get(form, form), name, key)

    return lambda text: pattern.sub(replace, text)


def _address(text: str, key: bytes) -> str:
    """What looks like an IPv6 address, and what of the text follows it; the text where it is none, as a time of day."""
    bare = text if text.endswith("::") else text.rstrip(":")
    try:
        address = ip_address(bare)
    except ValueError:
        return text
    return f"{_pseudonym('address', str(address), key)}{text[len(bare) :]}"


def _names(value: Any, member: str = "", kind: str = "name") -> Iterator[tuple[str, str]]:
    """(kind, name as it is spelt) from all places that hold names."""
    if member in _PUBLIC:
        return
    if isinstance(value, Mapping):
        if member == "nodes" and str(value["id"]).endswith("/"):  # "3 more templates", which is nobody's name
            return
        inner = _KINDS.get(str(value.get("kind")), "name") if member in ("target", "targets") else "name"
        for name, inside in value.items():
            yield from _names(inside, name, inner)
    elif isinstance(value, (list, tuple)):
        for inside in value:
            yield from _names(inside, member.removesuffix("s") if member == "servers" else member, kind)
    elif isinstance(value, str) and value:
        if member in ("name", *_NAMES, "subject", "passes", "label", "target"):
            # principals in evidence have their SID behind them, or only that
            if not value.startswith("S-1-"):
                yield from _parts(_NAMES.get(member, kind), value.partition(" (S-1-")[0])
        elif member == "url":
            yield from _parts("host", urlsplit(value).hostname or "")


def _parts(kind: str, value: str) -> Iterator[tuple[str, str]]:
    """The name whole, and what it is made of."""
    rdns: Iterable[str] = re.findall(rf"(?:^|[,+]\s?|\s){_RDN}((?:\\.|[^,+\\])+)", value)
    if "\\" in value and not rdns:
        domain, _backslash, account = value.rpartition("\\")
        yield from (("domain", domain), ("account", account))
    elif re.fullmatch(r"[^@\s]+@[\w.-]+", value):
        account, _at, domain = value.partition("@")
        yield from (("account", account), ("domain", domain))
    elif re.fullmatch(r"[\w-]+(\.[\w-]+)+", value):
        host, _dot, domain = value.partition(".")
        yield kind if kind != "name" else "host", value
        yield from (("domain", domain), ("host", host)) if kind != "domain" else (("domain", host),)
    elif rdns:
        yield from (("dn", value), *(("name", part.strip()) for part in rdns))
    else:
        head, _space, rest = value.partition(" ")
        named = rest if head.casefold() in _SUBJECTS and rest else value
        yield kind, named


_SUBJECTS = frozenset(
    ("account", "appliance", "ca", "certificate", "computer", "container", "controller", "crl", "gateway", "group", "host", "link")
) | frozenset(("mapping", "object", "oid", "policy", "realm", "root", "server", "service", "setting", "template", "user"))
"""What subjects begin with, before the name."""
