# SPDX-License-Identifier: GPL-3.0-or-later
"""Chromium on a user's computer: `python3 browser_on_client1.py` with settings as JSON by standard input; answers JSON. Stand-alone.

Settings: `url`, `ca_file`, `timeout` seconds, `issuer` (CN of the CA whose certificate to choose) and one of
`pkcs12` {data, passphrase}: a software certificate, headless; `card` {token, folder, library, pin_file}: the card under Xvfb, where the
PIN is typed into the browser's own dialog; neither: no certificate, headless. `fill` {css: value} and `click` (css) act on the page.
`extension`: the browser installs the extensions that the machine's policy forces, which may start native hosts as whoever runs this, with
this process' environment; `cookie`: the page is opened once the browser has a cookie of this name for it. `again`: a path; the script makes
the file `<again>.shown` when it has the page, waits until `again` itself is there, and loads the page once more in the same browser.
Answer: `title`, `text`, `url` of the final page, `error` of the navigation, `screenshot` (PNG, base64), `pin_dialogs`, `seconds`, and with
`cookie` the `cookies` of the page before and after: {name: value}. With `again` all of it is of the first page, and `later` has `title`,
`text`, `url` and `screenshot` of the second.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

POLICIES = Path("/etc/chromium/policies/managed")
PIN_DIALOG = "Unlock Security Device"
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update", "--disable-sync"),
    *("--disable-default-apps", "--remote-debugging-port=0", "--remote-allow-origins=*"),
    *("--password-store=basic", "--window-size=1000,700", "--window-position=0,0"),
)
NOTHING_FORCED = "--disable-background-networking"
"""With it, extensions that a policy forces are not installed."""


class Late(Exception):
    pass


class Deadline:
    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        left = self.end - time.monotonic()
        if left <= 0:
            raise Late
        return left

    def pause(self) -> None:
        time.sleep(min(0.05, self.left))


def main() -> int:
    asked = json.load(sys.stdin)
    began = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="browser-", dir=os.environ.get("XDG_RUNTIME_DIR") or "/run"))
    answer: dict[str, Any] = {"title": "", "text": "", "url": "", "error": "", "screenshot": "", "pin_dialogs": 0, "cookies": {}}
    try:
        with contextlib.ExitStack() as stack:
            visit(asked, home, Deadline(asked["timeout"]), answer, stack)
    except (Late, TimeoutError):
        answer["error"] = answer["error"] or f"no answer within {asked['timeout']} s"
    finally:
        shutil.rmtree(home, ignore_errors=True)
    answer["seconds"] = round(time.monotonic() - began, 2)
    print(json.dumps(answer))
    return 0


def visit(asked: dict[str, Any], home: Path, deadline: Deadline, answer: dict[str, Any], stack: contextlib.ExitStack) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "LC_ALL": "C.UTF-8", "XDG_RUNTIME_DIR": str(home)}
    make_database(home, asked["ca_file"])
    if asked.get("pkcs12"):
        import_pkcs12(home, asked["pkcs12"])
    if asked.get("card"):
        environment |= {"SOFTHSM2_CONF": insert_card(home, asked["card"])}
        environment |= {"DISPLAY": stack.enter_context(display(home))}
    if asked.get("issuer"):
        choose_by_policy(asked["url"], asked["issuer"])
    if asked.get("extension"):
        # what it starts finds what is the user's
        data = os.environ.get("XDG_DATA_HOME") or f"{os.environ['HOME']}/.local/share"
        environment = {**os.environ, **environment, "XDG_DATA_HOME": data, "XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"]}
    browser = stack.enter_context(chromium(home, environment, headless=not asked.get("card"), forced=bool(asked.get("extension"))))
    with Page(port(home, browser, deadline), deadline) as page:
        page.call("Page.enable")
        if asked.get("cookie"):
            while asked["cookie"] not in answer["cookies"]:
                answer["cookies"] = cookies(page, asked["url"])
                deadline.pause()
        asking = page.send("Page.navigate", url=asked["url"])
        if asked.get("card"):
            type_pin(page, asking, environment, Path(asked["card"]["pin_file"]), deadline, answer)
        answer["error"] = page.answer(asking).get("errorText", "")
        page.wait_until_loaded()
        for css, value in asked.get("fill", {}).items():
            page.evaluate(f"document.querySelector({json.dumps(css)}).value = {json.dumps(value)}")
        if asked.get("click"):
            page.evaluate(f"window.before = 1; document.querySelector({json.dumps(asked['click'])}).click()")
            page.wait_until_loaded(another=True)
        answer |= shown(page)
        answer["cookies"] |= cookies(page, asked["url"]) if asked.get("cookie") else {}
        if asked.get("again"):
            go, told = Path(asked["again"]), Path(asked["again"] + ".shown")
            told.touch()
            while not go.exists():
                deadline.pause()
            page.evaluate("window.before = 1; location.reload()")
            page.wait_until_loaded(another=True)
            answer["later"] = shown(page)


def shown(page: Page) -> dict[str, str]:
    return {
        "title": page.evaluate("document.title"),
        "url": page.evaluate("location.href"),
        "text": page.evaluate("document.body ? document.body.innerText : ''"),
        "screenshot": page.call("Page.captureScreenshot", format="png")["data"],
    }


def cookies(page: Page, url: str) -> dict[str, str]:
    return {found["name"]: found["value"] for found in page.call("Network.getCookies", urls=[url])["cookies"]}


# ---- certificates


def run(*command: str, stdin: bytes = b"", environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout).decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace")


def database(home: Path) -> str:
    return f"sql:{home}/.pki/nssdb"


def make_database(home: Path, ca_file: str) -> None:
    (home / ".pki/nssdb").mkdir(parents=True)
    run("certutil", "-N", "--empty-password", "-d", database(home))
    run("certutil", "-A", "-d", database(home), "-n", "lab", "-t", "C,,", "-i", ca_file)


def import_pkcs12(home: Path, software: dict[str, str]) -> None:
    passphrase, file = home / "passphrase", home / "user.p12"
    passphrase.write_text(software["passphrase"])
    file.write_bytes(base64.b64decode(software["data"]))
    run("pk12util", "-i", str(file), "-d", database(home), "-w", str(passphrase), "-K", "")
    passphrase.unlink()
    file.unlink()


def insert_card(home: Path, card: dict[str, str]) -> str:
    """One card in the reader (a copy): else the browser asks for the PIN of every card there is. The configuration's path."""
    label = card["token"].encode().ljust(32)
    tokens = home / "tokens"
    for folder in (Path(card["folder"]) / "tokens").iterdir():
        if label in (folder / "token.object").read_bytes():
            shutil.copytree(folder, tokens / folder.name)
    if not tokens.is_dir():
        sys.exit(f"there is no card {card['token']!r}")
    configuration = home / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = true\n")
    environment = {"PATH": "/usr/bin:/bin", "SOFTHSM2_CONF": str(configuration)}
    run("modutil", "-force", "-dbdir", database(home), "-add", "card", "-libfile", card["library"], environment=environment)
    return str(configuration)


