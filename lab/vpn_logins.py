# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's VPN logins: the cards of `lab.logons` at another computer, both gateways, the right way and wrong ones.

`carry`, `log_in`, `revoked` do; the judgements are pure."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from cryptography import x509

from lab import logons, settings, vpn_pki
from lab.cards import FOLDER, CardBox
from lab.labs import Lab
from lab.story import STAND_IN, Proof
from lab.tunnels import CLIENT, Gateway, Tunnel, open_tunnel, try_tunnel

FOREIGN = "foreign"
"""The card of a CA that has the name of the company's, with a certificate that has the name of its owner."""


@dataclass(frozen=True)
class Place:
    """A gateway as the demo calls it; `title` is short, `kind` what it is here."""

    title: str
    host: str
    gateway: Gateway
    kind: str
    judge: str
    keys: str = "a card"
    """What opens it: a gateway that takes codes too says so."""


@dataclass(frozen=True)
class Login:
    """A login that was tried, and what is to become of it: the inner page, or (`reasons` not empty) a refusal that says one of them."""

    claim: str
    place: Place
    tunnel: Tunnel
    reasons: Sequence[str] = ()
    requirements: Sequence[str] = ("C16",)


def places(lab: Lab) -> list[Place]:
    """Both gateways of the lab, with a way to their logs."""

    def log(host: str, command: str) -> str:
        return lab.run(host, "sh", "-c", command, check=False).stdout

    return [
        Place(
            "the appliance",
            "vpn1",
            Gateway(f"https://vpn.{settings.DNS_DOMAIN}", log=lambda: log("vpn1", VPN1_LOG)),
            STAND_IN,
            "ocserv of the stand-in, openconnect",
        ),
        Place(
            "the ocserv gateway",
            "gw1",
            Gateway(f"https://gw.{settings.DNS_DOMAIN}", log=lambda: log("gw1", GW1_LOG)),
            STAND_IN,  # ocserv is not, the CA of the certificates is
            "ocserv, openconnect",
            "card and code",
        ),
    ]


VPN1_LOG = "cat /var/lib/connect_secure/log/*.log 2>/dev/null"
GW1_LOG = "cat /var/log/ocserv.log"


def carry(lab: Lab) -> CardBox:
    """The cards are taken out of the reader at the domain's workstation and put into the one of the user's computer."""
    here, there = CardBox.of_lab(lab), CardBox.of_lab(lab, host=CLIENT)
    for token in (here.folder / "tokens").iterdir():
        shutil.rmtree(there.folder / "tokens" / token.name, ignore_errors=True)  # what was on the card and is not any more
    shutil.copytree(here.folder, there.folder, dirs_exist_ok=True)
    return there


def uri(name: str) -> str:
    """The card's own certificate, for GnuTLS, whose list of modules has the card's; beside it are those of its CAs."""
    return f"pkcs11:token={name};object={logons.LABEL}?pin-source={FOLDER}/{name}.pin"


