# SPDX-License-Identifier: GPL-3.0-or-later
"""What is decided of device certificates, without any appliance: tables of what there is and what is to be done."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.certlogon.core.plugins.module_utils.certificates import chains
from ansible_collections.certlogon.core.plugins.module_utils.certificates.certificate import load_one
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import device_certificate_words as wording
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.device_certificate_words import Device, Wanted
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.device_certificates import (
    EXTRA,
    Answer,
    Current,
    DeviceCertificates,
    assess,
)
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.tests.unit.connect_secure.authorities import Authority, named, now

AUTHORITY = Authority()
KEY = ec.generate_private_key(ec.SECP256R1())
NAME = "vpn.corp.example"
USERS = ("External Port",)


def device(
    *names: str, days: tuple[float, float] = (-1, 90), common_name: str = NAME, external: tuple[str, ...] = (), management: bool = False
) -> Device:
    request = x509.CertificateSigningRequestBuilder(named(common_name)).sign(KEY, hashes.SHA256())
    certificate = load_one(AUTHORITY.sign(request, *names, days=days).public_bytes(serialization.Encoding.DER))
    return Device(certificate.sha256[:6], certificate, chains.parsed([certificate])[0], (), external, management)


def wanted(**options: Any) -> Wanted:
    entry = {"common_name": NAME, "key_type": "ec", "external_ports": list(USERS), **options}
    return wording.wish(entry, "/nowhere")


GOOD = device(NAME, external=USERS)
UNBOUND = device(NAME)
ENDING = device(NAME, days=(-300, 20), external=USERS)
OTHER_PORT = device(NAME, days=(-300, 20), external=USERS, management=True)
NAMELESS = device(external=USERS)
ELSE = device("x.corp.example", external=USERS)
FOREIGN = device(NAME, common_name="other.corp.example", external=USERS)


@pytest.mark.parametrize(
    ("options", "devices", "kind", "old"),
    [
        ({}, [], "enroll", []),
        ({}, [GOOD], "keep", []),
        ({}, [NAMELESS], "keep", []),
        ({}, [UNBOUND], "bind", []),
        ({}, [FOREIGN], "enroll", []),
        ({}, [ENDING], "enroll", [ENDING]),
        ({"remove_old": False}, [ENDING], "enroll", []),
        ({"renew_before": 10}, [ENDING], "keep", []),
        ({}, [UNBOUND, ENDING], "bind", [ENDING]),
        ({}, [UNBOUND, OTHER_PORT], "bind", []),
        ({}, [OTHER_PORT], "enroll", [OTHER_PORT]),
        ({"server_names": ["x.corp.example"]}, [GOOD], "enroll", [GOOD]),
        ({"server_names": ["x.corp.example"], "allow_mismatch": True}, [GOOD], "keep", []),
        ({"server_names": ["x.corp.example"]}, [GOOD, ELSE], "keep", []),
        ({"key_type": "rsa"}, [GOOD], "enroll", [GOOD]),
        ({"curve": "P-384"}, [GOOD], "enroll", [GOOD]),
        ({"issuer": "Corp CA"}, [GOOD], "keep", []),
        ({"issuer": "New CA"}, [GOOD], "enroll", [GOOD]),
        ({"organization": "Corp"}, [GOOD], "keep", []),
        ({"management_port": True}, [GOOD], "bind", []),
        ({"sha256": UNBOUND.certificate.sha256}, [UNBOUND, ENDING], "bind", []),
    ],
)
def test_decides(options: dict[str, Any], devices: list[Device], kind: str, old: list[Device]) -> None:
    entry = wanted(**options)
    step = assess(entry, Current([entry], devices, now()))
    assert (step.kind, [one.name for one in step.old]) == (kind, [one.name for one in old])


def test_a_renewed_certificate_takes_over_the_ports() -> None:
    entry = wanted()
    step = assess(entry, Current([entry], [OTHER_PORT], now()))
    assert step.ports == {"external port External Port", "the management port"}


@pytest.mark.parametrize(("seen", "kind"), [(True, "bind"), (False, "keep"), (None, "keep")])
def test_what_is_left_goes_only_when_the_new_one_answers(seen: bool | None, kind: str) -> None:
    entry, earlier = wanted(), device(NAME, days=(-200, 100))
    step = assess(entry, Current([entry], [GOOD, earlier], now(), answers={NAME: Answer(seen, "nobody answers")}))
    assert step.kind == kind
    assert step.reason == ("an earlier certificate is left" if seen else "earlier certificates are kept: nobody answers")


@pytest.mark.parametrize(
    ("names", "host", "covered"),
    [
        ([NAME], NAME, True),
        ([NAME], "VPN.Corp.Example.", True),
        (["*.corp.example"], NAME, True),
        (["*.corp.example"], "corp.example", False),
        (["*.corp.example"], "a.vpn.corp.example", False),
        ([], NAME, True),
        (["x.corp.example"], NAME, False),
    ],
)
def test_covers(names: list[str], host: str, covered: bool) -> None:
    assert wording.covers(device(*names).parsed, host) is covered


@pytest.mark.parametrize(
    ("certificate", "host", "covered"),
    [
        ("xn--bro-hoa.example", "büro.example", True),
        ("*.xn--bro-hoa.example", "VPN.Büro.example", True),
        ("192.0.2.1", "192.0.2.1", True),
        ("2001:db8::1", "2001:0DB8:0:0::1", True),
        ("2001:db8::1", "2001:db8::2", False),
        ("192.0.2.1", "vpn.corp.example", False),
    ],
)
def test_covers_addresses_and_names_beyond_ascii(certificate: str, host: str, covered: bool) -> None:
    name: Any = x509.IPAddress(ip_address(certificate)) if certificate[0].isdigit() else x509.DNSName(certificate)
    builder = x509.CertificateBuilder(named("vpn"), named("vpn"), KEY.public_key(), 1, now(), now() + timedelta(1))
    parsed = builder.add_extension(x509.SubjectAlternativeName([name]), False).sign(KEY, hashes.SHA256())
    assert wording.covers(parsed, host) is covered


def test_entries_do_not_share_a_place() -> None:
    """One name with two kinds of key, or names that differ in letters that file names do not have."""
    params = {
        **{name: line.get("default") for name, line in EXTRA.items()},
        "state": "merged",
        "host": "vpn1",
        "folder": "/nowhere",
        "method": "file",
        "config": [{"name": "rsa", "common_name": NAME}, {"name": "ec", "common_name": NAME, "key_type": "ec"}],
    }
    with pytest.raises(UserError, match=r"config \(ec\): path: /nowhere/vpn1/vpn.corp.example.pem is also that of rsa; give each its own"):
        DeviceCertificates().check(params)
    DeviceCertificates().check({**params, "config": [params["config"][0], {**params["config"][1], "path": "/nowhere/ec.pem"}]})
    umlauts = [{"common_name": "büro.example"}, {"common_name": "bäro.example"}]
    DeviceCertificates().check({**params, "config": umlauts})
    first, second = (wording.wish(entry, "/nowhere").path for entry in umlauts)
    assert first != second and first.isascii()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("vpn", ("vpn", 443)),
        ("vpn.corp.example:10443", ("vpn.corp.example", 10443)),
        ("[2001:db8::1]:1", ("2001:db8::1", 1)),
        ("vpn:0", None),
        ("vpn:70000", None),
        ("2001:db8::1", None),
        ("https://vpn", None),
    ],
)
def test_endpoint(text: str, found: tuple[str, int] | None) -> None:
    assert wording.endpoint(text) == found


def test_an_entry_of_nothing() -> None:
    with pytest.raises(UserError, match="says nothing of the certificate"):
        wording.wish({"external_ports": ["x"]}, "/nowhere")


def test_half_of_the_lifetime_counts() -> None:
    short = device(NAME, days=(-2, 5))
    assert wording.due(wanted(), short, now()) == ""
    assert "within 30 days" in wording.due(wanted(), short, now() + timedelta(2))
