# SPDX-License-Identifier: GPL-3.0-or-later
"""The domain: provisioned once, kept as a snapshot (a layer of dc1's overlay, and the accounts' passwords), started often."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lab import company, processes, root, settings
from lab.errors import LabError
from lab.processes import HERE, Process
from lab.progress import Progress

DC1, DC2, CA1 = (settings.HOSTS[name] for name in ("dc1", "dc2", "ca1"))
SAMBA = ("samba", "--interactive", "--no-process-group", "--debug-stdout")
SMB_OPTIONS = {
    "interfaces": "lo eth0",
    "bind interfaces only": "yes",
    "dns forwarder": "",
    "tls enabled": "yes",
    "tls certfile": "/etc/samba/tls/dc.pem",
    "tls keyfile": "/etc/samba/tls/dc.key",
    "tls cafile": "/etc/samba/tls/ca.pem",
    # The KDC's reasons: JSON for who and what, class kerberos for why a certificate was refused.
    "log level": "1 auth_audit:3 auth_json_audit:3 kerberos:3",
    "load printers": "no",
    "printing": "bsd",
    # A power cut may cost a lab its last writes, a killed samba does not; and each write to the directory costs a tenth of the time.
    "ldb:nosync": "true",
}
RESTART_SAMBA = "/usr/local/sbin/restart-samba"  # run by sh: how a root on a domain controller restarts samba, there being no systemd
PKI, JOINED = "/srv/pki", "/srv/ca1"
KRB5_CONF = f"""\
[libdefaults]
    default_realm = {settings.REALM}
    dns_lookup_realm = false
    dns_lookup_kdc = true
    rdns = false
    dns_canonicalize_hostname = false
[domain_realm]
    .{settings.DNS_DOMAIN} = {settings.REALM}
    {settings.DNS_DOMAIN} = {settings.REALM}
