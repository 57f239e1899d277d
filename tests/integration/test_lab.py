# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself: the domain that it promises, and that nothing of a killed one stays. Labs of its own, beside the one we run in."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import ldap3
import pytest

from lab import domain
from lab.errors import LabError
from lab.labs import Lab, all_labs
from lab.processes import Process
from lab.progress import Progress
from lab.settings import CHECKOUT


def lab_line(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lab", *arguments]


def lab_command(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(lab_line(*arguments), input=stdin, capture_output=True, text=True, cwd=CHECKOUT, check=False)


def processes_of(name: str) -> list[str]:
    """Command lines of all processes that belong to a lab, by their label or by their root."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            mounts = (folder / "mountinfo").read_text()
            if f"certlogon-lab {name}" in line or f"/{name}/hosts/" in mounts.partition("\n")[0]:
                found.append(line or folder.name)
    return found


def gone(name: str, seconds: float = 8) -> bool:
    end = time.monotonic() + seconds
    while processes_of(name):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return f"/{name}/hosts" not in Path("/proc/self/mountinfo").read_text()


@pytest.fixture
def spare() -> Iterator[Lab]:
    """A name for a lab that is down, and down again afterwards."""
    found = Lab(f"spare-{os.getpid()}")
    found.down()
    yield found
    found.down()


# ---- what others rely on


def test_ldaps_is_verified_against_the_labs_ca(lab):
    for bundle, trusted in (("ca_bundle", True), ("rogue_ca", False)):
        command = [
            "openssl",
            "s_client",
            "-connect",
            "dc1.corp.example:636",
            "-verify_return_error",
            "-verify_hostname",
            "dc1.corp.example",
        ]
        command += ["-CAfile", lab.files[bundle], "-no-CApath", "-no-CAstore"]
        answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert (answer.returncode == 0) is trusted, answer.stderr.decode()


@pytest.mark.parametrize(
    ("account", "code"),
    [
        ("administrator", None),
        ("plain.user", None),
        ("policy.editor", None),
        ("domain.admin", None),
        ("expired.user", "data 532"),
        ("mustchange.user", "data 773"),
        ("disabled.user", "data 533"),
    ],
)
def test_accounts_are_what_they_are_called(lab, account, code):
    server = ldap3.Server("ldaps://dc1.corp.example", tls=ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=lab.files["ca_bundle"]))
    who = lab.account(account)
    connection = ldap3.Connection(server, who["upn"], who["password"])
    assert connection.bind() is (code is None)
    assert code is None or code in connection.result["message"]


def test_the_directory_looks_like_a_company(lab):
    base = "DC=corp,DC=example"
    assert len(lab.ldbsearch(base, "(&(objectCategory=person)(mail=*))", "cn")) >= 25
    assert len(lab.ldbsearch(base, "(objectCategory=computer)", "cn")) >= 10
    assert len(lab.ldbsearch(base, "(&(objectCategory=group)(member=*))", "cn", scope="sub")) >= 10
    services = lab.ldbsearch(f"CN=Configuration,{base}", "(objectClass=pKIEnrollmentService)", "cn", "dNSHostName", "description")
    assert sorted(service["cn"] for service in services) == [[b"Corp Example Issuing CA"], [b"Corp Example VPN CA"]]
    assert all(b"Stand-in" in service["description"][0] for service in services)


def test_certificates_are_what_they_are_called(lab):
    def openssl(*arguments: str) -> str:
        return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False, cwd=lab.files["folder"]).stdout

    assert "CA:TRUE" in openssl("x509", "-in", "root-ca.pem", "-noout", "-ext", "basicConstraints")
    assert "issuing-ca.pem: OK" in openssl("verify", "-CAfile", "root-ca.pem", "issuing-ca.pem")
    assert "will expire" in openssl("x509", "-in", "odd/expired-ca.pem", "-noout", "-checkend", "0")
    assert "(1024 bit)" in openssl("x509", "-in", "odd/weak-ca.pem", "-noout", "-text")
    assert "sha1WithRSA" in openssl("x509", "-in", "odd/sha1-ca.pem", "-noout", "-text")
    assert "CA:FALSE" in openssl("x509", "-in", "odd/leaf.pem", "-noout", "-ext", "basicConstraints")
    assert "notBefore=Jan  1 00:00:00 2070" in openssl("x509", "-in", "odd/future-ca.pem", "-noout", "-startdate")
    assert openssl("x509", "-in", "odd/garbage.cer", "-inform", "DER", "-noout", "-subject") == ""


def test_secrets_are_readable_by_root_only(lab):
    for path in (Path(lab.files["accounts"]), Path(lab.files["folder"]) / "root-ca.key"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert Path(lab.files["folder"]).parent.stat().st_mode & 0o077 == 0


def test_kerberos_works_on_the_control_host(lab):
    name = lab.status["name"]
    script = "export KRB5CCNAME=/tmp/test-$$; kinit administrator && ldapwhoami -Q -Y GSSAPI -H ldap://dc1.corp.example; kdestroy"
    done = lab_command("exec", "--name", name, "control", "--", "sh", "-c", script, stdin=lab.account("administrator")["password"] + "\n")
    assert "u:CORP\\Administrator" in done.stdout, done.stderr


# ---- commands


def test_exec_passes_streams_exit_code_and_folder(lab, tmp_path):
    name = lab.status["name"]
    assert lab_command("exec", "--name", name, "control", "--", "cat", stdin="hello").stdout == "hello"
    assert lab_command("exec", "--name", name, "dc1", "--", "sh", "-c", "exit 7").returncode == 7
    assert lab_command("exec", "--name", name, "dc1", "--", "sh", "-c", "kill -TERM $$").returncode == 143
    missing = lab_command("exec", "--name", name, "dc1", "--", "no-such-command")
    assert (missing.returncode, missing.stderr) == (127, "no-such-command: command not found\n")
    environment = dict(os.environ, PYTHONPATH=str(CHECKOUT), SOMETHING="kept")
    shown = subprocess.run(
        lab_line("exec", "--name", name, "machine", "--", "sh", "-c", "pwd; cat /etc/resolv.conf; echo $SOMETHING $CERTLOGON_LAB"),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown == f"{tmp_path}\nsearch corp.example\nnameserver 10.83.0.10\nkept {name}\n"


def test_the_checkout_is_read_only_on_the_control_host(lab):
    done = lab.run("control", "touch", "/srv/certlogon/x", check=False)
    assert done.returncode == 1 and "Read-only file system" in done.stderr


def test_an_unknown_host_is_one_clear_line(lab):
    name = lab.status["name"]
    done = lab_command("exec", "--name", name, "dc9", "--", "true")
    assert (done.returncode, done.stderr) == (1, f"lab: lab {name!r} has no host 'dc9'; it has {', '.join(lab.status['hosts'])}\n")


def test_the_inventory_knows_the_lab(lab):
    shown = subprocess.run([str(CHECKOUT / "inventories/lab/domains.py"), "--list"], capture_output=True, text=True, check=True).stdout
    host = json.loads(shown)["_meta"]["hostvars"]["corp.example"]
    assert host["certlogon_server"][0] == "dc1.corp.example"
    assert host["certlogon_password"] == lab.account("administrator")["password"]


# ---- up, faults, down


def test_up_beside_another_twice_and_down(lab, spare):
    domain.ensure_snapshot(Progress(quiet=True), bare=False)
    begun = time.monotonic()
    assert spare.up(Progress(quiet=True)) is True
    assert time.monotonic() - begun < 10, "a lab starts from the snapshot in less than 10 s"
    first = spare.status()
    assert spare.up(Progress(quiet=True)) is False, "a second up does nothing"
    assert spare.status() == first
    assert first["hosts"]["dc1"]["address"] == lab.status["hosts"]["dc1"]["address"], "labs have the same addresses, and do not meet"
    assert spare.name in [other.name for other in all_labs()]
    assert spare.run("dc1", "samba-tool", "ntacl", "sysvolcheck").stdout == ""
    spare.run("dc1", "samba-tool", "user", "add", "only.here", "Some.Pass.word1")
    assert lab.run("dc1", "samba-tool", "user", "show", "only.here", check=False).returncode != 0
    spare.down()
    assert gone(spare.name) and not spare.folder.exists()


def test_samba_killed_and_started_again(spare):
    spare.up(Progress(quiet=True))
    spare.kill("dc1")
    assert spare.status()["hosts"]["dc1"]["samba"] is False
    spare.start("dc1")
    assert spare.status()["hosts"]["dc1"]["samba"] is True
    with pytest.raises(LabError, match="samba runs on dc1 already"):
        spare.start("dc1")
    spare.kill("dc1")
    spare.run("dc1", "sh", "-c", "echo '[global' > /etc/samba/smb.conf")
    with pytest.raises(LabError, match="does not answer: it has ended") as failure:
        spare.start("dc1")
    assert "Failed to load config file" in failure.value.explain()


def test_nothing_of_a_killed_lab_stays(spare):
    spare.up(Progress(quiet=True))
    keeper = Process(**spare.record()["keeper"])
    os.kill(keeper.pid, signal.SIGKILL)
    assert gone(spare.name)
    assert spare.status()["state"] == "stale"
    assert spare.up(Progress(quiet=True)) is True, "the next up clears away what is left"
    assert spare.status()["state"] == "running"


@pytest.mark.parametrize("after", [0.15, 0.4, 0.7, 1.1])
def test_nothing_of_a_killed_up_stays(spare, after):
    starting = subprocess.Popen(lab_line("up", "--name", spare.name), cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(after)
    starting.kill()
    starting.wait()
    if spare.status()["state"] == "running":
        pytest.skip("it was up before it was killed")
    assert gone(spare.name)


ONLY_ON_DC1 = """dn: CN=OnlyHere,CN=OID,CN=Public Key Services,CN=Services,CN=Configuration,DC=corp,DC=example
changetype: add
objectClass: msPKI-Enterprise-Oid

"""
LOOK_AT_BOTH = """
import json, sys, tempfile
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.certlogon.core.plugins.module_utils.compliance.domain import DomainObservation
from ansible_collections.certlogon.core.plugins.module_utils.resource import run
lab = json.load(sys.stdin)
who = lab["accounts"]["administrator"]
options = {"server": ["dc1.corp.example"], "username": who["upn"], "password": who["password"], "folder": tempfile.mkdtemp()}
checked = ArgumentSpecValidator(DomainObservation.argument_spec()).validate(options)
found = run(DomainObservation(), checked.validated_parameters, check_mode=False, warn=lambda text: None)
facts = json.load(open(found["observation"]))["facts"]
print(json.dumps([[one["host"], one["reference"], [[d["what"], d["dn"]] for d in one["differences"]]] for one in facts["replicas"]]))
"""


def test_a_second_domain_controller(spare):
    spare.up(Progress(quiet=True), second_dc=True)
    assert "[ALL GOOD]" in spare.run("dc2", "samba-tool", "drs", "showrepl", "--summary").stdout
    assert "dc2.corp.example" in spare.run("control", "host", "-t", "SRV", "_ldap._tcp.corp.example").stdout
    # what has not been replicated is seen by who looks at both
    administrator = spare.status()["accounts"]["administrator"]
    who = f"{administrator['username']}%{administrator['password']}"
    spare.run("dc2", "samba-tool", "drs", "options", "dc2.corp.example", "--dsa-option=+DISABLE_INBOUND_REPL", "-U", who)
    spare.run("dc1", "ldbmodify", "-H", "/var/lib/samba/private/sam.ldb", stdin=ONLY_ON_DC1)
    inside = lab_line("exec", "--name", spare.name, "machine", "--", sys.executable, "-c", LOOK_AT_BOTH)
    seen = subprocess.run(inside, cwd=CHECKOUT, input=json.dumps(spare.status()), capture_output=True, text=True, check=True)
    assert json.loads(seen.stdout) == [
        ["dc1.corp.example", True, []],
        ["dc2.corp.example", False, [["missing", ONLY_ON_DC1.partition("\n")[0].removeprefix("dn: ")]]],
    ]


def test_the_lab_without_enrollment_services(spare):
    spare.up(Progress(quiet=True), bare=True)
    base = "CN=Enrollment Services,CN=Public Key Services,CN=Services,CN=Configuration,DC=corp,DC=example"
    found = spare.run("dc1", "ldbsearch", "-H", "/var/lib/samba/private/sam.ldb", "-b", base, "-s", "one", "dn").stdout
    assert "# 0 entries" in found


def test_the_lab_with_the_ca_host(spare):
    spare.up(Progress(quiet=True), ca=True)
    status = spare.status()
    assert status["hosts"]["ca1"]["service"] is True
    assert set(status["files"]) >= {"ssh_key", "ssh_known_hosts"}
    with pytest.raises(LabError, match="runs on ca1 already"):
        spare.start("ca1")
    spare.kill("ca1")
    assert spare.status()["hosts"]["ca1"]["service"] is False
    spare.start("ca1")
    assert spare.status()["hosts"]["ca1"]["service"] is True
    spare.kill("dc1")
    spare.start("dc1")
    assert spare.run("dc1", "pgrep", "-x", "sshd").returncode == 0, "SSH comes back with the domain controller"
    members = spare.run("dc1", "samba-tool", "group", "listmembers", "Cert Publishers").stdout
    assert members.strip() == "", "joining makes no certificate publisher; installing the authority does"
    base = "CN=Enrollment Services,CN=Public Key Services,CN=Services,CN=Configuration,DC=corp,DC=example"
    found = spare.run("dc1", "ldbsearch", "-H", "/var/lib/samba/private/sam.ldb", "-b", base, "-s", "one", "dn").stdout
    assert "# 0 entries" in found
    assert "CORP.EXAMPLE" in spare.run("ca1", "klist", "-k", "/etc/windows_ca/ca1.keytab").stdout
    spare.down()
    assert gone(spare.name)
