# SPDX-License-Identifier: GPL-3.0-or-later
"""`certlogon bench`: the benchmarks on a lab of their own, and docs/benchmarks.md made from what was measured."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from lab import bench_passivekey, large_directory, root, settings
from lab.errors import LabError
from lab.labs import Lab
from lab.progress import Progress

NAME = "bench"
FOLDER = settings.CHECKOUT / "build/bench"
PEER_PACKAGES = ["ansible>=12,<13", "python-ldap", "ldap3", "smbprotocol", "pyspnego", "cryptography"]
BUILD_PACKAGES = ["gcc", "python3-dev", "libldap2-dev", "libsasl2-dev"]
APPLIANCES_BESIDE = ("appliances-floor", "appliances-uri", "appliances-memory")
CERTIPY = "certipy-nxc==5.1.0.post1"
SHARES = (1, 10, 100)
"""Percent of the large directory that compliance is measured on."""

CONTENDERS = ("certlogon", "community.general", "samba-tool", "floor")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="certlogon bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, small counts; docs/benchmarks.md is not written")
    parser.add_argument("--keep", action="store_true", help="leave the labs running")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part; the page keeps what it has of the others")
    parser.add_argument("--render", action="store_true", help="only write docs/benchmarks.md again from the last runs' results")
    options = parser.parse_args(arguments)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for part in () if options.render else options.only or PARTS:
        PARTS[part](Progress(), quick=options.quick, keep=options.keep)
        (FOLDER / "machine.json").write_text(json.dumps(machine(), indent=1) + "\n")
    if not options.quick:
        render()
    return 0


def render() -> None:
    """docs/benchmarks.md of the last runs' results."""
    found = [FOLDER / name for name in RESULTS if (FOLDER / name).exists()]
    results = [row for file in found for row in json.loads(file.read_text())]
    (settings.CHECKOUT / "docs/benchmarks.md").write_text(page(results, json.loads((FOLDER / "machine.json").read_text())))
    print("written: docs/benchmarks.md")


