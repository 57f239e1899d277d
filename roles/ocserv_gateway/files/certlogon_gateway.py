# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep an ocserv gateway closed to whom the CRLs do not vouch for: fetch and judge CRLs, trust only CAs that have a good one, end sessions.

certlogon-gateway tick       what the timer does every minute: fetch what is due, close what has expired, start ocserv if it died
certlogon-gateway refresh    fetch now; --serial S: this serial number must be on a CRL, --user U: this user's sessions are ended
certlogon-gateway apply      have ocserv run with the configuration and certificate that are in place
certlogon-gateway status     tell, change nothing
certlogon-gateway radius     ask each RADIUS server for a user that there is not, and tell which answer
Further: --check says what would be done; --config FILE (default /etc/ocserv/certlogon/gateway.json), - for standard input.

ocserv (1.1.6 and 1.3.0) takes a CRL that has expired, or that another CA of the same name signed, for a good one; a CRL file that is
missing at a reload ends it. So it never sees what was not judged here: each CA's CRL must be signed by that CA, in force and no part of
one. A CA without such a CRL is taken out of the file of CAs that ocserv trusts (read at each connection), so none of its cards opens a
session, and comes back with a good CRL by itself. The gate (ocserv's connect-script) closes to the second when the first CRL in use
ends, even if this program is not run any more.

ocserv does not tell the certificate of a session, a CRL not whose certificates are on it. So when a CRL has grown, the connections of all
sessions are cut (SIGKILL to their processes): every client connects again by itself and has to show its certificate anew, which takes
a second and keeps the address; those that are revoked stay out. Sessions of users that are named are ended for good.

Exit codes: 0 all is good; 1 a CRL could not be fetched, the one in place is still in force; 2 a CA is shut out, or ocserv does not run;
3 wrong configuration. The last line of standard output is the result as JSON; the same is in FOLDER/status.json.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import certlogon_crl as crls
import certlogon_radius as radius

crls.PROGRAM = "certlogon-gateway"
log = crls.log
CONFIGURATION = "/etc/ocserv/certlogon/gateway.json"
RETRY = timedelta(minutes=5)  # between attempts to fetch a CRL while the one in place is good
FOREVER = 1 << 40
UNPROVEN = "unproven"  # is there from before CRLs are fetched until sessions have been cut, or need not be; a run that died leaves it
# What ocserv reads at its start only (its sample configuration says so); for all else a reload is enough.
START_ONLY = re.compile(
    r"^\s*(auth|enable-auth|acct|listen-host|udp-listen-host|listen-clear-file|listen-proxy-proto|tcp-port|udp-port|run-as-user|run-as-group"
    r"|socket-file|occtl-socket-file|use-occtl|chroot-dir|server-cert|server-key|ca-cert|isolate-workers|device|ipv4-network|ipv6-network"
    r"|ipv4-netmask|max-clients|listen-netns|pin-file|srk-pin-file|sec-mod-scale|server-stats-reset-time|pid-file)\s*="
)


# ---- authorities and their CRLs


def serials(pem: str) -> set[str]:
    """The serial numbers on a CRL, in hexadecimal without leading zeros."""
    shown = crls.openssl_crl(pem.encode(), "-noout", "-text")[1]
    return {normal(found) for found in re.findall(r"^\s+Serial Number: ([0-9A-Fa-f]+)", shown, re.MULTILINE)}


def normal(serial: str) -> str:
    return re.sub(r"[^0-9A-Fa-f]", "", serial).upper().lstrip("0")


def issued_by(pem: str, issuer: str) -> bool:
    """Whether the signature is this issuer's, whatever the dates say."""
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as anchor:
        anchor.write(issuer)
        anchor.flush()
        options = ("-partial_chain", "-no_check_time", "-no-CApath", "-no-CAstore", "-CAfile", anchor.name)
        return crls.openssl("verify", *options, stdin=pem.encode())[0] == 0


def is_root(pem: str) -> bool:
    names = crls.openssl("x509", "-noout", "-subject", "-issuer", "-nameopt", "RFC2253", stdin=pem.encode())[1].splitlines()
    return len({name.partition("=")[2] for name in names}) == 1


def serial_of(pem: str) -> str:
    return normal(crls.openssl("x509", "-noout", "-serial", stdin=pem.encode())[1].partition("=")[2])


def moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def placed(path: Path) -> datetime | None:
    """When a CRL was put in place, which is not after it was last fetched."""
    return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc) if path.exists() else None


