# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of trust as a graph: trust root -> CA -> template -> card -> domain controller or gateway -> user, and the CRLs (pure).

A link is as good as what was judged of it: the findings' families, targets and subjects say which link they break. A link of which nothing
was judged is unknown, never whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Words = Mapping[str, Any]

BREAKING = ("critical", "high")
"""Failures this severe break a link; milder ones are a warning on it."""
ORDER = ("fail", "warn", "unknown", "pass")
"""The states of nodes and links, worst first."""
MOST = 40
"""Nodes of one kind; those in the worst state are kept, and what is left out is one node that counts them."""
SEVERITIES = ("critical", "high", "medium", "low", "info")

_UNKNOWN, _WAIVED = len(SEVERITIES) + 1, len(SEVERITIES)
_NOTHING = _UNKNOWN + 1
_LOGIN = re.compile(r"realm|sign-in|user-name|role|auth-server")
_PRONOUN = re.compile(r"^Its? |\bof it\b|\bfor it\b")
"""In a message that needs its subject beside it."""
_TEMPLATE = re.compile(r"^(?:certificate )?template\s+", re.IGNORECASE)


@dataclass
class _Judged:
    """What was judged of one thing: its worst state and the message of the finding that says so."""

    states: dict[str, int] = field(default_factory=dict)
    worst: tuple[int, str, str] = (_NOTHING, "", "")

    def add(self, state: str, rank: int = _NOTHING, message: str = "", control: str = "") -> None:
        self.states[state] = self.states.get(state, 0) + 1
        if rank < self.worst[0]:
            self.worst = (rank, message, control)

    @property
    def state(self) -> str:
        return next((state for state in ORDER if self.states.get(state)), "unknown")


Place = tuple[str, str]
"""What a finding is about: a kind of place (template, ca, trust, ntauth, dc, gateway, ...) and a name; "" is all of that kind."""


def chain(report: Words, published: Mapping[str, Iterable[str]] | None = None) -> dict[str, list[dict[str, str]]]:
    """`report` as far as it is made: targets, controls, certificates, crls. `published`: template names by the CA that offers them.

    Returns {"nodes": [{id, kind, label, detail, status}], "edges": [{from, to, label, status, message, control}]}; status is one of ORDER.
    """
    return _Chain(report, published or {}).draw()


