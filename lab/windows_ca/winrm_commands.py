# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible runs in a remote shell: its bootstrap wrapper with a manifest on standard input, and the raw commands of win_reboot.

ansible-core 2.19 to 2.21: lib/ansible/executor/powershell/module_manifest.py, plugins/shell/powershell.py, plugins/connection/winrm.py;
ansible.windows: plugins/plugin_utils/_reboot.py. All else is refused: on standard error, with exit code 1, and in the log.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import shlex
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from lab.windows_ca import modules, scripts
from lab.windows_ca.authority.errors import DirectoryError
from lab.windows_ca.modules import NOT_MODELLED
from lab.windows_ca.server import log
from lab.windows_ca.winrm import Output

if TYPE_CHECKING:
    from lab.windows_ca.host import Host

END_OF_PART = re.compile(rb"\r?\n\0\0\0\0(?:\r?\n|$)")
# The wrapper that reads a script from standard input up to a line of four NUL characters, and runs it.
BOOTSTRAP = ("`0`0`0`0", "ConvertFrom-Json", "$code.script", "@splat")
COLLECTION_MODULE = re.compile(r"ansible_collections\.(\w+\.\w+)\.plugins\.modules\.(\w+)\.ps1")
WRAPPERS = {"become_wrapper.ps1": "become", "async_wrapper.ps1": "async", "async_watchdog.ps1": "async", "coverage_wrapper.ps1": "coverage"}
EXIT_CODE = re.compile(r"[;\s]*If \(-not \$\?\) \{ If \(Get-Variable LASTEXITCODE .*\}\s*$", re.DOTALL)
STRICT = "Set-StrictMode -Version Latest"
LOGON_UI = r"HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon\AutoLogonChecked"
BOOT_TIME = "(Get-CimInstance -ClassName Win32_OperatingSystem -Property LastBootUpTime).LastBootUpTime.ToFileTime()"
READY = re.compile(rf"Get-Item -LiteralPath '{re.escape(LOGON_UI)}' -ErrorAction Stop; '(success-[0-9a-f-]+)'")
SHUTDOWN = re.compile(r"\$stderr = \. \{ C:\\Windows\\System32\\shutdown\.exe /r /t (\d+) /c '((?:[^']|'')*)' \| Set-Variable stdout \}")
REMOVE = re.compile(r"Remove-Item '?(?P<path>(?:[^';]|'')+?)'? -Force(?: -Recurse)?;?")
WINDOWS_POWERSHELL = ("powershell", "powershell.exe", r"c:\windows\system32\windowspowershell\v1.0\powershell.exe")
EPOCH = datetime(1601, 1, 1, tzinfo=timezone.utc)
ALREADY_SCHEDULED = 1190


class Refusal(Exception):
    """Not modelled."""


