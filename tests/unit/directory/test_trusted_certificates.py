# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import hashlib
from itertools import count
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.certlogon.core.plugins.module_utils.certificates.sources import Authorities
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import AlreadyExists, Modify, NoSuchObject
from ansible_collections.certlogon.core.plugins.module_utils.directory.trusted_certificates import (
    Add,
    CaObject,
    CrlObject,
    Edit,
    Remove,
    Stores,
    TrustedCertificates,
    sanitized,
)
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, run
from ansible_collections.certlogon.core.tests.unit.directory.pki_samples import DAY, NOW, certificate, crl, crl_pem, pem

BASE = "CN=Public Key Services,CN=Services,CN=Configuration,DC=example"
ROOTS = f"CN=Certification Authorities,{BASE}"
NTAUTH = f"CN=NTAuthCertificates,{BASE}"
PLACEHOLDER = b"\0"

RED, BLUE, RED_RENEWED = certificate("Red CA"), certificate("Blue CA"), certificate("Red CA", generation=1)
LEAF, EXPIRED = certificate("leaf", "Red CA", ca=False), certificate("Old CA", expired=True)
WEAK, FUTURE = certificate("Small CA", weak=True), certificate("Next CA", future=True)
SUB = certificate("Sub CA", "Red CA")

RESOURCE = TrustedCertificates()

NUMBERED = map(str, count())
"""Test names that do not depend on the keys made on the spot."""


