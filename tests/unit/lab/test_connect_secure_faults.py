# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-in appliance does wrong on command. Judged with requests."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.connect_secure import server

requests = pytest.importorskip("requests")

REALM = "configuration/users/user-realms/realm/Users"


class Client:
    def __init__(self, handle: server.Handle) -> None:
        self.handle = handle
        self.session = requests.Session()
        self.session.trust_env, self.session.verify = False, str(handle.ca_file)
        self.login()

    def login(self) -> int:
        login = {"auth": (self.handle.admin, self.handle.password), "json": {"realm": "Admin Users"}}
        answer = self.session.post(f"{self.handle.url}/api/v1/realm_auth", **login)
        if answer.status_code == 200:
            self.session.auth = answer.json()["api_key"], ""
        return int(answer.status_code)

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        return self.session.request(method, f"{self.handle.url}/api/v1/{path}", json=body, timeout=10)

    def describe(self, text: str = "new") -> Any:
        return self("PUT", REALM, {"description": text})

    def description(self) -> Any:
        return self("GET", REALM).json().get("description")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    handle = server.start(tmp_path / "appliance")
    yield Client(handle)
    handle.stop()


def test_slow(client: Client) -> None:
    client.handle.faults = {"slow": {"seconds": 0.3, "times": 1}}
    start = time.monotonic()
    client.description()
    slow = time.monotonic() - start
    client.description()
    assert slow >= 0.3 > time.monotonic() - start - slow


def test_status_to_some_requests(client: Client) -> None:
    client.handle.faults = {"status": {"status": 500, "method": "PUT", "after": 1, "times": 2}}
    assert [client.describe().status_code for _time in range(4)] == [200, 500, 500, 200]


@pytest.mark.parametrize(("when", "left"), [("before", None), ("after", "new")])
def test_dropped_connections(client: Client, when: str, left: str | None) -> None:
    client.handle.faults = {"drop": {"when": when, "method": "PUT", "times": 1}}
    with pytest.raises(requests.ConnectionError):
        client.describe()
    assert client.description() == left


@pytest.mark.parametrize(("kind", "begins"), [("half", '{"na'), ("html", "<html>"), ("empty", "")])
def test_spoiled_bodies(client: Client, kind: str, begins: str) -> None:
    client.handle.faults = {"body": {"kind": kind}}
    answer = client("GET", REALM)
    assert answer.text[:4] == begins[:4]
    with pytest.raises(requests.JSONDecodeError):
        answer.json()


def test_keys_that_die_of_use(client: Client) -> None:
    client.handle.faults = {"expire_key": 2}
    assert [client("GET", REALM).status_code for _time in range(3)] == [200, 200, 401]
    assert client.login() == 200
    assert client("GET", REALM).status_code == 200


def test_full_session_table(client: Client) -> None:
    client.handle.faults = {"session_table_full": True}
    assert client.login() == 403
    assert client("GET", REALM).status_code == 200


@pytest.mark.parametrize(("when", "left"), [("before", None), ("after", "new")])
def test_reboot_in_the_middle(client: Client, when: str, left: str | None) -> None:
    port = client.handle.port
    client.handle.faults = {"reboot": {"seconds": 0.4, "method": "PUT", "when": when}}
    with pytest.raises(requests.ConnectionError):
        client.describe()
    with pytest.raises(requests.ConnectionError, match="refused"):
        client.login()
    time.sleep(0.6)
    assert client.handle.port == port
    assert client("GET", REALM).status_code == 401
    assert client.login() == 200
    assert client.description() == left


def test_an_administrator_at_the_console(client: Client) -> None:
    change = {"path": REALM, "body": {"description": "by hand", "authentication-server": "Administrators"}}
    client.handle.faults = {"console": {"change": [change]}}
    assert client.description() is None
    assert client.describe().status_code == 200
    realm = client("GET", REALM).json()
    assert (realm["description"], realm["authentication-server"]) == ("new", "Administrators")


def test_faults_in_a_file(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "appliance/faults.json"
    file.write_text(json.dumps({"status": {"status": 500}}))
    assert client("GET", REALM).status_code == 500
    file.unlink()
    assert client("GET", REALM).status_code == 200
    metrics = json.loads((tmp_path / "appliance/metrics.json").read_text())
    assert (metrics["requests"], metrics["logins"], metrics["status_500"]) == (3, 1, 1)


def test_unknown_faults_are_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="no such faults: slwo"):
        client.handle.faults = {"slwo": True}