def choose_by_policy(url: str, issuer: str) -> None:
    """Without it an invisible dialog asks for the certificate."""
    parts = urlsplit(url)
    entry = json.dumps({"pattern": f"{parts.scheme}://{parts.netloc}", "filter": {"ISSUER": {"CN": issuer}}})
    POLICIES.mkdir(parents=True, exist_ok=True)
    (POLICIES / "lab.json").write_text(json.dumps({"AutoSelectCertificateForUrls": [entry]}))


# ---- processes


@contextlib.contextmanager
def started(command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def display(home: Path) -> Iterator[str]:
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "1000x700x24", "-nolisten", "tcp"]
    with (home / "xvfb.log").open("wb") as log, started(command, stdout=log, stderr=log, pass_fds=[writer]):
        os.close(writer)
        with os.fdopen(reader) as told:
            number = told.readline().strip()
        yield f":{number}"


@contextlib.contextmanager
def chromium(home: Path, environment: dict[str, str], *, headless: bool, forced: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    flags = [*FLAGS, *([] if forced else [NOTHING_FORCED])]
    command = ["chromium", *(["--headless=new"] if headless else []), *flags, f"--user-data-dir={home}/profile", "about:blank"]
    with (home / "chromium.log").open("wb") as log, started(command, stdout=log, stderr=log, env=environment) as process:
        yield process


def port(home: Path, browser: subprocess.Popen[bytes], deadline: Deadline) -> int:
    file = home / "profile/DevToolsActivePort"
    while True:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(file.read_text().splitlines()[0])
        if browser.poll() is not None:
            sys.exit(f"chromium has ended: {(home / 'chromium.log').read_text(errors='replace')[-800:]}")
        deadline.pause()


def type_pin(page: Page, asking: int, environment: dict[str, str], pin_file: Path, deadline: Deadline, answer: dict[str, Any]) -> None:
    """Type the PIN when the browser asks for it, and go on without card when it asks again (a wrong PIN), until the page answers."""
    seen: set[str] = set()
    while not page.has_answer(asking):
        found = subprocess.run(["xdotool", "search", "--name", PIN_DIALOG], env=environment, capture_output=True, text=True, check=False)
        for window in [each for each in found.stdout.split() if each not in seen]:
            seen.add(window)
            time.sleep(0.2)
            if len(seen) == 1:  # by standard input: all processes can read a command line
                typing = ["xdotool", "windowfocus", window, "type", "--delay", "20", "--file", "-"]
                run(*typing, stdin=pin_file.read_bytes(), environment=environment)
                run("xdotool", "key", "Return", environment=environment)
            else:
                run("xdotool", "windowfocus", window, "key", "Escape", environment=environment)
        answer["pin_dialogs"] = len(seen)
        deadline.pause()


# ---- the browser's debugging protocol (a WebSocket, RFC 6455, with text in one frame each way)


class Page:
    def __init__(self, port: int, deadline: Deadline) -> None:
        self.deadline = deadline
        self.number = 0
        self.answers: dict[int, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.pending = b""
        target = self._target(port)
        self.socket = socket.create_connection(("127.0.0.1", port), deadline.left)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        self.socket.sendall(
            f"GET {urlsplit(target).path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self.pending:
            self._receive()
        self.pending = self.pending.partition(b"\r\n\r\n")[2]

    def _target(self, port: int) -> str:
        while True:
            with contextlib.suppress(OSError, ValueError):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=self.deadline.left) as answer:
                    pages = [each for each in json.load(answer) if each["type"] == "page"]
                if pages:
                    return str(pages[0]["webSocketDebuggerUrl"])
            self.deadline.pause()

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.socket.close()

    def send(self, method: str, **parameters: Any) -> int:
        self.number += 1
        text = json.dumps({"id": self.number, "method": method, "params": parameters}).encode()
        mask = secrets.token_bytes(4)
        length = bytes([0x80 | len(text)]) if len(text) < 126 else bytes([0x80 | 126]) + struct.pack(">H", len(text))
        self.socket.sendall(b"\x81" + length + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(text)))
        return self.number

    def answer(self, number: int) -> dict[str, Any]:
        while number not in self.answers:
            self._read(self.deadline.left)
        return self.answers[number]

    def has_answer(self, number: int) -> bool:
        with contextlib.suppress(TimeoutError):
            self._read(0.02)
        return number in self.answers

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.answer(self.send(method, **parameters))

    def evaluate(self, expression: str) -> str:
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return str(found.get("result", {}).get("value", ""))

    def wait_until_loaded(self, another: bool = False) -> None:
        """`another`: a page other than the one that has `window.before`."""
        ready = "document.readyState == 'complete'" + (" && window.before === undefined" if another else "")
        while self.evaluate(ready) != "True":
            self.deadline.pause()

    def _receive(self, seconds: float | None = None) -> None:
        self.socket.settimeout(self.deadline.left if seconds is None else seconds)
        data = self.socket.recv(1 << 20)
        if not data:
            raise Late
        self.pending += data

    def _read(self, seconds: float) -> None:
        """Frames until there is none whole; what is no answer is an event: kept, but nobody here waits for it."""
        whole = self._frame()
        if whole is None:
            self._receive(seconds)
            whole = self._frame()
        while whole is not None:
            message = json.loads(whole)
            if "id" in message:
                self.answers[message["id"]] = message.get("result", {})
            else:
                self.events.append(message)
            whole = self._frame()

    def _frame(self) -> bytes | None:
        if len(self.pending) < 2:
            return None
        size, start = self.pending[1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, start = int.from_bytes(self.pending[2 : 2 + width], "big"), 2 + width
        if len(self.pending) < start + size:
            return None
        frame, self.pending = self.pending[start : start + size], self.pending[start + size :]
        return frame


if __name__ == "__main__":
    sys.exit(main())
