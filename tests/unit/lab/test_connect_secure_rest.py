# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in appliance's REST interface: logins, verbs, status codes, what holds the configuration together.

Judged with requests and curl.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from lab.connect_secure import server

requests = pytest.importorskip("requests")

SERVERS = "configuration/authentication/auth-servers/auth-server"
USER_REALMS = "configuration/users/user-realms/realm"
ADMIN_REALMS = "configuration/administrators/admin-realms/realm"
USER_ROLES = "configuration/users/user-roles/user-role"
SIGN_IN = "configuration/authentication/signin/urls/access-url"
USERS = {"name": "Employees", "authentication-server": "System Local"}


class Client:
    """requests, with the key as Basic user and an empty password."""

    def __init__(self, handle: server.Handle) -> None:
        self.handle = handle
        self.session = requests.Session()
        self.session.trust_env, self.session.verify = False, str(handle.ca_file)
        self.session.auth = ("", "")  # else requests might find credentials in a .netrc

    def login(self, realm: str = "Admin Users", name: str = "", password: str = "", **body: str) -> Any:
        credentials = name or self.handle.admin, password or self.handle.password
        answer = self.session.post(f"{self.handle.url}/api/v1/realm_auth", auth=credentials, json={"realm": realm, **body})
        if answer.status_code == 200 and "api_key" in answer.json():
            self.session.auth = answer.json()["api_key"], ""
        return answer

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        return self.session.request(method, f"{self.handle.url}/api/v1/{path}", json=body)


def messages(answer: Any, kind: str = "errors") -> str:
    return " | ".join(entry["message"] for entry in answer.json()["result"].get(kind, []))


Start = Callable[..., server.Handle]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    handles = []

    def run(**options: Any) -> server.Handle:
        handles.append(server.start(tmp_path / "appliance", **options))
        return handles[-1]

    yield run
    for handle in handles:
        handle.stop()


@pytest.fixture
def client(start: Start) -> Client:
    found = Client(start())
    assert found.login().status_code == 200
    return found


# Logins


def test_curl_logs_in_and_works_with_the_key(start: Start) -> None:
    handle = start()
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl")

    def run(*arguments: str) -> Any:
        command = [curl, "-sS", "--noproxy", "*", "--cacert", str(handle.ca_file), *arguments]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)

    login = ["-u", f"{handle.admin}:{handle.password}", "-H", "Content-Type: application/json", "-d", '{"realm": "Admin Users"}']
    key = run(*login, f"{handle.url}/api/v1/realm_auth")["api_key"]
    assert len(key) == 44
    assert len(base64.b64decode(key)) == 32
    found = run("-u", f"{key}:", f"{handle.url}/api/v1/configuration/users/user-realms")
    assert [realm["name"] for realm in found["realm"]] == ["Users"]


@pytest.mark.parametrize(
    ("version", "realm_auth", "auth"),
    [("22.7R2.10", 200, 404), ("22.7R2.1", 200, 404), ("22.7R2", 404, 200), ("9.1R13", 404, 200), ("8.3R3", 404, 200)],
)
def test_which_login_a_version_has(start: Start, version: str, realm_auth: int, auth: int) -> None:
    client = Client(start(version=version))
    assert client.login().status_code == realm_auth
    answer = client.session.get(f"{client.handle.url}/api/v1/auth", auth=(client.handle.admin, client.handle.password))
    assert answer.status_code == auth


@pytest.mark.parametrize(
    ("login", "status", "text"),
    [
        ({"password": "wrong"}, 401, "Invalid username or password"),
        ({"name": "nobody"}, 401, "Invalid username or password"),
        ({"realm": "No such realm"}, 401, "realm"),
        ({"resume_id": "x"}, 422, "stand-in: "),
    ],
)
def test_refused_logins(client: Client, login: dict[str, str], status: int, text: str) -> None:
    answer = client.login(**login)
    assert (answer.status_code, text in messages(answer)) == (status, True)


