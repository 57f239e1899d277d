# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare on one lab in one run, interleaved: `python -m tests.benchmarks FOLDER [--quick]`, within the lab's network.

Every figure is a whole process less an empty play (playbooks) or an empty interpreter (scripts), measured in the same run.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.directory.connection import CONNECTION, ConnectionOptions
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Modify, connect
from lab.labs import Lab
from tests.benchmarks import contenders
from tests.benchmarks.contenders import Ansible, floor, ldap_tasks, module_task, policy_config, template_config
from tests.benchmarks.floor import PREFIX
from tests.benchmarks.measure import Run, Series, interleaved

LDAP_LIMIT = 200
"""community.general needs half a second an object: more than this is minutes of waiting for a known answer."""

SAMBA_LIMIT = 20
"""samba-tool needs seconds a policy."""


class Bench:
    def __init__(self, folder: Path, ldap_interpreter: Path | None, *, quick: bool) -> None:
        self.folder = folder
        self.quick = quick
        self.ours = Ansible(folder, Path(sys.executable))
        self.theirs = Ansible(folder, ldap_interpreter) if ldap_interpreter else None
        self.results: list[dict[str, Any]] = []
        self.lab = Lab(os.environ["CERTLOGON_LAB"])

    # ---- the domain, untimed

    def session(self) -> Any:
        given = {name: os.environ.get(f"CERTLOGON_{name.upper()}") for name in CONNECTION}
        options = {"server": [given.pop("server")], "auth": "negotiate", "timeout": 30, "validate_certs": True}
        return connect(ConnectionOptions.from_params({**given, **options, "port": None, "tls": None}), print)

    def clear_templates(self) -> None:
        with self.session() as directory:
            services = directory.public_key_services
            for dn, name in ((f"CN=Certificate Templates,{services}", "cn"), (f"CN=OID,{services}", "displayName")):
                for entry in directory.search(dn, f"({name}={PREFIX}*)", ["cn"], "level"):
                    directory.delete(entry.dn)

    def touch_template(self) -> None:
        with self.session() as directory:
            dn = f"CN={PREFIX}0000,CN=Certificate Templates,{directory.public_key_services}"
            directory.modify(dn, [Modify("replace", "displayName", ["touched by another hand"])])

    def clear_policies(self) -> None:
        play = self.ours.play(
            "clear-policies", module_task("group_policies", [{"name": entry["name"]} for entry in policy_config(self.policies_there())])
        )
        data = json.loads(Path(play[-1]).read_text())
        data[0]["tasks"][0]["certlogon.core.group_policies"]["state"] = "deleted"
        Path(play[-1]).write_text(json.dumps(data))
        self.ours.run(play)

    def policies_there(self) -> int:
        with self.session() as directory:
            return len(directory.search(f"CN=Policies,CN=System,{directory.domain_dn}", f"(displayName={PREFIX}*)", ["cn"], "level"))

    def touch_policy(self) -> None:
        """Another tool changes one value of one policy's registry.pol."""
        guid = self.guids(1)[0]
        self.samba(self.load(guid, 0))

    def guids(self, count: int) -> list[str]:
        with self.session() as directory:
            found = directory.search(
                f"CN=Policies,CN=System,{directory.domain_dn}", f"(displayName={PREFIX}*)", ["cn", "displayName"], "level"
            )
        return [entry.text("cn") or "" for entry in sorted(found, key=lambda entry: entry.text("displayName") or "")][:count]

    # ---- samba-tool, on the domain controller

    def samba(self, script: str) -> Run:
        account = f"{os.environ['CERTLOGON_USERNAME'].partition('@')[0]}%{os.environ['CERTLOGON_PASSWORD']}"
        prologue = f"SERVER={os.environ['CERTLOGON_SERVER']}; ACCOUNT='{account}'; set -e; "
        started = time.perf_counter()
        self.lab.run("dc1", "sh", "-c", prologue + script)
        return Run(time.perf_counter() - started, 0)

    def load(self, guid: str, data: int) -> str:
        return contenders.registry_json(guid, data)

    # ---- cases

    def record(self, kind: str, count: int, phase: str, series: dict[str, Series], empty: dict[str, float]) -> None:
        row: dict[str, Any] = {"kind": kind, "count": count, "phase": phase}
        for name, item in series.items():
            row[name] = {
                "seconds": round(max(item.seconds - empty.get(name, 0.0), 0.0), 4),
                "whole": round(item.seconds, 4),
                "min": round(item.spread[0], 4),
                "max": round(item.spread[1], 4),
                "runs": len(item.runs),
                "megabytes": round(item.megabytes),
            }
        self.results.append(row)
        shown = "  ".join(f"{name} {values['seconds']:.3f} s" for name, values in row.items() if isinstance(values, dict))
        print(f"{kind:9} {count:5} {phase:11} {shown}", flush=True)

    def empties(self) -> dict[str, float]:
        plays: dict[str, Callable[[], Run]] = {"certlogon": functools.partial(self.ours.run, self.ours.play("empty", []))}
        if self.theirs:
            plays["community.general"] = functools.partial(self.theirs.run, self.theirs.play("empty-theirs", []))
        plays["floor"] = lambda: contenders.empty_script(self.folder)
        series = interleaved(plays, 2 if self.quick else 7)
        self.record("empty", 0, "play", series, {})
        return {name: item.seconds for name, item in series.items()}

    def templates(self, count: int) -> None:
        empty = self.empties()
        dump = self.folder / f"templates-{count}.pickle"
        play = self.ours.play(f"templates-{count}", module_task("ad_certificate_templates", template_config(count)))
        ours = functools.partial(self.ours.run, play)
        rounds = 1 if self.quick or count > LDAP_LIMIT else 3
        self.clear_templates()
        first = interleaved({"certlogon": ours}, rounds, self.clear_templates)
        floor(self.folder, "dump", "templates", dump)
        first |= interleaved({"floor": lambda: floor(self.folder, "first", "templates", dump)}, rounds, self.clear_templates)
        theirs = self.their_templates(count, dump)
        if theirs:
            first |= interleaved({"community.general": theirs}, 1, self.clear_templates)
            self.clear_templates()
            ours()
        self.record("templates", count, "first", first, empty)
        self.unchanged_and_one(("templates", count), dump, ours, theirs, self.touch_template, empty)

    def their_templates(self, count: int, dump: Path) -> Callable[[], Run] | None:
        if self.theirs is None or count > LDAP_LIMIT:
            return None
        return functools.partial(self.theirs.run, self.theirs.play(f"theirs-{count}", *ldap_tasks(dump)))

    def unchanged_and_one(
        self,
        case: tuple[str, int],
        dump: Path,
        ours: Callable[[], Run],
        theirs: Callable[[], Run] | None,
        touch: Callable[[], None],
        empty: Any,
    ) -> None:
        kind, count = case
        rounds = 2 if self.quick else 7
        quick = {"certlogon": ours, "floor": lambda: floor(self.folder, "unchanged", kind, dump)}
        slow = {"community.general": theirs} if theirs else {}
        their_rounds = 1 if count > 20 else 3
        series = interleaved({**quick, **slow}, their_rounds)
        for name, item in interleaved(quick, rounds - their_rounds).items() if rounds > their_rounds else ():
            series[name].runs.extend(item.runs)
        self.record(kind, count, "unchanged", series, empty)
        quick["floor"] = lambda: floor(self.folder, "one-change", kind, dump)
        series = interleaved({**quick, **(slow if count <= 20 else {})}, 1 if self.quick else 3, touch)
        self.record(kind, count, "one change", series, empty)

    def policies(self, count: int) -> None:
        empty = self.empties()
        dump = self.folder / f"policies-{count}.pickle"
        play = self.ours.play(f"policies-{count}", module_task("group_policies", policy_config(count)))
        ours = functools.partial(self.ours.run, play)
        self.clear_policies()
        first = interleaved({"certlogon": ours}, 1 if self.quick or count > 20 else 3, self.clear_policies)
        floor(self.folder, "dump", "policies", dump)
        if count <= SAMBA_LIMIT:
            first["samba-tool"] = Series([self.samba_first(count)])
        self.record("policies", count, "first", first, empty)
        self.unchanged_and_one(("policies", count), dump, ours, None, self.touch_policy, empty)
        if count <= SAMBA_LIMIT:
            self.samba_again(count)

    def samba_first(self, count: int) -> Run:
        """Create and fill as many policies; it knows no services, security options or preferences."""
        create = 'guid=$(samba-tool gpo create other-{} -H ldap://$SERVER -U "$ACCOUNT" | sed -n "s/.* created as //p"); '
        done = self.samba("; ".join(create.format(number) + self.load("$guid", 1) for number in range(count)))
        with self.session() as directory:
            made = directory.search(f"CN=Policies,CN=System,{directory.domain_dn}", "(displayName=other-*)", ["cn"], "level")
        self.samba("; ".join(f'samba-tool gpo del {entry.text("cn")} -H ldap://$SERVER -U "$ACCOUNT" > /dev/null' for entry in made))
        return done

    def samba_again(self, count: int) -> None:
        """Show all, and load one again: the nearest it has to a run without changes and one with a single change."""
        guids = self.guids(count)
        shows = "; ".join(f'samba-tool gpo show {guid} -H ldap://$SERVER -U "$ACCOUNT" > /dev/null' for guid in guids)
        for row, script in zip(self.results[-2:], (shows, self.load(guids[0], 1)), strict=True):
            row["samba-tool"] = vars_of(self.samba(script))
            print(f"policies  {count:5} {row['phase']:11} samba-tool {row['samba-tool']['seconds']:.3f} s", flush=True)


def vars_of(run: Run) -> dict[str, Any]:
    return {"seconds": round(run.seconds, 4), "whole": round(run.seconds, 4), "runs": 1}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ldap-interpreter", type=Path, help="a Python with community.general and python-ldap")
    parser.add_argument("--quick", action="store_true", help="few rounds and small counts: does it run at all?")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.folder.resolve(), options.ldap_interpreter, quick=options.quick)
    for count in (1, 20) if options.quick else (1, 20, 200, 1000):
        bench.templates(count)
    bench.clear_templates()
    for count in (1, 20) if options.quick else (1, 20, 200):
        bench.policies(count)
    bench.clear_policies()
    (options.folder / "results.json").write_text(json.dumps(bench.results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
