# SPDX-License-Identifier: GPL-3.0-or-later
"""Many appliances in one play: the role connect_secure_gateway, and beside it what else would make the same settings.

`python -m tests.benchmarks.appliances FOLDER [--quick]`. Needs no lab: the control planes of stand-in appliances run in one process on
loopback addresses, without gateways behind them, and CDPs are not fetched.

- first and unchanged run of the role on all of them, with what each appliance was asked;
- unchanged on ten of them, beside tasks of ansible.builtin.uri that sign in, read the same settings and would write what differs;
- unchanged on all, less as many empty action tasks, beside a bare HTTP client (requests) in as many processes as Ansible has forks, that
  asks what the role asked, one connection an appliance.

The role runs as in the collection's playbook `site`: its task checks the role's variables, and Ansible's own task for that is off
(rolespec_validate). With it (`checked`), the unchanged run on all is measured too.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import settings
from tests.benchmarks.contenders import Ansible
from tests.benchmarks.material import client_ca, server_pfx
from tests.benchmarks.measure import Run, Series, interleaved, timed

FIRST, PORT = "127.1.0.1", 18443
FEW = 10
CDP = "http://crl.corp.example/users.crl"
NAME = "vpn.corp.example"
PASSPHRASE = "benchmark"
SERVER = {"name": "Certificates", "certificate": {"settings": {"user-name-template": "<certAttr.CN>"}}}
REALM = {
    "name": "Certificate Users",
    "authentication-server": "Certificates",
    "role-mapping-rules": {
        "rule": [
            {
                "name": "Everybody with a certificate",
                "user-name": {"test": "is", "user-names": ["*"]},
                "roles": ["Users"],
                "stop-rules-processing": "true",
            }
        ]
    },
}
POLICY = {"url-pattern": f"{NAME}/", "enabled": "true", "user": {"realms": ["Certificate Users"]}}
CERTIFICATES = "configuration/system/configuration/certificates"


class Benchmark:
    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        self.ansible = Ansible(folder, Path(sys.executable))
        self.fleet = folder / "fleet"
        self.ca = client_ca(folder / "users-ca.pem")
        server_pfx(folder / "vpn.p12", NAME, PASSPHRASE)

    # ---- the appliances

    @contextmanager
    def appliances(self) -> Iterator[None]:
        """So many control planes in one process, as new."""
        (self.fleet / "appliances.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "lab.connect_secure", "--folder", str(self.fleet), "--count", str(self.count)]
        command += ["--first", FIRST, "--port", str(PORT)]
        with (self.folder / "fleet.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=settings.CHECKOUT, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while not (self.fleet / "appliances.json").exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the stand-in appliances do not start: {(self.folder / 'fleet.log').read_text()[-2000:]}")
                time.sleep(0.1)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.fleet / "appliances.json").read_text())
        return found

    def metrics(self) -> dict[str, dict[str, Any]]:
        """By address; written by the stand-ins twice a second."""
        time.sleep(1.1)
        found: dict[str, dict[str, Any]] = json.loads((self.fleet / "metrics.json").read_text())
        return found

    # ---- the plays

    def inventory(self, count: int) -> Path:
        facts = self.facts()
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "ansible_user": facts["admin"],
            "ansible_password": facts["password"],
            "ansible_httpapi_port": facts["port"],
            "ansible_httpapi_ca_path": facts["ca_file"],
            "connect_secure_backup_dir": str(self.folder / "backups"),
        }
        hosts = {f"vpn-{number:03}.corp.example": {"ansible_host": address} for number, address in enumerate(facts["addresses"][:count])}
        file = self.folder / f"appliances-{count}.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps({"all": {"hosts": hosts, "vars": variables}}))
        return file

    def play(
        self,
        name: str,
        tasks: Sequence[Mapping[str, Any]],
        count: int,
        variables: Mapping[str, Any] | None = None,
    ) -> list[str]:
        file = self.folder / f"{name}.json"
        play = {"hosts": "all", "gather_facts": False, "vars": dict(variables or {}), "tasks": list(tasks)}
        file.write_text(json.dumps([play]))
        return [self.ansible.program, "-i", str(self.inventory(count)), str(file)]

    def role(self, count: int, *, checked: bool = False) -> list[str]:
        certificate = {"common_name": NAME, "pkcs12_path": str(self.folder / "vpn.p12"), "pkcs12_passphrase": PASSPHRASE}
        variables = {
            "vpn_gateway_server_names": [NAME],
            "vpn_gateway_device_certificate": {**certificate, "external_ports": ["external"]},
            "vpn_gateway_trusted_client_cas": [{"certificate": {"path": str(self.ca)}, "cdp_source": "manual", "primary_cdp": CDP}],
            "connect_secure_cdp_check": "skip",
            "connect_secure_requests": str(self.folder / "requests"),
        }
        role = {"name": "certlogon.core.connect_secure_gateway", "rolespec_validate": checked}
        return self.play("checked" if checked else "role", [{"ansible.builtin.import_role": role}], count, variables)

    def empty(self, count: int, tasks: int) -> list[str]:
        return self.play("empty", [{"ansible.builtin.debug": {"msg": ""}}] * tasks, count)

    def uri(self, count: int) -> list[str]:
        """What an administrator writes without modules: sign in, read each element, write it where it differs."""
        base = "https://{{ ansible_host }}:{{ ansible_httpapi_port }}/api/v1/"
        common = {"force_basic_auth": True, "ca_path": "{{ ansible_httpapi_ca_path }}", "return_content": True}
        signed_in = {**common, "url_username": "{{ login.json.api_key }}", "url_password": ""}
        login = {
            **common,
            "url": f"{base}realm_auth",
            "method": "POST",
            "body_format": "json",
            "body": {"realm": "Admin Users"},
            "url_username": "{{ ansible_user }}",
            "url_password": "{{ ansible_password }}",
        }
        tasks: list[dict[str, Any]] = [{"ansible.builtin.uri": login, "register": "login"}]
        lists = {"device-certificates": "device-certificate", "trusted-client-cas": "trusted-client-ca"}
        for plural in lists:
            tasks += [{"ansible.builtin.uri": {**signed_in, "url": f"{base}{CERTIFICATES}/{plural}"}}]
        elements = {
            "configuration/authentication/auth-servers/auth-server/Certificates": SERVER,
            "configuration/users/user-realms/realm/Certificate%20Users": REALM,
            f"configuration/authentication/signin/urls/access-url/{NAME}%2F": POLICY,
        }
        for path, wanted in elements.items():
            address = f"{base}{path}"
            write = {**signed_in, "url": address, "method": "PUT", "body_format": "json", "body": wanted, "status_code": [200, 201, 204]}
            tasks += [
                {"ansible.builtin.uri": {**signed_in, "url": address, "status_code": [200, 404]}, "register": "there"},
                {
                    "ansible.builtin.uri": write,
                    "when": "there.json | combine(wanted, recursive=true) != there.json",
                    "vars": {"wanted": wanted},
                },
            ]
        return self.play("uri", tasks, count)

    def run(self, command: list[str]) -> Run:
        return self.ansible.run(command)

    def recap(self) -> dict[str, int]:
        """Of all hosts of the last play: tasks that ran, that changed something, that failed."""
        text = (self.folder / "last.log").read_text()
        return {word: sum(map(int, re.findall(rf"\b{word}=(\d+)", text))) for word in ("ok", "changed", "failed", "unreachable")}

    def bare(self, asked: Sequence[str], count: int) -> list[str]:
        file = self.folder / "asked.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps({**self.facts(), "asked": list(asked), "count": count}))
        return [sys.executable, "-m", "tests.benchmarks.bare_appliance", str(file)]


def asked_of_each(before: Mapping[str, Any], after: Mapping[str, Any], word: str) -> list[int]:
    return sorted({after[address].get(word, 0) - before[address].get(word, 0) for address in after})


def benchmark(folder: Path, *, quick: bool) -> list[dict[str, Any]]:
    count, rounds = (20, 1) if quick else (200, 3)
    bench = Benchmark(folder, count)
    rows = []
    with bench.appliances():
        before = bench.metrics()
        first = bench.run(bench.role(count))
        recap, between = bench.recap(), bench.metrics()
        rows.append(_row("first", count, first, recap, before, between))
        unchanged = bench.run(bench.role(count))
        recap, after = bench.recap(), bench.metrics()
        rows.append(_row("unchanged", count, unchanged, recap, between, after))
        address, requests = next(iter(after)), rows[1]["requests"][0]
        asked = after[address]["asked"][-requests:]
        tasks = recap["ok"] // count
        series = interleaved(
            {
                "role": lambda: bench.run(bench.role(count)),
                "empty": lambda: bench.run(bench.empty(count, tasks)),
                "checked": lambda: bench.run(bench.role(count, checked=True)),
                "bare": lambda: timed(bench.bare(asked, count), folder / "bare.log"),
            },
            rounds,
        )
        floor = {"kind": "appliances-floor", "count": count, "runs": rounds, "tasks": tasks, "asked": asked}
        rows.append({**floor, **_figures(series)})
        few = interleaved(
            {
                "role": lambda: bench.run(bench.role(FEW)),
                "uri": lambda: bench.run(bench.uri(FEW)),
                "start": lambda: bench.run(bench.empty(FEW, 1)),
            },
            rounds,
        )
        rows.append({"kind": "appliances-uri", "count": FEW, "runs": rounds, **_figures(few)})
        one = bench.run(bench.role(1))
        rows.append({"kind": "appliances-memory", "megabytes": {"1": round(one.megabytes), str(count): round(unchanged.megabytes)}})
    return rows


def _row(phase: str, count: int, run: Run, recap: Mapping[str, int], before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": "appliances",
        "phase": phase,
        "count": count,
        "seconds": round(run.seconds, 3),
        "megabytes": round(run.megabytes),
        "changed": recap["changed"],
        "requests": asked_of_each(before, after, "requests"),
        "logins": asked_of_each(before, after, "logins"),
    }


def _figures(series: Mapping[str, Series]) -> dict[str, Any]:
    """Seconds of each contender, and its processor seconds, which tell more where something else runs beside."""
    seconds = {name: round(item.seconds, 3) for name, item in series.items()}
    return {**seconds, "processor": {name: round(item.processor, 3) for name, item in series.items()}}


def shown(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items() if name not in ("kind", "asked"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.benchmarks.appliances", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    folder = options.folder.resolve() / "appliances"
    folder.mkdir(parents=True, exist_ok=True)
    rows = benchmark(folder, quick=options.quick)
    for row in rows:
        print(f"{row['kind']}: {shown(row)}", flush=True)
    (options.folder / "results-appliances.json").write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