"""


def hosts_file(plan: settings.HostPlan, others: Iterable[settings.HostPlan] = ()) -> str:
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    for each in (plan, *(other for other in others if other != plan)):
        lines.append(f"{each.address} {each.fqdn} {each.name}")
        lines += [f"{address} {name}" for name, address in each.aliases]
    return "\n".join(lines) + "\n"


def host_files(plan: settings.HostPlan, resolvers: list[str], others: Iterable[settings.HostPlan] = ()) -> dict[str, str]:
    """`others`: hosts that it knows without DNS."""
    resolv = f"search {settings.DNS_DOMAIN}\n" + "".join(f"nameserver {address}\n" for address in resolvers)
    restart = {RESTART_SAMBA: (HERE / "guest/restart-samba").read_text()} if plan.name in ("dc1", "dc2") else {}
    return restart | {
        "/etc/hostname": f"{plan.name}\n",
        "/etc/hosts": hosts_file(plan, others),
        "/etc/resolv.conf": resolv,
        "/etc/krb5.conf": KRB5_CONF,
        # The SASL library asks for a reverse lookup of its own, which the domain does not answer.
        "/etc/ldap/ldap.conf": "SASL_NOCANON on\nTLS_CACERT /srv/files/ca-bundle.pem\n",
    }


def snapshot_key(bare: bool) -> str:
    """Changes with the root and with everything that goes into the domain."""
    digest = hashlib.sha256(f"{root.key()} {bare}".encode())
    for file in sorted([HERE / "company.py", HERE / "domain.py", HERE / "settings.py", *(HERE / "guest").iterdir()]):
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def ensure_snapshot(progress: Progress, *, bare: bool) -> Path:
    """The folder with `dc1/` (overlay layer), `pki/`, `accounts.json`; bare: also `ca1/` (keytab, key, certificate). Made if missing."""
    base = root.ensure(progress)
    variants = {each: settings.cache_dir() / f"domain-{snapshot_key(each)}" for each in (False, True)}
    path = variants[bare]
    if path.is_dir():
        return path
    with root.cache_lock():
        if not path.is_dir():
            root.sweep("domain-*.tmp")
            work = path.with_suffix(".tmp")
            work.mkdir(mode=0o700)
            build(progress, base, work, bare)
            work.rename(path)
            root.prune("domain-*", *variants.values())
    return path


def build(progress: Progress, base: Path, work: Path, bare: bool) -> None:
    """Provision and fill the domain on a throw-away host that ends with us."""
    log = settings.cache_dir() / "domain-build.log"
    log.unlink(missing_ok=True)
    keeper = processes.Keeper("certlogon-lab build")
    try:
        binds = [(HERE / "guest", "/srv/guest")]
        host = processes.start_host(
            keeper.process, DC1, work / "host", [base], host_files(DC1, ["127.0.0.1"]), binds, "certlogon-lab build"
        )
        accounts = company.accounts()
        with progress.step("lab certification authorities and certificates"):
            addresses = [f"{plan.name}={plan.address}" for plan in (DC1, DC2)]
            processes.run(host, ["sh", "/srv/guest/pki.sh", PKI, settings.DNS_DOMAIN, *addresses], log)
            if bare:
                processes.run(host, ["sh", "/srv/guest/ca1.sh", "certificate", PKI, JOINED, CA1.fqdn, CA1.address], log)
        with progress.step(f"domain {settings.REALM} provisioned"):
            processes.run(host, ["samba-tool", "domain", "provision", *provision_options(accounts["administrator"]["password"])], log)
            processes.run(host, ["sh", "-c", install_certificate("dc1")], log)
        issuing = (work / "host/upper" / PKI[1:] / "issuing-ca.cer").read_bytes()
        vpn = (work / "host/upper" / PKI[1:] / "vpn-ca.cer").read_bytes()
        with progress.step("people, groups, computers"):
            processes.run(host, ["python3", "/srv/guest/populate.py"], log, stdin=json.dumps(content(accounts, issuing, vpn, bare)))
            if bare:
                processes.run(host, ["sh", "/srv/guest/ca1.sh", "keytab", JOINED, f"{company.CA_HOST}$"], log)
    finally:
        keeper.process.end()
    if bare:
        (work / "host/upper" / JOINED[1:]).rename(work / "ca1")
    (work / "host/upper").rename(work / "dc1")
    (work / "dc1" / PKI[1:]).rename(work / "pki")
    write_private(work / "accounts.json", json.dumps(accounts, indent=1))
    shutil.rmtree(work / "host")


def provision_options(password: str) -> list[str]:
    options = {
        "realm": settings.REALM,
        "domain": settings.NETBIOS_DOMAIN,
        "adminpass": password,
        "server-role": "dc",
        "dns-backend": "SAMBA_INTERNAL",
        "host-name": DC1.name,
        "host-ip": DC1.address,
    }
    return [f"--{name}={value}" for name, value in options.items()] + [f"--option={name}={value}" for name, value in SMB_OPTIONS.items()]


def install_certificate(name: str, source: str = PKI) -> str:
    return (
        f"set -e; install -d -m 700 /etc/samba/tls; install -m 600 {source}/{name}.key /etc/samba/tls/dc.key; "
        f"install -m 644 {source}/{name}.pem /etc/samba/tls/dc.pem; install -m 644 {source}/ca-bundle.pem /etc/samba/tls/ca.pem"
    )


def content(accounts: Mapping[str, Mapping[str, str]], issuing: bytes, vpn: bytes, bare: bool) -> dict[str, Any]:
    services = [
        {"name": "Corp Example Issuing CA", "dns_host_name": f"ca1.{settings.DNS_DOMAIN}", "account": "CA1$", "certificate": issuing},
        {"name": "Corp Example VPN CA", "dns_host_name": f"ca1.{settings.DNS_DOMAIN}", "account": "CA1$", "certificate": vpn},
    ]
    for service in services:
        service["certificate"] = base64.b64encode(service["certificate"]).decode()  # type: ignore[arg-type]
    groups = company.GROUPS | company.BUILT_IN_GROUPS
    return {
        "entries": company.entries(),
        # On a host that has no authority yet, its installation is what makes the computer a member.
        "members": {group: members for group, members in groups.items() if not (bare and group == "Cert Publishers")},
        "joined": [company.ca_host_account()] if bare else [],
        "addresses": {CA1.name: CA1.address} if bare else {},
        "passwords": {name: account["password"] for name, account in accounts.items() if name != "administrator"},
        "must_change": ["mustchange.user"],
        "disabled": ["disabled.user"],
        "enrollment_services": [] if bare else services,
    }


def write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def start_samba(host: Process, plan: settings.HostPlan, log: Path, timeout: float = 30) -> None:
    """Start samba and wait until it answers on every port and its winbind can authenticate."""
    samba = processes.daemon(host, SAMBA, log)
    probe = [sys.executable, "-I", "-S", "-c", PROBE, plan.address, str(timeout), str(samba.pid)]
    line = processes.entering(host, probe, namespaces=["net"], env=os.environ, cwd="/")
    probed = subprocess.run(line, capture_output=True, text=True, check=False)
    if probed.returncode:
        raise LabError(f"samba on {plan.name} does not answer: {probed.stderr.strip()}", log)
    deadline = time.monotonic() + timeout
    while True:
        ping = subprocess.run(processes.entering(host, ["wbinfo", "--ping-dc"]), capture_output=True, check=False)
        if ping.returncode == 0:
            return
        if time.monotonic() > deadline:
            raise LabError(f"winbind on {plan.name} does not answer: {ping.stderr.decode().strip()}", log)
        time.sleep(0.05)


# Runs with the machine's Python in the host's network only.
PROBE = f"""\
import os, socket, sys, time
address, seconds, samba = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
end = time.monotonic() + seconds
waiting = {json.dumps(settings.PORTS)}
while waiting:
    for name, port in list(waiting.items()):
        try:
            socket.create_connection((address, port), 1).close()
            del waiting[name]
        except OSError:
            pass
    if not os.path.exists(f"/proc/{{samba}}"):
        sys.exit("it has ended")
    if time.monotonic() > end:
        sys.exit("nothing on port " + ", ".join(f"{{port}} ({{name}})" for name, port in waiting.items()) + f" after {{seconds:.0f}} s")
    time.sleep(0.03)
