# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m lab up|status|exec|kill|start|list|prepare|down`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from lab import domain, root
from lab.errors import LabError
from lab.labs import DEFAULT_NAME, Lab, all_labs
from lab.progress import Progress

EXTRAS = (
    "dc2: a second domain controller; ca1: the stand-in for the Windows CA host (the domain is bare then, and dc1 has SSH); "
    "vpn: an appliance, a gateway, a client and a server behind them; passivekey: pk1, for the PassiveKey server"
)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="lab", description="A real Active Directory domain (Samba) on this machine, in namespaces of its own."
    )
    commands = top.add_subparsers(dest="action", required=True, metavar="up|status|exec|kill|start|list|prepare|down")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        if name not in ("list", "prepare"):
            added.add_argument("--name", default=lab_name(), help=f"which lab (default: {DEFAULT_NAME})")
        return added

    up = command("up", "Start the lab; does nothing if it runs.")
    up.add_argument("--with", dest="extras", action="append", choices=["dc2", "ca1", "vpn", "passivekey"], default=[], help=EXTRAS)
    up.add_argument("--bare", action="store_true", help="no enrollment service objects in the directory")
    status = command("status", "What runs, where, and with which accounts.")
    status.add_argument("--json", action="store_true", help="for other tools; contains the passwords")
    execute = command("exec", "Run a command (default: a shell) on a host; HOST machine: this machine's files, the lab's network.")
    execute.add_argument("--online", action="store_true", help="with the machine's network instead of the lab's")
    execute.add_argument("host", metavar="HOST", help="dc1, dc2, ca1, vpn1, gw1, client1, inner1, pk1, control or machine")
    execute.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD")
    command("kill", "SIGKILL samba on a domain controller, the stand-in on ca1 or vpn1, all on gw1.").add_argument("host", metavar="HOST")
    command("start", "Start what kill ended.").add_argument("host", metavar="HOST")
    command("list", "All labs on this machine.")
    prepare = command("prepare", "Make what `up` starts from (the Debian root, its layers, the domain's snapshot); start nothing.")
    prepare.add_argument(
        "--with",
        dest="extras",
        action="append",
        choices=["vpn", "passivekey"],
        default=[],
        help="vpn: the layer of the VPN hosts; passivekey: that of pk1",
    )
    prepare.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    command("down", "End the lab and remove its state.")
    return top


def lab_name() -> str:
    """The lab meant when none is named: the one whose network we are in, or the demo's."""
    return os.environ.get("CERTLOGON_LAB") or DEFAULT_NAME


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        if os.geteuid() != 0:
            raise LabError("the lab needs root (for namespaces and mounts); this is an ordinary user")
        return run(options)
    except LabError as error:
        print(f"lab: {error.explain()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def run(options: argparse.Namespace) -> int:
    if options.action == "list":
        for lab in all_labs():
            print(f"{lab.name:20} {lab.status()['state']}")
        return 0
    if options.action == "prepare":
        progress = Progress()
        domain.ensure_snapshot(progress, bare=options.bare)
        if "vpn" in options.extras:
            root.ensure_layer(progress, root.VPN)
        if "passivekey" in options.extras:
            root.ensure_layer(progress, root.PASSIVEKEY)
        if {"vpn", "passivekey"} <= set(options.extras):
            root.ensure_layer(progress, root.WORKSTATION)
        return 0
    lab = Lab(options.name)
    if options.action == "up":
        return up(lab, options)
    if options.action == "status":
        status = lab.status()
        print(json.dumps(status, indent=1) if options.json else table(status))
        return 0 if status["state"] == "running" else 3
    if options.action == "exec":
        command = options.command[1:] if options.command[:1] == ["--"] else options.command
        line = lab.command(options.host, command, online=options.online)
        sys.stdout.flush()
        os.execv(line[0], line)
    if options.action == "down":
        print(f"lab {lab.name!r} is down" if lab.down() else f"lab {lab.name!r} was not up", file=sys.stderr)
        return 0
    getattr(lab, options.action)(options.host)
    return 0


def up(lab: Lab, options: argparse.Namespace) -> int:
    progress = Progress()
    started = lab.up(
        progress,
        second_dc="dc2" in options.extras,
        bare=options.bare,
        ca="ca1" in options.extras,
        vpn="vpn" in options.extras,
        passivekey="passivekey" in options.extras,
    )
    progress.say(f"lab {lab.name!r} is up after {progress.seconds:.1f} s" if started else f"lab {lab.name!r} is running already")
    return 0


def table(status: dict[str, Any]) -> str:
    """The status for people: no passwords."""
    lines = [f"lab {status['name']}: {status['state']}"]
    if status["state"] == "running":
        lines.append(f"domain {status['dns_domain']} ({status['netbios_domain']}), realm {status['realm']}")
        for host in status["hosts"].values():
            samba = "" if host.get("samba", True) else "  SAMBA IS DOWN"
            samba += "" if host.get("service", True) else "  THE STAND-IN IS DOWN"
            lines.append(f"  {host['fqdn']:22} {host['address']:12} pid {host['pid']:<8} {host['purpose']}{samba}")
        lines.append("accounts, with passwords in " + status["files"]["accounts"])
        for name in ("administrator", "plain.user", "policy.editor", "domain.admin"):
            lines.append(f"  {name:22} {status['accounts'][name]['purpose']}")
        if "vpn_admin" in status["accounts"]:
            lines.append(f"  {'vpn_admin':22} {status['accounts']['vpn_admin']['purpose']}")
        lines.append(f"CA certificates in {status['files']['folder']}, logs in {status['files']['logs']}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
