# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension in a real Chromium, with a real host and server: the site gets a cookie that is good, and the page cannot read it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_public_key

from passivekey.agent import browsers, cli, enrollment, state
from passivekey.agent.client import Server
from passivekey.agent.secret_store import FileStore
from tests.unit.passivekey.agent_server import running

ROOT = Path(__file__).parents[3]
FLAGS = (
    *(
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-component-update",
        "--disable-sync",
    ),
    *("--password-store=basic", "--ignore-certificate-errors", "--remote-debugging-port=0"),
)
PAGE = b"<script>setTimeout(() => { location.replace('/page?' + encodeURIComponent(document.cookie)) }, 300)</script>"


@pytest.fixture
def key_file(tmp_path):
    file = tmp_path / "key.pem"
    key = rsa.generate_private_key(65537, 2048)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return file


def test_the_id_is_fixed():
    assert browsers.extension_id() == "baoggbmiajieelniodcggmbacbgcjnhp"


@pytest.mark.parametrize("browser", browsers.BROWSERS)
def test_manifests(browser, tmp_path):
    """What each browser wants, and no more rights than the sites need."""
    browsers.build(browser, ["intranet.corp.example", "wiki.corp.example:8443"], tmp_path / "extension")
    found = json.loads((tmp_path / "extension/manifest.json").read_text())
    assert found["manifest_version"] == 3 and found["permissions"] == ["alarms", "cookies", "nativeMessaging"]
    assert found["host_permissions"] == ["https://intranet.corp.example/*", "https://wiki.corp.example/*"]
    assert ("scripts" in found["background"]) == (browser == "firefox") and ("key" in found) == (browser != "firefox")
    assert not {"content_scripts", "externally_connectable", "web_accessible_resources"} & set(found)
    assert (tmp_path / "extension/worker.js").read_bytes() == (browsers.SOURCES / "worker.js").read_bytes()
    assert (tmp_path / "passivekey.xpi").exists() == (browser == "firefox")
    assert browsers.manifest(browser, [])["host_permissions"] == ["https://*/*"]


def test_packed_for_a_forced_installation(tmp_path, key_file, capsys):
    given = ["--browser", "chromium", "--into", str(tmp_path / "extension"), "--site", "a.example", "--key", str(key_file)]
    assert cli.main(["extension", *given, "--update-url", "https://files.example/pk/updates.xml"]) == 0
    number = capsys.readouterr().out.strip()
    updates = (tmp_path / "updates.xml").read_text()
    assert f"appid='{number}'" in updates and "https://files.example/pk/passivekey.crx" in updates
    content = (tmp_path / "passivekey.crx").read_bytes()
    assert content[:8] == b"Cr24\x03\0\0\0"
    length = int.from_bytes(content[8:12], "little")
    header, archive = content[12 : 12 + length], content[12 + length :]
    proof, signed = fields(header)[2], fields(header)[10000]
    public, signature = fields(proof)[1], fields(proof)[2]
    message = b"CRX3 SignedData\0" + len(signed).to_bytes(4, "little") + signed + archive
    load_der_public_key(public).verify(signature, message, padding.PKCS1v15(), SHA256())
    assert fields(signed)[1] == hashlib.sha256(public).digest()[:16]
    assert number == "".join(chr(97 + int(digit, 16)) for digit in fields(signed)[1].hex())
    assert json.loads(zipfile.ZipFile(io.BytesIO(archive)).read("manifest.json"))["update_url"] == "https://files.example/pk/updates.xml"


def test_what_differs_has_a_later_version(tmp_path):
    """Browsers take an update by its version alone."""

    def built(*sites):
        browsers.build("chromium", sites, tmp_path / "extension")
        return json.loads((tmp_path / "extension/manifest.json").read_text())["version"]

    first, again, changed = built("a.example"), built("a.example"), built("a.example", "b.example")
    assert first == again == browsers.VERSION and built("a.example", "b.example") == changed
    assert [int(part) for part in changed.split(".")] > [int(part) for part in first.split(".")]
    assert all(int(part) < 65536 and part == str(int(part)) for part in changed.split("."))


