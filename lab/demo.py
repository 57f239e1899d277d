# SPDX-License-Identifier: GPL-3.0-or-later
"""`./certlogon demo`: a real domain, the rollout, the proofs, a summary and a page."""

from __future__ import annotations

import argparse
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from lab import logons, page, passivekey_day, proofs, settings, vpn_browser, vpn_logins
from lab.errors import LabError
from lab.labs import DEFAULT_NAME, Lab
from lab.progress import Progress
from lab.runs import SITE, audit, play, site_command
from lab.screen import Screen, Step
from lab.settings import CHECKOUT
from lab.story import REAL, STAND_IN, Run, Story, counted

OUTPUT = CHECKOUT / "build" / "demo"
WHAT_IS_WHAT = (
    (
        "Domain controller",
        REAL,
        "Samba: directory, Kerberos with smart card logon, DNS, SYSVOL. Windows' own is not here; what differs is in README.",
    ),
    ("Certificate templates, trust stores, policies", REAL, "written over LDAP and SMB as on any domain"),
    (
        "Windows CA host",
        STAND_IN,
        "ca1 plays a Windows server with AD CS and web enrollment, by Microsoft's specifications (docs/stand-ins.md). What rests on it, "
        "certificates and CRLs included, is called so in each proof",
    ),
    ("Ansible's way there", REAL, "unmodified ansible-playbook, ansible.windows and WinRM with NTLM over TLS"),
    ("Offline root", STAND_IN, "a throw-away OpenSSL CA of the lab, which signs the request that a person would carry"),
    (
        "Smart cards",
        STAND_IN,
        "SoftHSM tokens, spoken to by PKCS#11 as cards are; MIT Kerberos and openconnect log on with them. That a card locks itself after "
        "three wrong PINs is what they cannot show",
    ),
    (
        "Connect Secure appliance",
        STAND_IN,
        "vpn1 plays its REST API as far as that is documented, and marks what is deduced (docs/stand-ins.md). What is configured there "
        "takes effect: behind it are a real ocserv, nginx and OpenSSL",
    ),
    ("VPN gateway gw1, and the user's client", REAL, "ocserv and openconnect of Debian; every login is a tunnel that carries a page"),
    (
        "PassiveKey's server pk1, a site behind it",
        REAL,
        "certlogon's own, with FreeRADIUS and nginx of Debian; its certificates are of a throw-away OpenSSL CA",
    ),
    (
        "The workstation client1",
        REAL,
        "a Linux host where the domain's users log on by PAM: ticket, keyring, autostart, Chromium. It has no display",
    ),
    (
        "The other computers",
        STAND_IN,
        "not in this demo, which has their accounts only; where policies are applied, it is by Samba's client",
    ),
)


