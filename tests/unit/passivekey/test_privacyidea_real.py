# SPDX-License-Identifier: GPL-3.0-or-later
"""The back end against a real privacyIDEA (3.14), where an environment has one: CERTLOGON_PRIVACYIDEA, or that of the benchmarks' peer."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="Starlette is not installed")
pytest.importorskip("pyotp", reason="pyotp is not installed")

import pyotp

from passivekey.protocol.errors import Refused
from passivekey.server.privacyidea import Asking, PrivacyIdea
from tests.unit.passivekey.agent_server import certificate

HERE = Path(__file__).parent
PYTHON = Path(os.environ.get("CERTLOGON_PRIVACYIDEA") or HERE.parents[2] / "build/peer/venv") / "bin/python"

pytestmark = [
    pytest.mark.skipif(not PYTHON.exists(), reason="privacyIDEA is not installed (CERTLOGON_PRIVACYIDEA)"),
    pytest.mark.skipif(
        not os.environ.get("CERTLOGON_TEST_LONG"), reason="long: half a minute to start privacyIDEA (CERTLOGON_TEST_LONG=1)"
    ),
]


@pytest.fixture(scope="module")
def pi(tmp_path_factory):
    folder = tmp_path_factory.mktemp("privacyidea")
    crt, key = certificate(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [PYTHON, HERE / "privacyidea_server.py", folder, crt, key, str(port)]
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True)
    try:
        line = process.stdout.readline()
        assert line, (folder / "said").read_text()[-2000:]
        told = json.loads(line)
        yield Asking(f"https://localhost:{port}", crt, "corp", "login", told["key"], 30), told
    finally:
        process.stdin.close()
        process.wait(20)


@pytest.fixture
def backed(pi, service, directory, clock):
    """By the real time, for privacyIDEA's clock is the machine's."""
    clock.now = time.time()
    for account in list(directory.accounts.values()):
        directory.change(account, login=account.name.partition("@")[0])
    service.backend = PrivacyIdea(pi[0])
    service.rules = replace(service.rules, second_factor=("privacyidea",), backend_radius=True)
    return service


def radius(service, name, *answers):
    state = service.radius(name, "pass", "", "")
    for answer in answers:
        state = service.radius(name, answer, state, "")
    return state


def base32(told):
    return base64.b32encode(bytes.fromhex(told["secret"])).decode()


def totp(told, at=0):
    return told["pin"] + pyotp.TOTP(base32(told)).at(int(time.time()) + at)


def hotp(told, counter):
    return pyotp.HOTP(base32(told)).at(counter)


def why(service):
    return [entry["why"] for entry in service.audit.read() if entry["event"] == "backend-refused"]


def test_a_totp_token(backed, workstation, alice, pi):
    factor = {"kind": "privacyidea", "code": totp(pi[1])}
    assert backed.enroll(alice, {**workstation(alice).body(), "second_factor": factor}, "")["state"] == "pending"
    with pytest.raises(Refused, match="not good"):
        backed.enroll(alice, {**workstation(alice).body(), "second_factor": factor}, "")
    later = totp(pi[1], 30)
    assert radius(backed, alice.name, later) == ""
    with pytest.raises(Refused, match="not good"):
        radius(backed, alice.name, later)
    with pytest.raises(Refused, match="not good"):
        radius(backed, alice.name, "000000")


def test_a_challenge(backed, workstation, bob, pi):
    assert radius(backed, bob.name, pi[1]["pin"], hotp(pi[1], 0)) == ""
    with pytest.raises(Refused, match="not good"):
        radius(backed, bob.name, pi[1]["pin"], hotp(pi[1], 0))
    pc = workstation(bob)
    with pytest.raises(Refused) as asked:
        backed.enroll(bob, {**pc.body(), "second_factor": {"kind": "privacyidea", "code": pi[1]["pin"]}}, "")
    assert asked.value.code == "second-factor-required" and asked.value.more["prompt"]
    factor = {"kind": "privacyidea", "code": hotp(pi[1], 1), "transaction": asked.value.more["transaction"]}
    assert backed.enroll(bob, {**pc.body(), "second_factor": factor}, "")["state"] == "pending"


def test_who_has_no_token_is_not_in(backed, directory):
    carol = directory.add("carol@corp.example", 1103, login="carol")
    with pytest.raises(Refused, match="not good"):
        radius(backed, carol.name, "whatever")
    assert "passOnNoToken" in why(backed)[0]


def test_users_and_keys_that_it_does_not_know(backed, directory, alice, pi):
    dave = directory.add("dave@corp.example", 1104, login="dave")
    with pytest.raises(Refused, match="not good"):
        radius(backed, dave.name, "123456")
    backed.backend = PrivacyIdea(replace(pi[0], token="none"))
    with pytest.raises(Refused):
        radius(backed, alice.name, totp(pi[1], 30))
    assert all("error" in reason for reason in why(backed)), why(backed)


def test_it_can_be_reached(backed):
    assert backed.health()["backend"] == "ok"
