# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of 10,000 certificate files are due? `certificate_info` beside a script that merely parses them with cryptography, interleaved.

`python -m tests.benchmarks.renewal FOLDER [--quick]`; needs no lab. Seconds are those of whole processes less an empty play and an
empty interpreter, and the check may take at most twice as long as the parsing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.benchmarks.contenders import Ansible
from tests.benchmarks.measure import Run, interleaved, timed

LIMIT = 2.0
DUE_EVERY = 500
PARSE = """\
import sys
from pathlib import Path
from cryptography import x509
for path in sorted(Path(sys.argv[1]).iterdir()):
    x509.load_pem_x509_certificate(path.read_bytes())
"""
EMPTY = "import sys\nfrom pathlib import Path\nfrom cryptography import x509\n"


def stock(folder: Path, count: int) -> Path:
    """Certificates as an authority would issue them; made once and kept, for that is not what is measured."""
    made = folder / f"stock-{count}"
    if not made.exists():
        unfinished = folder / f"stock-{count}.unfinished"
        unfinished.mkdir(parents=True, exist_ok=True)
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
        for number in range(count):
            (unfinished / f"{number:05}.pem").write_bytes(_certificate(key, number, now).public_bytes(Encoding.PEM))
        unfinished.rename(made)
    return made


def _certificate(key: ec.EllipticCurvePrivateKey, number: int, now: datetime) -> x509.Certificate:
    host = f"host-{number:05}.corp.example"
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Corp Benchmark CA")])
    end = now + timedelta(days=20 if number % DUE_EVERY == 0 else 3000)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number(), now - timedelta(days=300), end)
    for value, critical in (
        (x509.SubjectAlternativeName([x509.DNSName(host)]), False),
        (x509.KeyUsage(True, False, True, False, False, False, False, False, False), True),
        (x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH, x509.ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    ):
        builder = builder.add_extension(value, critical)
    return builder.sign(key, hashes.SHA256())


def contenders(folder: Path, certificates: Path) -> Mapping[str, Callable[[], Run]]:
    ansible = Ansible(folder, Path(sys.executable))
    log = folder / "renewal.log"
    expected = -(-len(list(certificates.iterdir())) // DUE_EVERY)
    check = {"certlogon.core.certificate_info": {"paths": [str(certificates)], "details": "due"}, "register": "stock"}
    proof = {"ansible.builtin.assert": {"that": f"stock.certificates | length == {expected} and stock.summary.due == {expected}"}}
    plays = {"certlogon": _play(ansible, folder, "renewal", [check, proof]), "empty play": _play(ansible, folder, "renewal-empty", [])}
    scripts = {"cryptography": [sys.executable, "-c", PARSE, str(certificates)], "empty script": [sys.executable, "-c", EMPTY]}
    runs: dict[str, Callable[[], Run]] = {name: (lambda play=play: ansible.run(play)) for name, play in plays.items()}  # type: ignore[misc]
    runs |= {name: (lambda command=command: timed(command, log)) for name, command in scripts.items()}  # type: ignore[misc]
    return runs


def _play(ansible: Ansible, folder: Path, name: str, tasks: list[dict[str, Any]]) -> list[str]:
    path = folder / f"{name}.json"
    path.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    return [ansible.program, "-i", "localhost,", "-c", "local", str(path)]


def benchmark(folder: Path, *, quick: bool) -> dict[str, Any]:
    count = 1000 if quick else 10000
    series = interleaved(contenders(folder, stock(folder, count)), 3 if quick else 7)
    row: dict[str, Any] = {"kind": "renewal", "count": count, "phase": "unchanged"}
    for name, empty in (("certlogon", "empty play"), ("cryptography", "empty script")):
        item = series[name]
        seconds = max(item.seconds - series[empty].seconds, 0.0)
        row[name] = {
            "seconds": round(seconds, 4),
            "whole": round(item.seconds, 4),
            "runs": len(item.runs),
            "megabytes": round(item.megabytes),
        }
    row["ratio"] = round(row["certlogon"]["seconds"] / row["cryptography"]["seconds"], 2) if row["cryptography"]["seconds"] else None
    return row


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.renewal", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true", help="few rounds and a tenth of the files: does it run at all?")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    row = benchmark(options.folder.resolve(), quick=options.quick)
    print(
        "renewal check of {count} files: {certlogon[seconds]:.2f} s; parsing alone {cryptography[seconds]:.2f} s; {ratio} times".format(
            **row
        )
    )
    (options.folder / "results-renewal.json").write_text(json.dumps([row], indent=1) + "\n")
    if not options.quick and row["ratio"] and row["ratio"] > LIMIT:
        raise RuntimeError(f"the check takes {row['ratio']} times as long as parsing, more than {LIMIT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
