# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the integration tests: a running lab, its accounts, other people's tools in it, and three ways to run a resource.

pytest itself runs in the lab's network, with this machine's own files:

    python -m lab up --name dev
    python -m lab exec --name dev machine -- build/venv/bin/pytest tests/integration
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import CONNECTION
from ansible_collections.certlogon.core.plugins.module_utils.resource import Resource, run
from lab.errors import LabError
from lab.labs import Lab

HERE = Path(__file__).resolve().parent
SAM = "/var/lib/samba/private/sam.ldb"
RELAY = "CERTLOGON_LAB_RELAY"
CA_STATE = "/var/lib/windows_ca"
HOW_TO_RUN = "run the tests in a lab's network: python -m lab exec --name NAME machine -- pytest tests/integration"


class LabUnderTest:
    """The lab: what is in it, and commands on its hosts. Also from within a host, where a socket leads to the machine."""

    def __init__(self) -> None:
        self.status: dict[str, Any] = self._ask({"action": "status"})
        self.files: dict[str, str] = self.status.get("files", {})

    def account(self, name: str) -> dict[str, str]:
        """`username`, `upn`, `netbios`, `password` of an account."""
        found: dict[str, str] = self.status["accounts"][name]
        return found

    def run(self, host: str, *command: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command on a host of the lab; fails the test unless it ends with 0 (or `check` is off)."""
        answer = self._ask({"action": "run", "host": host, "command": command, "stdin": stdin})
        finished = subprocess.CompletedProcess(command, answer["code"], answer["stdout"], answer["stderr"])
        if check and finished.returncode:
            pytest.fail(f"{host}: {' '.join(command)} ended with {finished.returncode}: {finished.stderr or finished.stdout}")
        return finished

    def kill(self, host: str = "dc1") -> None:
        """SIGKILL samba on a host."""
        self._ask({"action": "kill", "host": host})

    def start(self, host: str = "dc1") -> None:
        """Start samba on a host again and wait until it answers."""
        self._ask({"action": "start", "host": host})

    def faults(self, **faults: Any) -> None:
        """What shall go wrong on ca1 from now on (docs/stand-ins.md has the list); without arguments, nothing."""
        self.run("ca1", "sh", "-c", f"cd {CA_STATE} && cat > faults.new && mv faults.new faults.json", stdin=json.dumps(faults))

    def metrics(self) -> dict[str, int]:
        """What ca1 has counted: winrm_requests, winrm_authentications, winrm_shells, scripts, script_NAME, iis_requests, …"""
        return dict.fromkeys(("winrm_requests", "winrm_shells", "scripts"), 0) | json.loads(
            self.run("ca1", "cat", f"{CA_STATE}/metrics.json").stdout
        )

    def ca_log(self) -> str:
        return Path(self.status["hosts"]["ca1"]["log"]).read_text()

    def samba_tool(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("dc1", "samba-tool", *arguments, check=check)

    def ldbsearch(self, base: str, filter: str = "(objectClass=*)", *attributes: str, scope: str = "sub") -> list[dict[str, list[bytes]]]:
        """Objects as Samba's own tool reads them from its database: attribute names in lower case, values as bytes, `dn` included."""
        command = ("ldbsearch", "-H", SAM, "--cross-ncs", "-b", base, "-s", scope, filter, *attributes)
        found = self.run("dc1", *command, check=False)
        if "No such Base DN" in found.stdout + found.stderr:
            return []
        assert found.returncode == 0, found.stderr
        return parse_ldif(found.stdout)

    def ldbmodify(self, ldif: str) -> None:
        """A change behind our back, straight into the database."""
        self.run("dc1", "ldbmodify", "-H", SAM, stdin=ldif)

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        relay = os.environ.get(RELAY)
        if relay:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(relay)
                connection.sendall(json.dumps(request).encode() + b"\n")
                answer: dict[str, Any] = json.loads(connection.makefile().readline())
            if "error" in answer:
                raise LabError(answer["error"])
            return answer
        lab = Lab(os.environ.get("CERTLOGON_LAB") or "default")
        if request["action"] == "status":
            return lab.status()
        if request["action"] == "run":
            done = lab.run(request["host"], *request["command"], stdin=request["stdin"], check=False)
            return {"code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
        getattr(lab, request["action"])(request["host"])
        return {}


def ca_host(status: Mapping[str, Any]) -> dict[str, Any]:
    """ca1's connection variables, as the lab's inventory has them."""
    file = HERE.parents[1] / "inventories/lab/domains.py"
    spec = importlib.util.spec_from_file_location("lab_inventory", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Any] = module.ca_host(status)
    return found


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ca: needs a lab with ca1")
    config.addinivalue_line("markers", "vpn: needs a lab with the VPN hosts")
    config.addinivalue_line("markers", "passivekey: needs a lab with pk1")
    config.addinivalue_line("markers", "long: left out of `./certlogon test`, which has half an hour; part of `./certlogon test --long`")


# The stand-in for a Windows CA host by itself, and what shorter tests show in another way.
LONG = {
    *("test_ca_host_winrm", "test_ca_authority", "test_web_enrollment_pages", "test_smart_card_logon_with_ca"),
    *(
        "test_installation_dies_anywhere",
        "test_two_runs_at_once_lose_nothing",
        "test_fronts_that_nobody_asks_for_are_taken_away",
        "test_the_role_mends_what_an_audit_finds",
        "test_a_card_and_a_code_open_it",
        "test_what_the_server_or_freeradius_would_not_take_is_not_put_in_place",
        "test_killed_at_every_step",
        "test_the_core_of_it_on_postgresql",
        "test_the_passphrase_goes_to_a_token_and_back",
        "test_from_sqlite_to_postgresql_and_back",
        # shorter tests of the same file begin alike
        "test_maintenance",
        "test_subordinate_is_renewed",
        "test_hold_and_release",
        "test_renewed_inside_the_window_and_never_otherwise",
        "test_dies_half_way_and_is_taken_up",
        "test_an_enrollment_agent_enrolls_for_a_user_with_a_key_on_a_card",
        "test_a_request_waits_for_an_officer",
        "test_a_request_waits_is_answered_and_the_card_is_then_left_alone",
        "test_a_denied_request_says_so",
        "test_on_behalf_of_another",
        "test_renewed_inside_the_window_and_the_old_pair_serves_meanwhile",
        "test_a_run_that_died_before_the_restart_is_finished_by_the_next",
        "test_a_certificate_that_will_not_do_is_not_installed",
        "test_cron_fetches_a_new_crl",
        "test_what_others_touch_is_shown_and_repaired",
        "test_cards_by_agents_need_an_agents_signature",
        "test_undo_brings_back_what_others_deleted",
        "test_what_is_new_is_not_renewed_and_what_must_be_is_one_by_one",
        "test_renewal_of_what_is_new_renews_nothing",
        "test_a_second_domain_controller",
        "test_the_lab_with_the_ca_host",
        "test_the_page_for_users",
        "test_a_good_card_is_left_alone_though_nothing_else_remembers_it",
        "test_check_on_an_empty_host",
        "test_undo_deletes_nothing_that_the_export_has",
        "test_versions_apart",
        "test_damage_is_repaired",
        "test_no_radius_server_lets_nobody_in",
        "test_a_password_and_a_code_open_ocserv",
        "test_an_interrupted_run_is_finished_by_the_next_and_a_renewal_leaves_sessions_alone",
        "test_an_appliance_that_reboots_in_the_middle_of_a_run_is_repaired_by_the_next",
        "test_a_workstation",
    ),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {item.path.stem, getattr(item, "originalname", item.name)} & LONG:
            item.add_marker(pytest.mark.long)
        if "ca_lab" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.ca)
        if "vpn_lab" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.vpn)
        if "passivekey_lab" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.passivekey)