class _Chain:
    def __init__(self, report: Words, published: Mapping[str, Iterable[str]]) -> None:
        self.certificates = _authorities(report["certificates"])
        self.report = report
        self.published = {name: list(templates) for name, templates in published.items()}
        self.nodes: list[dict[str, str]] = []
        self.edges: list[dict[str, str]] = []
        self.judged: dict[Place, _Judged] = {}
        self.templates: dict[str, None] = {}
        for control in report["controls"]:
            self._note(control)

    # ---- what was judged of what

    def _note(self, control: Words) -> None:
        for result in control["results"]:
            target = result["target"]
            for subject in result["passes"]:
                self._put(control, target, subject, "pass")
            if result["counts"].get("pass") and not result["passes"]:
                self._put(control, target, "", "pass")
            for finding in result["findings"]:
                state, rank, message = "unknown", _UNKNOWN, finding["message"]
                if _PRONOUN.search(message):
                    message = f"{finding['subject']}: {message}"
                if finding["status"] == "waived":
                    state, rank, message = "warn", _WAIVED, f"Waived: {message}"
                elif finding["status"] == "fail":
                    state = "fail" if control["severity"] in BREAKING else "warn"
                    rank = SEVERITIES.index(control["severity"])
                self._put(control, target, finding["subject"], state, rank, message)

    def _put(self, control: Words, target: Words, subject: str, state: str, rank: int = _NOTHING, message: str = "") -> None:
        place = self._place(control, target, subject)
        if place:
            self.judged.setdefault(place, _Judged()).add(state, rank, message, control["id"])

    def _place(self, control: Words, target: Words, subject: str) -> Place | None:
        family = family_name(control["family"])
        if family == "templates":
            name = _TEMPLATE.sub("", subject) if subject != target["name"] else ""
            if name:
                self.templates[name] = None
            return ("template", name)
        if family in ("authority", "enrollment_services"):
            own = self._named(target["name"]) if target["kind"] == "certification_authority" else ""
            return ("ca", own or self._named(subject))
        if family == "trust":
            return ("ntauth", "") if control["id"].startswith("ntauth") else ("trust", self._named(subject))
        if family == "domain_controllers":
            if control["id"].startswith("dc-ldap"):
                return None  # of the directory, not of certificates
            return ("dc crl" if "crl" in control["id"] else "dc", target["name"])
        if family == "mappings":
            return ("user", "")
        if family == "group_policy":
            return ("card", "")
        if family == "crls":
            whole = subject == target["name"]
            name = "" if whole else self._of_crl(subject)
            if control["id"].startswith("certificate"):
                return ("trust", self._named(subject)) if self._named(subject) else None
            return ("crl", name) if name or whole else None
        if family in ("connect_secure", "ocserv"):
            part = "gateway crl" if "crl" in control["id"] else "gateway login" if _LOGIN.search(control["id"]) else "gateway"
            return (part, target["name"])
        return None

    def _named(self, text: str) -> str:
        """The id of the CA or root that a text names: by its thumbprint, or by the longest of the names."""
        for key, words in self.certificates.items():
            if words["sha256"][:16] in text:
                return key
        found = [(len(alias), key) for key, words in self.certificates.items() for alias in words["aliases"] if _names(alias, text)]
        return max(found)[1] if found else ""

    def _of_crl(self, subject: str) -> str:
        """The issuer of the CRL whose address the subject has, or whose CA it names."""
        found = [(len(crl["url"]), str(crl["issuer"])) for crl in self.report["crls"] if crl["url"] and crl["url"] in subject]
        if found:
            return max(found)[1]
        key = self._named(subject)
        return str(self.certificates[key]["subject"]) if key else ""

    def _state(self, *places: Place) -> _Judged:
        """The worst that was judged of the places; what was said of all of a kind counts for each."""
        found = _Judged()
        for kind, name in places:
            for judged in filter(None, (self.judged.get((kind, name)), self.judged.get((kind, "")) if name else None)):
                for state, count in judged.states.items():
                    found.states[state] = found.states.get(state, 0) + count
                if judged.worst[0] < found.worst[0]:
                    found.worst = judged.worst
        return found

    # ---- the picture

    def draw(self) -> dict[str, list[dict[str, str]]]:
        self._authorities()
        if not self.report["targets"]:
            return {"nodes": self.nodes, "edges": self.edges}
        gates = list(self._gates())
        self._card_and_user()
        self._templates()
        for node, name, kind in gates:
            self._gate(node, name, kind)
        self._crls([node for node, _name, _kind in gates])
        return {"nodes": self.nodes, "edges": self.edges}

    def _node(self, key: str, kind: str, label: str, detail: str, status: str) -> str:
        self.nodes.append({"id": key, "kind": kind, "label": label, "detail": detail, "status": status})
        return key

    def _edge(self, source: str, target: str, label: str, judged: _Judged) -> None:
        _rank, message, control = judged.worst
        words = {"from": source, "to": target, "label": label, "status": judged.state, "message": message, "control": control}
        if judged.state == "unknown" and not message:
            words["message"] = "Nothing of this was judged."
        self.edges.append(words)

    def _authorities(self) -> None:
        for key, words in self.certificates.items():
            kind = "root" if words["issuer"] == words["subject"] else "ca"
            places = [("trust", key), ("ca", key)] if kind == "ca" or self._offers(key) else [("trust", key)]
            self._node(key, kind, words["name"], f"until {words['not_after'][:10]}", self._state(*places).state)
        for key, words in self.certificates.items():
            issuer = self._issuer(words["issuer"])
            if issuer and issuer != key:
                places = [("trust", key), ("trust", issuer), ("ca", key), ("crl", words["issuer"])]
                self._edge(issuer, key, "signs", self._state(*places))

    def _issuer(self, subject: str) -> str:
        """The certificate by that name that lasts longest: a renewed CA has several."""
        found = [(words["not_after"], key) for key, words in self.certificates.items() if words["subject"] == subject]
        return max(found)[1] if found else ""

    def _offers(self, key: str) -> list[str]:
        aliases = {alias.casefold() for alias in self.certificates[key]["aliases"]}
        return [template for name, templates in self.published.items() if name.casefold() in aliases for template in templates]

    def _issuing(self) -> list[str]:
        """The CAs that make certificates of templates: those that offer some, else those that sign no other CA, in their newest form."""
        newest = {words["subject"]: self._issuer(words["subject"]) for words in self.certificates.values()}
        offering = [key for key in newest.values() if self._offers(key)]
        if offering:
            return offering
        signing = {self._issuer(words["issuer"]) for words in self.certificates.values() if words["issuer"] != words["subject"]}
        return [key for key in newest.values() if key not in signing]

    def _templates(self) -> None:
        issuing = self._issuing()
        held = self._held_by_machines()
        offered = {key: self._offers(key) for key in issuing}
        # which CA issues which, where nothing tells: any of them may
        otherwise = [] if self.published else issuing
        names = dict.fromkeys([name for offers in offered.values() for name in offers] or [*self.templates, *held])
        kept, rest = _cut([(name, self._state(("template", name))) for name in names])
        for name, judged in kept:
            offering = [key for key in issuing if name in offered[key]]
            self._template(f"template/{name}", name, judged, offering or otherwise, held.get(name, ["card"]))
        if rest:
            offering = [key for key in issuing if any(name in offered[key] for name, _judged in rest)]
            self._template("template/", f"{len(rest)} more templates", rest[0][1], offering or otherwise, ["card"])

    def _template(self, key: str, label: str, judged: _Judged, issuing: Sequence[str], holders: Iterable[str]) -> None:
        self._node(key, "template", label, "certificate template", judged.state)
        for authority in issuing:
            self._edge(authority, key, "issues", self._issues(authority))
        for holder in holders:
            self._edge(key, holder, "becomes", judged)

    def _issues(self, authority: str) -> _Judged:
        """What is wrong with a CA is said on the link to it; where there is none (it is its own root), on those from it."""
        judged = self._state(("ca", authority))
        own = self.certificates[authority]
        if own["issuer"] == own["subject"] or not self._issuer(own["issuer"]) or judged.state == "unknown":
            return judged
        return _Judged({"pass": 1})

    def _held_by_machines(self) -> dict[str, list[str]]:
        """The nodes that have a certificate of a template, by template: such a template makes no cards."""
        there = {node["id"] for node in self.nodes}
        found: dict[str, list[str]] = {}
        for words in self.report["certificates"]:
            if words.get("template") and words["use"] in ("domain_controller", "device", "web"):
                nodes = found.setdefault(words["template"], [])
                kind = "domain_controller" if words["use"] == "domain_controller" else "gateway"
                node = f"{kind}/{words['target']['name']}"
                if node in there and node not in nodes:
                    nodes.append(node)
        return found

    def _card_and_user(self) -> None:
        counts = [
            sum(result["counts"][status] for status in ("pass", "fail", "waived"))
            for control in self.report["controls"]
            if family_name(control["family"]) == "mappings"
            for result in control["results"]
        ]
        most = max(counts, default=0)
        policies = self._state(("card", ""))
        self._node("card", "card", "Cards", "on the computers", policies.state)
        self._node("user", "user", "Users", f"{most:,} judged" if most else "their logon", self._state(("user", "")).state)
        self._edge("card", "user", "is let in by the computers' policies", policies)

    def _gates(self) -> Iterator[tuple[str, str, str]]:
        kinds = {"domain_controller": "dc", "connect_secure": "gateway", "ocserv": "gateway"}
        targets = [target for target in self.report["targets"] if target["kind"] in kinds]
        for kind in ("dc", "gateway"):
            own = [(target, self._state((kind, target["name"]))) for target in targets if kinds[target["kind"]] == kind]
            kept, rest = _cut(own)
            node = "domain_controller" if kind == "dc" else "gateway"
            for target, judged in kept:
                state = judged.state if target["answered"] else "unknown"
                key = self._node(f"{node}/{target['name']}", node, target["name"], self._held(target), state)
                yield key, target["name"], kind
            if rest:
                noun = "domain controllers" if kind == "dc" else "gateways"
                yield self._node(f"{node}/", node, f"{len(rest)} more {noun}", "", rest[0][1].state), rest[0][0]["name"], kind

    def _held(self, target: Words) -> str:
        if not target["answered"]:
            return "did not answer"
        place = {"kind": target["kind"], "name": target["name"]}
        ends = [
            words["not_after"]
            for words in self.report["certificates"]
            if words["use"] in ("domain_controller", "device", "web") and words["target"] == place
        ]
        return f"until {min(ends)[:10]}" if ends else {"domain_controller": "domain controller"}.get(target["kind"], "gateway")

    def _gate(self, node: str, name: str, kind: str) -> None:
        # where no CRL was seen there is no link that could show what is wrong with asking for it
        places = [(kind, name)] if self._revoking() else [(kind, name), (f"{kind} crl", name)]
        if kind == "dc":
            self._edge("card", node, "opens", self._state(*places, ("ntauth", "")))
            self._edge(node, "user", "maps to", self._state(("user", "")))
        else:
            self._edge("card", node, "opens", self._state(*places))
            self._edge(node, "user", "lets in", self._state(("gateway login", name)))

    def _revoking(self) -> set[str]:
        """The issuers of CRLs that tell which users' certificates are revoked."""
        issuing = {self.certificates[key]["subject"] for key in self._issuing()}
        return issuing & {crl["issuer"] for crl in self.report["crls"]}

    def _crls(self, gates: Sequence[str]) -> None:
        revoking = self._revoking()
        for issuer in dict.fromkeys(str(crl["issuer"]) for crl in self.report["crls"] if crl["issuer"]):
            copies = [crl for crl in self.report["crls"] if crl["issuer"] == issuer]
            key = f"crl/{issuer}"
            judged = self._state(("crl", issuer))
            ends = [crl["next_update"] for crl in copies if crl.get("next_update")]
            self._node(key, "crl", f"CRL of {_short(issuer)}", f"until {min(ends)[:10]}" if ends else "", judged.state)
            authority = self._issuer(issuer)
            if authority:
                self._edge(authority, key, "revokes in", judged)
            for gate in gates if issuer in revoking else ():
                kind, _slash, name = gate.partition("/")
                self._edge(key, gate, "is asked by", self._state(("dc crl" if kind == "domain_controller" else "gateway crl", name)))


