# SPDX-License-Identifier: GPL-3.0-or-later
"""Run by the Python of an environment that has privacyIDEA: sets one up in a folder, by its own command line and REST API, and serves it.

Arguments: folder, certificate, its key, port. Prints a line of JSON, {"key", "secret", "pin"}, when it answers; ends with its standard
input. Users of realm corp (a passwd file): alice with a TOTP token and a PIN, bob with an HOTP token and a PIN that triggers a challenge,
carol with no token and a policy that lets her in without one.
"""

import json
import os
import sys
import threading
from pathlib import Path

FOLDER = Path(sys.argv[1])
PIN = "4711"
SECRET = "3132333435363738393031323334353637383930"
"""In hexadecimal, as RFC 4226 and RFC 6238 have it."""

FOLDER.joinpath("pi.cfg").write_text(
    f"""
SECRET_KEY = b"{os.urandom(16).hex()}"
PI_PEPPER = "{os.urandom(16).hex()}"
SQLALCHEMY_DATABASE_URI = "sqlite:///{FOLDER}/pi.db"
PI_ENCFILE = "{FOLDER}/enckey"
PI_AUDIT_KEY_PRIVATE = "{FOLDER}/private.pem"
PI_AUDIT_KEY_PUBLIC = "{FOLDER}/public.pem"
PI_LOGLEVEL = 40
PI_LOGFILE = "{FOLDER}/pi.log"
"""
)
FOLDER.joinpath("users").write_text(
    "".join(f"{name}:x:{number}:{number}:{name}::\n" for number, name in enumerate(("alice", "bob", "carol"), 1000))
)
os.environ["PRIVACYIDEA_CONFIGFILE"] = str(FOLDER / "pi.cfg")

from privacyidea.app import create_app  # noqa: E402  # it reads the variable
from werkzeug.serving import make_server  # noqa: E402

app = create_app("production", str(FOLDER / "pi.cfg"), silent=True)


def command(*words):
    from privacyidea.cli.pimanage.main import cli

    done = app.test_cli_runner().invoke(cli, list(words))
    if done.exit_code:
        raise SystemExit(f"{words}: {done.output} {done.exception!r}")
    return done.output


for words in ("setup create_enckey", "setup create_audit_keys", "setup create_tables", "admin add admin -p administrator"):
    command(*words.split())
key = command("api", "createtoken", "-r", "validate", "-u", "gateway", "-d", "2").rpartition("Auth-Token:")[2].strip()

client = app.test_client()


def ask(path, **words):
    answer = client.post(path, json=words, headers={"Authorization": token})
    if not (answer.json or {}).get("result", {}).get("status"):
        raise SystemExit(f"{path}: {answer.data!r}")
    return answer.json["result"]["value"]


token = ""
token = ask("/auth", username="admin", password="administrator")["token"]
ask("/resolver/users", type="passwdresolver", fileName=str(FOLDER / "users"))
ask("/realm/corp", resolvers="users")
common = {"otpkey": SECRET, "otplen": 6, "pin": PIN, "realm": "corp", "genkey": 0}
ask("/token/init", type="totp", timeStep=30, timeWindow=60, hashlib="sha1", user="alice", serial="TOTP0001", **common)
ask("/token/init", type="hotp", hashlib="sha1", user="bob", serial="HOTP0001", **common)
ask("/policy/challenges", scope="authentication", action="challenge_response=hotp", user="bob", realm="corp")
ask("/policy/nobody", scope="authentication", action="passOnNoToken", user="carol", realm="corp")
ask("/policy/keys", scope="authorization", action="api_key_required")

server = make_server("127.0.0.1", int(sys.argv[4]), app, threaded=True, ssl_context=(sys.argv[2], sys.argv[3]))
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"key": key, "secret": SECRET, "pin": PIN}), flush=True)
sys.stdin.read()