def due(authority: dict[str, Any], before: dict[str, Any], now: datetime) -> bool:
    """Whether it is time to fetch: the frequency has passed since the last success, or there is none to go on with."""
    fetched, tried = moment(before.get("fetched")), moment(before.get("tried"))
    if fetched is None or before.get("problem") or fetched > now:
        return True
    if now - fetched < timedelta(hours=authority["frequency"]):
        return False
    return tried is None or tried <= fetched or now - tried >= RETRY


def fetch(authority: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What the authority's distribution points have that is a CRL at all."""
    found: list[tuple[str, dict[str, Any]]] = crls.fetched(
        {"authorities": [authority] if authority["points"] else [], "sources": authority["urls"]}
    )
    return found


def usable(url: str, crl: dict[str, Any], checked: list[dict[str, Any]], now: datetime) -> bool:
    """Whether a CRL is one of these authorities' and in force; says if not."""
    objection = crls.objection(crl, now)
    if not any(crls.verified(crl, one["pem"]) for one in checked):
        objection = f"the CRL there, of {crl['issuer']}, is signed by none of the trusted CAs; it is not used"
    if objection:
        log(f"{url}: {objection}")
    return not objection


def judge(
    settings: dict[str, Any], before: dict[str, Any], now: datetime, *, force: bool, fetching: bool, write: bool
) -> list[dict[str, Any]]:
    """What is to be said of each authority and its CRL, new ones fetched and put in place."""
    checked = [one for one in settings["authorities"] if one["checked"]]
    asked = [one for one in checked if fetching and (force or due(one, before.get(one["crl"], {}), now))]
    if asked and write:
        (Path(settings["folder"]) / UNPROVEN).touch()
    found = {one["crl"]: fetch(one) for one in asked}
    everything = [pair for pairs in found.values() for pair in pairs if usable(*pair, checked, now)]
    return [
        judged(settings, one, found.get(one["crl"]), everything, before.get(one["crl"], {}), now, write) for one in settings["authorities"]
    ]


def judged(
    settings: dict[str, Any],
    authority: dict[str, Any],
    fetched: list[tuple[str, dict[str, Any]]] | None,
    everything: list[tuple[str, dict[str, Any]]],
    before: dict[str, Any],
    now: datetime,
    write: bool,
) -> dict[str, Any]:
    result: dict[str, Any] = {name: authority[name] for name in ("name", "subject", "crl", "anchor", "checked")}
    result |= {"problem": "", "trouble": "", "changed": False, "revoked": 0, "next_update": None, "this_update": None}
    if not authority["checked"]:
        return result
    result |= {"fetched": before.get("fetched"), "tried": before.get("tried"), "trouble": before.get("trouble", "")}
    folder = Path(settings["folder"])
    present = (folder / authority["crl"]).read_text() if (folder / authority["crl"]).exists() else ""
    refreshed = crls.refresh(authority, everything, folder, now, write)
    result |= {name: refreshed[name] for name in ("problem", "changed", "revoked", "next_update") if name in refreshed}
    mine = [crl for _url, crl in everything if crls.verified(crl, authority["pem"])]
    if fetched is not None:
        result["tried"] = now.isoformat()
        if mine:
            result |= {"fetched": now.isoformat(), "trouble": ""}
        else:
            places = authority["urls"] + (["its certificate's distribution points"] if authority["points"] else [])
            result["trouble"] = f"no usable CRL at {', '.join(places)}"
    best = max(mine, key=crls.age, default=None)
    pem = best["pem"] if refreshed["changed"] and best else "" if refreshed["problem"] else present
    current = crls.read(pem.encode()) if pem else None
    result["serials"] = serials(pem) if pem else set()
    result["grown"] = bool(result["changed"] and present and result["serials"] - serials(present))
    if current:
        result |= {"this_update": current["this_update"].isoformat(), "number": current["number"], "pem": pem}
    limit, last = settings.get("unreachable_hours") or 0, moment(result["fetched"]) or placed(folder / authority["crl"])
    if limit and last and not result["problem"]:
        end = last + timedelta(hours=limit)
        result["until"] = min(end, datetime.fromisoformat(result["next_update"])).isoformat()
        if end <= now:
            result["problem"] = f"none could be fetched for {limit} hours"
    else:
        result["until"] = result["next_update"]
    return result


def superiors(settings: dict[str, Any], results: list[dict[str, Any]]) -> None:
    """Shut out what an authority above has revoked, where that is to be verified, and what is below one that is shut out."""
    both = list(zip(settings["authorities"], results, strict=True))
    asked = []
    for authority, result in both:
        if authority["verify"] and not is_root(authority["pem"]):
            others = [(other, one) for other, one in both if other is not authority and other["checked"]]
            asked.append((authority, result, [one for other, one in others if issued_by(authority["pem"], other["pem"])]))
    for _level in asked:  # in whatever order they are given
        for authority, result, above in asked:
            if not result["problem"]:
                result["problem"] = objection_from_above(authority, above)


def objection_from_above(authority: dict[str, Any], above: list[dict[str, Any]]) -> str:
    if not above:
        return "the CA above it, whose CRL would say whether it is revoked itself, is not among the CAs"
    if above[0]["problem"]:
        return f"the CRL of the CA above it ({above[0]['name']}) cannot be used: {above[0]['problem']}"
    return f"it is revoked by {above[0]['name']}" if serial_of(authority["pem"]) in above[0]["serials"] else ""


# ---- what ocserv reads


class Files:
    """The CAs that ocserv trusts, their CRLs, and the gate's time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def text(self, name: str) -> str:
        return (self.folder / name).read_text() if (self.folder / name).exists() else ""

    def differs(self, wanted: dict[str, str]) -> list[str]:
        return [name for name, text in wanted.items() if self.text(name) != text or not (self.folder / name).exists()]

    def write(self, wanted: dict[str, str]) -> None:
        """A CA that goes, goes before its CRL; one that comes, comes after it."""
        staying = split(wanted["trust.pem"])
        kept = "".join(pem for pem in split(self.text("trust.pem")) if pem in staying)
        for name, text in (
            ("gate", wanted["gate"]),
            ("trust.pem", kept),
            ("crl.pem", wanted["crl.pem"]),
            ("trust.pem", wanted["trust.pem"]),
        ):
            if self.differs({name: text}):
                crls.place(self.folder, name, text)


def split(text: str) -> list[str]:
    return re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n", text, re.DOTALL)


def compose(settings: dict[str, Any], results: list[dict[str, Any]], nobody: str) -> dict[str, str]:
    """The files' content. `nobody` is the CRL of a CA that never was, for ocserv takes no empty file."""
    sound = [(a, r) for a, r in zip(settings["authorities"], results, strict=True) if not r["problem"]]
    good = [(a, r) for a, r in sound if a["anchor"]]
    verifying = any(a["verify"] for a, _result in good)  # then the CRLs of CAs above count, too
    ends = [int(datetime.fromisoformat(r["until"]).timestamp()) for a, r in sound if a["checked"] and (a["anchor"] or verifying)]
    return {
        "trust.pem": "".join(a["pem"] for a, _result in good),
        "crl.pem": "".join(r["pem"] for r in results if r.get("pem")) or nobody,
        "gate": f"{min(ends, default=FOREVER) if good else 0}\n",
    }


def nobody_crl(folder: Path, write: bool) -> str:
    """An empty CRL of a CA whose key is thrown away."""
    path = folder / "nobody.crl.pem"
    if path.exists() or not write:
        return path.read_text() if path.exists() else ""
    with tempfile.TemporaryDirectory() as place:
        settings = "[ca]\ndefault_ca=c\n[c]\ndatabase=index\ndefault_md=sha256\n"
        for name, text in (("c.cnf", settings), ("index", "")):
            Path(place, name).write_text(text)
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "k.pem", "-out", "c.pem", "-subj", "/CN=Nobody")
        commands = [
            ("openssl", "req", "-x509", "-config", "/dev/null", *key),
            ("openssl", "ca", "-config", "c.cnf", "-gencrl", "-keyfile", "k.pem", "-cert", "c.pem", "-crldays", "36500", "-out", "crl.pem"),
        ]
        for command in commands:
            subprocess.run(command, cwd=place, check=True, capture_output=True)
        crls.place(folder, path.name, Path(place, "crl.pem").read_text())
    return path.read_text()


