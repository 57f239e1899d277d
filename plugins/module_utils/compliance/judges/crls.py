# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs as their distribution points serve them (pure).

What could not be fetched is unknown, since the control node is not where logons happen; it is a failure where who must know says that there
is nothing, or where the parameter `must_reach` says that the control node is in the right place to tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Verdict, failed, passed, unknown

Parameters = Mapping[str, Any]
Verdicts = Iterator[Verdict]
Words = Mapping[str, Any]

MEGABYTE = 1 << 20


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


# ---- at the address


def reachable(facts: Facts, parameters: Parameters) -> Verdicts:
    for one in facts["crls"]:
        subject, evidence = _subject(one), {"used_by": one["used_by"]}
        if one["lists"] or one["wrong"]:
            yield passed(subject, **evidence)
        elif one["absent"]:
            yield failed(subject, f"There is no CRL: {one['reason']}", **evidence)
        elif _must(one["url"], parameters["must_reach"]):
            yield failed(subject, f"It has to be reached from here (must_reach), but is not: {one['reason']}", **evidence)
        else:
            yield unknown(subject, f"It was not reached from the control node: {one['reason']}", **evidence)


def signed(facts: Facts, _parameters: Parameters) -> Verdicts:
    """RFC 5280 6.3.3 (f), (g)."""
    for one in facts["crls"]:
        subject = _subject(one)
        if one["wrong"]:
            yield failed(subject, f"It serves no CRL: {one['wrong']}", issuers=_names(one))
        elif not one["lists"]:
            yield from _unfetched(one)
        elif not one["issuers"]:
            yield unknown(subject, "The certificate of the CA whose CRL should be there is not known in this run")
        else:
            # an object of the directory may hold the CRLs of several keys of a CA
            foreign = [found for found in one["lists"] if not found["signed_by"]]
            evidence: dict[str, Any] = {"issuers": _names(one), "crl_issuers": [found["issuer"] for found in one["lists"]]}
            if foreign and len(foreign) == len(one["lists"]):
                yield failed(subject, f"The CRL there, of {foreign[0]['issuer']}, is not signed by the key of {_named(one)}", **evidence)
            else:
                yield passed(subject, **evidence)


def complete(facts: Facts, _parameters: Parameters) -> Verdicts:
    """RFC 5280 5.2.4, 5.2.5."""
    for one, found in _lists(facts):
        if isinstance(found, Verdict):
            yield found
        elif found["delta"] and not one["delta"]:
            yield failed(_subject(one), "It is a delta CRL where the base CRL has to be: it names only what has changed", **_shown(found))
        elif found["partial"]:
            yield failed(_subject(one), f"The CRL {'; and '.join(found['partial'])}", **_shown(found))
        else:
            yield passed(_subject(one), **_shown(found))


def _must(url: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(url.casefold(), str(pattern).casefold()) for pattern in patterns)


# ---- in time


def in_force(facts: Facts, _parameters: Parameters) -> Verdicts:
    """RFC 5280 5.1.2.4, 5.1.2.5."""
    for one, found in _lists(facts):
        if isinstance(found, Verdict):
            yield found
            continue
        subject, evidence = _subject(one), _shown(found)
        if found["next_update"] is None:
            yield failed(subject, "It says no time of the next one, so that nobody can tell whether it is the newest", **evidence)
        elif moment(found["next_update"]) <= facts.now:
            yield failed(subject, f"It ended on {found['next_update']}; who checks certificates against it refuses all of them", **evidence)
        elif moment(found["this_update"]) > facts.now:
            yield failed(subject, f"It is not valid before {found['this_update']}; a clock is wrong", **evidence)
        else:
            yield passed(subject, **evidence)


def published_in_time(facts: Facts, parameters: Parameters) -> Verdicts:
    """Against the CA's own word when the next one comes (szOID_CRL_NEXT_PUBLISH), and against the life of the CRL."""
    for one, found in _lists(facts):
        if isinstance(found, Verdict):
            yield found
            continue
        if found["next_update"] is None or moment(found["next_update"]) <= facts.now:
            continue  # not in force, which is another control's
        subject, evidence = _subject(one), _shown(found)
        begins, ends = moment(found["this_update"]), moment(found["next_update"])
        left = (ends - facts.now).total_seconds() / 3600
        least = min(float(parameters["hours_left"]), (ends - begins).total_seconds() / 3600 * float(parameters["share_left"]) / 100)
        due = moment(found["next_publish"]) if found["next_publish"] else None
        evidence |= {"hours_left": round(left, 1), "hours_least": round(least, 1), "next_publish": found["next_publish"]}
        if due is not None and facts.now - due > timedelta(minutes=float(parameters["grace_minutes"])):
            late = (facts.now - due).total_seconds() / 3600
            message = (
                f"The CA was to publish the next CRL by {found['next_publish']}, {late:.1f} hours ago; this one ends in {left:.1f} hours"
            )
            yield failed(subject, message, **evidence)
        elif left < least:
            yield failed(subject, f"It ends in {left:.1f} hours, and there is no newer one", **evidence)
        else:
            yield passed(subject, **evidence)


