# SPDX-License-Identifier: GPL-3.0-or-later
"""Device keys in a TPM (swtpm's): enrolment to renewal against the real server; what is on the disk is worth nothing elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from passivekey.agent import cli, container, enrollment, state, tpm
from passivekey.agent.client import Server
from passivekey.agent.container import ContainerError
from passivekey.agent.secret_store import FileStore, SecretStoreError
from passivekey.protocol import messages

MISSING = [name for name in ("swtpm", "tpm2_createprimary", "openssl") if not shutil.which(name)]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (Debian: swtpm tpm2-tools openssl)")

SITE = "intranet.corp.example"
DAY = 86400


class Machine:
    """A TPM of its own. The kernel's resource manager takes keys out of it when a program ends; here `flush` does."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.tcti = f"swtpm:path={self.folder}/tpm"
        self.process = None
        self.start()

    def start(self):
        sockets = ("--server", f"type=unixio,path={self.folder}/tpm", "--ctrl", f"type=unixio,path={self.folder}/tpm.ctrl")
        words = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder}", *sockets, "--flags", "not-need-init,startup-clear"]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ends = time.monotonic() + 10
        while not all((self.folder / name).is_socket() for name in ("tpm", "tpm.ctrl")):
            assert time.monotonic() < ends and self.process.poll() is None
            time.sleep(0.01)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        for name in ("tpm", "tpm.ctrl"):
            (self.folder / name).unlink(missing_ok=True)

    def ask(self, tool, *arguments):
        done = subprocess.run([tool, *arguments], env={**os.environ, "TPM2TOOLS_TCTI": self.tcti}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def flush(self):
        for kind in ("-t", "-l"):  # keys, and sessions that a refusal leaves
            self.ask("tpm2_flushcontext", kind)


@pytest.fixture(scope="module")
def machines():
    """Two machines' TPMs."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:  # short, for addresses of sockets are
        found = [Machine(first), Machine(second)]
        yield found
        for machine in found:
            machine.stop()


@pytest.fixture
def on(machines, monkeypatch):
    """Moves to the machine of a number."""

    def move(number):
        monkeypatch.setenv("TPM2TOOLS_TCTI", machines[number].tcti)
        return machines[number]

    ran = tpm._run

    def run(*given):
        try:
            return ran(*given)
        finally:
            for machine in machines:
                if os.environ.get("TPM2TOOLS_TCTI") == machine.tcti and machine.process.poll() is None:
                    machine.flush()

    monkeypatch.setattr(tpm, "_run", run)
    move(0)
    return move


@pytest.fixture
def agent(https, on, tmp_path, clock):
    def make(key="auto", folder="home"):
        server = Server(https.origin, str(https.ca_file), clock)
        server._ticket = lambda: ""
        store = FileStore(tmp_path / folder / "secrets")
        return enrollment.Agent(
            state.Places(tmp_path / folder), store, server, "PC7", lambda: ("alice@corp.example", "pass"), [].append, clock, key=key
        )

    return make


def devices(service, *states):
    with service.store.transaction(reading=True) as transaction:
        return [device.id for device in transaction.devices_of("S-1-5-21-1-2-3-1101", *(states or ("active",)))]


def web(service, agent, content, clock):
    cookie = enrollment.cookies(content, agent.current_policy(content), clock())[0]
    return service.check(SITE, "", cookie["value"], "").device


def radius(service, content, clock):
    state = service.radius("alice@corp.example", "pass", "", "")
    return service.radius("alice@corp.example", enrollment.code(content, clock())[0], state, "")


def test_enrolment_codes_renewal(agent, service, clock):
    found = agent("tpm").bring_up()
    assert devices(service) == [found.device] and found.in_tpm and found.agreement.startswith("tpm:")
    assert radius(service, agent().load(), clock) == ""
    assert web(service, agent(), agent().load(), clock) == found.device
    clock.now += 61 * DAY
    before = found.certificate
    renewed = agent().bring_up()
    assert renewed.device == found.device and renewed.certificate != before and renewed.key == found.key
    clock.now += 60
    assert web(service, agent(), renewed, clock) == found.device
    agent().retire()
    assert devices(service) == []


def test_no_secret_is_kept_outside(agent, service, on):
    """What the container has when opened, and what the TPM says of its keys."""
    found = agent().bring_up()
    with service.store.transaction(reading=True) as transaction:
        (sealed, kid) = transaction.seed(found.device)
    seed = messages.unseal(sealed, found.device, service.keyring.storage_key(kid))
    assert found.codes.value == seed and messages.text(seed) not in json.dumps(vars(found), default=str)
    assert found.seed.count(".") == 4  # a JWE
    for kept, use in ((found.key, "sign"), (found.agreement, "decrypt")):
        public, private, _der = kept.removeprefix("tpm:").split(".")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "pub").write_bytes(messages.octets(public))
            (folder / "priv").write_bytes(messages.octets(private))
            machine = on(0)
            machine.ask("tpm2_createprimary", "-Q", "-C", "o", "-G", "ecc", "-c", str(folder / "parent"))
            files = ("-u", str(folder / "pub"), "-r", str(folder / "priv"))
            machine.ask("tpm2_load", "-Q", "-C", str(folder / "parent"), *files, "-c", str(folder / "key"))
            machine.flush()
            said = machine.ask("tpm2_readpublic", "-c", str(folder / "key"))
            machine.flush()
        attributes = said.split("attributes:")[1].split("value: ")[1].split("\n")[0].split("|")
        assert {"fixedtpm", "fixedparent", "sensitivedataorigin", use} <= set(attributes)
        assert not {"restricted", "decrypt" if use == "sign" else "sign"} & set(attributes)
    assert on(0).ask("tpm2_getcap", "handles-persistent") == on(0).ask("tpm2_getcap", "handles-transient") == ""


def test_others_read_what_it_makes(on, tmp_path):
    """openssl on the request, on signatures, and on the shared secret."""
    key, agreement = (tpm.TpmKey(tpm.create(use)) for use in ("sign", "decrypt"))
    pem = tmp_path / "key.pem"
    pem.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    csr = enrollment._csr(container.Content("https://x", "", key=key.kept))
    (tmp_path / "csr").write_bytes(messages.octets(csr))
    words = ["openssl", "req", "-inform", "DER", "-in", str(tmp_path / "csr"), "-verify", "-noout", "-pubkey"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert "verify OK" in done.stdout + done.stderr and pem.read_text() in done.stdout
    for number in range(4):
        (tmp_path / "message").write_bytes(b"m" * number)
        (tmp_path / "signature").write_bytes(key.sign(b"m" * number, ec.ECDSA(tpm.hashes.SHA256())))
        words = ["openssl", "dgst", "-sha256", "-verify", str(pem), "-signature", str(tmp_path / "signature"), str(tmp_path / "message")]
        assert "Verified OK" in subprocess.run(words, capture_output=True, text=True).stdout
    peer = tmp_path / "peer.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(peer)], check=True)
    other = subprocess.run(["openssl", "pkey", "-in", str(peer), "-pubout", "-outform", "DER"], capture_output=True, check=True).stdout
    pem.write_bytes(agreement.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    words = ["openssl", "pkeyutl", "-derive", "-inkey", str(peer), "-peerkey", str(pem)]
    secret = subprocess.run(words, capture_output=True, check=True).stdout
    assert hashlib.sha256(agreement.exchange(ec.ECDH(), tpm.load_der_public_key(other))).digest() == hashlib.sha256(secret).digest()


def test_a_container_elsewhere_is_worth_nothing(agent, on, tmp_path, service, clock):
    """Container and passphrase, copied to another machine: no cookie, no code; at the next logon another device."""
    found = agent().bring_up()
    policy = agent().current_policy(found)
    shutil.copytree(tmp_path / "home", tmp_path / "stolen")
    on(1)
    for use in (lambda content: enrollment.code(content), lambda content: enrollment.cookies(content, policy, clock())):
        with pytest.raises(ContainerError, match="in another TPM, or in this one before it was cleared; run: passivekey-agent enroll"):
            use(agent(folder="stolen").load())
    there = agent(folder="stolen")
    assert there.bring_up().device != found.device and "enrolling anew" in there.warn.__self__[0]
    on(0)
    clock.now += 60
    assert web(service, agent(), agent().load(), clock) == found.device


def test_a_tpm_that_cannot_be_asked_loses_nothing(agent, machines, service, clock):
    found = agent().bring_up()
    machines[0].stop()
    try:
        for use in (lambda: agent().bring_up(), lambda: enrollment.code(agent().load())):
            with pytest.raises(SecretStoreError, match=r"cannot be used \(tpm2_createprimary: .*key = container"):
                use()
    finally:
        machines[0].start()  # its memory outlives a reboot
    assert agent().bring_up().device == found.device == devices(service)[0]


def test_a_cleared_tpm(agent, machines, service):
    found = agent().bring_up()
    machines[0].ask("tpm2_clear")
    second = agent().bring_up()
    assert second.device != found.device and second.in_tpm


def test_where_keys_have_to_be(agent, service, https, monkeypatch):
    """The setting moves a device by enrolling anew and revoking itself; not while the server is away. auto leaves it where it is."""
    first = agent("container").bring_up()
    assert not first.in_tpm and agent("auto").bring_up().device == first.device
    https.before = lambda scope: (503, [], {"type": "urn:passivekey:error:unavailable", "detail": ""})
    assert agent("tpm").bring_up().device == first.device
    https.before = None
    second = agent("tpm").bring_up()
    assert second.in_tpm and devices(service) == [second.device]
    monkeypatch.setenv("TPM2TOOLS_TCTI", "swtpm:path=/nonexistent")
    third = agent("container")
    found = third.bring_up()
    assert not found.in_tpm and set(devices(service)) == {second.device, found.device}
    assert "cannot revoke itself" in third.warn.__self__[0]


def test_no_tpm(agent, monkeypatch, service):
    monkeypatch.delenv("TPM2TOOLS_TCTI")
    monkeypatch.setattr(tpm, "DEVICE", "/nonexistent")
    with pytest.raises(SecretStoreError, match="cannot be used"):
        agent("tpm").bring_up()
    assert not agent().places.container.exists()
    assert not agent("auto").bring_up().in_tpm


def test_a_tpm_that_refuses(agent, machines):
    """An owner's password: auto says so and goes on without, tpm does not."""
    machines[0].ask("tpm2_changeauth", "-c", "o", "secret")
    machines[0].flush()
    try:
        with pytest.raises(SecretStoreError, match="tpm2_createprimary"):
            agent("tpm").bring_up()
        maker = agent("auto")
        assert not maker.bring_up().in_tpm and "are in its container" in maker.warn.__self__[0]
    finally:
        machines[0].ask("tpm2_changeauth", "-c", "o", "-p", "secret")


def test_settings(tmp_path, monkeypatch):
    file = tmp_path / "agent.conf"
    file.write_text("[agent]\norigin = https://x\nkey = tmp\n")
    monkeypatch.setattr(cli, "SETTINGS", (file, file))
    with pytest.raises(cli.NotSetUp, match=r"key = tmp in section \[agent\] of .*: it has to be one of auto, tpm, container"):
        cli.settings(None)
    file.write_text("[agent]\norigin = https://x\n")
    assert cli.settings(None)["key"] == "auto"


def test_the_check_at_logon_knows_no_tpm():
    words = "import sys; import passivekey.agent.logon; print([name for name in sys.modules if 'tpm' in name or name == 'subprocess'])"
    assert subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True).stdout == "[]\n"
