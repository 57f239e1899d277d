# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against the stand-in: logins, keys, refusals, and answers that no appliance should give."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import socket
import ssl
import stat
import subprocess
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure import backup, transport
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.login import listed
from ansible_collections.certlogon.core.plugins.module_utils.errors import SessionLost, UserError

REALMS = "user_realm"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "RETRIES", (0.01, 0.02))


# ---- logins


def test_one_login_serves_all_tasks_of_a_run(appliance: Any) -> None:
    task = appliance.new_run()
    for _time in range(3):
        appliance.session(task()).list(REALMS)
    assert appliance.handle.metrics["logins"] == 1
    (key,) = (path for path in task().folder.iterdir())
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert appliance.handle.password not in key.read_text()
    appliance.session(appliance.new_run()()).list(REALMS)
    assert appliance.handle.metrics["logins"] == 2


def _fork(begin: Any, session: Any) -> None:
    begin.wait()
    session().list(REALMS)


def test_forked_tasks_that_begin_together_share_one_login(appliance: Any) -> None:
    """None begins before all are there: a process forked while a thread of the stand-in holds a lock would wait for it for ever."""
    task, fork = appliance.new_run(), multiprocessing.get_context("fork")
    appliance.faults(slow={"seconds": 0.2, "path": "realm_auth"})
    begin = fork.Event()
    processes = [fork.Process(target=_fork, args=(begin, lambda: appliance.session(task())), daemon=True) for _time in range(5)]
    for process in processes:
        process.start()
    begin.set()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0] * 5
    assert appliance.handle.metrics["logins"] == 1


def test_other_users_realms_and_ports_have_other_keys(appliance: Any) -> None:
    task = appliance.new_run()
    appliance.session(task()).list(REALMS)
    with pytest.raises(UserError):
        appliance.session(task(), username="somebody").list(REALMS)
    assert len(list(task().folder.iterdir())) == 2


@pytest.mark.parametrize("after", [1, 2])
def test_an_expired_key_costs_one_login(appliance: Any, after: int) -> None:
    task = appliance.new_run()
    first = task()
    session = appliance.session(first)
    session.list(REALMS)
    appliance.faults(expire_key=after)
    assert session.get(REALMS, "Users")
    appliance.faults()
    assert first.logins <= 2
    last = task()
    appliance.session(last).list(REALMS)
    assert last.logins == 0


def test_a_key_that_is_refused_again_is_an_error(appliance: Any) -> None:
    session = appliance.session()
    appliance.faults(status={"status": 401, "method": "GET"})
    with pytest.raises(SessionLost, match=r"key of a login just made is refused"):
        session.list(REALMS)
    assert session.logins == 2


def test_lacking_permission_is_an_error_after_one_login(appliance: Any) -> None:
    session = appliance.session()
    appliance.faults(status={"status": 403, "method": "GET"})
    with pytest.raises(UserError, match=r"lacks the permission \(HTTP 403\).*Admin Roles"):
        session.list(REALMS)
    assert session.logins == 2


@pytest.mark.parametrize(("version", "requests"), [("9.1R13", 2), ("22.7R2.10", 1)])
def test_the_old_login_is_used_where_there_is_no_new_one(another_appliance: Any, version: str, requests: int) -> None:
    stand_in = another_appliance(version=version)
    session = stand_in.session()
    session.log_in_anew()
    assert session.requests == requests
    assert all("old login asks the server Administrators" in text for text in stand_in.warnings)


def test_the_old_login_says_that_it_knows_no_realms(another_appliance: Any) -> None:
    stand_in = another_appliance(version="9.1R13")
    stand_in.session(realm="Operators").log_in_anew()
    assert "realm 'Operators' was not used" in stand_in.warnings[0]


def test_wrong_password_is_not_tried_twice_in_a_run(appliance: Any) -> None:
    task = appliance.new_run()
    with pytest.raises(UserError, match=r"admin is not let in to realm 'Admin Users' \(HTTP 401\) \(Invalid username or password\)"):
        appliance.session(task(), password="wrong").list(REALMS)
    asked = appliance.handle.metrics["requests"]
    with pytest.raises(UserError, match=r"not tried again, so that the account is not locked out"):
        appliance.session(task(), password="wrong").list(REALMS)
    assert appliance.handle.metrics["requests"] == asked


