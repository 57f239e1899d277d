# SPDX-License-Identifier: GPL-3.0-or-later
"""A user of the domain at client1: a logon by PAM, and what runs in the session (needs a lab `--with vpn --with passivekey`).

desk = log_on(lab, "pk.anna", password)         # Kerberos ticket, keyring, autostart; the agent enrolls behind the user's back
desk.run("passivekey-agent", "code", "--plain").stdout
visit = desk.visit("https://intranet.corp.example/", cookie="__Host-passivekey")
desk.log_off()
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.browser import GUEST, TIMEOUT, Page, page_of
from lab.errors import LabError
from lab.tunnels import CLIENT, Runner

JUDGES = Path(__file__).resolve().parent / "judges"
CA = "/etc/ssl/certs/corp.pem"
"""What the machine's users verify servers by."""

ACCOUNT = """\
install -m 644 /srv/files/krb5.conf /etc/krb5.conf
install -D -m 644 /srv/files/ca-bundle.pem "$2"
getent passwd "$1" > /dev/null || useradd --create-home --uid $((20000 + $(ls /home | wc -l))) --shell /bin/sh "$1"
"""


class Refused(LabError):
    """PAM let nobody in."""


@dataclass(frozen=True)
class Desk:
    """A session on client1. `pid`: its first process, in client1's numbering; `seconds`: how long the logon took."""

    lab: Runner
    user: str
    pid: int
    environment: dict[str, str]
    seconds: float

    def run(self, *command: str, stdin: str = "", check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command of the user's in the session, with more variables if need be."""
        words = [f"{name}={value}" for name, value in {**self.environment, **environment}.items()]
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--ipc", "--pid", "--"]
        become = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--init-groups", "--"]
        line = [*enter, *become, "env", "-i", f"--chdir={self.environment['HOME']}", *words, *command]
        return self.lab.run(CLIENT, *line, stdin=stdin, check=check)

    def visit(self, url: str, *, extension: bool = False, cookie: str = "", again: str = "", timeout: float = TIMEOUT) -> Page:
        """A page in the user's browser (headless), with the extensions that the machine's policy forces or without; with `cookie` once
        there is one of this name for the page. `again`: a path in the session; see `Pause`."""
        asked = {"url": url, "ca_file": CA, "timeout": timeout, "extension": extension, "cookie": cookie, "again": again}
        return page_of(self.run("python3", "-c", GUEST.read_text(), stdin=json.dumps(asked), check=False))

    def hotkey(self) -> dict[str, str]:
        """What the hotkey's helper typed into a terminal and into a browser's field: `terminal`, `browser`, `said`, `screenshot`."""
        done = self.run("python3", "-c", (JUDGES / "hotkey_on_client1.py").read_text(), check=False)
        if done.returncode:
            raise LabError(f"the hotkey on {CLIENT}: {(done.stderr or done.stdout).strip()[-2000:]}")
        answer: dict[str, str] = json.loads(done.stdout)
        return answer

    def log_off(self) -> None:
        """The desktop ends; the logon then closes its session, and all in it is gone."""
        self.lab.run(CLIENT, "sh", "-c", LOG_OFF, "sh", str(self.pid), check=False)


@dataclass(frozen=True)
class Pause:
    """Between two looks of one browser at a page: `desk.visit(…, again=pause.path)` in a thread, `wait`, do something, `end`."""

    desk: Desk

    @property
    def path(self) -> str:
        return f"{self.desk.environment['XDG_RUNTIME_DIR']}/look-again"

    def wait(self, timeout: float) -> bool:
        """Until the browser has shown the page."""
        script = 'for _try in $(seq "$2"); do [ -e "$1.shown" ] && exit 0; sleep 0.1; done; exit 1'
        return self.desk.run("sh", "-c", script, "sh", self.path, str(int(timeout * 10)), check=False).returncode == 0

    def end(self) -> None:
        self.desk.run("touch", self.path)


LOG_OFF = """\
pkill -TERM -P "$(pgrep -P "$1" -x dbus-run-sessio)" -x sleep
for _try in $(seq 50); do [ -d "/proc/$1" ] || exit 0; sleep 0.05; done
kill -9 "$1"
"""


def forget(lab: Runner, user: str) -> None:
    """The machine's account of a user, with all that is the user's there."""
    lab.run(CLIENT, "sh", "-c", 'userdel --remove "$1" 2> /dev/null', "sh", user, check=False)


def log_on(lab: Runner, user: str, password: str) -> Desk:
    """A logon. The machine's account of this name is made where there is none, as a member of the domain would know it."""
    lab.run(CLIENT, "sh", "-ec", ACCOUNT, "sh", user, CA)
    script, asked = (JUDGES / "logon_on_client1.py").read_text(), json.dumps({"user": user, "password": password})
    done = lab.run(CLIENT, "python3", "-c", script, stdin=asked, check=False)
    if done.returncode:
        raise LabError(f"the logon on {CLIENT}: {(done.stderr or done.stdout).strip()[-2000:]}")
    answer = json.loads(done.stdout)
    if "refused" in answer:
        raise Refused(answer["refused"])
    return Desk(lab, user, answer["pid"], answer["environment"], answer["seconds"])
