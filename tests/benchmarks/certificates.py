# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates by web enrolment: this collection's client and the package certsrv against the same stand-in, interleaved.

Seconds are those of whole processes less the same process with nothing to request.

`python -m tests.benchmarks.certificates FOLDER [--quick]`, in the network of a lab with ca1 (CERTLOGON_LAB). What the server counted is
reported beside the seconds: connections, round trips and sign-ins.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from lab.labs import Lab
from tests.benchmarks import authority
from tests.benchmarks.contenders import Ansible
from tests.benchmarks.measure import Run, Series, timed

CONTENDERS = ("certlogon", "certsrv")
COUNTED = {"connections": "iis_connections", "round_trips": "iis_requests", "sign_ins": "iis_authentications"}
HOST = "ca1.corp.example"
STATE = "/var/lib/windows_ca"
CA = "Corp Benchmark CA"
AUTHORITY = {"name": CA, "type": "enterprise_root", "key": {"algorithm": "RSA", "size": 2048}, "validity": "10 years"}


class Enrollment:
    def __init__(self, folder: Path, lab: Lab) -> None:
        self.folder, self.lab = folder, lab
        self.status = lab.status()

    def prepare(self) -> None:
        """A CA with web enrolment on ca1, and trust in it."""
        who = self.status["accounts"]["administrator"]
        signed_in = {"install_username": who["netbios"], "install_password": who["password"]}
        tasks = [
            {"certlogon.core.adcs_authority": {"config": [AUTHORITY], **signed_in}},
            {"certlogon.core.adcs_web_enrollment": {"config": [{"site": "Default Web Site"}], "state": "replaced"}},
        ]
        play = self.folder / "web-enrollment.json"
        play.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        inventory = self.folder / "ca1.json"
        inventory.touch(mode=0o600)
        inventory.write_text(json.dumps({"all": {"hosts": {HOST: self.connection()}}}))
        ansible = Ansible(self.folder, Path(sys.executable))
        try:
            ansible.run([ansible.program, "-i", str(inventory), str(play)])
        finally:
            play.unlink()
            inventory.unlink()
        self.ca_path.write_text(self._ca_certificate())

    def connection(self) -> dict[str, Any]:
        who = self.status["accounts"]["administrator"]
        return {
            "ansible_connection": "winrm",
            "ansible_port": self.status["hosts"]["ca1"]["winrm_port"],
            "ansible_winrm_transport": "ntlm",
            "ansible_user": who["netbios"],
            "ansible_password": who["password"],
            "ansible_winrm_ca_trust_path": self.status["files"]["ca_bundle"],
        }

    @property
    def ca_path(self) -> Path:
        return self.folder / "benchmark-ca.pem"

    def _ca_certificate(self) -> str:
        url = f"http://{HOST}/CertEnroll/{HOST}_{CA.replace(' ', '%20')}.crt"
        der = subprocess.run(["curl", "--silent", "--fail", "--max-time", "30", url], capture_output=True, check=True).stdout
        return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode()

    def requests(self, count: int) -> Path:
        """Requests with a key each; made once and kept, for that is not what is measured."""
        file = self.folder / f"requests-{count}.json"
        if not file.exists():
            file.write_text(json.dumps([request(number) for number in range(count)]))
        return file

    @property
    def environment(self) -> dict[str, str]:
        who = self.status["accounts"]["administrator"]
        given = {"URL": f"https://{HOST}/certsrv", "USERNAME": who["netbios"], "PASSWORD": who["password"], "AUTH": "ntlm"}
        given["CA_PATH"] = str(self.ca_path)
        return {**os.environ, **{f"CERTLOGON_ENROLLMENT_{name}": value for name, value in given.items()}}

    def counters(self) -> Mapping[str, int]:
        found: dict[str, int] = json.loads(self.lab.run("ca1", "cat", f"{STATE}/metrics.json").stdout)
        return found

    def measure(self, count: int, rounds: int) -> dict[str, Any]:
        none, file = self.requests(0), self.requests(count)
        series = {name: Series() for name in CONTENDERS}
        empty = {name: Series() for name in CONTENDERS}
        counts: dict[str, dict[str, int]] = {}
        for _round in range(rounds):
            for name in CONTENDERS:
                empty[name].runs.append(self._run(name, none))
                before = self.counters()
                series[name].runs.append(self._run(name, file))
                after = self.counters()
                counts[name] = {word: after.get(counter, 0) - before.get(counter, 0) for word, counter in COUNTED.items()}
        row: dict[str, Any] = {"kind": "certificates", "count": count, "phase": "first"}
        for name, item in series.items():
            per = {f"{word}_each": round(number / count, 4) for word, number in counts[name].items()}
            seconds = {"seconds": round(max(item.seconds - empty[name].seconds, 0.0), 4), "whole": round(item.seconds, 4)}
            row[name] = {**seconds, "runs": rounds, "megabytes": round(item.megabytes), **counts[name], **per}
        return row

    def _run(self, name: str, file: Path) -> Run:
        command = [sys.executable, "-m", "tests.benchmarks.enroll", name, str(file)]
        return timed(command, self.folder / "last.log", self.environment)


def request(number: int) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"bench-{number:04}.corp.example")])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM).decode()


def worse(row: Mapping[str, Any]) -> list[str]:
    """In what this collection's client needs more than the package does."""
    return [word for word in COUNTED if row["certlogon"][word] > row["certsrv"][word]]


def shown(row: Mapping[str, Any]) -> str:
    words = "{seconds:.2f} s, {round_trips_each:.2f} round trips and {sign_ins_each:.3f} sign-ins each"
    parts = [f"{name} {words.format(**row[name])}" for name in CONTENDERS]
    return f"certificates {row['count']}: {'; '.join(parts)}"


def benchmark(folder: Path, lab: Lab, *, quick: bool) -> list[dict[str, Any]]:
    enrollment = Enrollment(folder, lab)
    enrollment.prepare()
    rows = [authority.measure(folder, {HOST: enrollment.connection()}, AUTHORITY, enrollment.counters, 1 if quick else 5)]
    print(authority.shown(rows[0]), flush=True)
    for count in (10,) if quick else (1, 200):
        rows.append(enrollment.measure(count, 1 if quick else 3))
        print(shown(rows[-1]), flush=True)
        if worse(rows[-1]):
            raise RuntimeError(f"more than the package certsrv needs: {', '.join(worse(rows[-1]))}")
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.certificates", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true", help="once, with few certificates: does it run at all?")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = benchmark(options.folder.resolve(), Lab(os.environ["CERTLOGON_LAB"]), quick=options.quick)
    (options.folder / "results-certificates.json").write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