class _Newest(NamedTuple):
    """The CRL with the highest number of a row: where it is, since when (`this_update`), and how many addresses have one of the row."""

    number: int
    url: str
    since: str
    addresses: int


def forward(facts: Facts, parameters: Parameters) -> Verdicts:
    """RFC 5280 5.2.3: numbers go up. Compared with the report before, and among the addresses of one CA, to which a new one takes time."""
    newest = _newest(facts)
    for one, found in _lists(facts):
        if isinstance(found, Verdict):
            yield found
            continue
        subject, evidence = _subject(one), _shown(found)
        last = facts.previous.get(one["url"]) or {}
        # what another CA's CRL there had for a number, tells nothing of this one's
        number, before = found["number"], last.get("number") if last.get("issuer", found["issuer"]) == found["issuer"] else None
        highest, base = newest.get(_row(found)), newest.get(_row(found, delta=False)) if found["delta"] else None
        if number is None:
            yield failed(subject, "It has no number, so that nobody can tell which of two CRLs is the newer one", **evidence)
        elif isinstance(before, int) and number < before:
            message = f"It has gone back from number {before} to {number}: an older CRL was put there"
            yield failed(subject, message, before=before, **evidence)
        elif highest is not None and number < highest.number and _settled(highest, facts, parameters):
            message = f"It has number {number}, while {highest.url} serves number {highest.number} of the same CA since {highest.since}"
            yield failed(subject, message, highest=highest.number, **evidence)
        elif base is not None and (found["base_number"] or 0) > base.number:
            message = f"The delta CRL builds on number {found['base_number']}, but the base CRL there is has number {base.number}"
            yield failed(subject, message, base=base.number, **evidence)
        elif isinstance(before, int) or (highest is not None and highest.addresses > 1):
            yield passed(subject, before=before, **evidence)


def _settled(newest: _Newest, facts: Facts, parameters: Parameters) -> bool:
    return facts.now - moment(newest.since) > timedelta(minutes=float(parameters["grace_minutes"]))


def _row(found: Words, *, delta: bool | None = None) -> tuple[str, bool]:
    """Whose CRLs have one row of numbers: a key's, base and delta (which AD CS numbers together, but publishes apart)."""
    key = found["signed_by"][0] if found["signed_by"] else f"unsigned {found['issuer']}"
    return key, found["delta"] if delta is None else delta


def _newest(facts: Facts) -> dict[tuple[str, bool], _Newest]:
    newest: dict[tuple[str, bool], _Newest] = {}
    for one in facts["crls"]:
        for found in one["lists"]:
            if found["number"] is None or not found["signed_by"]:
                continue
            before = newest.get(_row(found), _Newest(-1, "", "", 0))
            this = _Newest(found["number"], one["url"], found["this_update"], 0)
            newest[_row(found)] = max(before, this, key=lambda each: each.number)._replace(addresses=before.addresses + 1)
    return newest


def small(facts: Facts, parameters: Parameters) -> Verdicts:
    for one in facts["crls"]:
        subject = _subject(one)
        if not one["lists"] and "is larger than" in one["reason"]:
            yield failed(subject, f"It is too large to be read: {one['reason']}")
    for one, found in _lists(facts):
        if isinstance(found, Verdict):
            if "is larger than" not in found.message:
                yield found
            continue
        evidence = {"entries": found["entries"], "size": found["size"]}
        if found["entries"] > int(parameters["entries"]) or found["size"] > float(parameters["megabytes"]) * MEGABYTE:
            message = (
                f"It has {found['entries']} entries in {found['size'] / MEGABYTE:.1f} MB, which whoever checks a certificate reads whole"
            )
            yield failed(_subject(one), message, **evidence)
        else:
            yield passed(_subject(one), **evidence)


# ---- in certificates