def fields(content):
    """Length-delimited fields of a Protocol Buffers message."""
    found, position = {}, 0

    def varint():
        nonlocal position
        value = shift = 0
        while True:
            octet = content[position]
            position += 1
            value |= (octet & 0x7F) << shift
            shift += 7
            if octet < 0x80:
                return value

    while position < len(content):
        number, length = varint() >> 3, varint()
        found[number] = content[position : position + length]
        position += length
    return found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["extension", "--browser", "edge", "--key", "/dev/null", "--site", "a.example"], "is no RSA key in PEM"),
        (["register", "--browser", "edge", "--program", "host"], "no program to start by its whole path"),
        (["register", "--browser", "edge", "--program", "/dev/null"], "no program to start by its whole path"),
    ],
)
def test_mistakes(arguments, said, tmp_path, capsys):
    assert cli.main([*arguments, "--into", str(tmp_path / "into")]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("browser", browsers.BROWSERS)
def test_registration(browser, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli.main(["register", "--browser", browser, "--program", "/bin/true"]) == 0
    file = Path(capsys.readouterr().out.strip())
    found = json.loads(file.read_text())
    assert file.is_relative_to(tmp_path) and file.name == f"{found['name']}.json" and found["path"] == "/bin/true"
    asks = found["allowed_extensions"] if browser == "firefox" else found["allowed_origins"]
    assert asks == [browsers.FIREFOX_ID if browser == "firefox" else "chrome-extension://baoggbmiajieelniodcggmbacbgcjnhp/"]


# ---- a real browser


def host_program(tmp_path, https, folder):
    """What `pip` would install as passivekey-native-host, for this test's server and user."""
    settings, program = tmp_path / "agent.conf", tmp_path / "host"
    settings.write_text(f"[agent]\norigin = {https.origin}\nca_file = {https.ca_file}\nstore = file\nkey = container\n")
    script = f"""#!{sys.executable}
import os, sys, pathlib
sys.path.insert(0, {str(ROOT)!r})
os.environ["PASSIVEKEY_HOME"] = {str(folder)!r}
from passivekey.agent import cli, native_host
cli.SETTINGS = (pathlib.Path({str(settings)!r}),) * 2
sys.exit(native_host.main())
"""
    program.write_text(script)
    program.chmod(0o755)
    return program


@contextlib.contextmanager
def chromium(profile, *arguments):
    command = ["chromium", *FLAGS, f"--user-data-dir={profile}", *arguments]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


@pytest.mark.skipif(not shutil.which("chromium"), reason="not installed: chromium")
def test_chromium_shows_the_cookie_to_the_site(service, tmp_path, clock):
    clock.now = time.time()
    with running(tmp_path) as https:
        https.serve(service, clock)
        site = https.origin.removeprefix("https://")
        service.rules = replace(service.rules, sites=(site, "elsewhere.corp.example"))
        folder, shown, read = tmp_path / "home", [], []
        server = Server(https.origin, str(https.ca_file))
        server._ticket = lambda: ""
        store = FileStore(folder / "secrets")
        agent = enrollment.Agent(state.Places(folder), store, server, "PC7", lambda: ("alice@corp.example", "pass"))
        device = agent.bring_up().device

        def page(scope):
            if scope["path"] != "/page":
                return None
            cookies = dict(scope["headers"]).get(b"cookie", b"").decode()
            shown.extend(part.split("=", 1)[1] for part in cookies.split("; ") if part.startswith("__Host-passivekey="))
            read.append(unquote(scope["query_string"].decode()))
            return 200, [(b"content-type", b"text/html"), (b"set-cookie", b"plain=1; Secure")], PAGE

        https.before = page
        profile, extension = tmp_path / "profile", tmp_path / "extension"
        browsers.build("chromium", [site], extension)
        browsers.register("chromium", host_program(tmp_path, https, folder), into=profile / "NativeMessagingHosts")
        with chromium(profile, f"--load-extension={extension}", f"{https.origin}/page"):
            end = time.monotonic() + 60
            while len(read) < 2 or not shown or "plain=1" not in read[-1]:
                assert time.monotonic() < end, f"no cookie came; {len(read)} pages"
                time.sleep(0.1)
        clock.now = time.time()
        admitted = service.check(site, "", shown[0], "")
        assert admitted.device == device and admitted.session
        assert not any("passivekey" in cookies for cookies in read), "a page could read the cookie"
