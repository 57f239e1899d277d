# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a domain controller's certificate, and which settings of its KDC are not ours: tables, no domain controller."""

from __future__ import annotations

import importlib.util
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "roles/domain_controller_certificates/files/domain_controller_state.py"
NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
WANTED = {"dns_names": ["DC1.corp.example", "corp.example"], "renew_before": 42, "key_size": 2048}


def load() -> Any:
    spec = importlib.util.spec_from_file_location("domain_controller_state", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load()


def day(offset: float) -> str:
    return (NOW + timedelta(days=offset)).strftime("%Y-%m-%dT%H:%M:%SZ")


def certificate(**changes: Any) -> dict[str, Any]:
    found = {
        "subject": "CN=dc1",
        "issuer": "CN=ca",
        "sha256": "aa",
        "not_before": day(-10),
        "not_after": day(355),
        "dns_names": ["corp.example", "dc1.corp.example"],
        "purposes": ["1.3.6.1.5.2.3.5"],
        "key_type": "rsa",
        "key_size": 2048,
    }
    return {**found, **changes}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"dns_names": ["dc1.corp.example"]}, "it does not name corp.example"),
        ({"purposes": ["TLS Web Client Authentication"]}, "it lacks the purpose of a KDC"),
        ({"not_before": day(-400), "not_after": day(-1)}, "it has expired"),
        ({"not_before": day(1)}, "it is not valid before"),
        ({"not_before": day(-330), "not_after": day(41)}, "it expires in 41 days"),
        ({"not_before": day(-330), "not_after": day(43)}, ""),
        ({"not_before": day(-5), "not_after": day(8)}, ""),
        ({"not_before": day(-8), "not_after": day(5)}, "it expires in 5 days"),
        ({"key_size": 1024}, "its key is rsa 1024"),
        ({"key_type": "other", "key_size": 256}, "its key is other 256"),
    ],
)
def test_what_is_wrong_with_a_certificate(changes: dict[str, Any], words: str) -> None:
    found = script.problems(certificate(**changes), WANTED, {"ca"}, [{"sha256": "ca"}], NOW)
    assert [reason for reason in found if words not in reason] == []
    assert bool(found) is bool(words)


def test_the_issuer_must_be_in_ntauth() -> None:
    assert "not known in this domain" in script.problems(certificate(), WANTED, {"ca"}, [], NOW)[0]
    assert "not in the NTAuth store" in script.problems(certificate(), WANTED, {"ca"}, [{"sha256": "other"}], NOW)[0]
    assert script.problems({}, WANTED, set(), [], NOW) == ["there is none"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[libdefaults]\n pkinit_anchors = FILE:x\n[kdc]\n  require-preauth = yes\n", []),
        ("[kdc]\n enable-pkinit = yes\n pkinit_anchors=FILE:x\n", ["enable-pkinit = yes", "pkinit_anchors=FILE:x"]),
        ("# BEGIN MARK\n[kdc]\n pkinit_anchors = FILE:x\n# END MARK\n", []),
        ("[kdc]\n# BEGIN MARK\n[kdc]\n pkinit_revoke = FILE:x\n# END MARK\n Pkinit_Pool = FILE:y\n", ["Pkinit_Pool = FILE:y"]),
        ("[kdc]\n # pkinit_anchors = FILE:x\n[realms]\n X = {\n pkinit_anchors = FILE:x\n}\n", []),
        ("", []),
    ],
)
def test_settings_of_others(text: str, found: list[str]) -> None:
    assert script.foreign_settings(text, "MARK") == found


def test_what_changed_after_samba_was_started(tmp_path: Path) -> None:
    file, link = tmp_path / "smb.conf", tmp_path / "current"
    file.touch()
    link.symlink_to("nowhere")
    moment = file.stat().st_ctime
    paths = [str(file), str(link), str(tmp_path / "missing")]
    assert script.changed_since(moment, paths) == []
    assert script.changed_since(moment - 5, paths) == [str(file), str(link)]


def test_a_crl_file_is_called_after_its_authority() -> None:
    assert script.crl_name({"subject": "CN=Corp Example (Süd) CA,DC=x", "sha256": "0123456789"}) == "corp-example-s-d-ca-01234567.crl.pem"
    assert script.crl_name({"subject": "O=x", "sha256": "0123456789"}) == "ca-01234567.crl.pem"


def test_authorities_that_the_kdc_cannot_tell_apart() -> None:
    def ca(name: str, key: str) -> dict[str, Any]:
        return {"subject": name, "key": key}

    assert script.ambiguous([ca("CN=a", "1"), ca("CN=b", "2"), ca("CN=a", "1")]) == [], "renewed with the same key"
    assert script.ambiguous([ca("CN=a", "1"), ca("CN=b", "2"), ca("CN=a", "3")]) == ["CN=a"]
