# SPDX-License-Identifier: GPL-3.0-or-later
"""The action front end: what it runs itself, what it leaves to the module process, and what it lets out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils import errors
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Resource
from ansible_collections.certlogon.core.plugins.plugin_utils.in_process import InProcessAction, plain

SECRET = "correct horse battery staple"


class Echo(Resource[None, None]):
    """Returns what it was given; `colour: bad` is a failure whose text holds the secret."""

    connection = {"password": {"type": "str", "no_log": True}, "level": {"type": "int", "default": 3}}
    options = {"name": {"type": "str", "required": True}, "colour": {"type": "str"}}

    def __init__(self) -> None:
        self.seen: Any = None

    @contextmanager
    def open(self, params: Any, warn: Any) -> Iterator[None]:
        self.seen = params
        warn(f"signing in with {params['password']}")
        yield None

    def read(self, session: None, params: Any) -> None:
        return None

    def objects(self, current: None) -> dict[str, Any]:
        return {entry["name"]: entry for entry in self.seen["config"] or ()}

    def plan(self, params: Any, current: None) -> Plan:
        if any(entry["colour"] == "bad" for entry in params["config"]):
            raise UserError(f"colour: bad, and the password is {params['password']}")
        return Plan([Change(entry["name"], None, entry) for entry in params["config"] if entry["colour"]])

    def apply(self, session: None, change: Change) -> None:
        assert self.seen


class EchoAction(InProcessAction):
    resource: Any = None


def action(args: dict[str, Any], *, transport: str = "local", become: Any = None, **task: Any) -> EchoAction:
    """An action on a task; as Ansible would make it, but for what is not looked at."""
    settings = {
        "args": args,
        "action": "certlogon.core.echo",
        "async_val": 0,
        "check_mode": False,
        "environment": [],
        "diff": False,
        **task,
    }
    connection = SimpleNamespace(transport=transport, become=become, _shell=SimpleNamespace(tmpdir=None))
    made = EchoAction(SimpleNamespace(**settings), connection, SimpleNamespace(), None, None, None)
    made.resource = Echo()
    made._execute_module = lambda **named: {"by_module": True, **named}
    return made


def config(**entry: Any) -> dict[str, Any]:
    return {"password": SECRET, "config": [{"name": "a", **entry}]}


def test_runs_here():
    made = action(config(colour="red"))
    result = made.run(task_vars={})
    assert result["changed"] is True and "by_module" not in result
    assert made.resource.seen["level"] == 3, "defaults are filled in"
    assert result["changes"] == [{"name": "a", "action": "create"}]


@pytest.mark.parametrize(
    "reason",
    [
        {"transport": "ssh"},
        {"async_val": 30},
        {"become": object()},
        {"environment": [{"KRB5CCNAME": "x"}]},
        {"environment": [{}, {"https_proxy": "x"}]},
    ],
    ids=lambda reason: next(iter(reason)),
)
def test_leaves_to_the_module(reason):
    made = action(config(), **reason)
    result = made.run(task_vars={"x": 1})
    assert result["by_module"] is True
    assert result["task_vars"] == {"x": 1}
    assert result["wrap_async"] == reason.get("async_val", 0)
    assert made.resource.seen is None


def test_empty_environment_is_no_reason():
    assert "by_module" not in action(config(), environment=[{}, {}]).run(task_vars={})


def test_check_mode():
    made = action(config(colour="red"), check_mode=True)
    result = made.run(task_vars={})
    assert result["changed"] is True
    assert result["diff"][0]["after"] == {"name": "a", "colour": "red"}


def test_unknown_option_as_ansible_words_it():
    result = action({**config(), "passwort": "x"}).run(task_vars={})
    assert result["failed"] is True
    assert result["msg"].startswith("Unsupported parameters for (certlogon.core.echo) module: passwort. Supported parameters include: ")


def test_unknown_suboption():
    result = action(config(color="red")).run(task_vars={})
    assert result["failed"] is True and "color" in result["msg"] and result["msg"].startswith("Unsupported parameters for")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"config": [{}]}, "missing required arguments: name found in config"),
        ({}, "state is merged but all of the following are missing: config"),
        ({**config(), "state": "present"}, "value of state must be one of: merged, replaced, deleted, gathered, rendered, got: present"),
        ({**config(), "level": "high"}, "level"),
    ],
)
def test_refused_options(args, message):
    result = action(args).run(task_vars={})
    assert result["failed"] is True and message in result["msg"]


def test_user_errors_fail_the_task_and_warnings_come_along():
    result = action({"config": [{"name": "a", "colour": "bad"}], "password": "p4ssw0rd"}).run(task_vars={})
    assert result["failed"] is True
    assert result["msg"].startswith("colour: bad")
    assert len(result["warnings"]) == 1


def test_secrets_are_in_nothing_that_is_returned():
    for colour in ("bad", SECRET, f"is {SECRET}!"):
        result = action(config(colour=colour)).run(task_vars={})
        assert SECRET not in json.dumps(result, default=str), colour


def test_bugs_keep_their_traceback():
    made = action(config(colour="red"))
    made.resource.apply = None
    with pytest.raises(TypeError):
        made.run(task_vars={})


def test_values_are_of_built_in_types():
    class Text(str):
        __slots__ = ()

    class Number(int):
        __slots__ = ()

    class Table(dict):  # type: ignore[type-arg]
        pass

    class Row(list):  # type: ignore[type-arg]
        pass

    tagged = Table({Text("a"): Row([Text("b"), Number(1), True, None, 1.5, b"x"]), "t": (Text("c"),)})
    value = plain(tagged)
    assert value == {"a": ["b", 1, True, None, 1.5, b"x"], "t": ["c"]}

    def kinds(item: Any) -> Iterator[type]:
        yield type(item)
        if isinstance(item, dict):
            for pair in item.items():
                yield from kinds(list(pair))
        elif isinstance(item, list):
            for part in item:
                yield from kinds(part)

    assert set(kinds(value)) == {dict, list, str, int, bool, float, bytes, type(None)}


def test_under_ansible(tmp_path: Path):
    """Both ways in a real play: the result is the same, and only the module process has a program of its own."""
    options = {"state": "rendered", "config": [{"name": "{{ 'Corp' }} CA", "templates": ["{{ 'User' }}", "Mail"]}]}
    ways: dict[str, dict[str, Any]] = {
        "in_process": {},
        "by_environment": {"environment": {"A": "b"}},
        "by_async": {"async": 30, "poll": 1},
    }
    tasks = [{"name": way, "certlogon.core.ad_enrollment_services": options, "register": way, **keywords} for way, keywords in ways.items()]
    results = f"{{{{ [{', '.join(f'{way}.rendered' for way in ways)}] | to_json }}}}"
    tasks.append({"name": "end", "ansible.builtin.copy": {"dest": f"{tmp_path}/out.json", "content": results}})
    variables = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": tasks}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment |= {"ANSIBLE_HOME": str(tmp_path / "home"), "ANSIBLE_ASYNC_DIR": str(tmp_path / "async"), "LC_ALL": "C.UTF-8"}
    environment["ANSIBLE_COLLECTIONS_PATH"] = str(Path(errors.__file__).parents[5])
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-vvv", "-i", "localhost,", str(tmp_path / "play.yml")]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "out.json").read_text()) == [[{"name": "Corp CA", "templates": ["Mail", "User"]}]] * 3
    shown = done.stdout.split("TASK [")[1:4]
    assert ["AnsiballZ_" in text for text in shown] == [False, True, True]
