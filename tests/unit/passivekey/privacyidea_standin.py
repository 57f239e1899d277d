# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for privacyIDEA's POST /validate/check, written from its documented answers (version 3.x): NOT privacyIDEA.

The real server is asked by test_privacyidea_real.py where it is installed. Tokens: alice has a TOTP token (judged by pyotp, each code
once), bob a PIN that triggers a challenge, carol none and a policy that lets her in without (passOnNoToken).
"""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pyotp

API_KEY = "an-api-key-of-privacyidea"
TRANSACTION = "02659936574063359702"


@dataclass
class StandIn:
    url: str = ""
    clock: object = None
    secret: str = field(default_factory=pyotp.random_base32)
    seen: list = field(default_factory=list)
    used: set = field(default_factory=set)
    instead: object = None
    """(status, octets) to answer whatever is asked."""

    def code(self, user="alice"):
        return "424242" if user == "bob" else pyotp.TOTP(self.secret).at(int(self.clock()))

    def judge(self, asked, key):
        """Status and answer of /validate/check."""
        if key != API_KEY:
            return 403, {"result": {"status": False, "error": {"code": 303, "message": "ERR303: No valid API key was passed."}}}
        user, given = asked.get("user"), asked.get("pass", "")
        if user not in ("alice", "bob", "carol") or asked.get("realm") != "corp":
            message = f"ERR904: The user can not be found in any resolver in this realm! {user}"
            return 400, {"result": {"status": False, "error": {"code": 904, "message": message}}}
        if user == "carol":
            message = "The user has no token, but is accepted due to policy 'pol1'."
            return 200, _answer("ACCEPT", True, message=message)
        if user == "bob":
            if given == "pin":
                challenge = {"transaction_id": TRANSACTION, "message": "Enter the OTP from the SMS:", "serial": "PISM0001", "type": "sms"}
                return 200, _answer("CHALLENGE", False, **challenge, multi_challenge=[challenge])
            right = asked.get("transaction_id") == TRANSACTION and given == "424242"
        else:
            right = given == self.code() and given not in self.used
            self.used.add(given)
        return 200, _answer("ACCEPT", True, serial="TOTP0001", type="totp", otplen=6) if right else _answer("REJECT", False)


def _answer(outcome, value, **detail):
    detail = {"message": "matching 1 tokens" if value else "wrong otp value", **detail, "threadid": 140}
    words = {"detail": detail, "id": 1, "jsonrpc": "2.0", "result": {"authentication": outcome, "status": True, "value": value}}
    return {**words, "version": "privacyIDEA 3.11 (stand-in)", "versionnumber": "3.11", "time": 1.0}


@contextlib.contextmanager
def running(certificate, key):
    """A `StandIn` on loopback behind TLS by this certificate."""
    found = StandIn()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            content = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked = {name: values[0] for name, values in parse_qs(content, keep_blank_values=True).items()}
            found.seen.append((self.path, asked))
            if found.instead:
                status, body = found.instead
            else:
                status, answer = found.judge(asked, self.headers.get("Authorization"))
                body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", "https://elsewhere.example/")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    found.url = f"https://localhost:{server.server_port}/pi"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