def sha256(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


def item(der: bytes) -> dict[str, Any]:
    return {"content": pem(der)}


def validated(config: list[dict[str, Any]] | None, state: str = "merged") -> dict[str, Any]:
    """The parameters as the module gets them."""
    arguments = {"state": state, "server": ["dc"], "username": "a@b", "password": "c", **({} if config is None else {"config": config})}
    checked = ArgumentSpecValidator(RESOURCE.argument_spec(), **RESOURCE.rules()).validate(arguments)
    assert not checked.error_messages, checked.error_messages
    return checked.validated_parameters


def ca_object(name: str, *certificates: bytes, store: str = "root", placeholder: bool = False, says_more: bool = False) -> CaObject:
    return CaObject(name, NTAUTH if store == "ntauth" else f"CN={name},{ROOTS}", certificates, placeholder, says_more)


def plan(
    config: list[dict[str, Any]],
    state: str = "merged",
    *,
    root: tuple[CaObject, ...] = (),
    ntauth: tuple[CaObject, ...] = (),
    points: tuple[CrlObject, ...] = (),
) -> Plan:
    params = validated(config, state)
    RESOURCE.check(params)
    hosts = frozenset(point.host.casefold() for point in points)
    current = Stores(BASE, {"root": root, "intermediate": (), "ntauth": ntauth}, points, hosts, RESOURCE._load(params), NOW)
    made = RESOURCE.plan(params, current)
    for change in made.changes:
        assert change.before != change.after
    return made


def steps(made: Plan) -> list[Any]:
    return [step for change in made.changes for step in change.details]


def root(*ders: bytes, **further: Any) -> list[dict[str, Any]]:
    return [{"store": "root", "certificates": [item(der) for der in ders], **further}]


# --- stores of certificates ---


def test_new_objects_are_what_ad_cs_makes():
    assert steps(plan(root(RED, BLUE))) == [
        Add(
            f"CN={name},{ROOTS}",
            {
                "objectClass": ["top", "certificationAuthority"],
                "authorityRevocationList": PLACEHOLDER,
                "certificateRevocationList": PLACEHOLDER,
                "cACertificate": [der],
            },
        )
        for name, der in (("Red CA", RED), ("Blue CA", BLUE))
    ]


@pytest.mark.parametrize(
    ("state", "held", "wanted", "expected"),
    [
        ("merged", [("Red CA", [RED])], [RED], []),
        ("merged", [("Other name", [RED])], [RED], []),
        ("merged", [("red ca", [RED])], [RED_RENEWED], [("edit", "red ca", [RED_RENEWED], [])]),
        ("merged", [("Red CA", [RED])], [RED, RED], []),
        ("replaced", [("Red CA", [RED, RED_RENEWED])], [RED_RENEWED], [("edit", "Red CA", [], [RED])]),
        ("replaced", [("Red CA", [RED])], [RED_RENEWED], [("edit", "Red CA", [RED_RENEWED], [RED])]),
        ("replaced", [("Red CA", [RED]), ("Rogue", [BLUE])], [RED], [("remove", "Rogue")]),
        ("replaced", [("Red CA", [RED])], [], [("remove", "Red CA")]),
        ("replaced", [("Red CA", [RED]), ("Twice", [RED])], [RED], []),
        ("deleted", [("Red CA", [RED]), ("Twice", [RED, BLUE])], [RED], [("remove", "Red CA"), ("edit", "Twice", [], [RED])]),
        ("deleted", [("Red CA", [RED])], [BLUE], []),
    ],
)
def test_plan(state, held, wanted, expected):
    objects = tuple(ca_object(name, *ders) for name, ders in held)
    done = []
    for step in steps(plan(root(*wanted), state, root=objects)):
        if isinstance(step, Remove):
            done.append(("remove", step.dn.split(",")[0][3:]))
        else:
            values = {change.operation: list(change.values) for change in step.changes}
            done.append(("edit", step.dn.split(",")[0][3:], values.get("add", []), values.get("delete", [])))
    assert done == expected


def test_placeholders():
    """A lone zero goes with the first certificate and comes back with the last."""
    fresh = (ca_object("NTAuthCertificates", store="ntauth", placeholder=True),)
    wanted = [{"store": "ntauth", "certificates": [item(RED)]}]
    attribute = "cACertificate"
    assert steps(plan(wanted, ntauth=fresh)) == [
        Edit(NTAUTH, [Modify("add", attribute, [RED]), Modify("delete", attribute, [PLACEHOLDER])])
    ]
    full = (ca_object("NTAuthCertificates", RED, store="ntauth"),)
    empty = [{"store": "ntauth", "certificates": []}]
    assert steps(plan(empty, "replaced", ntauth=full)) == [
        Edit(NTAUTH, [Modify("add", attribute, [PLACEHOLDER]), Modify("delete", attribute, [RED])])
    ]
    assert not plan(empty, "replaced", ntauth=fresh).changes
    assert not plan(empty, "replaced").changes
    assert [step.dn for step in steps(plan(wanted))] == [NTAUTH]


def test_an_object_that_says_more_is_not_deleted():
    held = (ca_object("Red CA", RED, says_more=True),)
    assert [type(step) for step in steps(plan(root(), "replaced", root=held))] == [Edit]


def test_a_rogue_certificate_is_removed_by_fingerprint():
    held = (ca_object("NTAuthCertificates", RED, BLUE, store="ntauth"),)
    colons = ":".join(sha256(BLUE).upper()[index : index + 2] for index in range(0, 64, 2))
    made = plan([{"store": "ntauth", "certificates": [{"sha256": colons}]}], "deleted", ntauth=held)
    assert [change.changes for change in steps(made)] == [[Modify("delete", "cACertificate", [BLUE])]]


def test_unreadable_values_are_shown_and_replaced():
    held = (ca_object("Junk", b"junk"), ca_object("Text", pem(RED).encode()))
    current = Stores(BASE, {"root": held, "intermediate": (), "ntauth": ()}, (), frozenset(), (), NOW)
    words = RESOURCE.objects(current)["root"]
    assert {entry["content"] for entry in words["certificates"]} == {
        base64.b64encode(value).decode() for value in (b"junk", pem(RED).encode())
    }
    assert all(line.startswith("unreadable value ") for line in RESOURCE.shown(words)["certificates"])
    assert [type(step) for step in steps(plan(root(), "replaced", root=held))] == [Remove, Remove]
    assert not plan(root(BLUE), "deleted", root=held).changes


@pytest.mark.parametrize("state", ["merged", "replaced"])
@pytest.mark.parametrize(
    ("der", "option", "reason"),
    [
        (LEAF, "allow_non_ca", "is not a CA certificate"),
        (EXPIRED, "allow_expired", "expired on 2026-05-31"),
        (FUTURE, "allow_expired", "is not valid before 2026-06-11"),
        (WEAK, "allow_weak", "has an RSA key of 1024 bits"),
    ],
    ids=["leaf", "expired", "future", "weak"],
)
def test_bad_certificates_are_refused_unless_allowed(state, der, option, reason):
    with pytest.raises(UserError) as caught:
        plan(root(RED, der), state)
    message = str(caught.value)
    assert message.startswith("config: root: CN=") and reason in message and message.endswith(f"set {option} on this entry")
    others = {"allow_non_ca", "allow_expired", "allow_weak"} - {option}
    with pytest.raises(UserError):
        plan(root(der, **dict.fromkeys(others, True)), state)
    assert plan(root(der, **{option: True}), state).changes
    # what is published already is not refused, for then nothing could be changed any more; but it is named
    made = plan(root(der), state, root=(ca_object("x", der),))
    assert not made.changes and reason in made.warnings[0] and f"set {option}" in made.warnings[0]
    assert not plan(root(der, **{option: True}), state, root=(ca_object("x", der),)).warnings
    assert plan(root(der), "deleted", root=(ca_object("x", der),)).changes


def test_an_intermediate_among_the_roots_is_warned_of():
    assert "is not self-signed" in plan(root(SUB)).warnings[0]
    assert not plan([{"store": "intermediate", "certificates": [item(SUB)]}]).warnings


def test_every_refusal_is_reported_at_once():
    with pytest.raises(UserError) as caught:
        plan([*root(LEAF, EXPIRED), {"store": "ntauth", "certificates": [item(WEAK)]}])
    assert len(str(caught.value).splitlines()) == 3


def test_words():
    held = (ca_object("Old CA", EXPIRED), ca_object("Red CA", RED))
    current = Stores(BASE, {"root": held, "intermediate": (), "ntauth": ()}, (), frozenset(), (), NOW)
    words = RESOURCE.objects(current)
    assert words["ntauth"] == {"store": "ntauth", "certificates": []}
    assert words["root"] == {
        "store": "root",
        "certificates": [
            {"subject": f"CN={name},DC=example", "sha256": sha256(der), "content": pem(der)}
            for name, der in (("Old CA", EXPIRED), ("Red CA", RED))
        ],
        "allow_expired": True,
    }
    thumbprint = hashlib.sha1(RED).hexdigest().upper()
    assert RESOURCE.shown(words["root"]) == {
        "store": "root",
        "certificates": [
            RESOURCE.shown(words["root"])["certificates"][0],
            f"CN=Red CA,DC=example, valid 2025-04-27 to {NOW + 4000 * DAY:%Y-%m-%d}, thumbprint {thumbprint}, SHA-256 {sha256(RED)}",
        ],
    }
    for state in ("merged", "replaced"):
        made = plan(list(words.values()), state, root=held)
        assert not made.changes and not made.warnings


def test_undo_restores_what_was_exported():
    """An export is accepted where what it names is gone, bad certificates included."""
    held = (ca_object("Old CA", EXPIRED), ca_object("Small CA", WEAK))
    words = RESOURCE.objects(Stores(BASE, {"root": held, "intermediate": (), "ntauth": ()}, (), frozenset(), (), NOW))
    assert plan([words["root"]], "replaced").changes[0].after == words["root"]


# --- CRLs ---


def point(base: bytes | None, delta: bytes | None = None) -> CrlObject:
    return CrlObject("Red CA", "ca1", f"CN=Red CA,CN=ca1,CN=CDP,{BASE}", base, delta)


def cdp(**further: Any) -> list[dict[str, Any]]:
    lists = {option: {"content": crl_pem(further.pop(option))} for option in ("crl", "delta_crl") if option in further}
    return [{"store": "cdp", "name": "Red CA", "host": "CA1", **lists, **further}]


def test_new_distribution_point():
    made = plan(cdp(crl=crl("Red CA", 5)))
    assert made.changes[0].name == "cdp CA1/Red CA"
    container = f"CN=CA1,CN=CDP,{BASE}"
    assert steps(made) == [
        Add(container, {"objectClass": ["top", "container"]}),
        Add(
            f"CN=Red CA,{container}",
            {
                "objectClass": ["top", "cRLDistributionPoint"],
                "certificateRevocationList": crl("Red CA", 5),
                "deltaRevocationList": PLACEHOLDER,
            },
        ),
    ]
    assert set(made.changes[0].after) == {"store", "name", "host", "crl"}


@pytest.mark.parametrize("state", ["merged", "replaced"])
def test_newer_crl_replaces_and_older_does_not(state):
    new, old, delta = crl("Red CA", 9), crl("Red CA", 5), crl("Red CA", 10, delta_of=9)
    assert steps(plan(cdp(crl=new), state, points=(point(old, delta),))) == [
        Edit(point(None).dn, [Modify("replace", "certificateRevocationList", [new])])
    ], "the delta CRL that config does not name stays"
    made = plan(cdp(crl=old), state, points=(point(new),))
    assert not made.changes and "is newer than the one in config" in made.warnings[0]
    assert plan(cdp(crl=crl("Blue CA", 1)), state, points=(point(new),)).changes
    assert plan(cdp(delta_crl=delta), state, points=(point(new),)).changes
    assert not plan(cdp(crl=new, delta_crl=delta), state, points=(point(new, delta),)).changes
    assert not plan(cdp(), state, points=(point(new),)).changes
    assert plan(cdp(crl=new), state, points=(point(b"junk"),)).changes


def test_distribution_point_is_deleted_whole():
    made = plan(cdp(), "deleted", points=(point(crl("Red CA", 5)),))
    assert steps(made) == [Remove(point(None).dn)] and made.changes[0].after is None
    assert not plan(cdp(), "deleted").changes


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (cdp(crl=crl("Red CA", 6, delta_of=5)), "crl is a delta CRL; it belongs into delta_crl"),
        (cdp(delta_crl=crl("Red CA", 6)), "delta_crl is a base CRL; it belongs into crl"),
        (
            cdp(crl=crl("Red CA", 4, expired=True)),
            "number 4 of CN=Red CA,DC=example, valid 2026-04-16 00:00 to 2026-05-31 00:00 has expired",
        ),
    ],
)
def test_bad_crls(entry, message):
    with pytest.raises(UserError) as caught:
        plan(entry)
    assert message in str(caught.value)