def _console(appliance: Any, path: str, body: dict[str, Any]) -> None:
    """A change that somebody made at the console."""
    appliance.handle.appliance.console([{"path": path, "body": body}])


ADMIN = "configuration/authentication/auth-servers/auth-server/Administrators/local/users/user/admin"
REALM = "configuration/administrators/admin-realms/realm/Admin%20Users"


def test_rest_that_is_not_allowed_says_where_to_allow_it(appliance: Any) -> None:
    _console(appliance, ADMIN, {"allow-rest-api-access": "disabled"})
    with pytest.raises(UserError, match=r"admin may not use the REST interface .*Allow access to REST APIs"):
        appliance.session().list(REALMS)


def test_secondary_authentication_of_the_realm_is_explained(appliance: Any) -> None:
    _console(appliance, REALM, {"secondary-authentication-settings": {"name": "System Local"}})
    with pytest.raises(UserError, match=r"asks admin for a second authentication.*without secondary authentication"):
        appliance.session().list(REALMS)


def test_a_full_session_table_is_explained(appliance: Any) -> None:
    task = appliance.new_run()
    appliance.faults(session_table_full=True)
    with pytest.raises(UserError, match=r"no session is left for admin .*Active Users"):
        appliance.session(task()).list(REALMS)
    appliance.faults()
    assert appliance.session(task()).list(REALMS)


def test_a_restart_in_the_middle_is_told_and_the_next_task_goes_on(appliance: Any) -> None:
    task = appliance.new_run()
    session = appliance.session(task(), backup=False)
    session.list(REALMS)
    appliance.faults(reboot={"seconds": 0.2, "method": "POST"})
    with pytest.raises(SessionLost, match=r"the next run reads it and does what is left to do"):
        session.create("user_role", {"name": "Staff"})
    time.sleep(0.4)
    assert appliance.session(task()).get("user_role", "Staff")
    assert appliance.handle.metrics["logins"] == 2


def test_a_generation_without_rest_is_refused_before_anything_is_asked(appliance: Any) -> None:
    with pytest.raises(UserError, match=r"juniper .* has no REST interface; use state rendered"):
        appliance.session(generation="juniper")
    assert appliance.handle.metrics.get("requests", 0) == 0


# ---- answers


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"body": {"kind": "html", "path": "user-realms"}}, "HTTP 200 with a web page: '<html><head><title>Sign in"),
        ({"body": {"kind": "half", "path": "user-realms"}}, r"only half a\) JSON: '\{\"realm\""),
        ({"body": {"kind": "empty", "path": "user-realms"}}, "HTTP 200 with an empty body where JSON was expected"),
        ({"body": {"kind": "html", "path": "realm_auth"}}, "HTTP 200 with a web page"),
        ({"body": {"kind": "empty", "path": "realm_auth"}}, "with an empty body"),
        ({"status": {"status": 500, "method": "GET"}}, "the appliance's REST server does not work"),
        ({"status": {"status": 302, "method": "GET"}}, "sent elsewhere"),
        ({"status": {"status": 404, "method": "GET"}}, r"no such thing \(user_realm \(standing: seen\), HTTP 404\).*connect_secure_table"),
        ({"drop": {"path": "user-realms"}}, r"dropped \(Remote end closed connection without response\); is the appliance restarting"),
        ({"drop": {"path": "realm_auth"}}, "the connection was dropped"),
    ],
)
def test_bad_answers_are_named(appliance: Any, fault: dict[str, Any], message: str) -> None:
    appliance.faults(**fault)
    with pytest.raises(UserError, match=message) as caught:
        appliance.session().list(REALMS)
    assert f"{appliance.handle.address}:{appliance.handle.port}: " in str(caught.value)
    assert "/api/v1/" in str(caught.value)


@pytest.mark.parametrize(
    "fault", [{"status": {"status": 500, "path": "user-realms", "times": 2}}, {"drop": {"path": "user-realms", "times": 2}}]
)
def test_reads_are_tried_again(appliance: Any, fault: dict[str, Any]) -> None:
    appliance.faults(**fault)
    assert appliance.session().list(REALMS)