# ---- ocserv itself


class Server:
    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.config, self.certificate = Path(settings["config"]), Path(settings["certificate"])
        self.record = Path(settings["record"])

    def ready(self) -> bool:
        """Whether the role has come so far: the configuration is its own, no package's, and there is a certificate."""
        ours = self.config.exists() and "certlogon-gateway" in self.config.read_text()
        return ours and (self.certificate / "cert.pem").exists()

    def pid(self) -> int:
        try:
            pid = int(Path(self.settings["pid_file"]).read_text())
            return pid if "ocserv" in Path(f"/proc/{pid}/cmdline").read_text() else 0
        except (OSError, ValueError):
            return 0

    def shown(self) -> dict[str, str]:
        """Subject, issuer, serial and notAfter of the gateway's certificate."""
        options = ("-noout", "-subject", "-issuer", "-serial", "-enddate", "-nameopt", "RFC2253", "-dateopt", "iso_8601")
        lines = crls.openssl("x509", "-in", str(self.certificate / "cert.pem"), *options)[1].splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def occtl(self, *arguments: str) -> tuple[int, str]:
        try:
            command = ["occtl", "-s", self.settings["socket"], *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=15, errors="replace")
        except (OSError, subprocess.TimeoutExpired) as error:
            return 1, str(error)
        return done.returncode, done.stdout

    def tested(self) -> str:
        """What ocserv finds wrong with its configuration; empty if nothing. A reload with a wrong one would end it."""
        done = subprocess.run(["ocserv", "--test-config", "-c", str(self.config)], capture_output=True, text=True, check=False)
        lines = [
            line
            for line in (done.stderr + done.stdout).splitlines()
            if line and not line.startswith(("note:", "error connecting to sec-mod"))
        ]
        return (lines[-1] if lines else f"exit code {done.returncode}") if done.returncode else ""

    def digests(self) -> tuple[str, str]:
        lines = self.config.read_text().splitlines(keepends=True)
        further = [self.certificate / "cert.pem", *sorted(Path(self.settings["groups"]).glob("*"))]
        start = "".join(line for line in lines if START_ONLY.match(line)) + self.radius_client()
        whole = "".join(lines) + "".join(f"{path.name}\0{path.read_text()}" for path in further if path.is_file())
        return hashlib.sha256(start.encode()).hexdigest(), hashlib.sha256(whole.encode()).hexdigest()

    def radius_client(self) -> str:
        """radcli's configuration, which is read at the start too; the secrets, in another file, are read for each request."""
        path = Path(self.settings.get("radius") or "/nonexistent", "radiusclient.conf")
        return path.read_text() if path.exists() else ""

    def applied(self, pid: int) -> tuple[str, str]:
        """The digests with which the running server was last started or reloaded; those of now if it was started after the last change."""
        try:
            found = json.loads(self.record.read_text())
            if found["pid"] == pid:
                return found["start"], found["whole"]
        except (OSError, ValueError, KeyError):
            pass
        begun = Path(f"/proc/{pid}").stat().st_ctime
        files = [self.config, self.certificate, *Path(self.settings["groups"]).glob("*")]
        return self.digests() if all(os.lstat(path).st_ctime < begun for path in files) else ("", "")

    def needed(self, closed: bool) -> str:
        """start, restart, reload, stop or nothing. `closed`: it shall not run."""
        pid = self.pid()
        if closed or not pid:
            return "stop" if pid else "" if closed else "start"
        was, now = self.applied(pid), self.digests()
        return "restart" if was[0] != now[0] else "reload" if was[1] != now[1] else ""

    def do(self, action: str) -> str:
        """Returns what went wrong."""
        wrong = "" if action == "stop" else self.tested()
        if wrong:
            return f"ocserv refuses its configuration {self.config}: {wrong}; it was left as it is"
        if action == "reload":
            self.reload()
        elif self.settings["systemd"]:
            done = subprocess.run(["systemctl", action, "ocserv"], capture_output=True, text=True, check=False)
            wrong = done.stderr.strip()
        else:
            if action in ("stop", "restart"):
                self.stop()
            if action in ("start", "restart"):
                self.start()
        if action != "stop":
            wrong = wrong or self.wait()
            self.note()
        return wrong

    def note(self) -> None:
        start, whole = self.digests()
        self.record.write_text(json.dumps({"pid": self.pid(), "start": start, "whole": whole}))

    def reload(self) -> None:
        if self.occtl("reload")[0] and self.pid():
            os.kill(self.pid(), signal.SIGHUP)

    def start(self) -> None:
        command = ["ocserv", "--foreground", "--log-stderr", "--pid-file", self.settings["pid_file"], "--config", str(self.config)]
        with Path(self.settings["log"]).open("ab") as output:
            os.fchmod(output.fileno(), 0o640)
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/")

    def stop(self) -> None:
        pid = self.pid()
        if not pid:
            return
        os.kill(pid, signal.SIGTERM)
        for _time in range(100):
            if not self.pid():
                return
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)

    def wait(self) -> str:
        for _time in range(50):
            if self.pid() and self.occtl("show", "status")[0] == 0:
                return ""
            time.sleep(0.1)
        where = "journalctl -u ocserv" if self.settings["systemd"] else self.settings["log"]
        return f"ocserv does not run; see {where}"

    # -- sessions

    def sessions(self) -> list[dict[str, Any]]:
        """The open sessions: id, user, group, address, remote, since (seconds since 1970)."""
        text = self.occtl("-j", "show", "users")[1] if self.pid() else ""
        try:
            rows = json.loads(re.sub(r",(\s*[}\]])", r"\1", text)) if text.strip() else []
        except ValueError:
            log("occtl did not tell the sessions in a way that is understood")
            return []
        names = {
            "id": "ID",
            "user": "Username",
            "group": "Groupname",
            "address": "IPv4",
            "remote": "Remote IP",
            "since": "raw_connected_at",
        }
        return [{ours: row.get(theirs, "") for ours, theirs in names.items()} for row in rows]

    def end(self, users: list[str]) -> list[str]:
        """End the sessions of these users, by the names that the gateway gave them."""
        wanted = {name.lower() for name in users}
        ended = [one for one in self.sessions() if str(one["user"]).lower() in wanted]
        for one in ended:
            self.occtl("disconnect", "id", str(one["id"]))
        return [str(one["user"]) for one in ended]

    def prove_again(self) -> list[str]:
        """Cut all connections, so that each client has to show its certificate again. A session's id is its process."""
        cut = []
        for one in self.sessions():
            with contextlib.suppress(OSError, ValueError):
                if "ocserv" in Path(f"/proc/{int(one['id'])}/cmdline").read_text():
                    os.kill(int(one["id"]), signal.SIGKILL)
                    cut.append(str(one["user"]))
        return cut