def test_crl_words():
    expired = crl("Red CA", 4, expired=True)
    current = Stores(BASE, {}, (point(expired),), frozenset(), (), NOW)
    words = RESOURCE.objects(current)["cdp ca1/Red CA"]
    assert words == {"store": "cdp", "name": "Red CA", "host": "ca1", "crl": {"content": crl_pem(expired)}, "allow_expired": True}
    assert RESOURCE.shown(words)["crl"].endswith(f"SHA-256 {sha256(expired)}")
    assert plan([words]).changes[0].after == {**words}
    junk = RESOURCE.objects(Stores(BASE, {}, (point(b"junk"),), frozenset(), (), NOW))["cdp ca1/Red CA"]
    assert RESOURCE.shown(junk)["crl"].startswith("unreadable value")


# --- requests that cannot be right ---


@pytest.mark.parametrize(
    ("state", "entry", "message"),
    [
        ("merged", {"store": "root"}, "config: root: certificates is missing"),
        ("replaced", {"store": "ntauth"}, "config: ntauth: certificates is missing"),
        ("deleted", {"store": "root", "certificates": []}, "certificates is empty"),
        ("merged", {"store": "cdp", "name": "x"}, "host is missing"),
        ("gathered", {"store": "cdp", "host": "x"}, "name is missing"),
        ("merged", {"store": "root", "certificates": [], "host": "x"}, "host does not belong to store=root"),
        ("merged", {"store": "cdp", "name": "x", "host": "y", "certificates": []}, "certificates does not belong to store=cdp"),
        ("merged", {"store": "cdp", "name": "x", "host": "ca1.corp.example"}, "the short name of the CA's host, 'ca1'"),
        ("merged", {"store": "cdp", "name": "x" * 65, "host": "y"}, "has more than 64 characters"),
        ("merged", {"store": "root", "certificates": [{"sha256": "00"}]}, "certificates[0] has neither path nor content"),
        (
            "merged",
            {"store": "root", "certificates": [{**item(RED), "sha256": "00"}]},
            f"sha256 is '00', but the certificate is CN=Red CA,DC=example, SHA-256 {sha256(RED)}",
        ),
        ("merged", {"store": "root", "certificates": [{**item(RED), "subject": "CN=Blue"}]}, "subject is 'CN=Blue', but"),
        ("merged", {"store": "root", "certificates": [{"content": pem(RED) + pem(BLUE), "sha256": sha256(RED)}]}, "SHA-256"),
        ("merged", {"store": "root", "certificates": [{"content": "garbage"}]}, "certificates[0]: is neither PEM nor DER"),
        ("deleted", {"store": "root", "certificates": [{"content": pem(RED)[:200]}]}, "config: root: certificates[0]"),
        (
            "merged",
            {"store": "root", "certificates": [{"path": "/no/such.pem"}]},
            "certificates[0] (/no/such.pem): cannot be read: No such file",
        ),
        ("merged", {"store": "cdp", "name": "x", "host": "y", "crl": {"content": pem(RED)}}, "cdp y/x: crl: holds PEM of CERTIFICATE"),
        ("merged", {"store": "cdp", "name": "x", "host": "y", "delta_crl": {"path": "/"}}, "delta_crl (/): cannot be read"),
    ],
    ids=NUMBERED,
)
def test_bad_requests(state, entry, message):
    with pytest.raises(UserError) as caught:
        RESOURCE.check(validated([entry], state))
    assert message in str(caught.value)