def parse_ldif(text: str) -> list[dict[str, list[bytes]]]:
    entries = []
    for block in text.replace("\n ", "").split("\n\n"):
        entry: dict[str, list[bytes]] = {}
        for line in block.splitlines():
            name, separator, value = line.partition(":")
            if not separator or line.startswith("#") or name == "ref":
                continue
            raw = base64.b64decode(value[1:]) if value.startswith(":") else value.strip().encode()
            entry.setdefault(name.lower(), []).append(raw)
        if "dn" in entry:
            entries.append(entry)
    return entries


@pytest.fixture(scope="session")
def lab() -> LabUnderTest:
    """The running lab. Each test cleans up what it made."""
    found = LabUnderTest()
    if found.status.get("state") != "running":
        pytest.exit(f"lab {found.status.get('name')!r} is not running; {HOW_TO_RUN}", returncode=4)
    try:
        socket.create_connection((found.status["hosts"]["dc1"]["address"], 389), 3).close()
    except OSError as error:
        pytest.exit(f"dc1 cannot be reached from here ({error}); {HOW_TO_RUN}", returncode=4)
    return found


@pytest.fixture(scope="session")
def ca_lab(lab: LabUnderTest) -> LabUnderTest:
    """The running lab, if it has ca1; such tests are chosen by `-m ca`."""
    if "ca1" not in lab.status["hosts"]:
        pytest.skip("this lab has no ca1; start one with: python -m lab up --name NAME --with ca1")
    return lab