def peers() -> Path:
    """An environment with what a user would otherwise pick; kept apart, for it is large and nothing else needs it."""
    folder = FOLDER / "venv"
    interpreter = folder / "bin/python"
    stamp = folder / "complete"
    if stamp.exists() and stamp.read_text() == repr(PEER_PACKAGES):
        return interpreter
    shutil.rmtree(folder, ignore_errors=True)
    missing = [name for name in BUILD_PACKAGES if subprocess.run(["dpkg", "-s", name], capture_output=True, check=False).returncode]
    commands = [["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing]] if missing else []
    commands += [[sys.executable, "-m", "venv", str(folder)], [str(interpreter), "-m", "pip", "install", "-q", *PEER_PACKAGES]]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"{' '.join(command)} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    stamp.write_text(repr(PEER_PACKAGES))
    return interpreter


def domain(progress: Progress, *, quick: bool, keep: bool) -> None:
    """Templates and policies, beside what a user would otherwise pick."""
    with progress.step("the peers' own environment (community.general, python-ldap)"):
        interpreter = peers()
    on_a_lab(progress, NAME, "tests.benchmarks", ["--ldap-interpreter", str(interpreter)], quick=quick, keep=keep)


def certificates(progress: Progress, *, quick: bool, keep: bool) -> None:
    """Certificates by web enrolment, and a CA host that is as it should be."""
    on_a_lab(progress, f"{NAME}-ca", "tests.benchmarks.certificates", [], ca=True, quick=quick, keep=keep)


def site(progress: Progress, *, quick: bool, keep: bool) -> None:
    """The whole of certlogon.core.site, first run and second, on a fresh lab."""
    on_a_lab(progress, f"{NAME}-site", "tests.benchmarks.site", [], ca=True, quick=quick, keep=keep)


def renewal(progress: Progress, *, quick: bool, keep: bool) -> None:
    """The renewal check of many files, which needs no lab."""
    measured([sys.executable, "-m", "tests.benchmarks.renewal", str(FOLDER)] + ["--quick"] * quick, os.environ)


def crl(progress: Progress, *, quick: bool, keep: bool) -> None:
    """The check of a CRL of a million entries, which needs no lab."""
    measured([sys.executable, "-m", "tests.benchmarks.revocation_list", str(FOLDER)] + ["--quick"] * quick, os.environ)


def appliances(progress: Progress, *, quick: bool, keep: bool) -> None:
    """Two hundred control planes of stand-in appliances in one play, on loopback addresses."""
    measured([sys.executable, "-m", "tests.benchmarks.appliances", str(FOLDER)] + ["--quick"] * quick, os.environ)


def passivekey(progress: Progress, *, quick: bool, keep: bool) -> None:
    """Logins by PassiveKey over REST, cookies and RADIUS; no lab but its root, in which FreeRADIUS runs."""
    databases(progress)
    root.ensure(progress)
    layers = [root.ensure_layer(progress, root.PASSIVEKEY), *root.PASSIVEKEY.lower]
    options = ["--layers", ":".join(map(str, layers))]
    measured([sys.executable, "-m", "tests.benchmarks.passivekey", str(FOLDER), *options] + ["--quick"] * quick, os.environ)


def databases(progress: Progress) -> None:
    """PostgreSQL's programs; the cluster that the package makes is not used."""
    if any(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return
    with progress.step("Debian packages: postgresql"):
        command = ["apt-get", "install", "-q", "-y", "--no-install-recommends", "postgresql"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"{' '.join(command)} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")


def compliance(progress: Progress, *, quick: bool, keep: bool) -> None:
    """The audit of a large directory, and of a hundredth and a tenth of it, beside an independent auditor."""
    with progress.step(f"the other auditor's own environment ({CERTIPY})"):
        interpreter = certipy()
    directories = FOLDER / "directories"
    directories.mkdir(exist_ok=True, mode=0o700)
    for share in SHARES[:1] if quick else SHARES:
        options = ["--share", str(share), "--counts", json.dumps(large_directory.counts(share)), "--certipy", str(interpreter)]
        on_a_lab(
            progress,
            f"{NAME}-compliance",
            "tests.benchmarks.compliance",
            options,
            quick=quick,
            keep=keep,
            prepare=lambda lab, share=share: large_directory.fill(lab, share, directories, progress),  # type: ignore[misc]
        )


def certipy() -> Path:
    """An environment with the other auditor, which wants older libraries than ours."""
    folder = FOLDER / "certipy"
    stamp = folder / "complete"
    if not stamp.exists() or stamp.read_text() != CERTIPY:
        shutil.rmtree(folder, ignore_errors=True)
        install = [str(folder / "bin/python"), "-m", "pip", "install", "-q", "--retries", "1", CERTIPY]
        for command in ([sys.executable, "-m", "venv", str(folder)], install):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                said = (done.stderr or done.stdout).strip().splitlines() or [f"{command[0]} ended with {done.returncode}"]
                raise LabError(said[-1].removeprefix("ERROR: "))
        stamp.write_text(CERTIPY)
    return folder / "bin/python"


PARTS = {
    "domain": domain,
    "certificates": certificates,
    "site": site,
    "renewal": renewal,
    "crl": crl,
    "appliances": appliances,
    "compliance": compliance,
    "passivekey": passivekey,
}
RESULTS = tuple(
    f"results{part}.json"
    for part in ("", "-certificates", "-site", "-renewal", "-crl", "-appliances", "-compliance", "-passivekey", "-passivekey-peer")
)


def on_a_lab(
    progress: Progress,
    name: str,
    module: str,
    options: list[str],
    *,
    quick: bool,
    keep: bool,
    ca: bool = False,
    prepare: Callable[[Lab], None] = lambda lab: None,
) -> None:
    """Run a benchmark in a fresh lab of its own, which `prepare` has made ready."""
    lab = Lab(name)
    lab.down()
    lab.up(progress, ca=ca)
    prepare(lab)
    status = lab.status()
    account, plain = status["accounts"]["administrator"], status["accounts"]["plain.user"]
    environment = os.environ | {
        "CERTLOGON_LAB": name,
        "CERTLOGON_SERVER": status["hosts"]["dc1"]["fqdn"],
        "CERTLOGON_USERNAME": account["upn"],
        "CERTLOGON_PASSWORD": account["password"],
        "CERTLOGON_CA_PATH": status["files"]["ca_bundle"],
        "CERTLOGON_DOMAIN": status["dns_domain"],
        "CERTLOGON_ADDRESS": status["hosts"]["dc1"]["address"],
        "CERTLOGON_PLAIN_USERNAME": plain["upn"],
        "CERTLOGON_PLAIN_PASSWORD": plain["password"],
    }
    command = [sys.executable, "-m", "lab", "exec", "--name", name, "machine", "--", sys.executable, "-m", module, str(FOLDER), *options]
    try:
        measured(command + ["--quick"] * quick, environment)
    finally:
        if not keep:
            lab.down()


def measured(command: list[str], environment: Mapping[str, str]) -> None:
    if subprocess.run(command, env=environment, cwd=settings.CHECKOUT, check=False).returncode:
        raise LabError(f"a benchmark did not end well: {' '.join(command)}; its logs are in {FOLDER}")


def machine() -> dict[str, Any]:
    names = ("ansible-core", "ldap3", "smbprotocol", "pyspnego", "cryptography", "certsrv")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in names},
    }


def page(results: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """docs/benchmarks.md."""
    versions = ", ".join(f"{name} {value}" for name, value in facts.items() if name not in ("date", "cores"))
    lines = [
        "<!-- SPDX-License-Identifier: GPL-3.0-or-later -->",
        "# Benchmarks",
        "",
        f"Made by `./certlogon bench` on {facts['date']}: {facts['cores']} cores, {versions}.",
        "The domain controller (Samba) ran on the same machine, without fsync, which would cost all contenders' writes the same.",
        "",
        "Seconds of whole processes, median of the runs in brackets, contenders interleaved; an empty play",
        "(playbooks) or interpreter (the floor), measured in the same run, is subtracted: "
        f"{_empty(results, 'certlogon')} s and {_empty(results, 'floor')} s.",
        "",
        "- **certlogon**: one task, a list of objects.",
        "- **community.general**: `ldap_entry` and `ldap_attrs` in a loop, without ACL, OID object and binary attributes.",
        "- **samba-tool**: `gpo create` and `gpo load` (first), `gpo show` (unchanged), `gpo load` (one change), up to 20 policies. It",
        "  writes registry values only, compares nothing, and has no words for services, security options and preferences.",
        "- **floor**: a bare ldap3 and smbprotocol script that reads, compares and writes the same bytes and knows nothing of them.",
        "",
    ]
    for kind in ("templates", "policies"):
        rows = [row for row in results if row["kind"] == kind]
        present = [name for name in CONTENDERS if any(name in row for row in rows)]
        lines += [f"## {kind.capitalize()}", "", f"| {kind} | run | " + " | ".join(present) + " | ratios |"]
        lines += ["|" + "---|" * (len(present) + 3)]
        lines += [
            f"| {row['count']} | {row['phase']} | " + " | ".join(_cell(row, name) for name in present) + f" | {_ratios(row)} |"
            for row in rows
        ]
        lines += ["", f"Largest process: {max(row['certlogon']['megabytes'] for row in rows)} MB.", ""]
    for row in (row for row in results if row["kind"] == "authority"):
        ours = row["certlogon"]
        lines += [
            "## The CA host, unchanged",
            "",
            f"A task of `adcs_authority` that changes nothing: {ours['modules']} WinRM round of {ours['scripts']} script",
            f"({ours['requests']} HTTP requests, the shell's included), {_cell(row, 'certlogon')} s more than a task that asks for one",
            "service. **The lab's stand-in answered**: on Windows the script itself takes seconds.",
            "",
        ]
    whole = [row for row in results if row["kind"] == "site"]
    if whole:
        lines += [
            "## The whole site",
            "",
            "`certlogon.core.site` on the lab with **its stand-in for the CA host**, the domain, and a domain controller over SSH.",
            "",
            "| run | seconds | tasks | changed | rounds to the CA host, task by task |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['phase']} | {_cell(row, 'certlogon')} | {row['tasks']} | {row['changed']} | {', '.join(map(str, row['rounds']))} |"
            for row in whole
        ]
        lines += [""]
    certificates = [row for row in results if row["kind"] == "certificates"]
    if certificates:
        lines += [
            "## Certificates by web enrolment",
            "",
            "Keys and requests made beforehand, one session, NTLM. Both clients ask **the lab's stand-in for a Windows CA**, which runs on",
            "the same machine, and whose seconds these mostly are. Those of the same process with nothing to request are subtracted.",
            "",
            "| certificates | client | seconds | HTTP round trips each | sign-ins each | connections |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['count']} | {name} | {_cell(row, key)} | {row[key]['round_trips_each']:.2f} | {row[key]['sign_ins_each']:.3f} "
            f"| {row[key]['connections']} |"
            for row in certificates
            for key, name in (("certlogon", "certlogon"), ("certsrv", "certsrv (PyPI)"))
        ]
        lines += [""]
    for row in (row for row in results if row["kind"] == "renewal"):
        lines += [
            "## Renewal check",
            "",
            f"Which of {row['count']} certificate files are due: one task of `certificate_info`, {_cell(row, 'certlogon')} s. Merely",
            f"parsing the same files with cryptography takes {_cell(row, 'cryptography')} s: {row['ratio']} times as long, of at most 2.",
            "",
        ]
    for row in (row for row in results if row["kind"] == "crl"):
        lines += [
            "## A CRL of a million entries",
            "",
            f"Signature, freshness and one serial number of a CRL of {row['count']:,} entries ({row['bytes'] / 1e6:.0f} MB), process and",
            f"imports included: {_cell(row, 'certlogon')} s in {row['certlogon']['megabytes']} MB. `openssl crl -verify`, the signature",
            f"alone: {_cell(row, 'openssl')} s in {row['openssl']['megabytes']} MB.",
            "",
        ]
    return "\n".join(lines + _appliances(results) + _compliance(results) + bench_passivekey.section(results))


def _appliances(results: list[dict[str, Any]]) -> list[str]:
    """The section on many appliances; empty where they were not measured."""
    found = {kind: [row for row in results if row["kind"] == kind] for kind in ("appliances", *APPLIANCES_BESIDE)}
    if not found["appliances"]:
        return []
    floor, uri, memory = (found[kind][0] for kind in APPLIANCES_BESIDE)
    ours = floor["role"] - floor["empty"]
    lines = [
        "## Many Connect Secure appliances",
        "",
        "The role `connect_secure_gateway` with **control planes of the stand-in appliance**, all in one process on the same machine;",
        "no gateways behind them. Seconds of the whole `ansible-playbook`, five forks.",
        "",
        "| appliances | run | seconds | changed | requests to each | logins at each | largest process |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['count']} | {row['phase']} | {row['seconds']:.1f} | {row['changed']} | {_span(row['requests'])} | {_span(row['logins'])} "
        f"| {row['megabytes']} MB |"
        for row in found["appliances"]
    ]
    without_start = (uri["uri"] - uri["start"]) / (uri["role"] - uri["start"])
    return [
        *lines,
        "",
        f"- Unchanged, {floor['count']} appliances [{floor['runs']}]: {floor['role']:.1f} s; as many empty action tasks",
        f"  ({floor['tasks']} a host) {floor['empty']:.1f} s. The difference, {ours:.1f} s, is {ours / floor['bare']:.1f} times the",
        f"  {floor['bare']:.1f} s of a bare client (requests, five processes) for the same {len(floor['asked'])} requests to each.",
        *_processor(floor["processor"]),
        *_checked(floor),
        f"- Unchanged, {uri['count']} appliances [{uri['runs']}]: {uri['role']:.1f} s; tasks of `ansible.builtin.uri` that sign in,",
        f"  read the same settings and would write what differs: {uri['uri']:.1f} s, {uri['uri'] / uri['role']:.1f} times as long.",
        f"  Without the {uri['start']:.1f} s that an empty play takes: {without_start:.1f} times.",
        "- The role is one task for all parts of an appliance, and takes variables by their names: a task costs a fork of a process that",
        "  holds the libraries, and each template is compiled anew for each appliance. What that process would do for the first time",
        "  is done once, before it is forked.",
        f"- Memory of the largest process: {', '.join(f'{size} MB with {count}' for count, size in memory['megabytes'].items())}.",
        "",
    ]


def _processor(seconds: dict[str, float]) -> list[str]:
    """The same in processor seconds, which other work on the machine spoils less than those of the clock."""
    ours = seconds["role"] - seconds["empty"]
    return [
        f"  In processor seconds (the appliances' not counted): {ours:.1f} more than the empty tasks, {ours / seconds['bare']:.1f} times",
        f"  the {seconds['bare']:.1f} of the bare client.",
    ]


def _checked(floor: Mapping[str, Any]) -> list[str]:
    """What Ansible's own check of the role's variables adds; nothing where it was not measured."""
    if "checked" not in floor:
        return []
    return [
        "  The role runs as playbook `site` runs it, with `rolespec_validate: false`: its task checks the variables by the same rules as",
        f"  Ansible's own task before it. With that task too (as by `roles:`), the unchanged run takes {floor['checked']:.1f} s.",
    ]


def _compliance(results: list[dict[str, Any]]) -> list[str]:
    """The section on the audit of a large directory; empty where it was not measured."""
    found = {
        kind: sorted((row for row in results if row["kind"] == kind), key=lambda row: row["share"])
        for kind in ("compliance", "compliance-judging", "compliance-peer")
    }
    if not found["compliance"]:
        return []
    whole = found["compliance"][-1]
    lines = [
        "## The audit of a large directory",
        "",
        f"One domain with {_many(whole['counts'])}; a hundredth and a tenth of it beside it.",
        "The whole audit is `ansible-playbook certlogon.core.compliance` on an inventory that has this domain, with every output but",
        "without drift. The largest process is ours: Samba's memory, on the same machine, is not counted, though its seconds are most of",
        "these.",
        "",
        "| share | users, certificates | whole audit, s | largest process | directory, accounts, Group Policy, s | judging, s | failures |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found["compliance"]:
        looked = ", ".join(f"{row['seconds'][part]:.1f}" for part in ("domain", "accounts", "group_policy"))
        lines.append(
            f"| {row['share']} % | {row['counts']['users']:,}, {row['seen']['certificates']:,} | {row['audit']['seconds']:.1f} "
            f"[{row['audit']['runs']}] | {row['audit']['megabytes']} MB | {looked} | {sum(row['families'].values()):.2f} "
            f"| {row['audit']['findings']['fail']:,} |"
        )
    smallest = found["compliance"][0]
    growth = whole["audit"]["seconds"] / smallest["audit"]["seconds"]
    lines += [
        "",
        f"From {smallest['share']} % to {whole['share']} % the whole audit takes {growth:.0f} times as long, with",
        f"{whole['audit']['megabytes'] / smallest['audit']['megabytes']:.1f} times the memory. Accounts without certificate and mapping",
        "are never transferred; the others are judged page by page, while they are read, within the seconds of accounts.",
        "",
        "Judging by family, seconds: " + ", ".join(f"{name} {value:.2f}" for name, value in whole["families"].items()) + ".",
        "",
    ]
    for row in found["compliance-judging"][-1:]:
        lines += [
            f"Judging alone, {row['count']:,} certificates, each read from its DER and judged by all controls of accounts: "
            f"{row['certlogon']:,.0f} a",
            f"second of processor time. Parsing the same certificates with dates, issuer and all extensions by cryptography: "
            f"{row['cryptography']:,.0f}. Ratio",
            f"{row['ratio']:.2f}, of at least 0.50.",
            "",
        ]
    if found["compliance-peer"]:
        lines += [
            f"Beside Certipy (PyPI {CERTIPY}, `find -dc-only`), each as a whole process, by an account without privileges:",
            "",
            "| share | templates | certlogon, s | Certipy, s | findings of both | only certlogon | only Certipy |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['share']} % | {row['templates']:,} | {_cell(row, 'certlogon')} | {_cell(row, 'certipy')} | {row['agree']} "
            f"| {', '.join(row['only_certlogon'][:3]) or 'none'} | {', '.join(row['only_certipy'][:3]) or 'none'} |"
            for row in found["compliance-peer"]
        ]
        lines += [
            "",
            "Compared are templates, enrollment services and issuance policies, and the findings ESC1, 2, 3, 4, 9, 13, 15 and 17. Not",
            "compared: what Certipy asks of CA hosts by RPC and HTTP (ESC6 to 8, 11, 16), which a stand-in does not answer; and what it",
            "does not look at, which is most of the audit: accounts, Group Policy, NTAuth, replicas, CRLs. Most",
            "of Certipy's seconds in a large directory are one search for the account's groups, for which Samba reads every object.",
            "",
        ]
    return lines


def _many(counts: Mapping[str, int]) -> str:
    """What a directory has, in words."""
    return (
        f"{counts['templates']:,} templates, {counts['policies']:,} policies linked across {counts['units']:,} OUs and "
        f"{counts['users']:,} users, of whom {counts['certificates']:,} carry certificates"
    )


def _span(numbers: list[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _empty(results: list[dict[str, Any]], name: str) -> str:
    values = sorted(row[name]["whole"] for row in results if row["kind"] == "empty")
    return f"{values[len(values) // 2]:.2f}"


def _cell(row: dict[str, Any], name: str) -> str:
    return f"{row[name]['seconds']:.3f} [{row[name]['runs']}]" if name in row else ""


def _ratios(row: dict[str, Any]) -> str:
    ours = row["certlogon"]["seconds"]
    parts = []
    if "community.general" in row and ours:
        parts.append(f"{row['community.general']['seconds'] / ours:.0f} times faster than community.general")
    if "floor" in row and row["floor"]["seconds"]:
        parts.append(f"{ours / row['floor']['seconds']:.2f} of the floor")
    return "; ".join(parts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
