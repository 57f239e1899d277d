# SPDX-License-Identifier: GPL-3.0-or-later
"""ocserv's connect and disconnect script: asks the data plane whether this user may have his tunnel. Without an answer he may not."""

import json
import os
import socket
import sys

NAMES = ("REASON", "ID", "USERNAME", "VHOST", "IP_REAL", "IP_REMOTE", "DEVICE", "USER_AGENT")


def main() -> int:
    question = {name.lower(): os.environ.get(name, "") for name in NAMES}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(sys.argv[1])
        connection.sendall(json.dumps(question).encode() + b"\n")
        answer = connection.makefile().readline().strip()
    return 0 if answer == "allow" else 1


if __name__ == "__main__":
    sys.exit(main())