def of_certificates(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Every certificate in use, but for roots, names a CDP at which a CRL is."""
    points = {one["url"]: one for one in facts["crls"]}
    for certificate in _in_use(facts):
        subject = _certificate(certificate)
        urls = certificate.get("cdps")
        evidence = {"cdps": urls, "held_by": certificate["held_by"], "sha256": certificate["sha256"]}
        if urls is None:
            yield unknown(subject, "Its CDPs were not noted", **evidence)
        elif not urls:
            message = "It names no CDP: whether it was revoked, nobody can tell, and who has to know refuses it"
            yield failed(subject, message, **evidence)
        elif any(points.get(url, {}).get("lists") for url in urls):
            yield passed(subject, **evidence)
        elif all(points.get(url, {}).get("absent") or points.get(url, {}).get("wrong") for url in urls):
            yield failed(subject, f"At none of the CDPs that it names there is a CRL ({', '.join(urls)})", **evidence)
        else:
            yield unknown(subject, f"None of the CDPs that it names was reached from the control node ({', '.join(urls)})", **evidence)


def for_everybody(facts: Facts, _parameters: Parameters) -> Verdicts:
    """RFC 5280 8: a CRL behind HTTPS needs another CRL; one behind ldap:/// only members of the domain can fetch."""
    for certificate in _in_use(facts):
        urls = certificate.get("cdps")
        if not urls:
            continue  # the control before says so
        evidence = {"cdps": urls, "held_by": certificate["held_by"]}
        if any(url.casefold().startswith("http:") for url in urls):
            yield passed(_certificate(certificate), **evidence)
        else:
            message = "It names no CDP by HTTP, so that only members of the domain (or nobody without another CRL) can look it up"
            yield failed(_certificate(certificate), message, **evidence)


def of_issuers(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Every CA that has issued a certificate in use has a CRL in force somewhere: a chain is checked whole."""
    issuers: dict[str, list[Words]] = {}
    for certificate in _in_use(facts):
        issuers.setdefault(certificate["issuer"], []).append(certificate)
    for issuer, issued in sorted(issuers.items()):
        subject = f"CA {issuer}"
        urls = sorted({url for one in issued for url in one.get("cdps") or ()})
        good = [
            one["url"]
            for one in facts["crls"]
            for found in one["lists"]
            if found["issuer"] == issuer and found["signed_by"] and not found["delta"] and _valid(found, facts.now)
        ]
        points = [one for one in facts["crls"] if one["url"] in urls]
        evidence: dict[str, Any] = {"issued": sorted({one["name"] for one in issued}), "cdps": urls}
        if good:
            yield passed(subject, found_at=good, **evidence)
        elif not urls:
            continue  # that no certificate of it names a CDP is another control's
        elif any(not one["lists"] and not one["absent"] and not one["wrong"] for one in points):
            yield unknown(subject, "No CRL of it was seen, and not all of its CDPs were reached from the control node", **evidence)
        else:
            yield failed(subject, "No CRL of it is in force at any CDP that certificates in use name", **evidence)


def _valid(found: Words, now: datetime) -> bool:
    return found["next_update"] is not None and moment(found["this_update"]) <= now < moment(found["next_update"])


def _in_use(facts: Facts) -> Iterable[Words]:
    """Each certificate once; roots vouch for themselves."""
    found = {one["sha256"]: one for one in facts["certificates"] if one["subject"] != one["issuer"]}
    return found.values()


# ---- words


def _subject(one: Words) -> str:
    return f"CDP {one['url']}"


def _certificate(words: Words) -> str:
    return f"certificate {words['name']} ({words['sha256'][:16]})"


def _names(one: Words) -> list[str]:
    return [issuer["subject"] for issuer in one["issuers"]]


def _named(one: Words) -> str:
    return " or ".join(dict.fromkeys(_names(one)))


def _shown(found: Words) -> dict[str, Any]:
    return {name: found[name] for name in ("issuer", "number", "this_update", "next_update")}


def _lists(facts: Facts) -> Iterator[tuple[Words, Any]]:
    """Each address with its CRL: the CA's newest where there are several, or the verdict that it is not known.

    Nothing where it is known that there is none, or no CRL of the CA: the controls for that say so.
    """
    for one in facts["crls"]:
        own = [found for found in one["lists"] if found["signed_by"] or not one["issuers"]]
        if own:
            for key in dict.fromkeys(_row(found) for found in own):
                yield one, max((found for found in own if _row(found) == key), key=lambda found: found["this_update"])
        elif not one["lists"]:
            yield from ((one, verdict) for verdict in _unfetched(one))


def _unfetched(one: Words) -> Verdicts:
    if not one["absent"] and not one["wrong"]:
        yield unknown(_subject(one), f"It was not fetched: {one['reason']}", used_by=one["used_by"])
