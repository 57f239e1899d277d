# SPDX-License-Identifier: GPL-3.0-or-later
"""FreeRADIUS and nginx before the PassiveKey server, as their configurations have them (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges import front_ends
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges.front_ends import Section
from ansible_collections.certlogon.core.plugins.module_utils.compliance.judges.passivekey import is_, sentence
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Verdict, failed, passed, unknown

Parameters = Mapping[str, Any]
Verdicts = Iterator[Verdict]

_YES = ("yes", "true", "1")
_DEBUG = re.compile(r"-[a-zA-Z]*[xX]+[a-zA-Z]*")
_FIRST_FIXED = {"3.0": (3, 0, 27), "3.2": (3, 2, 5)}
"""FreeRADIUS that knows require_message_authenticator and limit_proxy_state (CVE-2024-3596)."""

_HEADERS = ("X-Passivekey-Account", "X-Passivekey-User", "X-Passivekey-Device")


# ---- FreeRADIUS


def _radius(facts: Facts) -> Section | None:
    """Its files as one; None where there is no FreeRADIUS here."""
    found = facts["radius"]
    if found.get("missing"):
        return None
    whole = Section()
    for text in is_(facts, "radius")["files"].values():
        part = front_ends.radius(text)
        whole.sections += part.sections
        whole.values.update(part.values)
    return whole


def _clients(tree: Section) -> Iterator[tuple[str, Section]]:
    for one in tree.under("client"):
        yield f"RADIUS client {one.argument}", one


def radius_signed(facts: Facts, _parameters: Parameters) -> Verdicts:
    tree = _radius(facts)
    if tree is None:
        return
    security = next((one for one in tree.sections if one.name == "security"), Section())
    for subject, client in _clients(tree):
        loose = []
        for name, meaning in (
            ("require_message_authenticator", "requests that nobody signed are answered"),
            ("limit_proxy_state", "Proxy-State can be smuggled in"),
        ):
            value = client.value(name) or security.value(name)
            if value.lower() not in _YES:
                loose.append(f"{meaning} ({name} is {value or 'not set'})")
        yield failed(subject, sentence(loose), address=client.value("ipaddr")) if loose else passed(subject)


def radius_version(facts: Facts, _parameters: Parameters) -> Verdicts:
    if facts["radius"].get("missing"):
        return
    text = is_(facts, "radius")["version"]
    found = re.search(r"Version (\d+)\.(\d+)\.(\d+)", text)
    if not found:
        yield unknown("FreeRADIUS", f"Its version is not understood: {text or 'it does not run here'}")
        return
    version = (int(found[1]), int(found[2]), int(found[3]))
    least = _FIRST_FIXED.get(f"{found[1]}.{found[2]}", (3, 2, 5))
    evidence: dict[str, Any] = {"version": ".".join(map(str, version)), "least": ".".join(map(str, least))}
    if version < least:
        yield failed("FreeRADIUS", f"Version {evidence['version']} does not know how to refuse unsigned requests", **evidence)
    else:
        yield passed("FreeRADIUS", **evidence)


def _secret(client: Section) -> dict[str, int]:
    """What the observer left in the secret's place: length, a number that is the same for the same, and whether everybody knows it."""
    pairs = (part.split(":") for part in client.value("secret").split(",") if part.count(":") == 1)
    return {name: int(value) for name, value in pairs if value.isdigit()}


def radius_secrets(facts: Facts, parameters: Parameters) -> Verdicts:
    tree = _radius(facts)
    if tree is None:
        return
    clients = [(subject, _secret(client)) for subject, client in _clients(tree)]
    for subject, secret in clients:
        if not secret:
            yield unknown(subject, "Its secret was not found in the configuration")
            continue
        others = [other for other, words in clients if other != subject and words.get("same") == secret["same"]]
        evidence: dict[str, Any] = {"length": secret["length"], "shared_with": others}
        if secret["known"]:
            yield failed(subject, "Its secret is one that everybody tries first", **evidence)
        elif secret["length"] < int(parameters["length"]):
            yield failed(
                subject, f"Its secret has {secret['length']} characters; what can be tried offline wants {parameters['length']}", **evidence
            )
        elif others:
            yield failed(subject, f"It has the same secret as {', '.join(others)}: each can play the other", **evidence)
        else:
            yield passed(subject, **evidence)


