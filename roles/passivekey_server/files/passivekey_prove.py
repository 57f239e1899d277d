# SPDX-License-Identifier: GPL-3.0-or-later
"""See, on the host itself, that the server and its front ends do what they are for. Prints JSON: what was proved, and what is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

NOBODY = "passivekey-proof"
"""Asked for by RADIUS with a wrong password; no account is called so."""


def run(*command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)


def https(options: dict[str, Any], name: str, port: int, path: str) -> tuple[int, str]:
    """Status and body of a page, asked for over openssl's TLS, which judges chain and name; 0 and why where there is no such page."""
    where = f"{options['near']}:{port}"
    request = f"GET {path} HTTP/1.0\r\nHost: {name}\r\nConnection: close\r\n\r\n"
    client = ("openssl", "s_client", "-connect", where, "-servername", name, "-verify_hostname", name, "-verify_return_error")
    done = run(*client, "-CAfile", options["ca"], "-no-CApath", "-no-CAstore", "-quiet", "-ign_eof", stdin=request)
    found = re.match(r"HTTP/1\.[01] (\d{3})", done.stdout)
    if not found:
        return 0, " / ".join(done.stderr.strip().splitlines()[-3:]) or "no answer"
    return int(found.group(1)), done.stdout.partition("\r\n\r\n")[2]


def server(options: dict[str, Any]) -> str:
    status, body = https(options, options["name"], options["port"], "/health")
    return "" if status == 200 else f"port {options['port']} gives no good answer for {options['name']}: {status or ''} {body[:300]}"


def site(options: dict[str, Any], name: str) -> str:
    status, body = https(options, name, 443, "/")
    return "" if status == 401 else f"nginx answers {status or body} for {name} to who has no cookie, not 401."


def radius(options: dict[str, Any]) -> str:
    """What is wrong with a login by a wrong password. Once more where an answer is lost, for UDP may lose it."""
    return login(options) and login(options)


def login(options: dict[str, Any]) -> str:
    """A wrong password ends in a refusal, whether at once or after the challenge; every answer is signed."""
    words = f'User-Name = "{NOBODY}"\nUser-Password = "wrong"\n'
    first = ask(options, words)
    state = re.search(r"State = (0x[0-9a-f]+)", first)
    last = ask(options, f'User-Name = "{NOBODY}"\nUser-Password = "000000"\nState = {state.group(1)}\n') if state else first
    if "Received Access-Reject" not in last:
        return f"RADIUS port {options['radius']} does not refuse a wrong password: {last.strip()[-300:] or 'no answer'}"
    unsigned = any("Message-Authenticator" not in answer.partition("Received ")[2] for answer in (first, last))
    return "FreeRADIUS answers without Message-Authenticator; use 3.2.5 or later." if unsigned else ""


def ask(options: dict[str, Any], words: str) -> str:
    """What radclient shows of request and answer, without the secret."""
    client = ("radclient", "-x", "-r", "4", "-t", "4", "-S", options["radius_secret"], f"127.0.0.1:{options['radius']}", "auth")
    done = run(*client, stdin=words + "Message-Authenticator = 0x00\n")
    return f"{done.stdout}{done.stderr}\nradclient ended with code {done.returncode}"


def main(options: dict[str, Any]) -> dict[str, list[str]]:
    tried = {f"{options['name']} answers with a certificate that openssl trusts": server(options)}
    if options["radius"]:
        tried["RADIUS refuses a wrong password, and signs its answers"] = radius(options)
    tried |= {f"{name} is shut without cookie": site(options, name) for name in options["sites"]}
    return {"proved": [words for words, wrong in tried.items() if not wrong], "wrong": [wrong for wrong in tried.values() if wrong]}


if __name__ == "__main__":
    json.dump(main(json.loads(sys.argv[1])), sys.stdout)
