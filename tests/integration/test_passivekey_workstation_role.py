# SPDX-License-Identifier: GPL-3.0-or-later
"""Role passivekey_workstation on client1 and in the domain: in the rhythm, and taken away again.

Judges: Chromium, which installs the extension by policy and starts the native host; dex, which reads what starts at logon; systemd-analyze
where it is; samba-tool and xmllint for the policy of Windows workstations. Nothing of Windows is here to apply that.
"""

from __future__ import annotations

import base64
import http.server
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("joserfc", reason="joserfc is not installed")

from ansible_collections.certlogon.core.plugins.module_utils.group_policy import registry_pol
from ansible_collections.certlogon.core.tests.integration.passivekey_lab import HOST, server_certificate
from lab import package
from lab.browser import GUEST

ROLE = "certlogon.core.passivekey_workstation"
WORKSTATION = "client1.corp.example"
POLICY = "Test - PassiveKey"
PORT = 8447
CHROMIUM = "/etc/chromium/policies/managed"
FIREFOX = "/etc/firefox/policies/policies.json"
MADE = (
    "/opt/passivekey-agent /etc/passivekey /etc/xdg/autostart/passivekey*.desktop /etc/systemd/user/passivekey-agent.*"
    " /etc/systemd/user/timers.target.wants/passivekey-agent.timer /usr/local/bin/passivekey-agent /usr/local/share/passivekey"
    " /etc/*/native-messaging-hosts/org.certlogon.* /usr/lib/mozilla/native-messaging-hosts/org.certlogon.*"
    f" {CHROMIUM}/passivekey.json {FIREFOX}"
)
STATE = f"find {MADE} ! -name '*.pyc' ! -type d -printf '%p %m %l ' -exec sha256sum {{}} ';' 2>/dev/null | sort"
# What the user's browser has: it looks for the extension, asks the native host as the extension does, and reads its own policies.
BROWSER = """
import json, os, sys, time
from pathlib import Path
import types
guest = types.ModuleType("guest")
exec(compile(sys.argv[1], "guest", "exec"), guest.__dict__)
extension, home, deadline = sys.argv[2], Path("/run/pk-browser"), guest.Deadline(120)
home.mkdir()
inspect = Path("/etc/chromium/policies/managed/inspect.json")
inspect.write_text('{"DeveloperToolsAvailability": 1}')  # else what is forced cannot be looked into
environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "LC_ALL": "C.UTF-8", "XDG_RUNTIME_DIR": str(home)}
class Worker(guest.Page):
    def _target(self, port):
        while True:
            with guest.urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                found = [one for one in json.load(answer) if one["url"] == f"chrome-extension://{extension}/worker.js"]
            if found:
                return found[0]["webSocketDebuggerUrl"]
            deadline.pause()
ASK = 'chrome.runtime.sendNativeMessage("org.certlogon.passivekey", {want: "cookies"})'
POLICIES = '''(function all(node) { return [...node.children].map(one => (one.shadowRoot ? all(one.shadowRoot) : "") + all(one)
    + (one.children.length ? "" : one.textContent.trim() + " ")).join("") })(document.body)'''
try:
    with guest.chromium(home, environment, headless=True, forced=True) as browser:
        port = guest.port(home, browser, deadline)
        answer = None
        while answer is None:  # a worker that is being installed may go away under us
            with guest.contextlib.suppress(guest.Late, OSError, KeyError), Worker(port, deadline) as worker:
                asked = dict(expression=ASK, awaitPromise=True, returnByValue=True)
                answer = worker.call("Runtime.evaluate", **asked)["result"].get("value")
            deadline.pause()
        with guest.Page(port, deadline) as page:
            page.call("Page.navigate", url="chrome://policy")
            policies = ""
            while "AuthServerAllowlist" not in policies and deadline.end > time.monotonic() + 5:
                deadline.pause()
                policies = page.evaluate(POLICIES)
    print(json.dumps({"answer": answer, "policies": policies.split()[:400]}))
finally:
    inspect.unlink()
    guest.shutil.rmtree(home, ignore_errors=True)
"""