@pytest.fixture(scope="session")
def vpn_lab(lab: LabUnderTest) -> LabUnderTest:
    """The running lab, if it has the VPN hosts; such tests are chosen by `-m vpn`."""
    if "vpn1" not in lab.status["hosts"]:
        pytest.skip("this lab has no VPN hosts; start one with: python -m lab up --name NAME --with vpn")
    return lab


@pytest.fixture(scope="session")
def passivekey_lab(lab: LabUnderTest) -> LabUnderTest:
    """The running lab, if it has pk1; such tests are chosen by `-m passivekey`."""
    if "pk1" not in lab.status["hosts"]:
        pytest.skip("this lab has no pk1; start one with: python -m lab up --name NAME --with passivekey")
    return lab


@pytest.fixture
def on_ca1(ca_lab: LabUnderTest, playbook: Callable[..., PlaybookRun], tmp_path: Path) -> Iterator[Callable[..., PlaybookRun]]:
    """`on_ca1(tasks, kerberos=False, account="administrator", host_variables={}, **as playbook)`: by WinRM. No faults stay."""

    def call(tasks: Any, *, kerberos: bool = False, account: str = "administrator", **options: Any) -> PlaybookRun:
        who = ca_lab.account(account)
        variables = ca_host(ca_lab.status) | {"ansible_user": who["netbios"], "ansible_password": who["password"]}
        if kerberos:
            variables |= {"ansible_winrm_transport": "kerberos", "ansible_user": f"{who['username']}@{ca_lab.status['realm']}"}
        variables |= options.pop("host_variables", {})
        inventory = tmp_path / "ca_inventory.yml"
        inventory.write_text(json.dumps({"certification_authorities": {"hosts": {"ca1.corp.example": variables}}}))
        inventory.chmod(0o600)
        play = {"connection": "winrm", "vars": {}, **options.pop("play", {})}
        return playbook(tasks, inventory=inventory, play=play, **options)

    yield call
    ca_lab.faults()


@pytest.fixture(scope="session")
def connection_as(lab: LabUnderTest) -> Callable[..., dict[str, Any]]:
    """`connection_as("plain.user")`: connection options for an account; further keywords replace or add options."""

    def options(account: str = "administrator", **changes: Any) -> dict[str, Any]:
        who = lab.account(account)
        server = lab.status["hosts"]["dc1"]["fqdn"]
        common = {"server": [server], "username": who["upn"], "password": who["password"], "ca_path": lab.files["ca_bundle"]}
        return {**common, **changes}

    return options