@pytest.mark.parametrize("fault", [{"body": {"kind": "html"}}, {"body": {"kind": "half"}}, {"status": {"status": 500}}, {"drop": {}}])
def test_an_answer_that_does_not_tell_what_became_of_a_write_says_so(appliance: Any, fault: dict[str, Any]) -> None:
    session = appliance.session(backup=False)
    session.list(REALMS)
    appliance.faults(**{name: {**options, "method": "PUT"} for name, options in fault.items()})
    with pytest.raises(UserError, match="whether the appliance took the change is not known; the next run reads it"):
        session.update(REALMS, "Users", {})


@pytest.mark.parametrize("fault", [{"status": {"status": 500, "method": "PUT"}}, {"drop": {"method": "PUT"}}])
def test_writes_are_not(appliance: Any, fault: dict[str, Any]) -> None:
    session = appliance.session(backup=False)
    session.list(REALMS)
    appliance.faults(**fault)
    before = session.requests
    with pytest.raises(SessionLost):
        session.update(REALMS, "Users", {"name": "Users"})
    assert session.requests == before + 1


def test_a_slow_appliance_is_given_up(appliance: Any) -> None:
    appliance.faults(slow={"seconds": 3, "path": "user-realms"})
    with pytest.raises(SessionLost, match=r"no answer within 1 seconds.*Raise timeout"):
        appliance.session(timeout=1).list(REALMS)


def test_refusals_carry_the_appliances_own_words(appliance: Any) -> None:
    session = appliance.session(backup=False)
    with pytest.raises(
        UserError, match=r"PUT /api/v1/configuration/users/user-realms/realm/Users: the appliance refuses \(HTTP 422\): .*nobody"
    ):
        session.update(REALMS, "Users", {"authentication-server": "nobody"})
    with pytest.raises(UserError, match=r"no such thing .*HTTP 404"):
        session.delete(REALMS, "not there")


def test_warnings_of_the_appliance_are_passed_on_once(appliance: Any) -> None:
    session = appliance.session(backup=False)
    session.create("user_role", {"name": "Staff"})
    session.update("user_role", "Staff", {"name": "Staff"})
    said = [text for text in appliance.warnings if "implicitly changed" in text]
    assert len(said) == len(set(said))


def test_elements_come_and_go(appliance: Any) -> None:
    session = appliance.session(backup=False)
    assert session.get("user_role", "a/b *") is None
    session.create("user_role", {"name": "a/b *"})
    assert session.get("user_role", "a/b *") == session.list("user_role")[-1]
    session.delete("user_role", "a/b *")
    assert session.get("user_role", "a/b *") is None


@pytest.mark.parametrize("shallow", [False, True])
def test_a_list_is_complete_however_much_of_it_the_appliance_tells(another_appliance: Any, shallow: bool) -> None:
    session = another_appliance(shallow=shallow).session()
    policies = session.list("sign_in_policy")
    assert len(policies) > 1
    assert all("enabled" in policy and {"user", "admin"} & set(policy) for policy in policies)
    # the first role has nothing but its name, which must not be taken for all that there is to know of the others
    session.create("user_role", {"name": "Described", "general": {"overview": {"description": "of guests"}}})
    assert [set(role) for role in session.list("user_role")] == [{"name"}, {"name", "general"}]


def test_what_is_deleted_while_it_is_listed_hides_nothing_of_the_others(another_appliance: Any) -> None:
    stand_in = another_appliance(shallow=True)
    session = stand_in.session()
    first, second = session.list("sign_in_policy")
    session.create("sign_in_policy", {"url-pattern": "x/", "enabled": "true", "user": {"realms": ["Users"]}})
    session.raw(
        "PUT", session.table.resource("sign_in_policy").list_path, {"access-url": [session.get("sign_in_policy", "x/"), first, second]}
    )
    gone = {"path": "configuration/authentication/signin/urls/access-url/x%2F", "delete": True}
    stand_in.faults(console={"method": "GET", "path": "x%2F", "change": [gone]})
    assert session.list("sign_in_policy") == [first, second]