def test_truncated_and_damaged_files(tmp_path):
    for index, data in enumerate((RED[:-1], RED[:40], b"", b"\x30", b"\x30\x80", RED[:100] + b"\xff" * 50 + RED[150:], b"\xff\xfe")):
        file = tmp_path / f"{index}.cer"
        file.write_bytes(data)
        with pytest.raises(UserError, match=f"{index}.cer"):
            RESOURCE.check(validated([{"store": "root", "certificates": [{"path": str(file)}]}]))


def test_files_in_every_wrapping(tmp_path):
    wrappings = {"der": RED, "pem": pem(RED).encode(), "base64": base64.b64encode(RED), "bundle": (pem(RED) + pem(BLUE)).encode()}
    for name, data in wrappings.items():
        (tmp_path / name).write_bytes(data)
        made = plan([{"store": "root", "certificates": [{"path": str(tmp_path / name)}]}])
        assert len(steps(made)) == (2 if name == "bundle" else 1)


def test_stores_are_listed_once():
    with pytest.raises(UserError, match="'root' is listed twice"):
        run(RESOURCE, validated([*root(RED), *root(BLUE)]), check_mode=True, warn=print)
    with pytest.raises(UserError, match="'cdp ca1/red ca' is listed twice"):
        run(RESOURCE, validated([*cdp(), {"store": "cdp", "name": "red ca", "host": "ca1"}]), check_mode=True, warn=print)


