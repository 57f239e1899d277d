# SPDX-License-Identifier: GPL-3.0-or-later
"""What role ocserv_gateway makes of its variables, by Ansible itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .test_certlogon_gateway import ROLES, state

CASES: dict[str, dict[str, Any]] = {
    "as computed": {"vpn_gateway_server_names": ["GW.corp.example", "vpn.corp.example"]},
    "a name of its own": {
        "vpn_gateway_server_names": ["gw.corp.example"],
        "vpn_gateway_device_certificate": {"common_name": "vpn.corp.example"},
    },
    "words": {"vpn_gateway_server_names": ["gw.corp.example"], "vpn_gateway_device_certificate": {"common_name": "VPN, Büro Köln"}},
    "words with blanks": {
        "vpn_gateway_server_names": ["gw.corp.example"],
        "vpn_gateway_device_certificate": {"common_name": "Corp VPN"},
    },
    "odd": {
        "vpn_gateway_server_names": ["gw.corp.example", "vpn.büro.example", "a b", "a,DNS:b", "a..b", "a.", "", "*.corp.example", "fd00::1"]
    },
}


@pytest.fixture(scope="module")
def rendered() -> dict[str, dict[str, Any]]:
    given = {
        "role": str(ROLES / "ocserv_gateway"),
        "always": {"inventory_hostname": "gw"},
        "cases": list(CASES.values()),
        "wanted": ["__ocserv_wanted", "__ocserv_no_names"],
    }
    command = [sys.executable, str(Path(__file__).with_name("rendering.py"))]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True, timeout=60)
    return dict(zip(CASES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(
    ("case", "names"),
    [
        ("as computed", ["gw.corp.example", "vpn.corp.example"]),
        ("a name of its own", ["vpn.corp.example", "gw.corp.example"]),
        ("words", ["gw.corp.example"]),
        ("words with blanks", ["gw.corp.example"]),
    ],
)
def test_a_request_is_for_the_names_and_fits_in_the_next_run(
    rendered: dict[str, dict[str, Any]], tmp_path: Path, case: str, names: list[str]
) -> None:
    """A common name in words is no address: with a comma openssl made no request of it, with a blank each run began another."""
    wanted = rendered[case]["__ocserv_wanted"]
    alternatives = ",".join(f"DNS:{name}" for name in wanted["names"])
    command = ["sh", "-s", "--", wanted["subject"], alternatives, "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
    script = (ROLES / "ocserv_gateway/files/make_request.sh").read_text()
    subprocess.run(command, input=script, text=True, cwd=tmp_path, check=True)
    assert state.request_fits(tmp_path, wanted)
    assert wanted["names"] == names
    assert not rendered[case]["__ocserv_no_names"]


def test_what_no_certificate_can_name_is_none(rendered: dict[str, dict[str, Any]]) -> None:
    assert rendered["odd"]["__ocserv_no_names"] == ["vpn.büro.example", "a b", "a,DNS:b", "a..b", "a.", ""]
