# SPDX-License-Identifier: GPL-3.0-or-later
"""The second pair of versions: the wheel and its tests on the lab's control host (Debian 13's Python, the newest ansible-core)."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socketserver
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.checks_runner import Job, StepFailed, StepSkipped, junit_tally
from lab.checks_steps import OUT, lab_name, lab_up, wheel
from lab.errors import LabError
from lab.labs import Lab
from lab.settings import CHECKOUT

VENV = "/opt/certlogon"
MOUNTED = "/srv/certlogon"
FILES = "/srv/files"
SOCKET = "/run/certlogon-lab.sock"
WORK = "/root/test"
TREE = f"{WORK}/tree"
SHARED = f"{WORK}/shared"


def name() -> str:
    return lab_name("second")


def control(*command: str, online: bool = False) -> list[str]:
    return [sys.executable, "-m", "lab", "exec", "--name", name(), *(["--online"] if online else []), "control", "--", *command]


def seen_from_here(path: str) -> Path:
    """A file of the control host, through its process."""
    return Path(f"/proc/{Lab(name()).host('control').pid}/root{path}")


# ---- the pair


def install(job: Job) -> str:
    """A lab, and on its control host a virtual environment with the wheel and the newest of all it depends on."""
    lab_up(job, name())
    distribution = wheel(job)
    mounted = f"{MOUNTED}/{distribution.relative_to(CHECKOUT)}"
    with pip_cache():
        job.run(control("python3", "-m", "venv", VENV))
        # Kerberos for Python is compiled; without optimization in a third of the time
        pip = [
            "env",
            "CFLAGS=-O0 -g0",
            f"{VENV}/bin/pip",
            "install",
            "--disable-pip-version-check",
            "--no-input",
            "--cache-dir=/var/cache/pip",
            "--upgrade",
        ]
        job.run(control(*pip, "--upgrade-strategy=eager", f"{mounted}[test,cards,kerberos]", online=True))
        job.run(control(f"{VENV}/bin/python", f"{MOUNTED}/lab/windows_collection.py", online=True))
    versions = "import platform, ansible.release as r; print(f'Python {platform.python_version()}, ansible-core {r.__version__}')"
    return job.output(control(f"{VENV}/bin/python", "-c", versions)).strip()


@contextmanager
def pip_cache() -> Iterator[None]:
    """What pip downloaded and compiled on the control host is kept for the next run."""
    kept, there = OUT / "pip-cache-second", seen_from_here("/var/cache/pip")
    if kept.is_dir():
        shutil.copytree(kept, there, dirs_exist_ok=True)
    yield
    if there.is_dir():
        shutil.copytree(there, kept, dirs_exist_ok=True)


# ---- its tests


def pytest(job: Job, paths: Sequence[str], environment: Mapping[str, str], *further: str) -> None:
    report = f"{WORK}/{job.step.name}.xml"
    options = [
        f"--rootdir={MOUNTED}",
        f"--config-file={MOUNTED}/pyproject.toml",
        "-p",
        "no:cacheprovider",
        f"--junitxml={report}",
        "--color=no",
    ]
    # The checkout gives the tests and the lab's package; the collection comes from the wheel.
    options += ["-o", f"pythonpath={TREE} {MOUNTED}", *further, "--durations=10", *(f"{MOUNTED}/{path}" for path in paths)]
    everywhere = {
        "HYPOTHESIS_STORAGE_DIRECTORY": f"{WORK}/hypothesis",
        "CERTLOGON_VECTORS": f"{SHARED}/vectors",
        "PATH": f"{VENV}/bin:/usr/sbin:/usr/bin",
    }
    settings = [f"{key}={value}" for key, value in {**everywhere, **environment}.items()]
    job.run(control("mkdir", "-p", f"{TREE}/ansible_collections/certlogon/core"))
    job.run(control("ln", "-sfn", f"{MOUNTED}/tests", f"{TREE}/ansible_collections/certlogon/core/tests"))
    script = f'cd {WORK} && exec env "$@"'
    code = job.run(control("sh", "-c", script, "sh", *settings, f"{VENV}/bin/python", "-m", "pytest", *options), ends=None)
    found = seen_from_here(report)
    if found.is_file():
        job.tests = junit_tally([found])
    if code == 5 and not job.tests.failed:
        raise StepSkipped("there are no such tests yet")
    if code:
        raise StepFailed(f"pytest ended with code {code}")


def unit(job: Job) -> None:
    vectors = Path(job.environment["CERTLOGON_VECTORS"])
    for folder in (vectors, vectors.parent / "reference"):
        if folder.is_dir():
            shutil.copytree(folder, seen_from_here(f"{SHARED}/{folder.name}"), dirs_exist_ok=True)
    # The lab runs on the machine, and pure tables do not depend on versions.
    without = ("lab", "compliance/test_judges_*", "compliance/test_page*", "group_policy", "directory", "passivekey/test_a*")
    left_out = [f"--ignore-glob={MOUNTED}/tests/unit/{part}" for part in without]
    pytest(job, ["tests/unit"], {}, *left_out)


# What depends on Python's and Ansible's versions most: sessions with the directory, a module over them, requests, cards. Policies and
# roles are what step second-site rolls out.
INTEGRATION = ("directory_session", "enrollment_services", "certificate_mappings", "smart_cards")


def integration(job: Job) -> None:
    with relay():
        files = [f"tests/integration/test_{name}.py" for name in INTEGRATION]
        pytest(job, files, {"CERTLOGON_LAB_RELAY": SOCKET}, "-m", "not ca and not vpn")


def site(job: Job) -> str:
    """The whole roll-out on this lab's domain as a user of the wheel runs it; the second run must change nothing."""
    if not (CHECKOUT / "inventories/lab/domains.py").is_file():
        raise StepSkipped("there is no inventory of the lab")
    write_inventory(job, seen_from_here(f"{WORK}/inventory"))
    playbook = [f"{VENV}/bin/ansible-playbook", "certlogon.core.site", "-i", f"{WORK}/inventory"]
    job.run(control(*playbook))
    recap = job.output(control(*playbook))
    job.note(recap)
    found = re.search(r"ok=(\d+)\s+changed=(\d+)", recap)
    if found is None or found[2] != "0":
        raise StepFailed(f"the second run of certlogon.core.site changed {found[2] if found else 'nobody knows what'}")
    return f"second run: ok={found[1]} changed=0"


