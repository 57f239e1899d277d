# SPDX-License-Identifier: GPL-3.0-or-later
"""The action front end: where the connection options come from, what results hold, and one login for all tasks of a real run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.client import ApplianceSession
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.client import appliance as connect
from ansible_collections.certlogon.core.plugins.module_utils.connect_secure.connection import CONNECTION, RUN
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Resource, Warn
from ansible_collections.certlogon.core.plugins.plugin_utils.connect_secure import ConnectSecureAction

REPOSITORY = Path(__file__).parents[3]
PLAYBOOK = [str(Path(sys.executable).with_name("ansible-playbook"))]


class Roles(Resource[ApplianceSession, dict[str, Any]]):
    """Makes roles; one named `bad` fails with a text that holds the password."""

    connection = CONNECTION
    options = {"name": {"type": "str", "required": True}}
    seen: Mapping[str, Any] = {}

    def open(self, params: Mapping[str, Any], warn: Warn) -> AbstractContextManager[ApplianceSession]:
        Roles.seen = params
        return connect(params, warn)

    def read(self, session: ApplianceSession, params: Mapping[str, Any]) -> dict[str, Any]:
        return {role["name"]: {"name": role["name"]} for role in session.list("user_role")}

    def objects(self, current: dict[str, Any]) -> dict[str, Any]:
        return current

    def plan(self, params: Mapping[str, Any], current: dict[str, Any]) -> Plan:
        return Plan([Change(entry["name"], None, entry) for entry in params["config"] if entry["name"] not in current])

    def apply(self, session: ApplianceSession, change: Change) -> None:
        if change.name == "bad":
            raise UserError(f"refused; the password is {self.seen['password']}")
        session.create("user_role", {"name": change.name})


class RolesAction(ConnectSecureAction):
    resource = Roles()


def task(args: dict[str, Any], variables: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
    action = RolesAction.__new__(RolesAction)
    action._task = SimpleNamespace(args=args, action="roles", check_mode=check, async_val=0, diff=False, delegate_to=None)
    action._connection = SimpleNamespace(transport="ssh", _shell=SimpleNamespace(tmpdir=None))
    action._templar = SimpleNamespace(template=lambda value: value.replace("{{ where }}", "127.0.0.1") if isinstance(value, str) else value)
    action._play_context = SimpleNamespace(check_mode=check)
    action._cleanup_remote_tmp = False
    action._used_interpreter = None
    return action.run(task_vars=variables)


def variables(stand_in: Any, **more: Any) -> dict[str, Any]:
    return {
        "inventory_hostname": "vpn1",
        "ansible_host": "{{ where }}",
        "ansible_httpapi_port": str(stand_in.handle.port),
        "ansible_user": stand_in.handle.admin,
        "ansible_password": stand_in.handle.password,
        "ansible_httpapi_ca_path": str(stand_in.handle.ca_file),
        "connect_secure_backup_dir": str(stand_in.folder / "backups"),
        **more,
    }


@pytest.fixture(autouse=True)
def own_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "local").mkdir(mode=0o700)
    monkeypatch.setattr("ansible.constants.DEFAULT_LOCAL_TMP", str(tmp_path / "local"))


def test_options_come_from_the_hosts_variables(appliance: Any) -> None:
    result = task({"state": "gathered"}, variables(appliance))
    assert not result.get("failed"), result
    assert (result["logins"], result["requests"]) == (1, 3)
    assert task({"state": "gathered"}, variables(appliance))["logins"] == 0


@pytest.mark.parametrize(
    ("args", "given", "option", "value"),
    [
        ({}, {"ansible_host": None}, "host", "vpn1"),
        ({}, {"connect_secure_host": "a", "ansible_host": "b"}, "host", "a"),
        ({"host": "c"}, {"connect_secure_host": "a", "ansible_host": "b"}, "host", "c"),
        ({}, {"ansible_httpapi_user": "api", "ansible_user": "root"}, "username", "api"),
        ({}, {"ansible_httpapi_pass": "p1", "ansible_password": "p2"}, "password", "p1"),
        ({}, {"connect_secure_realm": "Operators"}, "realm", "Operators"),
        ({}, {"connect_secure_timeout": "7"}, "timeout", 7),
        ({}, {"ansible_httpapi_validate_certs": "no"}, "validate_certs", False),
        ({}, {"connect_secure_generation": "pulse"}, "generation", "pulse"),
        ({}, {"connect_secure_node": "node1"}, "node", "node1"),
        ({}, {}, "port", 443),
    ],
)
def test_precedence(args: dict[str, Any], given: dict[str, Any], option: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Any, params: Mapping[str, Any], warn: Warn) -> Any:
        Roles.seen = params
        raise UserError("stop")

    monkeypatch.setattr(Roles, "open", stop)
    task({"state": "gathered", **args}, {"inventory_hostname": "vpn1", **given})
    assert Roles.seen[option] == value
    assert RUN in Roles.seen


def test_a_failed_run_says_where_the_backup_is_and_hides_the_password(appliance: Any) -> None:
    result = task({"config": [{"name": "good"}, {"name": "bad"}]}, variables(appliance))
    assert result["failed"] and result["changed"]
    assert "bad: refused; the password is ********" in result["msg"]
    assert f"before this run's first change is in {result['backup_file']}" in result["msg"]
    assert "Maintenance > Import/Export" in result["msg"]
    assert Path(result["backup_file"]).is_file()


def test_check_mode_makes_no_backup(appliance: Any) -> None:
    result = task({"config": [{"name": "good"}]}, variables(appliance), check=True)
    assert result["changed"] and "backup_file" not in result
    assert not (appliance.folder / "backups").exists()


def test_unknown_options_are_refused_as_ansible_does() -> None:
    result = task({"state": "gathered", "confg": []}, {"inventory_hostname": "vpn1"})
    assert result["failed"] and "Unsupported parameters for (roles) module: confg" in result["msg"]


def test_one_login_for_all_forked_tasks_of_a_run(appliance: Any, tmp_path: Path) -> None:
    """ansible-playbook itself: each task in its own process, two names being one appliance; then the playbook that checks the table."""
    role = {"path": "configuration/users/user-roles/user-role/Staff", "body": {"name": "Staff"}}
    write = {"certlogon.core.connect_secure_config": {"config": [role]}, "register": "written"}
    read = {"certlogon.core.connect_secure_info": {}, "register": "read"}
    count = {
        "ansible.builtin.copy": {"content": "{{ written.logins }} {{ read.logins }}", "dest": f"{tmp_path}/{{{{ inventory_hostname }}}}"}
    }
    tasks = [write, read, write, read, write, read, {**count, "delegate_to": "localhost", "connection": "local"}]
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "vpn", "gather_facts": False, "tasks": tasks}]))
    # the task's connection does not matter: nothing is ever sent through it
    own = {**variables(appliance, ansible_host=appliance.handle.address), "ansible_connection": "ssh"}
    own.pop("inventory_hostname")
    hosts = {"vpn": {"hosts": {"vpn1": {}, "vpn1-again": {}}, "vars": own}}
    (tmp_path / "inventory.yml").write_text(json.dumps({"all": {"children": hosts}}))
    environment = {**os.environ, "ANSIBLE_HOME": str(tmp_path / "home"), "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / "collections")}
    done = subprocess.run(
        [*PLAYBOOK, "-vvv", "-i", "inventory.yml", "play.yml", "certlogon.core.check_appliance", "-e", "check_appliance_hosts=vpn1"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert appliance.handle.metrics["logins"] == 1
    assert appliance.handle.password not in done.stdout + done.stderr
    assert "missing   inferred   resources.user_realm.fields.secondary_authentication.user_name" in done.stdout
    assert "vpn1, release 22.7R2.10 (connect_secure_generation connect_secure)" in done.stdout
    assert (tmp_path / "vpn1").read_text() == "0 0"
    assert len(list((appliance.folder / "backups").iterdir())) == 1
    assert list((tmp_path / "home").rglob("connect_secure-*")) == []