@pytest.mark.parametrize("basic", [("", ""), ("no such key", ""), ("admin", "password")])
def test_no_key_no_answer(client: Client, basic: tuple[str, str]) -> None:
    client.session.auth = basic
    assert client("GET", "configuration/").status_code == 401


def test_a_key_is_a_user_with_an_empty_password(client: Client) -> None:
    client.session.auth = client.session.auth[0], "x"
    assert client("GET", "configuration/").status_code == 401


def test_secondary_authentication_answers_with_a_resume_id(client: Client) -> None:
    client("POST", SERVERS, {"name": "otp", "radius": {"settings": {"radius-server": "10.0.0.9", "shared-secret-cleartext": "s"}}})
    changed = client("PUT", f"{ADMIN_REALMS}/Admin%20Users", {"secondary-authentication-settings": {"name": "otp"}})
    assert changed.status_code == 200
    assert set(client.login().json()) == {"resume_id"}


def test_rest_can_be_forbidden_and_a_changed_account_loses_its_keys(client: Client) -> None:
    account = f"{SERVERS}/Administrators/local/users/user"
    assert client("POST", account, {"username": "second", "password-cleartext": "other"}).status_code == 201
    assert Client(client.handle).login(name="second", password="other").status_code == 403, "REST is off for a new account"
    client("PUT", f"{account}/second", {"allow-rest-api-access": "enabled"})
    other = Client(client.handle)
    assert other.login(name="second", password="other").status_code == 200
    client("PUT", f"{account}/second", {"fullname": "changed"})
    assert other("GET", "configuration/").status_code == 401
    assert client("GET", "configuration/").status_code == 200
    assert other.login(name="second", password="other").status_code == 200
    client("PUT", f"{account}/second/allow-rest-api-access", {"allow-rest-api-access": "disabled"})
    answer = other.login(name="second", password="other")
    assert (answer.status_code, messages(answer)) == (403, "REST API access is not allowed for this administrator")


def test_keys_end_and_the_table_of_sessions_is_finite(start: Start) -> None:
    client = Client(start(key_lifetime=60, max_sessions=2))
    assert [client.login().status_code for _time in range(3)] == [200, 200, 403]
    client.handle.faults = {"clock_offset": 61}
    assert client("GET", "configuration/").status_code == 401
    assert client.login().status_code == 200


def test_without_a_sign_in_policy_for_them_administrators_are_locked_out(client: Client) -> None:
    assert client("DELETE", f"{SIGN_IN}/{quote('*/admin/', safe='')}").status_code == 204
    assert client("GET", "configuration/").status_code == 200
    assert client.login().status_code == 401


def test_an_administrators_realm_that_asks_for_a_certificate_locks_passwords_out(client: Client) -> None:
    only = "Only allow users with a client-side certificate signed by Trusted Client CAs"
    client("PUT", f"{ADMIN_REALMS}/Admin%20Users", {"authentication-policy": {"certificate": {"certificate-restriction": only}}})
    assert client.login().status_code == 403


# Verbs and status codes


def test_an_object_from_creation_to_deletion(client: Client) -> None:
    created = client("POST", USER_REALMS, USERS)
    assert (created.status_code, messages(created, "info")) == (201, "Operation succeeded without warning or error!")
    assert client("GET", f"{USER_REALMS}/Employees").json()["secondary-authentication-settings"] == {"name": "-"}
    assert messages(client("POST", USER_REALMS, USERS)) == "user realm 'Employees' already exists"
    updated = client("PUT", f"{USER_REALMS}/Employees", {"description": "of this company"})
    assert updated.status_code == 200
    deleted = client("DELETE", f"{USER_REALMS}/Employees")
    assert (deleted.status_code, deleted.headers["Content-Length"], deleted.content) == (204, "0", b"")
    assert client("GET", f"{USER_REALMS}/Employees").status_code == 404
    assert client("DELETE", f"{USER_REALMS}/Employees").status_code == 404