def test_rendered():
    config = [*root(BLUE, RED, RED), *cdp(crl=crl("Red CA", 7))]
    rendered = run(RESOURCE, validated(config, "rendered"), check_mode=False, warn=print)["rendered"]
    assert [entry["subject"] for entry in rendered[0]["certificates"]] == ["CN=Blue CA,DC=example", "CN=Red CA,DC=example"]
    assert rendered[1]["crl"] == {"content": crl_pem(crl("Red CA", 7))}
    with pytest.raises(UserError, match="allow_non_ca"):
        run(RESOURCE, validated(root(LEAF), "rendered"), check_mode=False, warn=print)
    with pytest.raises(UserError, match="belongs into delta_crl"):
        run(RESOURCE, validated(cdp(crl=crl("Red CA", 6, delta_of=5)), "rendered"), check_mode=False, warn=print)


# --- the way to the wire ---


class Recorder:
    """Stands for a session; `answers`: operation -> the error it raises."""

    def __init__(self, answers: dict[str, Exception] | None = None, rights: bool = True) -> None:
        self.answers, self.rights, self.calls = answers or {}, rights, []

    def _note(self, operation: str, *arguments: Any) -> None:
        self.calls.append((operation, *arguments))
        if operation in self.answers:
            raise self.answers[operation]

    def add(self, dn: str, attributes: Any) -> None:
        self._note("add", dn, attributes)

    def modify(self, dn: str, changes: Any, *, permissive: bool = False) -> None:
        assert permissive
        self._note("modify", dn, changes)

    def delete(self, dn: str) -> None:
        self._note("delete", dn)

    def may_create(self, dn: str, object_class: str) -> bool:
        self.calls.append(("may_create", dn, object_class))
        return self.rights

    def may_write(self, dn: str, attribute: str) -> bool:
        self.calls.append(("may_write", dn, attribute))
        return self.rights


