# SPDX-License-Identifier: GPL-3.0-or-later
"""Have the database judge a password before it takes the place of the one in use, which each new connection reads. Prints nothing of it.

`path`, `content` (base64), `owner`, `group` and `mode` of libpq's file; `url` of the database, which names that file. What is good is at
`path`.next then, and takes its place once the settings have been judged with it too.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from passivekey_write import PYTHON, write

AS_SERVER = ["setpriv", "--reuid=passivekey", "--regid=passivekey", "--init-groups"]
HOME = "/var/lib/passivekey"
"""Where libpq looks for certificates."""

JUDGE = """
import sys
from passivekey.errors import ConfigurationError
from passivekey.server import store
try:
    store.judge(sys.stdin.read())
except ConfigurationError as error:
    sys.exit(str(error))
"""


def refusal(url: str) -> str:
    """Why the server could not work with a database; empty where it could."""
    environment = {**os.environ, "HOME": HOME}
    done = subprocess.run(
        [*AS_SERVER, str(PYTHON), "-c", JUDGE], input=url, capture_output=True, text=True, check=False, env=environment, cwd="/"
    )
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"its judge ended with code {done.returncode}"])[-1]


def main(options: dict[str, Any]) -> None:
    path, content = Path(options["path"]), base64.b64decode(options["content"])
    new = path.with_name(f"{path.name}.next")
    write(new, content, options["owner"], options["group"], options["mode"])
    if path.exists() and path.read_bytes() == content:
        return  # only whose it is changes, which needs no database
    wrong = refusal(options["url"].replace(f"passfile={path}", f"passfile={new}"))
    if wrong:
        new.unlink()
        raise SystemExit(wrong)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