def test_put_creates_at_a_new_url_and_takes_the_key_from_the_body(client: Client) -> None:
    assert client("PUT", f"{USER_ROLES}/Guests", {}).status_code == 201
    assert client("PUT", USER_ROLES, {"name": "Guests", "general": {"overview": {"description": "visitors"}}}).status_code == 200
    assert client("GET", f"{USER_ROLES}/Guests/general/overview/description").json() == {"description": "visitors"}


def test_writes_may_be_answered_without_a_body(start: Start) -> None:
    client = Client(start(quiet=True))
    client.login()
    answers = [client("POST", USER_REALMS, USERS), client("PUT", f"{USER_REALMS}/Employees", {}), client("POST", USER_REALMS, USERS)]
    assert [answer.status_code for answer in answers] == [204, 204, 422]
    assert answers[0].content == b""


def test_put_merges_objects_and_replaces_lists(client: Client) -> None:
    radius = {"radius-server": "10.0.0.9", "shared-secret-cleartext": "s", "nas-identifier": "vpn1"}
    client("POST", SERVERS, {"name": "otp", "radius": {"settings": radius}})
    client("PUT", f"{SERVERS}/otp", {"radius": {"settings": {"timeout": "5"}}})
    settings = client("GET", f"{SERVERS}/otp").json()["radius"]["settings"]
    assert (settings["radius-server"], settings["nas-identifier"], settings["timeout"]) == ("10.0.0.9", "vpn1", "5")
    rules = [{"name": name, "roles": ["Users"], "user-name": {"test": "is", "user-names": [name]}} for name in ("a", "b")]
    client("PUT", f"{USER_REALMS}/Users", {"role-mapping-rules": {"rule": rules}})
    client("PUT", f"{USER_REALMS}/Users", {"role-mapping-rules": {"rule": rules[1:]}})
    assert [rule["name"] for rule in client("GET", f"{USER_REALMS}/Users").json()["role-mapping-rules"]["rule"]] == ["b"]


def test_a_leaf_is_addressable(client: Client) -> None:
    path = "configuration/system/configuration/saml-configuration/settings/saml-fqdn"
    assert client("PUT", path, {"saml-fqdn": "vpn.corp.example"}).status_code == 200
    assert client("GET", path).json() == {"saml-fqdn": "vpn.corp.example"}


def test_nodes_have_their_own_objects(client: Client) -> None:
    vlans = "configuration/system/network/vlans/localhost2/vlan"
    assert client("POST", vlans, {"name": "v2", "vlan-id": "2"}).status_code == 201
    assert client("GET", f"{vlans}/v2").json()["routes"] == {"route": []}
    assert client("GET", "configuration/system/network/vlans/node9/vlan").status_code == 404


def test_keys_with_slashes_are_percent_encoded_and_order_is_kept(client: Client) -> None:
    for url in ("vpn.corp.example/a/", "*/ä b/"):
        assert client("POST", SIGN_IN, {"url-pattern": url, "user": {"realms": ["Users"]}}).status_code == 201
    assert client("GET", f"{SIGN_IN}/{quote('*/ä b/', safe='')}").json()["url-pattern"] == "*/ä b/"
    assert client("GET", f"{SIGN_IN}/*/ä b/").status_code == 404
    parent = SIGN_IN.rpartition("/")[0]
    listed = client("GET", parent).json()["access-url"]
    assert [entry["url-pattern"] for entry in listed] == ["*/admin/", "*/", "vpn.corp.example/a/", "*/ä b/"]
    assert client("PUT", parent, {"access-url": listed[::-1]}).status_code == 200
    assert client("GET", parent).json()["access-url"] == listed[::-1]


def test_shallow_listings_name_the_elements_only(start: Start) -> None:
    client = Client(start(shallow=True))
    client.login()
    assert client("GET", "configuration/authentication/auth-servers").json() == {
        "auth-server": [{"name": "Administrators"}, {"name": "System Local"}]
    }
    assert "local" in client("GET", f"{SERVERS}/Administrators").json()