"""


def wait_until_found(host: Process, log: Path, timeout: float = 60) -> None:
    """Wait until the DNS of both domain controllers names both of them: the records travel by replication."""
    deadline = time.monotonic() + timeout
    for server in (DC1, DC2):
        query = processes.entering(host, ["host", "-t", "SRV", f"_ldap._tcp.{settings.DNS_DOMAIN}", server.address])
        while not all(name in subprocess.run(query, capture_output=True, text=True, check=False).stdout for name in (DC1.fqdn, DC2.fqdn)):
            if time.monotonic() > deadline:
                raise LabError(f"the DNS of {server.name} does not name both domain controllers after {timeout:.0f} s", log)
            time.sleep(0.3)


def join(host: Process, password: str, log: Path, source: str) -> None:
    """Make dc2 a second domain controller of the running domain."""
    processes.run(
        host,
        [
            *("samba-tool", "domain", "join", settings.DNS_DOMAIN, "DC", f"--realm={settings.REALM}", "--dns-backend=SAMBA_INTERNAL"),
            *("-U", "administrator", f"--server={DC1.fqdn}", "--use-kerberos=off"),
            *(f"--option={name}={value}" for name, value in SMB_OPTIONS.items()),
        ],
        log,
        stdin=password + "\n",
    )
    processes.run(host, ["sh", "-c", install_certificate("dc2", source)], log)