class Relay:
    """The process that signs what ocserv asks RADIUS servers; there is none without RADIUS."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.folder = settings.get("radius") or ""

    def running(self) -> tuple[int, str]:
        """The process (0: none) and the digest of what it was started with."""
        try:
            pid, digest = Path(radius.PID_FILE).read_text().split()
            return (int(pid), digest) if "certlogon_radius" in Path(f"/proc/{pid}/cmdline").read_text() else (0, "")
        except (OSError, ValueError):
            return 0, ""

    def needed(self) -> str:
        """start, restart, stop or nothing."""
        pid, digest = self.running()
        if not self.folder:
            return "stop" if pid else ""
        if not Path(self.folder, "relay.json").exists():  # the role has not come so far
            return ""
        if not pid:
            return "start"
        return "restart" if digest != radius.digest(Path(self.folder), radius.PROGRAM) else ""

    def do(self, action: str) -> str:
        """Returns what went wrong."""
        if self.settings["systemd"]:
            done = subprocess.run(["systemctl", action, "certlogon-radius"], capture_output=True, text=True, check=False)
            if done.returncode:
                return done.stderr.strip()
        else:
            if action in ("stop", "restart"):
                self.stop()
            if action in ("start", "restart"):
                self.start()
        for _time in range(50):
            if not self.needed():
                return ""
            time.sleep(0.1)
        where = "journalctl -u certlogon-radius" if self.settings["systemd"] else self.settings["log"]
        return f"the relay to the RADIUS servers does not {'end' if action == 'stop' else 'run'}; see {where}"

    def start(self) -> None:
        command = [sys.executable, radius.PROGRAM, self.folder, radius.PID_FILE]
        with Path(self.settings["log"]).open("ab") as output:
            os.fchmod(output.fileno(), 0o640)
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/")

    def stop(self) -> None:
        pid, _digest = self.running()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        for _time in range(50):
            if not self.running()[0]:
                return
            time.sleep(0.1)


# ---- the whole


def sentence(problem: str) -> str:
    return {"missing": "There is no CRL of it."}.get(problem, f"Its CRL is of no use: {problem}.")


def tell(results: list[dict[str, Any]], settings: dict[str, Any], now: datetime) -> int:
    """Log what an administrator has to know; returns the exit code."""
    code, warning = 0, timedelta(hours=settings.get("warn_hours", 24))
    for result in results:
        trouble = result["trouble"]
        if result["problem"]:
            code = 2
            closed = "no certificate of it opens the gateway" if result["anchor"] else "those who rest on it are shut out"
            log(f"{result['name']}: {closed}. {sentence(result['problem'])}{f' ({trouble})' if trouble else ''}")
        elif result["checked"]:
            ends, begins = (datetime.fromisoformat(result[name]) for name in ("next_update", "this_update"))
            near = ends - now <= min(warning, (ends - begins) / 4)
            if trouble or near:
                code = max(code, 1)
                log(f"{result['name']}: {trouble or 'no newer CRL was found'}. The one in place is in force until {crls.shown(ends)}")
    return code


def remembered(files: Files) -> dict[str, dict[str, Any]]:
    """What the run before said of each CRL. Nothing where that cannot be read: then everything is fetched."""
    try:
        return {one["crl"]: one for one in json.loads(files.text("status.json") or "{}").get("authorities", [])}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        log(f"{files.folder}/status.json cannot be read ({error}); it is written anew")
        return {}


def run(settings: dict[str, Any], options: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    folder, now, write = Path(settings["folder"]), datetime.now(timezone.utc), not options.check and options.command != "status"
    files, server, relay = Files(folder), Server(settings), Relay(settings)
    before = remembered(files)
    fetching = options.command in ("tick", "refresh")
    interrupted = (folder / UNPROVEN).exists()
    results = judge(settings, before, now, force=options.command == "refresh", fetching=fetching, write=write)
    superiors(settings, results)
    code = tell(results, settings, now)
    wanted = compose(settings, results, nobody_crl(folder, write))
    stale = files.differs(wanted)
    changes = [f"CRL of {one['name']}" for one in results if one["changed"]]
    had, has = split(files.text("trust.pem")), split(wanted["trust.pem"])
    for authority in settings["authorities"]:
        if (authority["pem"] in had) != (authority["pem"] in has):
            changes.append(f"{authority['name']} {'let in' if authority['pem'] in has else 'shut out'}")
    lost = [pem for pem in had if pem not in has and not_only_stale(pem, settings, results)]
    if {"trust.pem", "crl.pem"} & set(stale) and not changes:
        changes.append("files of CAs and CRLs repaired")
    if write and stale:
        files.write(wanted)
    missing = [one for one in options.serial if not any(normal(one) in result.get("serials", ()) for result in results)]
    if missing:
        code = 2
        log(f"on no CRL that this gateway uses: {', '.join(missing)}")
    outcome: dict[str, Any] = {"sessions_ended": [], "sessions_cut": [], "service": "", "relay": "", "wrong": ""}
    if server.ready():
        closed = settings["without_crl"] == "stop" and not wanted["trust.pem"]
        action, relaying = (server.needed(closed), relay.needed()) if options.command != "status" else ("", "")
        if options.command == "refresh" and action in ("reload", "restart"):  # the role has not finished yet, or did not come so far
            action = relaying = ""
        outcome |= {"service": action, "relay": relaying}
        if write:
            wrong = relay.do(relaying) if relaying else ""
            wrong = (server.do(action) if action else "") or wrong
            if not action and {"trust.pem", "crl.pem"} & set(stale) and server.pid() and not server.tested():
                server.reload()
            if lost or (settings["prove_again"] and (interrupted or any(one.get("grown") for one in results))):
                outcome["sessions_cut"] = server.prove_again()
            outcome["sessions_ended"] = server.end(options.user)
            if not wrong and not closed and not server.pid():
                wrong = f"ocserv does not run; {'journalctl -u ocserv' if settings['systemd'] else settings['log']} says why"
            if wrong:
                log(wrong)
                code, outcome["wrong"] = 2, wrong
        changes += [f"{what}: {done}" for what, done in (("RADIUS relay", relaying), ("ocserv", action)) if done]
    changes += [f"session of {user}" for user in outcome["sessions_ended"]]
    shown = [{name: value for name, value in one.items() if name not in ("serials", "pem", "grown")} for one in results]
    report = {
        "code": code,
        "at": now.isoformat(),
        "changed": bool(changes),
        "changes": changes,
        "running": bool(server.pid()),
        "authorities": shown,
    }
    report |= outcome
    if write:
        (folder / UNPROVEN).unlink(missing_ok=True)
        crls.place(folder, "status.json", json.dumps(report, indent=1) + "\n")
    if options.command == "status":
        report |= {"sessions": server.sessions(), "certificate": server.shown()}
    return code, report


def not_only_stale(pem: str, settings: dict[str, Any], results: list[dict[str, Any]]) -> bool:
    """Whether a CA is no longer trusted at all, rather than its CRL no longer in force."""
    now = next((r for a, r in zip(settings["authorities"], results, strict=True) if a["pem"] == pem and a["anchor"]), None)
    return now is None or str(now["problem"]).startswith("it is revoked")


def servers_asked(settings: dict[str, Any]) -> int:
    found = radius.probe(Path(settings["radius"])) if settings.get("radius") else []
    for one in found:
        if one["problem"]:
            log(f"RADIUS server {one['server']}: {one['problem']}")
    print(json.dumps(found))
    return 2 if any(one["problem"] for one in found) else 0


@contextlib.contextmanager
def locked(folder: Path, wait: bool) -> Iterator[bool]:
    """One at a time; whether it is ours."""
    folder.mkdir(parents=True, exist_ok=True)
    with crls.own(folder / ".lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield True
        except BlockingIOError:
            yield False


def main() -> int:
    parser = argparse.ArgumentParser(description="Keep an ocserv gateway closed to whom the CRLs do not vouch for.")
    parser.add_argument("command", choices=["tick", "refresh", "apply", "status", "radius"])
    parser.add_argument("--check", action="store_true", help="say what would be done")
    parser.add_argument("--serial", action="append", default=[], help="must be on a CRL now")
    parser.add_argument("--user", action="append", default=[], help="end this user's sessions")
    parser.add_argument("--config", default=CONFIGURATION, help="file, or - for standard input")
    options = parser.parse_args()
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    given = options.config
    try:
        settings = json.loads(sys.stdin.read() if given == "-" else Path(given).read_text())
        folder = Path(settings["folder"])
        assert isinstance(settings["authorities"], list)
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        log(f"{given}: {error!r}")
        return 3
    if options.command == "radius":
        return servers_asked(settings)
    try:
        if options.check or options.command == "status":
            code, report = run(settings, options)
        else:
            with locked(folder, wait=options.command != "tick") as ours:
                if not ours:
                    return 0
                code, report = run(settings, options)
    except OSError as error:  # such as a full disk: the files in place are untouched, and the gate knows when they end
        log(f"{folder}: {error}")
        return 2
    print(json.dumps(report))
    return code


if __name__ == "__main__":
    sys.exit(main())