@pytest.mark.parametrize(
    ("body", "kinds", "texts"),
    [
        (
            b'{"result": {"errors": [{"message": "a"}, {"message": "a"}], "warnings": [{"message": "b"}]}}',
            ("errors", "warnings"),
            ["a", "b"],
        ),
        (b'{"result": {"warnings": [{"message": "b"}]}}', ("errors",), []),
        (b'{"message": "plain"}', ("errors",), ["plain"]),
        (b'{"result": {"errors": "text"}}', ("errors",), []),
        (b'{"result": []}', ("errors",), []),
        (b"<html>", ("errors",), []),
        (b"", ("errors",), []),
    ],
)
def test_envelopes(body: bytes, kinds: tuple[str, ...], texts: list[str]) -> None:
    assert listed(body, *kinds) == texts


# ---- TLS


def test_the_certificate_is_verified_whatever_the_environment_says(appliance: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    appliance.session().list(REALMS)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(appliance.handle.ca_file))
    with pytest.raises(SessionLost, match=r"of a CA that is not trusted here; give that CA's certificate as ca_path|self-signed"):
        appliance.session(ca_path=None).list(REALMS)


@pytest.mark.parametrize(
    ("fault", "message"),
    [("expired", "the device certificate on .* has expired; renew it: once with validate_certs false"), ("self-signed", "self-signed")],
)
def test_bad_certificates_say_what_to_do(appliance: Any, fault: str, message: str) -> None:
    appliance.faults(management_certificate=fault)
    with pytest.raises(SessionLost, match=message):
        appliance.session().list(REALMS)


@pytest.mark.parametrize(
    ("option", "message"),
    [("ca_path", r"ca_path .* is a file without any certificate"), ("client_cert", r"client_cert or client_key is no PEM file")],
)
def test_files_that_hold_no_certificates(appliance: Any, tmp_path: Path, option: str, message: str) -> None:
    (tmp_path / "empty.pem").write_text("nothing\n")
    with pytest.raises(SessionLost, match=message):
        appliance.session(**{option: str(tmp_path / "empty.pem")}).list(REALMS)


@pytest.mark.parametrize("capath", [None, "/nowhere"])
def test_a_control_node_without_a_bundle_of_cas(appliance: Any, monkeypatch: pytest.MonkeyPatch, capath: str | None) -> None:
    """As in a container without ca-certificates."""
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: SimpleNamespace(capath=capath, cafile=None))
    with pytest.raises(SessionLost, match="no CAs to verify the appliance's certificate by"):
        appliance.session(ca_path=None).list(REALMS)


def test_no_verification_warns_once_a_run(appliance: Any) -> None:
    appliance.faults(management_certificate="expired")
    task = appliance.new_run()
    for _time in range(2):
        appliance.session(task(), validate_certs=False).list(REALMS)
    assert ["validate_certs is false" in text for text in appliance.warnings] == [True]


def test_nobody_there_and_nobody_of_that_name(appliance: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SessionLost, match=r"no connection: .*refused.*is 127.0.0.1:\d+ up"):
        appliance.session(port=port).list(REALMS)
    with pytest.raises(SessionLost, match=r"no connection: .*its name known here"):
        appliance.session(host="nowhere.invalid").list(REALMS)