@pytest.fixture(scope="session")
def connection(connection_as: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The administrator's connection options (auth and tls at their defaults)."""
    return connection_as()


# ---- in this process: the quick way


@pytest.fixture(scope="session")
def run_resource(connection: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """`run_resource(Resource(), config=[...], state="merged", check_mode=False, **options)` in this process, as the action does.

    Returns the module's result, with `warnings`. Raises `UserError`, and `AssertionError` for options that Ansible would refuse.
    """

    def call(
        resource: Resource[Any, Any],
        config: Sequence[Mapping[str, Any]] | None = None,
        state: str = "merged",
        *,
        check_mode: bool = False,
        **options: Any,
    ) -> dict[str, Any]:
        arguments = {**connection, "state": state, **({} if config is None else {"config": [dict(entry) for entry in config]}), **options}
        checked = ArgumentSpecValidator(resource.argument_spec(), **resource.rules()).validate(arguments)
        assert not checked.error_messages, checked.error_messages
        warnings: list[str] = []
        result = run(resource, checked.validated_parameters, check_mode=check_mode, warn=warnings.append)
        return {**result, "warnings": warnings}

    return call


# ---- ansible-playbook: the true way


@dataclass(frozen=True)
class TaskResult:
    """What became of a task on a host; `status` is ok, failed, ignored, skipped or unreachable."""

    host: str
    task: str
    action: str
    status: str
    result: dict[str, Any]

    @property
    def changed(self) -> bool:
        return bool(self.result.get("changed"))

    @property
    def msg(self) -> str:
        return str(self.result.get("msg", ""))

    def __getitem__(self, key: str) -> Any:
        return self.result[key]


@dataclass(frozen=True)
class PlaybookRun:
    code: int
    output: str
    tasks: list[TaskResult] = field(default_factory=list)

    @property
    def changed(self) -> list[TaskResult]:
        return [task for task in self.tasks if task.changed]

    @property
    def failed(self) -> list[TaskResult]:
        return [task for task in self.tasks if task.status in ("failed", "unreachable")]

    @property
    def last(self) -> TaskResult:
        return self.tasks[-1]

    def task(self, name: str) -> TaskResult:
        """The first result of the task with this name."""
        return next(task for task in self.tasks if task.task == name)


@pytest.fixture
def playbook(connection: dict[str, Any], tmp_path: Path) -> Callable[..., PlaybookRun]:
    """`playbook(tasks, check=False, diff=True, fails=False, ...)`: run tasks, or a playbook by name, with ansible-playbook.

    tasks: a list of tasks for localhost, with the administrator's connection (or `connection=`) as module defaults of the group
        certlogon.core.directory; or the path or FQCN of a playbook (then give `inventory=`).
    Further keywords: play (keywords of the play), variables (extra vars), environment (of ansible-playbook), arguments (command line).
    Fails the test when the exit code is not 0 (or is 0 with `fails=True`).
    """
    runs = iter(range(1, 1000))

    def call(
        tasks: Sequence[Mapping[str, Any]] | str | Path,
        *,
        check: bool = False,
        diff: bool = True,
        fails: bool = False,
        connection: Mapping[str, Any] = connection,
        play: Mapping[str, Any] | None = None,
        variables: Mapping[str, Any] | None = None,
        inventory: str | Path = "localhost,",
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        timeout: float = 300,
    ) -> PlaybookRun:
        folder = tmp_path / f"run{next(runs)}"
        folder.mkdir()
        name = str(tasks) if isinstance(tasks, (str, Path)) else write_play(folder, tasks, connection, play or {})
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), name]
        command += ["--check"] * check + ["--diff"] * diff + list(arguments)
        if variables:
            (folder / "variables.json").write_text(json.dumps(variables))
            command += ["-e", f"@{folder}/variables.json"]
        results = folder / "results.jsonl"
        results.touch()
        env = ansible_environment(folder) | {"CERTLOGON_RESULTS": str(results)} | dict(environment or {})
        done = subprocess.run(
            command, env=env, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
        )
        output = done.stdout + done.stderr
        if (done.returncode != 0) != fails:
            pytest.fail(f"ansible-playbook ended with {done.returncode}:\n{output[-6000:]}", pytrace=False)
        lines = [json.loads(line) for line in results.read_text().splitlines()]
        return PlaybookRun(done.returncode, output, [TaskResult(**line) for line in lines])

    return call


def write_play(folder: Path, tasks: Sequence[Mapping[str, Any]], connection: Mapping[str, Any], further: Mapping[str, Any]) -> str:
    play = {
        "hosts": "all",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
        "module_defaults": {"group/certlogon.core.directory": dict(connection)},
        "tasks": list(tasks),
        **further,
    }
    file = folder / "play.yml"
    file.write_text(json.dumps([play]))
    return str(file)


def ansible_environment(folder: Path) -> dict[str, str]:
    """This environment without the user's own Ansible settings and connection fall-backs."""
    dropped = ("ANSIBLE_", *(f"CERTLOGON_{name.upper()}" for name in CONNECTION))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "ansible/tmp"),
        "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"),
        "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback_plugins"),
        "ANSIBLE_CALLBACKS_ENABLED": "certlogon_results",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_DEPRECATION_WARNINGS": "0",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
    }
