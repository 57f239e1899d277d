# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's cards: made, enrolled by certlogon, and tried on the domain's real KDC, the right way and wrong ones.

`prepare`, `log_on` and `look` do; the judgements are pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import settings
from lab.cards import CardBox
from lab.labs import Lab
from lab.logon import FOLDER, Desk, Maker, Outcome
from lab.story import STAND_IN, Proof, Run

OWNER, OTHER = "alice.andersson", "bruno.bianchi"
AUTHORITY_FILE = f"{FOLDER}/corp-ca.pem"
LABEL = "logon"
"""Of the card's own certificate, beside which those of its CAs are on the card."""


@dataclass(frozen=True)
class Trial:
    """A logon that was tried, and what is to become of it: a ticket, or a refusal whose reason holds one of these words."""

    claim: str
    outcome: Outcome
    reasons: Sequence[str] = ()
    requirements: Sequence[str] = ("C16",)
    by_card: bool = False
    """Whether the card itself refuses, so that the KDC is never asked."""


def prepare(lab: Lab) -> CardBox:
    """Two people's cards, empty where they are new."""
    box = CardBox.of_lab(lab)
    for name in (OWNER, OTHER):
        box.make(name)
    return box


def desk(lab: Lab, *others: str) -> Desk:
    """A workstation that trusts the company's root, and `others`."""
    authority = (lab.folder / "authority/corp-ca.pem").read_text()
    lab.run("control", "sh", "-c", f"umask 077; mkdir -p {FOLDER}; cat > {AUTHORITY_FILE}", stdin=authority)
    return Desk(lab.run, ["/srv/files/root-ca.pem", *others], [AUTHORITY_FILE])


def log_on(lab: Lab, box: CardBox) -> list[Trial]:
    """The owner with her card, and three who are not she."""
    at, card, environment = desk(lab), box.card(OWNER), box.inside.environment
    identity = box.inside.card(OWNER).identity(LABEL)

    def tried(account: str, pin: str) -> Outcome:
        return at.log_on(account, identity, pin=pin, environment=environment)

    wrong_pin = "".join(str((int(digit) + 5) % 10) for digit in card.pin)
    foreign = Maker(lab.run).issue("foreign", f"{OWNER}@{settings.DNS_DOMAIN}", authority="rogue-ca")
    return [
        Trial(f"{OWNER}'s card opens the domain: ticket, and LDAP by it", tried(OWNER, card.pin), requirements=("C13", "C15")),
        Trial(f"Her card does not open {OTHER}'s account", tried(OTHER, card.pin), ("mismatch", "has mapped to")),
        Trial(
            "A stranger's CA that names her is refused",
            # the client believes the stranger, so that it is the domain controller that refuses
            desk(lab, "/srv/files/rogue-ca.pem").log_on(OWNER, foreign.identity),
            ("not trusted", "verify", "issuer", "anchor", "Client not trusted"),
        ),
        Trial("A wrong PIN is refused by the card", tried(OWNER, wrong_pin), by_card=True, requirements=("C15", "C16")),
    ]


def log_on_revoked(lab: Lab, box: CardBox) -> Trial:
    card = box.card(OTHER)
    outcome = desk(lab).log_on(OTHER, box.inside.card(OTHER).identity(LABEL), pin=card.pin, environment=box.inside.environment)
    return Trial(f"{OTHER}'s card is refused once its certificate is revoked", outcome, ("revo", "not trusted"), ("C12", "C16"))


def certificate_file(lab: Lab, account: str) -> Path:
    """Where the card's certificate is kept on the control node."""
    [found] = [file for file in (lab.folder / "cards").glob("*.pem") if account in file.name and "chain" not in file.name]
    return found


# ---- judgements


def trials(found: Sequence[Trial], versions: Mapping[str, str]) -> list[Proof]:
    return [judged(trial, versions["samba"]) for trial in found]


def judged(trial: Trial, version: str) -> Proof:
    outcome = trial.outcome
    problems = []
    if not trial.reasons and not trial.by_card:
        if not outcome.ticket:
            problems.append(f"no ticket: {outcome.kinit}; {'; '.join(outcome.reasons)}")
        elif settings.NETBIOS_DOMAIN.lower() not in outcome.who.lower():
            problems.append(f"the ticket does not open the directory: {outcome.who}")
    elif outcome.ticket:
        problems.append("there is a ticket all the same")
    elif trial.by_card and outcome.audit:
        problems.append(f"the KDC was asked: {outcome.audit}")
    elif trial.reasons:
        told = " ".join((*outcome.reasons, outcome.status, outcome.kinit if not outcome.reasons else "")).lower()
        if not any(reason.lower() in told for reason in trial.reasons):
            problems.append(f"refused for another reason: {told or 'none told'}")
    judge = "SoftHSM, MIT kinit" if trial.by_card else "Samba's KDC, MIT kinit"
    return Proof(
        trial.claim,
        judge,
        "failed" if problems else "passed",
        STAND_IN,
        tuple(outcome.evidence),
        tuple(trial.requirements),
        "" if trial.by_card else version,
        "; ".join(problems),
    )


def foretold(foreseen: Run, first: Run) -> list[str]:
    """What the first run did to objects of our modules that check mode before it had not named.

    A CA that is not there yet has no certificate to name it by on an appliance: it is foreseen as the CA in a file.
    """
    named = {(change.module, change.name) for change in foreseen.changes}
    awaited = {change.module for change in foreseen.changes if change.name.startswith("the CA in ")}
    return [
        f"{change.name} was changed by {change.task!r} and not foretold"
        for change in first.changes
        if change.module.startswith("certlogon.core.")
        and "request" not in change.module
        and change.module not in awaited
        and (change.module, change.name) not in named
    ]