def radius_silent(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Neither its debug output nor its log has passwords and codes."""
    tree = _radius(facts)
    if tree is None:
        return
    debug = [one for one in facts["processes"] if one["name"] in ("freeradius", "radiusd") and any(map(_DEBUG.fullmatch, one["arguments"]))]
    log = next((one for one in tree.sections if one.name == "log"), Section())
    told = [name for name in ("auth_badpass", "auth_goodpass") if log.value(name).lower() in _YES]
    evidence: dict[str, Any] = {"arguments": [one["arguments"] for one in debug], "log": told}
    if debug:
        yield failed("FreeRADIUS", "It runs with -X or -x, and says every password and code", **evidence)
    elif told:
        yield failed("FreeRADIUS", f"Its log has passwords ({', '.join(told)})", **evidence)
    else:
        yield passed("FreeRADIUS")


def radius_asks(facts: Facts, _parameters: Parameters) -> Verdicts:
    """It asks the right server, over TLS that it checks, and starts while that is down."""
    tree = _radius(facts)
    if tree is None:
        return
    rest = next(tree.under("rest"), None)
    if rest is None:
        yield failed("FreeRADIUS", "It has no module rest: it does not ask the PassiveKey server")
        return
    tls = next(rest.under("tls"), Section())
    uri = next((one.value("uri") for one in rest.under("authenticate") if one.value("uri")), rest.value("connect_uri"))
    uri = re.sub(r"\$\{(\w+)\}", lambda found: tree.value(found[1]), uri)
    origin = str(is_(facts, "settings").get("origin", ""))
    pool = next(rest.under("pool"), Section())
    wrong = []
    if not uri.startswith("https://"):
        wrong.append(f"passwords go to {uri or 'nowhere'} without TLS")
    elif origin and not uri.startswith(f"{origin}/"):
        wrong.append(f"it asks {uri}, which is not {origin}")
    if not (tls.value("ca_info_file") or tls.value("ca_file")):
        wrong.append("it believes every CA (ca_info_file is not set)")
    wrong += [
        f"it does not check the server's certificate ({name} is {tls.value(name)})"
        for name in ("check_cert", "check_cert_cn")
        if tls.value(name, "yes").lower() not in _YES
    ]
    if pool.value("start", "5") != "0":
        wrong.append(f"it does not start while the server is down (pool start is {pool.value('start') or 'not set'})")
    evidence: dict[str, Any] = {"uri": uri, "ca_info_file": tls.value("ca_info_file"), "start": pool.value("start")}
    yield failed("FreeRADIUS", sentence(wrong), **evidence) if wrong else passed("FreeRADIUS", **evidence)


def radius_clients(facts: Facts, parameters: Parameters) -> Verdicts:
    """Each client is one host of the own network: what is in RADIUS is hidden by MD5 and a secret, no more."""
    tree = _radius(facts)
    if tree is None:
        return
    for subject, client in _clients(tree):
        address = next((client.value(name) for name in ("ipaddr", "ipv4addr", "ipv6addr") if client.value(name)), "")
        try:
            network = ip_network("0.0.0.0/0" if address == "*" else address, strict=False)
        except ValueError:
            yield unknown(
                subject, f"Where it is is not known from {address!r}: a name is looked up when FreeRADIUS starts", address=address
            )
            continue
        evidence: dict[str, Any] = {"address": address}
        if network.num_addresses > int(parameters["addresses"]):
            yield failed(subject, f"It is {network.num_addresses} addresses, all with one secret", **evidence)
        elif not network.is_private:
            yield failed(subject, "It asks from a public address: a network in between can read and try what is in RADIUS", **evidence)
        else:
            yield passed(subject, **evidence)


# ---- nginx


def _servers(facts: Facts) -> Iterator[tuple[str, Section]]:
    """The sites that ask, of all files."""
    if facts["nginx"].get("missing"):
        return
    for text in is_(facts, "nginx").values():
        for server in front_ends.nginx(text).under("server"):
            if server.values.get("auth_request") or any(one.values.get("auth_request") for one in server.under("location")):
                yield f"site {server.value('server_name', '?').split()[0]}", server


def nginx_guarded(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Every location that goes on to the site asks before."""
    for subject, server in _servers(facts):
        everywhere = server.value("auth_request")
        open_ones = [
            location.argument
            for location in server.under("location")
            if location.values.get("proxy_pass") or location.values.get("root") or location.values.get("alias")
            if "internal" not in location.values and location.value("auth_request", everywhere or "off") == "off"
        ]
        plain = [value for value in server.values.get("listen", []) if "ssl" not in value.split() and "quic" not in value.split()]
        if open_ones:
            yield failed(subject, f"{', '.join(open_ones)} of it is open to everybody", locations=open_ones)
        elif plain:
            yield failed(subject, f"It listens without TLS ({', '.join(plain)}): cookies are read on the way", listen=plain)
        else:
            yield passed(subject)


def _asking(server: Section) -> Section | None:
    """The location that asks the PassiveKey server."""
    wanted = next(
        (one.value("auth_request") for one in [server, *server.under("location")] if one.value("auth_request", "off") != "off"), ""
    )
    return next((one for one in server.under("location") if one.argument.split()[-1:] == [wanted]), None)


def nginx_asks(facts: Facts, _parameters: Parameters) -> Verdicts:
    """What asks is out of browsers' reach, checks whom it asks, and sends cookies there and nothing else."""
    for subject, server in _servers(facts):
        asking = _asking(server)
        if asking is None:
            yield unknown(subject, "The location that asks is not in this file")
            continue
        wrong = [] if "internal" in asking.values else ["browsers can ask it themselves (internal is not set)"]
        target = asking.value("proxy_pass")
        if not target.startswith("https://"):
            wrong.append(f"cookies and the site's secret go to {target or 'nowhere'} without TLS")
        elif asking.value("proxy_ssl_verify") != "on" or not asking.value("proxy_ssl_trusted_certificate"):
            wrong.append("whoever answers there is believed (proxy_ssl_verify)")
        if asking.value("proxy_pass_request_headers") != "off":
            wrong.append("all that browsers send is passed on (proxy_pass_request_headers)")
        if asking.value("proxy_pass_request_body") != "off":
            wrong.append("what browsers upload is passed on (proxy_pass_request_body)")
        yield failed(subject, sentence(wrong), proxy_pass=target) if wrong else passed(subject, proxy_pass=target)


def nginx_names(facts: Facts, _parameters: Parameters) -> Verdicts:
    """Who somebody is, the site is told by the server alone: headers of these names that a browser sends are replaced."""
    for subject, server in _servers(facts):
        for location in server.under("location"):
            if location.value("auth_request", "off") == "off":
                continue
            set_ones = {value.split(" ")[0].lower() for value in location.values.get("proxy_set_header", [])}
            missing = [name for name in _HEADERS if name.lower() not in set_ones]
            place = f"{subject} {location.argument}"
            if missing:
                yield failed(place, f"A browser can say who it is: {', '.join(missing)} is passed on as it comes", headers=missing)
            else:
                yield passed(place)


def site_secrets(facts: Facts, parameters: Parameters) -> Verdicts:
    """A site that knows another's secret can ask for it."""
    found = is_(facts, "site_secrets")
    for site, secret in found.items():
        others = sorted(other for other, words in found.items() if other != site and words["same"] == secret["same"])
        evidence: dict[str, Any] = {"length": secret["length"], "shared_with": others}
        if secret["length"] < int(parameters["length"]):
            yield failed(f"site {site}", f"Its secret has {secret['length']} characters, fewer than {parameters['length']}", **evidence)
        elif others:
            yield failed(f"site {site}", f"It has the same secret as {', '.join(others)}", **evidence)
        else:
            yield passed(f"site {site}", **evidence)


# ---- gateways that ask by RADIUS


def gateway_signed(facts: Facts, _parameters: Parameters) -> Verdicts:
    """ocserv's library signs nothing before its version 1.5: the relay of role ocserv_gateway does."""
    directives = is_(facts, "configuration")
    ways = [way for name in ("auth", "enable-auth") for way in directives.get(name) or () if way.startswith("radius")]
    if not ways:
        return
    asked, relay = facts["radius"], facts["relay_running"]
    if "is" not in asked:
        yield unknown("RADIUS of ocserv", f"Its configuration is not the role's: {asked.get('problem') or ways[-1]}", auth=ways)
        return
    away = [address for address in asked["is"] if not _is_here(address)]
    evidence = {"authserver": asked["is"], "relay_running": relay}
    if away or not asked["is"]:
        text = f"It asks {', '.join(away) or 'nobody that is known'} itself, and signs nothing: an answer can be forged"
        yield failed("RADIUS of ocserv", text, **evidence)
    elif not relay:
        yield failed("RADIUS of ocserv", "The relay that signs what it asks does not run: nobody gets in by code", **evidence)
    else:
        yield passed("RADIUS of ocserv", **evidence)


def _is_here(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address.casefold() == "localhost"


def gateway_secret(facts: Facts, parameters: Parameters) -> Verdicts:
    """An appliance shows no secret. Where it asks a PassiveKey server of this run, the other end of the same secret is judged."""
    for server in facts["auth_servers"]:
        if server.get("type") != "radius":
            continue
        subject, host = f"authentication server {server['name']}", str((server.get("radius") or {}).get("host") or "").casefold()
        other = next((one for one in facts.others("passivekey") if host and host in _names(one)), None)
        if other is None:
            text = (
                f"Its secret cannot be read, and no PassiveKey server of this run is {host or 'what it asks'}: how long it is, is not known"
            )
            yield unknown(subject, text, host=host)
            continue
        lengths = {name: _secret(client).get("length", 0) for name, client in _clients(_radius(other) or Section())}
        short = [name for name, length in lengths.items() if length < int(parameters["length"])]
        if short or not lengths:
            text = f"{other.target.name} has {', '.join(short) or 'no RADIUS client at all'}: this may be it, and its secret is too short"
            yield failed(subject, text, host=host, lengths=lengths)
        else:
            yield passed(subject, host=host, lengths=lengths)


def _names(server: Facts) -> set[str]:
    """By which names a PassiveKey server may be asked."""
    found = {server.target.name.casefold()}
    if server.read("expected"):
        found |= {str(name).casefold() for name in server["expected"].get("server_names") or ()}
    return found