def test_secrets_are_written_and_not_read(client: Client) -> None:
    server = {"name": "otp", "radius": {"settings": {"radius-server": "10.0.0.9", "shared-secret-cleartext": "Not-to-be-read"}}}
    client("POST", SERVERS, server)
    before = client("GET", f"{SERVERS}/otp")
    assert "Not-to-be-read" not in client("GET", "configuration/").text
    encrypted = before.json()["radius"]["settings"]["shared-secret-encrypted"]
    assert client.handle.state.secret(encrypted) == "Not-to-be-read"
    assert client("PUT", f"{SERVERS}/otp", before.json()).status_code == 200, "what was read can be written"
    client("PUT", f"{SERVERS}/otp", server)
    assert client("GET", f"{SERVERS}/otp").json()["radius"]["settings"]["shared-secret-encrypted"] != encrypted


RULE = {"name": "r", "roles": ["No such role"], "user-name": {"test": "is", "user-names": ["*"]}}


@pytest.mark.parametrize(
    ("method", "path", "body", "text"),
    [
        ("PUT", f"{USER_REALMS}/Users", {"name": "Others"}, "cannot be renamed"),
        ("PUT", f"{USER_REALMS}/Users", {"authentication-server": "nobody"}, "refers to auth server 'nobody', which does not exist"),
        ("PUT", f"{USER_REALMS}/Users", {"authentication-server": "None"}, "a value is required"),
        ("PUT", f"{USER_REALMS}/Users", {"role-mapping-rules": {"rule": [RULE]}}, "refers to role 'No such role', which does not exist"),
        ("PUT", f"{USER_REALMS}/Users", {"secondary-authentication-settings": {"name": "card"}}, "cannot be an additional"),
        ("POST", SIGN_IN, {"url-pattern": "*/x/", "user": {"realms": ["nowhere"]}}, "user realm 'nowhere', which does not exist"),
        ("POST", SIGN_IN, {"url-pattern": "*/x/", "user": {"realms": []}, "admin": {"realms": []}}, "exactly one of user, admin"),
        ("POST", SIGN_IN, {"url-pattern": "*/x/", "enabled": True, "user": {"realms": []}}, "enabled: a string is expected"),
        ("POST", SIGN_IN, {"url-pattern": "*/x/", "enabled": "yes", "user": {"realms": []}}, "'yes' is none of true, false"),
        ("POST", SERVERS, {"name": "r", "radius": {"settings": {"radius-server": "x"}}}, "shared-secret-encrypted: a value is required"),
        ("POST", SERVERS, {"name": "r", "radius": {"settings": {"authentication-port": "70000"}}}, "not in the range 1 to 65535"),
        ("PUT", f"{SERVERS}/card", {"radius": {"settings": {}}}, "its kind (certificate) cannot be changed"),
        ("POST", USER_REALMS, {"authentication-server": "card"}, "name: a value is required"),
        ("DELETE", f"{SERVERS}/System%20Local", None, "in use by realm 'Users'"),
        ("DELETE", f"{USER_REALMS}/Users", None, "in use by sign-in policy '*/'"),
        ("DELETE", f"{USER_ROLES}/Users", None, "in use by realm 'Users'"),
        # the stand-in's own refusals
        ("PUT", f"{USER_REALMS}/Users", {"colour": "red"}, "stand-in: colour is not modelled"),
        ("POST", "configuration/users/user-realms", USERS, "stand-in: POST is for"),
        ("PUT", "system/binary-configuration", {}, "stand-in: PUT system/binary-configuration"),
        ("GET", "configuration/system/network/dns", None, "stand-in: "),
        ("PATCH", f"{USER_REALMS}/Users", {}, "stand-in: the verb PATCH"),
    ],
)
def test_refusals_leave_everything_as_it_was(client: Client, method: str, path: str, body: Any, text: str) -> None:
    client("POST", SERVERS, {"name": "card", "certificate": {"settings": {"user-name-template": "<certDN.CN>"}}})
    before = client("GET", "configuration/").json()
    answer = client(method, path, body)
    assert answer.status_code == (404 if path.startswith(("system", "configuration/system")) else 422)
    assert text in messages(answer)
    assert client("GET", "configuration/").json() == before
    assert client.handle.metrics.get("refused", 0) == text.startswith("stand-in: ")


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b"\xff"])
def test_malformed_bodies(client: Client, body: bytes) -> None:
    answer = client.session.put(f"{client.handle.url}/api/v1/{USER_REALMS}/Users", data=body)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET /" + b"a" * 70000,
    ],
)
def test_what_is_no_http(client: Client, sent: bytes) -> None:
    context = ssl.create_default_context(cafile=str(client.handle.ca_file))
    with (
        socket.create_connection((client.handle.address, client.handle.port)) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(sent)
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    assert client("GET", "configuration/").status_code == 200


def test_requests_in_pieces_and_several_at_once(client: Client) -> None:
    context = ssl.create_default_context(cafile=str(client.handle.ca_file))
    key = base64.b64encode(f"{client.session.auth[0]}:".encode()).decode()
    head = f"PUT /api/v1/{USER_ROLES}/Chunks HTTP/1.1\r\nAuthorization: Basic {key}\r\nTransfer-Encoding: chunked\r\n\r\n"
    two = (head + "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n") * 2
    with (
        socket.create_connection((client.handle.address, client.handle.port)) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as connection,
    ):
        for start in range(0, len(two), 7):
            connection.sendall(two[start : start + 7].encode())
        received = b""
        while received.count(b"succeeded") < 2:
            received += connection.recv(10000)
    assert re.findall(b"HTTP/1.1 ([0-9]+)", received) == [b"201", b"200"]


def test_answers_that_rest_on_inferred_lines_say_so(client: Client) -> None:
    assert "X-Stand-In" not in client("GET", "configuration/users/user-roles").headers
    assert client("POST", SERVERS, {"name": "c", "certificate": {}}).headers.get("X-Stand-In") is None
    assert (
        client("PUT", f"{SERVERS}/c", {"certificate": {"settings": {"user-name-template": "<USER>"}}}).headers["X-Stand-In"] == "inferred"
    )
    certificates = "configuration/system/configuration/certificates/device-certificates"
    assert client("GET", certificates).headers["X-Stand-In"] == "inferred"
    assert client.handle.metrics["inferred"] == 2


# System


def test_backups_are_zip_files_and_differ_each_time(client: Client) -> None:
    first, second = (client("GET", "system/binary-configuration").text for _time in range(2))
    assert first != second
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(first))) as archive:
        assert sorted(archive.namelist()) == ["system.cfg", "user.cfg"]