class Commands:
    """Runs a command line with its standard input, for an account."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._scripts: dict[str, Callable[[Mapping[str, Any], bytes], str]] = {
            "powershell_mkdtemp.ps1": self._mkdtemp,
            "powershell_expand_user.ps1": self._expand_user,
            "winrm_put_file.ps1": self._put_file,
            "winrm_fetch_file.ps1": self._fetch_file,
        }

    def run(self, line: str, stdin: bytes, account: str) -> Output:
        try:
            script = encoded_script(line)
            if all(sign in script for sign in BOOTSTRAP):
                return self._bootstrap(stdin, account)
            return self._raw(script, account)
        except Refusal as refusal:
            log("winrm", f"{account}: NOT MODELLED: {refusal}")
            return Output(stderr=f"{NOT_MODELLED} {refusal}\r\n".encode(), code=1)

    # ---- the bootstrap wrapper

    def _bootstrap(self, stdin: bytes, account: str) -> Output:
        manifest, rest = read_manifest(stdin)
        names = [action["name"] for action in manifest["actions"]]
        if names == ["become_wrapper.ps1", "module_wrapper.ps1"]:
            return module_output(self._as_another(*manifest["actions"]))
        for name in names[:-1]:
            return module_output({"failed": True, "changed": False, "msg": f"{NOT_MODELLED} {WRAPPERS.get(name, name)}"}, 1)
        action = manifest["actions"][-1]
        if names[-1] == "module_wrapper.ps1":
            return module_output(self._module(action["params"], account))
        if names[-1] not in self._scripts:
            raise Refusal(f"the script {names[-1]} of ansible-core")
        try:
            return Output(self._scripts[names[-1]](action["params"], rest).encode() + b"\r\n")
        except FileNotFoundError as error:
            return Output(stderr=f"{error}\r\n".encode(), code=1)

    def _as_another(self, become: Mapping[str, Any], module: Mapping[str, Any]) -> dict[str, Any]:
        """become with the method runas: an interactive logon of an administrator of this host, which reaches the domain."""
        user, password = become["params"]["BecomeUser"], become["secure_params"].get("BecomePassword")
        if not password or become["params"].get("LogonType") or become["params"].get("LogonFlags"):
            return {"failed": True, "changed": False, "msg": f"{NOT_MODELLED} become without a password, or with become_flags"}
        account = f"{self._host.machine.netbios}\\{user.rpartition(chr(92))[2].partition('@')[0]}"
        try:
            self._host.directory.as_user(user, password).search(self._host.machine.base_dn, "base", "(objectClass=*)", [])
        except DirectoryError as error:
            log("winrm", f"{account}: become REFUSED: {error}")
            text = f"Failed to become user {user}: LogonUser({user}, Interactive, Default) failed: "
            text += "The user name or password is incorrect, Win32ErrorCode 1326"
            return {"failed": True, "changed": False, "msg": text}
        with scripts.delegated(user, password):
            return self._module(module["params"], account)

    def _module(self, params: Mapping[str, Any], account: str) -> dict[str, Any]:
        match = COLLECTION_MODULE.fullmatch(params["Script"])
        variables = {variable["Name"]: variable["Value"] for variable in params.get("Variables") or []}
        if match is None or "complex_args" not in variables:
            log("modules", f"{account}: {params['Script']}: NOT MODELLED")
            return {"failed": True, "changed": False, "msg": f"{NOT_MODELLED} {params['Script']}"}
        if params.get("Environment"):
            return {"failed": True, "changed": False, "msg": f"{NOT_MODELLED} the keyword environment"}
        return modules.run(self._host, ".".join(match.groups()), variables["complex_args"], account)

    def _mkdtemp(self, params: Mapping[str, Any], _: bytes) -> str:
        return str(params["Directory"]).replace("%TEMP%", r"C:\Windows\Temp") + "\\" + str(params["Name"])

    def _expand_user(self, params: Mapping[str, Any], _: bytes) -> str:
        return str(params["Path"]).replace("~", r"C:\Users\Administrator", 1) if params["Path"].startswith("~") else str(params["Path"])

    def _put_file(self, params: Mapping[str, Any], stdin: bytes) -> str:
        content = b"".join(base64.b64decode(line) for line in stdin.split())
        self._host.machine.files[params["Path"]] = content
        log("winrm", f"file {params['Path']}: {len(content)} bytes written")
        return json.dumps({"sha1": hashlib.sha1(content).hexdigest()})

    def _fetch_file(self, params: Mapping[str, Any], _: bytes) -> str:
        content: bytes = self._host.machine.files[params["Path"]]
        return base64.b64encode(content[params["Offset"] : params["Offset"] + params["BufferSize"]]).decode()

    # ---- raw commands

    def _raw(self, script: str, account: str) -> Output:
        bare = EXIT_CODE.sub("", script.replace("\r\n", "\n").strip().removeprefix(STRICT).strip()).strip()
        if bare == BOOT_TIME:
            ticks = round((self._host.machine.boot_time - EPOCH).total_seconds() * 10_000_000)
            return Output(f"{ticks}\r\n".encode())
        if match := READY.fullmatch(bare):
            return Output(f"{match.group(1)}\r\n".encode())
        if bare == r"C:\Windows\System32\shutdown.exe /a":
            self._host.abort_reboot()
            return Output()
        if match := SHUTDOWN.search(bare):
            return Output(json.dumps(self._shutdown(int(match.group(1)), match.group(2), account)).encode())
        if (match := REMOVE.fullmatch(bare)) and r"\ansible-" in match["path"]:
            self._remove(match["path"].replace("''", "'"))
            return Output()
        raise Refusal(f"this command: {' '.join(bare.split())[:300]}")

    def _shutdown(self, delay: int, reason: str, account: str) -> dict[str, Any]:
        if not self._host.schedule_reboot(delay):
            return {"stdout": "", "stderr": f"A system shutdown has already been scheduled.({ALREADY_SCHEDULED})", "rc": ALREADY_SCHEDULED}
        log("host", f"{account}: shuts down in {delay} s to start again: {reason}")
        return {"stdout": "", "stderr": "", "rc": 0}

    def _remove(self, path: str) -> None:
        files = self._host.machine.files
        for name in [name for name in files if name.lower() == path.lower() or name.lower().startswith(f"{path.lower()}\\")]:
            del files[name]


def encoded_script(line: str) -> str:
    """The script of `powershell … -EncodedCommand BASE64`. Raises `Refusal`."""
    words = shlex.split(line.replace("\\", "\\\\"))
    if not words or words[0].lower().removesuffix(".exe") != "powershell":
        raise Refusal(f"the command line {line[:200]}")
    options = [word.lower() for word in words]
    if "-encodedcommand" not in options or "-encodedarguments" in options:
        raise Refusal(f"the command line {line[:200]}")
    known = {"-noprofile", "-noninteractive", "-executionpolicy", "unrestricted", "-encodedcommand"}
    place = options.index("-encodedcommand") + 1
    others = set(options[1:place] + options[place + 1 :]) - known
    if others or place >= len(words):
        raise Refusal(f"PowerShell with {', '.join(sorted(others))}")
    try:
        return base64.b64decode(words[place], validate=True).decode("utf-16-le")
    except (binascii.Error, UnicodeDecodeError):
        raise Refusal("an -EncodedCommand that is not UTF-16 in Base64") from None


def read_manifest(stdin: bytes) -> tuple[dict[str, Any], bytes]:
    """The exec manifest and what follows it. Raises `Refusal`."""
    parts = END_OF_PART.split(stdin, maxsplit=2)
    try:
        wrapper, manifest = json.loads(parts[0]), json.loads(parts[1])
        actions, scripts = manifest["actions"], manifest["scripts"]
        params = wrapper["params"]
        named = all(action["name"] in scripts for action in actions)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise Refusal(f"this input of the bootstrap wrapper ({error!r}); ansible-core 2.19 or newer is needed") from None
    if wrapper.get("name") != "exec_wrapper" or not actions or not named:
        raise Refusal("a bootstrap input without exec_wrapper, or without the scripts that it names")
    if (params.get("PwshPath") or "powershell").lower() not in WINDOWS_POWERSHELL:
        raise Refusal(f"another PowerShell than Windows' own: {params['PwshPath']}")
    for name, here in (("MinOSVersion", (10, 0, 26100)), ("MinPSVersion", (5, 1))):
        wanted = params.get(name)
        if wanted and tuple(int(part) for part in wanted.split(".")) > here:
            raise Refusal(f"{name} {wanted}")
    return manifest, parts[2] if len(parts) > 2 else b""


def module_output(result: Mapping[str, Any], code: int = 0) -> Output:
    return Output(json.dumps(result).encode() + b"\r\n", code=code or int(bool(result.get("failed"))))