def test_a_port_that_speaks_no_tls(appliance: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def serve() -> None:
            connection, _address = plain.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(SessionLost, match=r"TLS failed: .*does it speak TLS"):
            appliance.session(port=plain.getsockname()[1]).list(REALMS)


def test_a_client_certificate_is_shown(appliance: Any, tmp_path: Path) -> None:
    """Another server than the stand-in, which asks for none."""
    made = ["-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"]
    subprocess.run(
        ["openssl", "req", "-x509", *made, "-keyout", "key.pem", "-out", "crt.pem"], cwd=tmp_path, check=True, capture_output=True
    )
    files = {"certfile": tmp_path / "crt.pem", "keyfile": tmp_path / "key.pem"}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(**files)
    context.load_verify_locations(tmp_path / "crt.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    seen: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection = context.wrap_socket(listener.accept()[0], server_side=True)
            seen.append(connection.getpeercert())
            while not connection.recv(10000).endswith(b"}"):
                pass
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"api_key":"k"}')
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
        session = appliance.session(
            port=listener.getsockname()[1],
            ca_path=str(files["certfile"]),
            client_cert=str(files["certfile"]),
            client_key=str(files["keyfile"]),
        )
        session.log_in_anew()
    assert seen and seen[0]["subject"]


# ---- options


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"host": None}, "host: no appliance is named"),
        ({"host": "https://vpn1/"}, "leave out https"),
        ({"host": "vpn1..corp.example"}, "host: 'vpn1..corp.example' is no host name"),
        ({"host": ".corp.example"}, "host: '.corp.example' is no host name"),
        ({"host": f"{'a' * 64}.example"}, "is no host name"),
        ({"username": None}, "username, password: both are needed"),
        ({"port": 0}, "no TCP port"),
        ({"timeout": 0}, "timeout: 0"),
        ({"backup_keep": 0}, "backup_keep: 0 would keep no backup"),
        ({"ca_path": "/nowhere.pem"}, "ca_path: /nowhere.pem is no file"),
    ],
)
def test_options_that_cannot_work(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ConnectionOptions.from_params({"host": "vpn1", "username": "admin", "password": "x", **changed})


@pytest.mark.parametrize(
    ("host", "port", "address"),
    [("vpn1", 443, "vpn1"), ("vpn1", 8443, "vpn1:8443"), ("fd00::1", 8443, "[fd00::1]:8443"), ("[fd00::1]", 443, "[fd00::1]")],
)
def test_address(host: str, port: int, address: str) -> None:
    options = ConnectionOptions.from_params({"host": host, "port": port, "username": "a", "password": "b"})
    assert (options.address, options.host) == (address, host.strip("[]"))


def test_no_representation_holds_a_secret() -> None:
    options = ConnectionOptions.from_params({"host": "vpn1", "username": "a", "password": "s3cret", "backup_passphrase": "s3cret"})
    assert "s3cret" not in f"{options} {options!r}"


# ---- backup


def test_a_backup_is_made_before_the_first_change_of_a_run(appliance: Any) -> None:
    task = appliance.new_run()
    appliance.session(task()).list(REALMS)
    assert not (appliance.folder / "backups").exists()
    for name in ("A", "B"):
        appliance.session(task()).create("user_role", {"name": name})
    (made,) = (appliance.folder / "backups").iterdir()
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.parent.stat().st_mode) == 0o700
    with zipfile.ZipFile(made) as archive:
        assert sorted(archive.namelist()) == ["system.cfg", "user.cfg"]
    assert made.name.startswith(f"{appliance.handle.address}_{appliance.handle.port}-20")


def test_what_leaves_the_configuration_alone_makes_no_backup(appliance: Any) -> None:
    session = appliance.session()
    with pytest.raises(UserError):
        session.call("end_session", "nobody's")
    assert session.backup == ""


def test_a_task_knows_the_backup_of_the_run(appliance: Any) -> None:
    task = appliance.new_run()
    first, second = task(), task()
    appliance.session(first).create("user_role", {"name": "A"})
    appliance.session(second).create("user_role", {"name": "B"})
    assert first.backup == second.backup != ""
    assert first.backup in backup.how_to_restore(first.backup)


def test_an_encrypted_backup_is_opened_by_openssl(appliance: Any) -> None:
    run = appliance.new_run()()
    appliance.session(run, backup_passphrase="grüße und more").create("user_role", {"name": "A"})
    assert run.backup.endswith(".zip.enc")
    assert b"PK" not in Path(run.backup).read_bytes()[:4]
    told = backup.how_to_restore(run.backup)
    assert f"{backup.OPEN} -in '{run.backup}' -out '{run.backup.removesuffix('.enc')}'" in told
    command = [*backup.OPEN.split(), "-in", run.backup, "-out", run.backup.removesuffix(".enc"), "-pass", "stdin"]
    subprocess.run(command, input="grüße und more\n", text=True, check=True, capture_output=True)
    with zipfile.ZipFile(run.backup.removesuffix(".enc")) as archive:
        assert "user.cfg" in archive.namelist()
    wrong = subprocess.run(command, input="guess\n", text=True, check=False, capture_output=True)
    assert wrong.returncode or not zipfile.is_zipfile(run.backup.removesuffix(".enc"))