def test_system_information(client: Client) -> None:
    found = client("GET", "system/system-information").json()
    assert found["system-information"]["os-version"] == "22.7R2.10"
    assert found["software-inventory"]["software"]["build"]


class Tunnels:
    """A data plane that lets nobody have a realm called Forbidden."""

    class Refused(Exception):
        pass

    def __init__(self, users: int) -> None:
        self.records = [{"active-user-name": f"user{number}", "session-id": f"sid{number}"} for number in range(users)]
        self.applied = 0

    def connect(self, state: Any) -> None:
        self.state = state

    def check(self, tree: Any) -> None:
        if any(realm["name"] == "Forbidden" for realm in tree["configuration"]["users"]["user-realms"]["realm"]):
            raise self.Refused("no tunnel for this realm")

    def apply(self, tree: Any) -> None:
        self.applied += 1

    def sessions(self) -> list[dict[str, Any]]:
        return self.records

    def end_session(self, session_id: str) -> None:
        self.records = [record for record in self.records if record["session-id"] != session_id]

    def update_crl(self, ca: str) -> None:
        raise self.Refused("the CRL's server does not answer")


def test_the_data_plane_agrees_before_a_write_and_hears_of_it_afterwards(start: Start) -> None:
    tunnels = Tunnels(5)
    client = Client(start(data_plane=tunnels))
    client.login()
    answer = client("POST", USER_REALMS, USERS | {"name": "Forbidden"})
    assert (answer.status_code, messages(answer), tunnels.applied) == (422, "no tunnel for this realm", 1)
    assert client("POST", USER_REALMS, USERS).status_code == 201
    assert tunnels.applied == 2
    page = client("GET", "system/active-users?number=2&start=4").json()["active-users"]
    assert page["total-matched-record-number"] == 5
    assert [record["session-id"] for record in page["active-user-records"]["active-user-record"]] == ["sid4"]
    assert client("DELETE", "system/active-users/session/sid1").status_code == 204
    assert client("DELETE", "system/active-users/session/sid1").status_code == 404
    assert client("GET", "system/active-users?name=USER1").json()["active-users"]["total-matched-record-number"] == 0