def change(*details: Any) -> Change:
    return Change("root", None, None, list(details))


def test_an_object_made_in_between_gets_our_certificates_too():
    session: Any = Recorder({"add": AlreadyExists("there")})
    RESOURCE.apply(session, change(Add("CN=x", {"objectClass": ["top"], "cACertificate": [RED]})))
    assert session.calls[-1] == ("modify", "CN=x", [Modify("add", "cACertificate", [RED])])
    RESOURCE.apply(session, change(Add("CN=x", {"objectClass": ["top", "container"]})))
    assert session.calls[-1][0] == "add"


def test_an_object_removed_in_between_is_removed():
    session: Any = Recorder({"delete": NoSuchObject("gone")})
    RESOURCE.apply(session, change(Remove("CN=x"), Edit("CN=y", [])))
    assert [call[0] for call in session.calls] == ["delete", "modify"]


def test_rights():
    session: Any = Recorder(rights=False)
    made = plan([*root(RED, BLUE), *cdp(crl=crl("Red CA", 5))], root=(ca_object("Red CA", RED_RENEWED),))
    with pytest.raises(UserError) as caught:
        RESOURCE.authorize(session, made, None)  # type: ignore[arg-type]
    assert [line.partition("; ")[0] for line in str(caught.value).splitlines()] == [
        f"root: this account may not create a certificationAuthority in {ROOTS}",
        f"root: this account may not write cACertificate of CN=Red CA,{ROOTS}",
        f"cdp CA1/Red CA: this account may not create a container in CN=CDP,{BASE}",
    ]
    RESOURCE.authorize(Recorder(), made, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Corp Example Root CA", "Corp Example Root CA"),
        ("LongCAName(WithSpeci@#$%^Characters", "LongCAName!0028WithSpeci@!0023$!0025!005eCharacters"),
        ("Müller & Co", "M!00fcller !0026 Co"),
        ("x" * 51, "x" * 51),
        ("x" * 52, "x" * 51 + f"-{ord('x'):05d}"),
        ("x" * 53, "x" * 51 + f"-{ord('x') * 3:05d}"),
        ("x" * 49 + "#", "x" * 49 + "-01255"),
    ],
)
def test_names_of_objects(name, expected):
    """[MS-WCCE] 1.3.2.5 has the second one."""
    assert sanitized(name) == expected
    assert len(sanitized(name)) <= 57