class Server(http.server.BaseHTTPRequestHandler):
    """As much of PassiveKey's server as is asked without a user."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/v1/policy" else 404)
        self.end_headers()
        self.wfile.write(b"policy")

    def log_message(self, *_words: Any) -> None:
        pass


@pytest.fixture(scope="module")
def origin(lab: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    chain, key = server_certificate(lab.files, tmp_path_factory.mktemp("server"), HOST)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    server = http.server.ThreadingHTTPServer(("0.0.0.0", PORT), Server)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://{HOST}:{PORT}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(passivekey_lab: Any, vpn_lab: Any, origin: str, playbook: Callable[..., Any], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """The role on client1, which is as it was before and after the test."""
    host = vpn_lab.status["hosts"]["client1"]
    variables = {
        "ansible_host": host["address"],
        "ansible_user": "root",
        "ansible_ssh_private_key_file": host["ssh_key"],
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={host['ssh_known_hosts']}",
        "ansible_control_path_dir": f"/tmp/pkw{host['pid']}",
        "ansible_pipelining": True,
        "ansible_python_interpreter": "/usr/bin/python3",
        "passivekey_workstation_origin": origin,
        "passivekey_workstation_ca_path": vpn_lab.files["ca_bundle"],
        "passivekey_workstation_package": str(package.wheel(tmp_path / "dist")),
        "passivekey_workstation_sites": ["intranet.corp.example"],
        "passivekey_workstation_browsers": ["chromium", "firefox"],
        "passivekey_workstation_extension_folder": str(tmp_path / "extension"),
        "passivekey_workstation_firefox_unsigned": True,
    }

    def call(changes: Mapping[str, Any] | None = None, **options: Any) -> Any:
        inventory = tmp_path / "workstations.yml"
        inventory.write_text(json.dumps({"passivekey_workstations": {"hosts": {WORKSTATION: {**variables, **(changes or {})}}}}))
        tasks = [{"name": "Role", "ansible.builtin.import_role": {"name": ROLE}}]
        return playbook(tasks, inventory=inventory, play={"connection": "ssh", "vars": {}}, connection={}, **options)

    saved = vpn_lab.run("client1", "sh", "-c", f"tar -cf - -P {MADE} 2>/dev/null | base64 -w0; rm -rf {MADE}", check=False).stdout
    yield call
    vpn_lab.run("client1", "sh", "-c", f"rm -rf {MADE}; base64 -d | tar -xf - -P", stdin=saved, check=False)


def state(lab: Any) -> str:
    return str(lab.run("client1", "sh", "-c", STATE, check=False).stdout)


def test_a_workstation(run: Callable[..., Any], vpn_lab: Any) -> None:
    def read(path: str) -> str:
        return str(vpn_lab.run("client1", "cat", path).stdout)

    theirs = {"policies": {"DisableTelemetry": True}}
    vpn_lab.run("client1", "sh", "-c", f"mkdir -p {Path(FIREFOX).parent} && cat > {FIREFOX}", stdin=json.dumps(theirs))
    before = state(vpn_lab)

    foreseen = run(check=True)
    assert state(vpn_lab) == before, "a dry run changes nothing"
    assert foreseen.changed and "There is no key yet" in foreseen.output and "+origin = https://" in foreseen.output

    done = run()
    assert done.changed
    assert vpn_lab.run("client1", "passivekey-agent", "check").stdout.startswith("https://control.corp.example:8447 is reached")
    policy = json.loads(read(f"{CHROMIUM}/passivekey.json"))
    extension = policy["ExtensionInstallForcelist"][0].partition(";")[0]
    firefox = json.loads(read(FIREFOX))["policies"]
    assert firefox["DisableTelemetry"] is True and "passivekey@certlogon.org" in firefox["ExtensionSettings"]

    starts = vpn_lab.run("client1", "dex", "--autostart", "--dry-run", "--search-paths", "/etc/xdg/autostart").stdout
    assert "/opt/passivekey-agent/bin/passivekey-agent" in starts and "passivekey-agent hotkey" in starts

    seen = json.loads(vpn_lab.run("client1", "python3", "-c", BROWSER, GUEST.read_text(), extension).stdout)
    assert seen["answer"] == {"error": "not enrolled"}, "the agent answers the extension that the policy forced"
    assert HOST in seen["policies"] and any(extension in word for word in seen["policies"]), seen["policies"]

    assert not run().changed

    assert run({"passivekey_workstation_state": "absent"}).changed
    assert json.loads(read(FIREFOX)) == theirs, "what others wrote stays"
    assert state(vpn_lab).split()[0] == FIREFOX and len(state(vpn_lab).splitlines()) == 1, "and nothing of ours"


def test_units_are_what_systemd_reads(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    templates = Path(__file__).resolve().parents[2] / "roles/passivekey_workstation/templates"
    for name in ("passivekey-agent.service", "passivekey-agent.timer"):
        text = (templates / f"{name}.j2").read_text().replace("{{ __workstation_folder }}/bin/passivekey-agent", "/bin/true")
        (tmp_path / name).write_text(text)
    units = [str(tmp_path / name) for name in ("passivekey-agent.service", "passivekey-agent.timer")]
    done = subprocess.run(["systemd-analyze", "verify", "--user", "--man=no", *units], capture_output=True, text=True, check=False)
    assert str(tmp_path) not in done.stderr, done.stderr


def test_the_policy_of_windows_workstations(lab: Any, playbook: Callable[..., Any], tmp_path: Path) -> None:
    source = "\\\\corp.example\\NETLOGON\\PassiveKey"
    variables = {
        "certlogon_domain": "corp.example",
        "passivekey_workstation_policy": POLICY,
        "passivekey_workstation_policy_links": [{"target": "Corp/Workstations"}],
        "passivekey_workstation_origin": "https://passivekey.corp.example",
        "passivekey_workstation_sites": ["intranet.corp.example"],
        "passivekey_workstation_extension_folder": str(tmp_path / "extension"),
        "passivekey_workstation_extension_url": "https://files.corp.example/pk/updates.xml",
        "passivekey_workstation_windows_source": source,
        "passivekey_workstation_hotkey_keys": "ctrl+alt+p",
    }

    def run(**options: Any) -> Any:
        tasks = [{"name": "Policy", "ansible.builtin.include_role": {"name": ROLE, "tasks_from": "policy"}}]
        return playbook(tasks, variables={**variables, **options.pop("changes", {})}, **options)

    try:
        assert run().changed
        check_the_policy(lab, source)
        assert not run().changed
        assert run(changes={"passivekey_workstation_hotkey": False}).changed
        tasks = ElementTree.fromstring(policy_files(lab)[1]["Preferences/ScheduledTasks/ScheduledTasks.xml"])
        actions = {one.get("name"): one.get("action") for one in tasks.iterfind("TaskV2/Properties")}
        assert actions == {"PassiveKey": "R", "PassiveKey hotkey": "D"}, "a task that was there is taken away"
    finally:
        run(changes={"passivekey_workstation_state": "absent"})
    assert POLICY not in lab.run("dc1", "samba-tool", "gpo", "listall").stdout


def policy_files(lab: Any) -> tuple[str, dict[str, bytes]]:
    """The identifier of the policy, and the files of its computer half."""
    listed = lab.run("dc1", "samba-tool", "gpo", "listall").stdout
    guid = next(block for block in listed.split("GPO  ") if POLICY in block).split()[1]
    folder = f"/var/lib/samba/sysvol/corp.example/Policies/{guid}/Machine"
    read = f'cd "{folder}" && find . -type f -print0 | xargs -0 tar -cf - | base64 -w0'
    return guid, untar(base64.b64decode(lab.run("dc1", "sh", "-c", read).stdout))


def check_the_policy(lab: Any, source: str) -> None:
    found = lab.run("dc1", "samba-tool", "gpo", "aclcheck", "-U", "administrator%" + lab.account("administrator")["password"], check=False)
    assert found.returncode == 0, found.stderr
    guid, files = policy_files(lab)
    machine = {path: ElementTree.fromstring(data) for path, data in files.items() if path.endswith(".xml")}
    copied = {one.get("targetPath"): one.get("fromPath") for one in machine["Preferences/Files/Files.xml"].iter("Properties")}
    agent = "C:\\Program Files\\PassiveKey\\passivekey-agentw.exe"
    assert copied[agent] == f"{source}\\passivekey-agentw.exe"
    ours = {target: at for target, at in copied.items() if at and "SysVol" in at}
    assert len(ours) == 4
    for at in ours.values():
        name = at.rpartition("\\")[2]
        assert (
            at == f"\\\\corp.example\\SysVol\\corp.example\\Policies\\{guid}\\Machine\\PassiveKey\\{name}" and f"PassiveKey/{name}" in files
        )
    hosts = {one.get("key"): one.get("value") for one in machine["Preferences/Registry/Registry.xml"].iter("Properties")}
    assert {target for target in hosts.values() if target not in ours} == set() and len(hosts) == 3
    host = json.loads(files["PassiveKey/chrome.json"])
    check, hotkey = machine["Preferences/ScheduledTasks/ScheduledTasks.xml"].iterfind("TaskV2/Properties/Task")
    assert [one.findtext("Actions/Exec/Command") for one in (check, hotkey)] == [agent, agent]
    assert hotkey.findtext("Actions/Exec/Arguments") == "hotkey --keys ctrl+alt+p" and check.find("Actions/Exec/Arguments") is None
    assert hotkey.findtext("Triggers/LogonTrigger/Repetition/Interval") == "PT60M"
    values = {(one.key, one.value): registry_pol.setting(one).data for one in registry_pol.parse(files["Registry.pol"])}
    forced = values["Software\\Policies\\Google\\Chrome\\ExtensionInstallForcelist", "7283"]
    assert host["allowed_origins"] == [f"chrome-extension://{str(forced).partition(';')[0]}/"]
    assert values["Software\\Policies\\Microsoft\\Edge", "AuthServerAllowlist"] == "passivekey.corp.example"
    if shutil.which("xmllint"):
        for path in machine:
            subprocess.run(["xmllint", "--noout", "-"], input=files[path], check=True)


def untar(data: bytes) -> dict[str, bytes]:
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name.removeprefix("./"): archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]