class Demo:
    def __init__(self, name: str, screen: Screen) -> None:
        self.lab = Lab(name)
        self.screen = screen
        self.logs = OUTPUT / "log"
        self.begun = time.monotonic()
        self.story = Story(
            started=f"{datetime.now():%-d %B %Y, %H:%M}",
            domain={"dns": settings.DNS_DOMAIN, "server": settings.HOSTS["dc1"].fqdn},
            versions={"certlogon": version()} | proofs.environment(),
            lab_was_running=self.lab.running(),
            stand_ins=list(WHAT_IS_WHAT),
        )

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        with self.screen.step(title) as step:
            yield step
        self.story.steps.append((title, step.seconds))

    def run(self) -> Story:
        """All of it, in order; a LabError says which step failed and where its log is."""
        prepare(OUTPUT, self.logs)
        with self.step("Lab: a Samba domain, a CA host, gateways, PassiveKey") as step:
            self.up(LabProgress(self.screen, step))
            step.note = "running already" if self.story.lab_was_running else ""
        self.play("foreseen", "Check mode, before anything is there", "--check", "--diff")
        self.play("first", "First run")
        self.play("second", "Second run")
        with self.step("Other tools meddle with the domain") as step:
            self.story.touches = list(proofs.meddle(self.lab, self.logs))
            step.note = counted(len(self.story.touches), "thing")
        self.audit("meddled", "Compliance of the domain, meddled with", "--limit", f"{settings.DNS_DOMAIN},localhost")
        self.play("check", "Check mode with diff", "--check", "--diff", "--limit", settings.DNS_DOMAIN)
        self.play("repair", "Repairing run", "--limit", settings.DNS_DOMAIN)
        tried, logins, visits = self.cards()
        day = self.passivekey()
        self.audit("whole", "Compliance of everything")
        with self.step("Other tools read the domain") as step:
            facts = proofs.facts(self.lab, self.logs)
            self.story.proofs = proofs.of_runs(self.story.runs, self.story.touches) + proofs.of_audits(self.story.audits)
            self.story.proofs += proofs.of_domain(facts)
            self.story.proofs += proofs.of_authority(facts) + logons.trials(tried, facts["versions"])
            self.story.versions |= {"openconnect": vpn_logins.client_version(self.lab)}
            self.story.proofs += proofs.of_gateways(facts) + vpn_logins.judged(logins, self.story.versions)
            chromium = vpn_browser.version(self.lab)
            self.story.proofs += vpn_browser.judged(visits, chromium)
            self.story.proofs += passivekey_day.judged(day, self.story.versions, chromium)
            self.story.proofs.append(proofs.windows_blobs(proofs.vectors_folder()))
            self.story.versions |= {"Samba": facts["versions"]["samba"], "OpenSSL": facts["versions"]["openssl"]}
            step.note = proof_count(self.story)
        exports = sorted((self.lab.folder / "exports" / settings.DNS_DOMAIN).glob("*.yml"))
        self.story.next_commands = next_commands(self.lab.name, exports[0] if exports else None)
        self.story.seconds = time.monotonic() - self.begun
        proofs.save(self.story.proofs, OUTPUT / "proofs.json")
        page.write(self.story, OUTPUT / "index.html")
        return self.story

    def up(self, progress: Progress) -> None:
        """The lab with all hosts; one without some, which an older demo left, is no place for this."""
        if self.lab.running() and (missing := {"ca1", "vpn1", "pk1"} - self.lab.status()["hosts"].keys()):
            raise LabError(
                f"lab {self.lab.name!r} runs without {', '.join(sorted(missing))}; end it with: ./certlogon lab down --name {self.lab.name}"
            )
        self.lab.up(progress, ca=True, vpn=True, passivekey=True)

    def cards(self) -> tuple[list[logons.Trial], list[vpn_logins.Login], list[vpn_browser.Visit]]:
        """Two cards enrolled, tried at the domain and at the VPN, and one of them revoked while it is in use."""
        with self.step("Two smart cards") as step:
            box = logons.prepare(self.lab)
            step.note = f"{logons.OWNER}, {logons.OTHER}"
        self.play("cards", "Cards enrolled", playbook="certlogon.core.enroll_card")
        with self.step("Logons by card, right ones and wrong ones") as step:
            tried = logons.log_on(self.lab, box)
            step.note = (
                f"{counted(sum(one.outcome.ticket for one in tried), 'ticket')}, {sum(not one.outcome.ticket for one in tried)} refused"
            )
        with self.step("VPN logins by card, right ones and wrong ones") as step:
            places = vpn_logins.places(self.lab)
            logins = vpn_logins.log_in(self.lab, vpn_logins.carry(self.lab), places)
            opened = sum(login.tunnel.up for login in logins)
            step.note = f"{counted(opened, 'tunnel')}, {len(logins) - opened} refused"
        with self.step("The appliance's sign-in page in a browser, by card") as step:
            visits = [vpn_browser.sign_in(self.lab, logons.OWNER)]
            step.note = visits[0].page.title
        account = f"{settings.NETBIOS_DOMAIN}/{logons.OTHER}"
        options = ("-e", f"certlogon_revoke_user={account}", "-e", "certlogon_revoke_reason=key_compromise")
        with vpn_logins.signed_in(self.lab, places) as sessions:
            run = self.play("revoke", "One of them revoked, its owner signed in", *options, playbook="certlogon.core.revoke")
            with self.step("Logons with the revoked card") as step:
                tried.append(logons.log_on_revoked(self.lab, box))
                self.story.refused_after = vpn_logins.refused_after(run.messages)
                logins += vpn_logins.revoked(self.lab, sessions, self.story.refused_after)
                visits.append(vpn_browser.sign_in(self.lab, logons.OTHER, revoked=True))
                step.note = f"{sum(not login.tunnel.up for login in logins[-4:])} of 4 VPN sessions ended or refused"
        return tried, logins, visits

    def passivekey(self) -> passivekey_day.Day:
        """Somebody without a card, from her first logon to the revocation of her device."""
        with self.step("A logon at a workstation, which PassiveKey enrolls") as step:
            desk = passivekey_day.log_on(self.lab)
            enrollment = passivekey_day.enrolled(self.lab, desk)
            step.note = f"{passivekey_day.USER}, after {enrollment.seconds:.1f} s"
        try:
            with self.step("Intranet and VPN by PassiveKey, until it is revoked") as step:
                day = passivekey_day.spend(self.lab, desk, enrollment)
                opened = sum(found.up for found in (day.tunnel, day.replayed))
                self.lab.run("pk1", "passivekey-backup")  # the night's: the last report looks for one
                step.note = f"{counted(opened, 'tunnel')}, {2 - opened} refused"
        finally:
            desk.log_off()
        return day

    def audit(self, key: str, title: str, *options: str) -> None:
        with self.step(title) as step:
            found = self.story.audits[key] = audit(self.lab, title, self.logs, step, OUTPUT / "compliance", *options)
            step.note = found.summary

    def play(self, key: str, title: str, *options: str, playbook: str = SITE) -> Run:
        with self.step(title) as step:
            run = play(self.lab, title, self.logs, step, *options, playbook=playbook)
            step.note = run.summary
        self.story.runs[key] = run
        return run