# ---- certificates of enterprise CAs, from the directory


def authorities(*expected: str, **services: bytes) -> Authorities:
    return Authorities({name.replace("_", " "): [der] for name, der in services.items()}, [RED, BLUE], expected)


def planned(config: list[dict[str, Any]], found: Authorities, *held: bytes, state: str = "merged") -> Plan:
    params = validated(config, state)
    RESOURCE.check(params)
    stores = {"root": (), "intermediate": (), "ntauth": (ca_object("NTAuthCertificates", *held, store="ntauth"),)}
    return RESOURCE.plan(params, Stores(BASE, stores, (), frozenset(), RESOURCE._load(params, found), NOW))


@pytest.mark.parametrize(
    ("options", "published"),
    [
        ({"enrollment_service": "Sub CA"}, SUB),
        ({"enrollment_service": "SUB ca"}, SUB),
        ({"enrollment_service": "Sub CA", "chain": "root"}, RED),
        ({"enrollment_service": "Blue CA", "chain": "root"}, BLUE),
        ({"enrollment_service": "Sub CA", "sha256": sha256(SUB)}, SUB),
    ],
)
def test_the_certificate_of_an_enrollment_service(options: dict[str, Any], published: bytes) -> None:
    config = [{"store": "ntauth", "certificates": [options]}]
    [change] = planned(config, authorities(Sub_CA=SUB, Blue_CA=BLUE)).changes
    assert change.details == [Edit(NTAUTH, [Modify("add", "cACertificate", [published])])]
    assert planned(config, authorities(Sub_CA=SUB, Blue_CA=BLUE), published).changes == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"enrollment_service": "Sup CA"}, "there is no enterprise CA 'Sup CA'; did you mean 'Sub CA'?"),
        ({"enrollment_service": "Sub CA", "sha256": sha256(RED)}, "sha256 is"),
        ({"enrollment_service": "Lone CA", "chain": "root"}, "the issuer of CN=Lone CA"),
        ({"enrollment_service": "Leaf"}, "is not a CA certificate"),
    ],
)
def test_an_enrollment_service_that_cannot_be_used(options: dict[str, Any], message: str) -> None:
    found = authorities("Next CA", Sub_CA=SUB, Lone_CA=certificate("Lone CA", "Unknown CA"), Leaf=LEAF)
    with pytest.raises(UserError) as error:
        planned([{"store": "ntauth", "certificates": [options]}], found)
    assert message in str(error.value)


@pytest.mark.parametrize("state", ["merged", "replaced"])
def test_an_expected_authority_is_foreseen(state: str) -> None:
    config = [{"store": "ntauth", "certificates": [item(BLUE), {"enrollment_service": "Next CA"}]}]
    [change] = planned(config, authorities("Next CA"), RED, BLUE, state=state).changes
    assert RESOURCE.shown(change.after or {})["certificates"][-1] == "the certificate of enrollment service Next CA (known after apply)"
    assert len((change.after or {})["certificates"]) == (3 if state == "merged" else 2)
    with pytest.raises(UserError, match="Next CA is not there yet"):
        RESOURCE.apply(None, change)  # type: ignore[arg-type]


def test_rendered_leaves_to_the_directory_what_only_it_knows() -> None:
    config = [{"store": "ntauth", "certificates": [item(BLUE), {"enrollment_service": "Sub CA"}]}]
    [rendered] = RESOURCE.render(validated(config, "rendered"))
    assert [entry.get("subject") or entry for entry in rendered["certificates"]] == [
        "CN=Blue CA,DC=example",
        {"enrollment_service": "Sub CA", "chain": "authority"},
    ]