def family_name(family: str) -> str:
    """The family without the number that orders its file."""
    return re.sub(r"^\d+-", "", family)


def _authorities(certificates: Iterable[Words]) -> dict[str, dict[str, Any]]:
    """Roots and CAs, each once however many hold it, by an id; `aliases` are the names that other places use."""
    found: dict[str, dict[str, Any]] = {}
    for words in certificates:
        if words["use"] not in ("root", "ca"):
            continue
        one = found.setdefault(f"ca/{words['sha256'][:16]}", {**words, "aliases": {words["name"], _short(words["subject"])}})
        if words["target"]["kind"] == "certification_authority" and words["use"] == "ca":
            one["aliases"] |= {words["target"]["name"]}
    roots_first = sorted(found.items(), key=lambda item: (item[1]["issuer"] != item[1]["subject"], item[1]["name"]))
    return dict(roots_first)


def _cut(items: list[tuple[Any, _Judged]]) -> tuple[list[tuple[Any, _Judged]], list[tuple[Any, _Judged]]]:
    """The worst MOST in their order, and the rest."""
    if len(items) <= MOST:
        return items, []
    ranked = sorted(items, key=lambda item: ORDER.index(item[1].state))
    kept = {id(item) for item in ranked[: MOST - 1]}
    return [item for item in items if id(item) in kept], ranked[MOST - 1 :]


def _names(alias: str, text: str) -> bool:
    return bool(alias) and re.search(rf"(?<![\w-]){re.escape(alias)}(?![\w-])", text, re.IGNORECASE) is not None


def _short(subject: str) -> str:
    """The common name of a distinguished name."""
    found = re.search(r"(?:^|,)\s*CN=((?:\\.|[^,\\])+)", subject, re.IGNORECASE)
    return found[1] if found else subject