def write_inventory(job: Job, folder: Path, lab: str = "") -> None:
    """inventories/lab as plain files, with the paths that hold on the control host."""
    status = Lab(lab or name()).status()
    listed = json.loads(
        job.output([sys.executable, CHECKOUT / "inventories/lab/domains.py", "--list"], env={"CERTLOGON_LAB": lab or name()})
    )
    variables = listed.pop("_meta")["hostvars"]
    everywhere = listed.pop("all")["vars"] | {"certlogon_lab_tasks": f"{MOUNTED}/lab/tasks"}
    groups = {group: {"hosts": {host: variables[host] for host in found["hosts"]}} for group, found in listed.items()}
    inventory = moved({**groups, "all": {"vars": everywhere}}, status["files"]["folder"], FILES)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hosts.json").touch(mode=0o600)
    (folder / "hosts.json").write_text(json.dumps(inventory))
    shutil.copytree(CHECKOUT / "inventories/lab/group_vars", folder / "group_vars", dirs_exist_ok=True)


def site_with_ca(job: Job) -> str:
    """The same with a CA host and a domain controller over SSH, in a lab of its own that borrows the second pair's environment."""
    lab = lab_name("second-ca")
    lab_up(job, lab, "ca1")
    try:
        root = Path(f"/proc/{Lab(lab).host('control').pid}/root")
        shutil.copytree(seen_from_here(VENV), root / VENV[1:], symlinks=True)
        write_inventory(job, root / "root/inventory", lab)
        shutil.copytree(Lab(lab).folder / "ssh", root / "root/ssh")
        for link in (root / "root/ssh").iterdir():
            link.chmod(0o600)
        text = (root / "root/inventory/hosts.json").read_text().replace(str(Lab(lab).folder / "ssh"), "/root/ssh")
        (root / "root/inventory/hosts.json").write_text(text)
        playbook = [f"{VENV}/bin/ansible-playbook", "certlogon.core.site", "-i", "/root/inventory", "-e", f"certlogon_lab_files={FILES}"]
        playbook += ["-e", json.dumps({f"certlogon_{what}": f"/root/{what}" for what in ("authority_files", "domain_controller_requests")})]
        playbook += ["-e", "certlogon_export_directory=/root/exports"]
        command = [sys.executable, "-m", "lab", "exec", "--name", lab, "control", "--", *playbook]
        job.run(command)
        recap = job.output(command)
        job.note(recap)
        changed = re.findall(r"(\S+)\s+: ok=\d+\s+changed=(\d+)", recap)
        if len(changed) != 3 or any(number != "0" for _host, number in changed):
            raise StepFailed(f"the second run of certlogon.core.site changed {changed}")
        return "second run: changed=0 on " + ", ".join(host for host, _number in changed)
    finally:
        job.run([sys.executable, "-m", "lab", "down", "--name", lab], ends=None)


# ---- from the control host to its lab


@contextmanager
def relay() -> Iterator[None]:
    """Answers on a socket in the control host's own file system: the lab's status, commands on its hosts, samba killed and started."""
    path = seen_from_here(SOCKET)
    path.unlink(missing_ok=True)
    with Relay(str(path), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            path.unlink(missing_ok=True)


class Relay(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


class Answer(socketserver.StreamRequestHandler):
    """One request, one answer, each a line of JSON; see tests/integration/conftest.py."""

    def handle(self) -> None:
        try:
            answer = respond(Lab(name()), json.loads(self.rfile.readline()))
        except LabError as error:
            answer = {"error": str(error)}
        with contextlib.suppress(BrokenPipeError):  # who asked is gone
            self.wfile.write(json.dumps(answer).encode() + b"\n")


def respond(lab: Lab, request: Mapping[str, Any]) -> dict[str, Any]:
    if request["action"] == "status":
        return moved(lab.status(), str(lab.folder / "files"), FILES)
    if request["action"] == "run":
        done = lab.run(request["host"], *request["command"], stdin=request["stdin"], check=False)
        return {"code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
    if request["action"] in ("kill", "start"):
        getattr(lab, request["action"])(request["host"])
        return {}
    raise LabError(f"unknown request {request['action']!r}")


def moved(status: Mapping[str, Any], folder: str, to: str) -> dict[str, Any]:
    """The status with the paths that hold on the control host."""
    changed: dict[str, Any] = json.loads(json.dumps(status).replace(json.dumps(folder)[1:-1], to))
    return changed
