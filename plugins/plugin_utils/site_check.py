# SPDX-License-Identifier: GPL-3.0-or-later
"""A playbook run in check mode as a child of this run, with its inventory and its variables, and what it would change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from ansible import constants, context
from ansible.parsing.splitter import parse_kv

from ansible_collections.certlogon.core.plugins.module_utils.compliance.looking import Looking, now
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Target, Unread
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import Observation, save
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Warn, Words
from ansible_collections.certlogon.core.plugins.plugin_utils import owned
from ansible_collections.certlogon.core.plugins.plugin_utils.drift import FORMAT

CALLBACK = "certlogon.core.drift"
_DONE = (0, 2, 4)
"""Exit codes of ansible-playbook after which the run came to its end: all well, hosts failed, hosts unreachable."""


class SiteCheck(Looking[None]):
    """Changes nothing: the child runs with --check, and nothing here can take that away."""

    extra = {
        "playbook": {"type": "str", "default": "certlogon.core.site"},
        "skip_tags": {"type": "list", "elements": "str", "default": []},
        "timeout": {"type": "int", "default": 3600},
    }

    def check(self, params: Mapping[str, Any]) -> None:
        if params["playbook"].startswith("-"):
            raise UserError(f"playbook: {params['playbook']!r} is no playbook; give a file or a name such as certlogon.core.site")
        if params["timeout"] < 1:
            raise UserError(f"timeout: {params['timeout']} seconds are no time; give how long the run may take")

    def open(self, params: Mapping[str, Any], warn: Warn) -> nullcontext[None]:
        return nullcontext()

    def read(self, session: None, params: Mapping[str, Any]) -> Words:
        folder = Path(params["folder"])
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        observation = Observation(Target("drift", Path(params["playbook"]).name), now())
        with TemporaryDirectory(dir=constants.DEFAULT_LOCAL_TMP) as private:
            found = _run(params, Path(private), folder / "drift.log")
        for name in ("findings", "failures", "judged"):
            observation.set(name, found if isinstance(found, Unread) else found[name])
        observation.error = found.reason if isinstance(found, Unread) else ""
        observation.ended = now()
        counts = {name: 0 if isinstance(found, Unread) else len(found[name]) for name in ("findings", "failures")}
        return {"observation": str(save(folder, observation)), "error": observation.error, **counts}


def _run(params: Mapping[str, Any], private: Path, log: Path) -> Words | Unread:
    """What the callback wrote, or why there is nothing of it."""
    written = private / "drift.json"
    environment = {
        **os.environ,
        "ANSIBLE_CALLBACKS_ENABLED": ",".join(dict.fromkeys([*(constants.CALLBACKS_ENABLED or ()), CALLBACK])),
        "CERTLOGON_DRIFT_FILE": str(written),
        "ANSIBLE_NOCOLOR": "1",
    }
    command = [sys.executable, "-m", "ansible", "playbook", *arguments(context.CLIARGS, private), "--check", "--diff"]
    command += [part for tag in params["skip_tags"] for part in ("--skip-tags", tag)]
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as output:
        code = _exit_code([*command, "--", params["playbook"]], environment, output, params["timeout"])
    if code is None:
        return Unread(f"{params['playbook']} did not end within {params['timeout']} s; its output is in {log}; raise the time limit")
    if code not in _DONE or not written.exists():
        return Unread(f"{params['playbook']} could not be run (exit code {code}): {_last_words(log)}; its output is in {log}")
    document: Words = json.loads(written.read_text(encoding="utf-8"))
    if document["format"] != FORMAT:
        return Unread(f"the callback {CALLBACK} wrote {document['format']}, {FORMAT} is understood; is there another version of it?")
    return document


def _exit_code(command: list[str], environment: Mapping[str, str], output: BinaryIO, seconds: int) -> int | None:
    """None if it took too long. However this process ends, and whether it waits or not, the command ends with it (owned.py)."""
    run, end = os.getppid(), time.monotonic() + seconds
    with subprocess.Popen(
        [*owned.COMMAND, *command],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as child:
        while time.monotonic() < end:
            with suppress(subprocess.TimeoutExpired):
                return child.wait(1)
            if os.getppid() != run:  # Ansible's tasks outlive it if it is killed
                raise UserError("ansible-playbook, which looked for drift, was killed, so the look is given up")
    return None


def arguments(given: Mapping[str, Any], private: Path) -> list[str]:
    """This run's own options that its child needs; extra variables go by a file, since everybody sees the arguments of a process."""
    found: list[str] = []
    for source in given.get("inventory") or ():
        found += ["-i", source]
    if given.get("subset"):
        found += ["--limit", given["subset"]]
    for option in ("vault_password_files", "vault_ids"):
        for value in given.get(option) or ():
            if not value.endswith("prompt"):
                found += [f"--{option.removesuffix('s').replace('_', '-')}", value]
    for option in ("forks", "private_key_file", "remote_user", "connection", "timeout", "connection_password_file", "become_password_file"):
        if given.get(option):
            found += [_OPTIONS.get(option, f"--{option.replace('_', '-')}"), str(given[option])]
    for number, value in enumerate(given.get("extra_vars") or ()):
        found += ["-e", value if value.startswith("@") else f"@{_extra_variables(private / f'extra{number}.json', value)}"]
    return found


_OPTIONS = {"connection_password_file": "--connection-password-file", "private_key_file": "--private-key", "remote_user": "--user"}


def _extra_variables(path: Path, given: str) -> Path:
    """What was given on the command line, as name=value or as YAML, in a file of its owner's."""
    path.touch(0o600)
    path.write_text(given if given.lstrip()[:1] in ("{", "[") else json.dumps(parse_kv(given)), encoding="utf-8")
    return path


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("[ERROR]", "ERROR!"))]
    return (told or lines or ["it said nothing"])[-1][:500]