class LabProgress(Progress):
    """The lab's own steps, below the demo's."""

    def __init__(self, screen: Screen, step: Step) -> None:
        super().__init__(quiet=screen.live)
        self.screen, self.parent = screen, step

    def say(self, text: str) -> None:
        if not self.quiet:
            self.screen.say("  " + text)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        self.parent.now = what
        with super().step(what):
            yield


def prepare(output: Path, logs: Path) -> None:
    """What an earlier demo left must not be taken for this one's."""
    logs.mkdir(parents=True, exist_ok=True)
    for name in ("index.html", "proofs.json"):
        (output / name).unlink(missing_ok=True)
    shutil.rmtree(output / "compliance", ignore_errors=True)


def version() -> str:
    lines = (CHECKOUT / "galaxy.yml").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("version:"))


def next_commands(name: str, export: Path | None) -> list[tuple[str, str]]:
    option = "" if name == DEFAULT_NAME else f" --name {name}"
    inside = f"./certlogon lab exec{option} machine --"
    found = [
        (
            f"{inside} {site_command('--check', '--diff')}",
            "Change a line of inventories/lab/group_vars/domains.yml and see what it would do, then leave the last two options out",
        ),
        (f"./certlogon lab exec{option} dc1", "Look around on the domain controller: samba-tool gpo listall, ldbsearch, …"),
    ]
    if export:
        undo = f"ansible-playbook certlogon.core.undo -i inventories/lab -e certlogon_undo_file={shlex.quote(str(export))} --check --diff"
        found.append((f"{inside} {undo}", "See how all of it would be undone, from the export that was made before the first change"))
    found.append(
        (
            f"./certlogon lab exec{option} pk1 -- passivekey user --json {passivekey_day.USER}",
            "See a user's devices; what else PassiveKey does, and how it comes to your own domain: docs/passivekey-server.md",
        )
    )
    return [*found, (f"./certlogon lab down{option}", "End the lab; nothing of it stays but a cache in /var/cache/certlogon")]


def proof_count(story: Story) -> str:
    skipped = f", {story.count('skipped')} skipped" if story.count("skipped") else ""
    failed = f", {story.count('failed')} failed" if story.failed else ""
    return f"{story.count('passed')} of {counted(len(story.proofs), 'proof')} held{skipped}{failed}"


def show(screen: Screen, story: Story, page_file: Path) -> None:
    """The summary screen."""
    first = story.runs["first"]
    screen.heading("What was written")
    if first.changes:
        screen.rows([(title, page.listed(items)) for title, items in page.groups(first.changes)])
    else:
        screen.wrapped("Nothing: the domain was as the inventory asks, from an earlier demo. To see it made anew: ./certlogon lab down")
    screen.heading("What other tools touched, and certlogon named and repaired")
    screen.rows([(touch.tool, touch.what) for touch in story.touches])
    screen.heading("What the compliance report said")
    for audited in story.audits.values():
        screen.rows([(audited.run.title, audited.summary)])
        screen.rows([(control, message) for control, _subject, message in audited.failing], wrap=1)
    screen.say(f"  The report: {page_file.parent / 'compliance/report.html'}")
    screen.heading("What was proved, and who judged")
    marks = {"passed": "done", "failed": "failed", "skipped": "skipped"}
    kinds = {REAL: "real", STAND_IN: screen.style("stand-in", "yellow")}
    screen.rows([(screen.mark(marks[p.outcome]), p.claim, p.judge, kinds[p.kind]) for p in story.chapter()], wrap=1)
    screen.heading(f"{passivekey_day.CHAPTER}: a second factor without a card")
    own = story.chapter(passivekey_day.CHAPTER)
    screen.rows([(screen.mark(marks[p.outcome]), p.claim, p.judge, kinds[p.kind]) for p in own], wrap=1)
    for proof in story.proofs:
        if proof.reason:
            screen.say()
            screen.wrapped(f"{proof.claim}: {proof.outcome}, {proof.reason}")
    screen.heading("Try next")
    for command, text in story.next_commands:
        screen.wrapped(text)
        screen.say("    " + screen.style(command, "cyan"))
    screen.say()
    styles = ("bold", "red") if story.failed else ("bold", "green")
    screen.say(screen.style(f"{proof_count(story)}, {story.seconds:.0f} s.", *styles) + f" The page: {page_file}")
    screen.say(screen.style(f" {screen.symbols['dot']} ".join(f"{name} {number}" for name, number in story.versions.items()), "dim"))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="certlogon demo", description="A real domain on this machine, rolled out and proved.")
    parser.add_argument("--name", default=DEFAULT_NAME, help=f"which lab (default: {DEFAULT_NAME})")
    screen = Screen()
    demo = Demo(parser.parse_args(arguments).name, screen)
    screen.say(screen.style("certlogon demo", "bold") + ": certificate logon, rolled out to a real domain on this machine")
    screen.say()
    try:
        story = demo.run()
    except LabError as error:
        screen.say()
        screen.say(error.explain())
        return 1
    show(screen, story, OUTPUT / "index.html")
    return 1 if story.failed else 0