def forge(lab: Lab, box: CardBox) -> str:
    """A stranger's card: a CA of the company's name, and the owner's name in the certificate."""
    real = x509.load_pem_x509_certificate((lab.folder / "authority/corp-ca.pem").read_bytes())
    owner = x509.load_pem_x509_certificate(logons.certificate_file(lab, logons.OWNER).read_bytes())
    name = str(owner.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
    mail = f"{logons.OWNER}@{settings.DNS_DOMAIN}"
    if box.card(FOREIGN).pin_file.exists():
        return f"pkcs11:token={FOREIGN};id=%{vpn_pki.KEY_ID}?pin-source={FOLDER}/{FOREIGN}.pin"
    return vpn_pki.UserCa(real.subject).card(box, FOREIGN, vpn_pki.User(name, mail, mail)).uri


def log_in(lab: Lab, box: CardBox, all_places: Sequence[Place]) -> list[Login]:
    """The owner with her card, and who has none, or a stranger's, on each gateway."""
    foreign = forge(lab, box)
    found = []
    for place in all_places:
        found += [
            Login(
                f"Card and PIN open {place.title}'s tunnel, to a page behind it",
                place,
                try_tunnel(lab, place.gateway, uri(logons.OWNER)),
                requirements=("C5", "C6", "C7", "C8", "C15"),
            ),
            Login(f"Without {place.keys} {place.title} opens nothing", place, try_tunnel(lab, place.gateway, None), NO_CARD),
            Login(
                f"A card of another CA with the same names: {place.title} refuses",
                place,
                try_tunnel(lab, place.gateway, foreign),
                STRANGER,
            ),
        ]
    return found


# What a gateway's log says of a refusal.
NO_CARD = ("certificate is required", "no certificate", "without a certificate")
STRANGER = ("issuer", "not trusted", "unknown ca", "signer")
REVOKED = ("revoked",)
# Said in every login, the refused ones too.
ALWAYS = re.compile(r"^(POST|GET) https|^Connected to|^SSL negotiation|vhost-net|loaded CRL:|^note: setting|supplemental config")
ENDED = ("",)  # the page that does not come any more tells


@dataclass(frozen=True)
class Session:
    """An open tunnel; `seen`: how much of the gateway's log was written when it was open."""

    place: Place
    tunnel: Tunnel
    seen: int


@contextmanager
def signed_in(lab: Lab, all_places: Sequence[Place], name: str = logons.OTHER) -> Iterator[list[Session]]:
    """Somebody works through each gateway."""
    with ExitStack() as stack:
        tunnels = [(place, stack.enter_context(open_tunnel(lab, place.gateway, uri(name)))) for place in all_places]
        yield [Session(place, tunnel, len(place.gateway.log())) for place, tunnel in tunnels]


def revoked(lab: Lab, sessions: Sequence[Session], seconds: Mapping[str, float]) -> list[Login]:
    """What became of the sessions of somebody whose certificate was revoked meanwhile, and of new ones. `seconds`: by gateway."""
    found = []
    for session in sessions:
        place, tunnel = session.place, session.tunnel
        left = tunnel.fetch(timeout=1) if tunnel.up else ""
        since = place.gateway.log()[session.seen :]
        took = seconds.get(f"{place.host}.{settings.DNS_DOMAIN}")
        new = try_tunnel(lab, place.gateway, uri(logons.OTHER))
        when = "" if took is None else f" {took:.1f} s after the command"
        found.append(Login(f"Revoked: {place.title} refuses the card{when}", place, new, REVOKED, ("C9", "C12", "C16")))
        ended = replace(tunnel, up=bool(left), page="", words="", gateway_log=since)
        reasons = ENDED if tunnel.up else ("there was no session",)
        found.append(Login(f"The session that was open on {place.title} has ended", place, ended, reasons, ("C12", "C16")))
    return found


def refused_after(messages: Sequence[str]) -> dict[str, float]:
    """Gateway -> seconds, as the playbook tells it."""
    found = (re.findall(r"(\S+): checks against the new CRL ([\d.]+) s after the command", message) for message in messages)
    return {host: float(seconds) for pairs in found for host, seconds in pairs}


# ---- judgements


def judged(logins: Sequence[Login], versions: Mapping[str, str]) -> list[Proof]:
    return [_judged(login, versions.get("openconnect", "")) for login in logins]


def _judged(login: Login, version: str) -> Proof:
    tunnel, problems = login.tunnel, []
    said = tunnel.gateway_log
    if not login.reasons:
        if not tunnel.up:
            problems.append(f"no page came through: {last_line(tunnel.words)}")
    elif tunnel.up:
        problems.append("a page came through all the same")
    elif not any(reason in said.lower() for reason in login.reasons):
        problems.append(f"refused for another reason: {last_line(said)}")
    return Proof(
        login.claim,
        login.place.judge,
        "failed" if problems else "passed",
        login.place.kind,
        tuple(evidence(login)),
        tuple(login.requirements),
        version,
        "; ".join(problems),
    )


def evidence(login: Login) -> Iterator[str]:
    """What gateway and client said, without what is the same in each login."""
    tunnel = login.tunnel
    if tunnel.page:
        yield f"through the tunnel, from {tunnel.address}: {tunnel.page.strip()}"
    yield from _quoted("gateway", tunnel.gateway_log)
    yield from _quoted("client", tunnel.words)


def _quoted(who: str, said: str) -> Iterator[str]:
    lines = [line for line in said.splitlines() if line.strip() and not ALWAYS.search(line)]
    for line in lines[-12:]:
        yield from textwrap.wrap(f"{who}: {line}", 110, subsequent_indent="    ", break_on_hyphens=False)


def last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


def client_version(lab: Lab) -> str:
    first = lab.run(CLIENT, "openconnect", "--version", check=False).stdout.splitlines()[:1]
    return first[0].rpartition(" v")[2] if first else ""