def test_only_so_many_backups_are_kept(appliance: Any) -> None:
    (appliance.folder / "backups").mkdir()
    other = appliance.folder / "backups" / "other-20200101T000000.000000Z.zip"
    other.write_text("of another appliance")
    made = []
    for number in range(4):
        run = appliance.new_run()()
        appliance.session(run, backup_keep=2).create("user_role", {"name": f"role {number}"})
        made.append(Path(run.backup))
    assert sorted((appliance.folder / "backups").iterdir()) == sorted([*made[-2:], other])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"body": {"kind": "html", "path": "binary"}}, "is no ZIP file in base64; nothing was changed"),
        ({"body": {"kind": "half", "path": "binary"}}, "is no ZIP file in base64; nothing was changed"),
        ({"status": {"status": 404, "path": "binary"}}, "no such thing"),
    ],
)
def test_without_a_backup_nothing_is_changed(appliance: Any, fault: dict[str, Any], message: str) -> None:
    session = appliance.session()
    appliance.faults(**fault)
    for _time in range(2):
        with pytest.raises(UserError, match=message):
            session.create("user_role", {"name": "Staff"})
    assert session.get("user_role", "Staff") is None


def test_a_folder_that_cannot_be_written_is_named(appliance: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"backup_dir: the backup of .* cannot be kept in .*nothing was changed"):
        appliance.session(backup_dir=str(tmp_path / "file")).create("user_role", {"name": "Staff"})


# ---- judged by another client


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is the judge")
def test_curl_sees_the_same_wire(appliance: Any) -> None:
    """As the vendor's examples have it: the key as Basic user with an empty password. What we wrote curl reads, and the other way round."""
    task = appliance.new_run()
    session = appliance.session(task(), backup=False)
    session.create("user_role", {"name": "from us"})
    key = next(memory["key"] for path in task().folder.iterdir() if "key" in (memory := json.loads(path.read_text())))
    curl = ["curl", "-sS", "--cacert", str(appliance.handle.ca_file), "-u", f"{key}:"]
    url = f"{appliance.handle.url}/api/v1/configuration/users/user-roles/user-role"
    read = subprocess.run([*curl, f"{url}/from%20us"], check=True, capture_output=True, text=True)
    assert json.loads(read.stdout) == session.get("user_role", "from us")
    post = [
        *curl,
        "-H",
        "Content-Type: application/json",
        "-d",
        '{"name": "from curl"}',
        "-w",
        "%{http_code}",
        "-o",
        "/dev/null",
        f"{url}/",
    ]
    assert subprocess.run(post, check=True, capture_output=True, text=True).stdout in ("201", "204")
    assert session.get("user_role", "from curl") is not None
    login = ["curl", "-sS", "--cacert", str(appliance.handle.ca_file), "-u", f"{appliance.handle.admin}:{appliance.handle.password}"]
    body = ["-H", "Content-Type: application/json", "-d", '{"realm": "Admin Users"}']
    answer = subprocess.run([*login, *body, f"{appliance.handle.url}/api/v1/realm_auth"], check=True, capture_output=True, text=True)
    assert set(json.loads(answer.stdout)) == {"api_key"}


def test_connections_are_kept_open(appliance: Any) -> None:
    session = appliance.session()
    began = time.perf_counter()
    for _time in range(20):
        session.get(REALMS, "Users")
    assert appliance.handle.metrics["connections"] == 1
    assert time.perf_counter() - began < 5


def test_a_write_does_not_go_to_a_connection_that_ended_meanwhile(appliance: Any) -> None:
    """Writes are never repeated, so an idle connection that the appliance has closed must be noticed before."""
    session = appliance.session()
    session.get(REALMS, "Users")
    session._transport._connection.sock.shutdown(socket.SHUT_RDWR)
    session.create("user_role", {"name": "Staff"})
    assert session.get("user_role", "Staff") is not None
    assert appliance.handle.metrics["connections"] == 2
