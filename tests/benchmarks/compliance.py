# SPDX-License-Identifier: GPL-3.0-or-later
"""A large domain audited: `python -m tests.benchmarks.compliance FOLDER --share PERCENT --certipy PYTHON [--quick]`, in the lab's network.

The whole audit is `ansible-playbook certlogon.core.compliance` on an inventory that has one domain, with every output.
Beside it Certipy (PyPI certipy-nxc), an independent auditor, on the same directory: what it and the part `domain` both look at, each as a
whole process and by an account without privileges. Samba's own memory and that of the lab are not counted.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.contenders import Ansible
from tests.benchmarks.measure import Series, interleaved, timed

MEGABYTES = 400
SLOWEST = 0.5
"""Judging alone, in certificates a second, over cryptography parsing them with all their extensions."""

OUTPUTS = ["html", "junit", "sarif", "csv"]
ESC = {f"template-esc{number}": f"ESC{number}" for number in (1, 2, 3, 4, 9, 13, 15, 17)}
CERTIPY = "from certipy.entry import main; main()"


class Bench:
    def __init__(self, folder: Path, share: int, certipy: Path, *, quick: bool) -> None:
        self.folder, self.share, self.certipy, self.quick = folder, share, certipy, quick
        self.work = folder / "compliance"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(mode=0o700)

    def audit(self) -> dict[str, Any]:
        """The whole of it, as a user starts it: the playbook, on an inventory that has one domain; without a dry run of `site`."""
        ansible = Ansible(self.folder, Path(sys.executable))
        names = {name: f"{{{{ lookup('env', 'CERTLOGON_{name.upper()}') }}}}" for name in ("server", "username", "password", "ca_path")}
        variables = {f"certlogon_{name}": value for name, value in names.items()} | {
            "ansible_connection": "local",
            "certlogon_timeout": 120,
        }
        inventory = self.work / "inventory.json"
        domains = {"domains": {"hosts": {os.environ["CERTLOGON_DOMAIN"]: variables}}}
        inventory.write_text(json.dumps({"all": {"children": domains}}))
        wishes = {"folder": str(self.work / "run"), "fail_on": "never", "outputs": OUTPUTS, "drift": False}
        given = json.dumps({f"certlogon_compliance_{name}": value for name, value in wishes.items()})
        command = [ansible.program, "-i", str(inventory), "certlogon.core.compliance", "-e", given]
        series = interleaved({"audit": functools.partial(ansible.run, command)}, 1 if self.quick else 3)
        written = json.loads((self.work / "run/report.json").read_text())
        answered = [target for target in written["targets"] if target["kind"] == "domain" and target["answered"]]
        if not answered:
            raise SystemExit(f"the domain did not answer; see {self.work / 'run'}")
        return {**row(series["audit"]), "findings": written["summary"]["findings"]}

    def look(self, *options: str) -> dict[str, Any]:
        """Parts of it, in a process without Ansible."""
        command = [sys.executable, "-m", "tests.benchmarks.compliance_look", str(self.work), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def beside_certipy(self) -> dict[str, Any]:
        """What both look at: templates, enrollment services, issuance policies; and what both say of templates."""
        user = {"CERTLOGON_USERNAME": os.environ["CERTLOGON_PLAIN_USERNAME"], "CERTLOGON_PASSWORD": os.environ["CERTLOGON_PLAIN_PASSWORD"]}
        environment = os.environ | user
        ours = [sys.executable, "-m", "tests.benchmarks.compliance_look", str(self.work), "--part", "domain"]
        theirs = [str(self.certipy), "-c", CERTIPY, "find", "-u", user["CERTLOGON_USERNAME"], "-p", user["CERTLOGON_PASSWORD"]]
        server = os.environ["CERTLOGON_SERVER"]
        theirs += ["-dc-ip", os.environ["CERTLOGON_ADDRESS"], "-target", server, "-ldap-scheme", "ldaps", "-ldap-simple-auth"]
        output = self.work / "out_Certipy.json"
        theirs += ["-dc-only", "-timeout", "120", "-json", "-output", str(output).removesuffix("_Certipy.json")]
        logs = {"certlogon": self.work / "ours.log", "certipy": self.work / "certipy.log"}
        series = interleaved(
            {
                "certlogon": functools.partial(timed, ours, logs["certlogon"], environment),
                "certipy": functools.partial(timed, theirs, logs["certipy"], environment),
            },
            1 if self.quick else 3,
            lambda: output.unlink(missing_ok=True),
        )
        if not output.exists():
            raise SystemExit(f"Certipy wrote nothing; it says in {logs['certipy']}: {logs['certipy'].read_text(errors='replace')[-500:]}")
        mine = {
            (ESC[control], template(subject))
            for control, subject in json.loads(logs["certlogon"].read_text().splitlines()[-1])["failed"]
            if control in ESC
        }
        found = json.loads(output.read_text())["Certificate Templates"].values()
        other = {(name, one["Template Name"]) for one in found for name in one.get("[!] Vulnerabilities") or ()}
        return {
            **{name: row(item) for name, item in series.items()},
            "agree": len(mine & other),
            "only_certlogon": sorted(" ".join(pair) for pair in mine - other)[:50],
            "only_certipy": sorted(" ".join(pair) for pair in other - mine)[:50],
            "templates": len(found),
        }


def template(subject: str) -> str:
    return subject.removeprefix("template ")


def connection() -> dict[str, Any]:
    found = {name: os.environ[f"CERTLOGON_{name.upper()}"] for name in ("username", "password", "ca_path")}
    return {**found, "server": os.environ["CERTLOGON_SERVER"]}


def row(series: Series) -> dict[str, Any]:
    return {"seconds": round(series.seconds, 2), "runs": len(series.runs), "megabytes": round(series.megabytes)}


def keep(folder: Path, share: int, rows: list[dict[str, Any]]) -> None:
    """The results of this share beside those of the others."""
    path = folder / "results-compliance.json"
    others = [one for one in (json.loads(path.read_text()) if path.exists() else []) if one["share"] != share]
    path.write_text(json.dumps([*others, *rows], indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.compliance", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=int, required=True, help="percent of the large directory that this one has")
    parser.add_argument("--counts", type=json.loads, required=True, help="what it has")
    parser.add_argument("--certipy", type=Path, required=True, help="interpreter of the environment that has Certipy")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    bench = Bench(options.folder.resolve(), options.share, options.certipy, quick=options.quick)
    common = {"share": options.share, "counts": options.counts}
    audit, parts = bench.audit(), bench.look()
    del parts["failed"]
    rows: list[dict[str, Any]] = [{"kind": "compliance", **common, "audit": audit, **parts}]
    print(f"{options.share} %: whole audit {audit['seconds']} s in {audit['megabytes']} MB; parts {parts['seconds']}", flush=True)
    judging = bench.look("--judging")
    judging["ratio"] = round(judging["certlogon"] / judging["cryptography"], 2)
    print(
        f"{judging['count']} certificates judged at {judging['certlogon']:.0f} a second; parsed by cryptography at "
        f"{judging['cryptography']:.0f} a second: {judging['ratio']} of it",
        flush=True,
    )
    peer = bench.beside_certipy()
    print(f"templates alone: {peer['certlogon']}, certipy {peer['certipy']}; {peer['agree']} findings agree", flush=True)
    rows += [{"kind": "compliance-judging", **common, **judging}, {"kind": "compliance-peer", **common, **peer}]
    keep(options.folder, options.share, rows)
    if audit["megabytes"] > MEGABYTES:
        raise SystemExit(f"the audit took {audit['megabytes']} MB, more than {MEGABYTES}")
    if not options.quick and judging["ratio"] < SLOWEST:
        raise SystemExit(f"judging runs at {judging['ratio']} of the speed of parsing, less than {SLOWEST}")
    if not options.quick and peer["certlogon"]["seconds"] > peer["certipy"]["seconds"]:
        raise SystemExit(f"Certipy is faster: {peer['certipy']['seconds']} s, not {peer['certlogon']['seconds']} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