# State and number


def test_the_state_survives_and_belongs_to_its_owner_only(start: Start, tmp_path: Path) -> None:
    first = start()
    client = Client(first)
    client.login()
    client("POST", USER_REALMS, USERS)
    first.stop()
    again = start(password="not used, there is an account already")
    assert again.password == first.password
    client = Client(again)
    assert client.login().status_code == 200
    assert client("GET", f"{USER_REALMS}/Employees").status_code == 200
    assert (tmp_path / "appliance/state.json").stat().st_mode & 0o077 == 0


def test_the_service_survives_being_killed(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    certificate, key = server.Authority().server(["127.0.0.1"], self_signed=True)
    (secrets / "management.pem").write_text(certificate)
    (secrets / "management.key").write_text(key)
    (secrets / "administrator.json").write_text(json.dumps({"name": "root", "password": "first", "realm": "Admin Users"}))
    command = [sys.executable, "-m", "lab.connect_secure", "--folder", str(tmp_path / "state"), "--secrets", str(secrets), "--port", "0"]
    for number in range(2):
        service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=server.__file__.rpartition("/lab/")[0])
        assert service.stdout is not None
        url = re.search("https://[^ ]+", service.stdout.readline())
        assert url is not None
        session = requests.Session()
        session.trust_env, session.verify = False, str(secrets / "management.pem")
        login = session.post(f"{url.group()}/api/v1/realm_auth", auth=("root", "first"), json={"realm": "Admin Users"})
        session.auth = login.json()["api_key"], ""
        answer = session.post(f"{url.group()}/api/v1/{USER_ROLES}", json={"name": f"role{number}"})
        service.kill()
        service.wait()
        service.stdout.close()
        assert answer.status_code == 201
    assert json.loads((tmp_path / "state/metrics.json").read_text())["logins"] == 2
    saved = json.loads((tmp_path / "state/state.json").read_text())["tree"]["configuration"]
    assert [role["name"] for role in saved["users"]["user-roles"]["user-role"]] == ["Users", "role0", "role1"]


def test_an_appliance_that_calls_things_otherwise(start: Start) -> None:
    client = Client(start(names={"user-realms": "realms-of-users", "authentication-server": "auth-server-name"}))
    client.login()
    assert client("GET", "configuration/users/realms-of-users/realm/Users").json()["auth-server-name"] == "System Local"
    assert client("PUT", "configuration/users/realms-of-users/realm/Users", {"authentication-server": "x"}).status_code == 422
    assert client("GET", USER_REALMS).status_code == 404


def test_many_in_one_process(tmp_path: Path) -> None:
    fleet = server.start_many(tmp_path, "127.1.7.250", 8, port=0)
    try:
        told = json.loads((tmp_path / "appliances.json").read_text())
        assert told["addresses"][-1] == "127.1.8.1"
        for port in fleet.ports:
            url = f"https://{port.address}:{port.port}/api/v1/realm_auth"
            answer = requests.post(url, auth=(told["admin"], told["password"]), json={"realm": told["realm"]}, verify=told["ca_file"])
            assert answer.status_code == 200
    finally:
        fleet.stop()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert {address: counts["logins"] for address, counts in metrics.items()} == dict.fromkeys(told["addresses"], 1)
