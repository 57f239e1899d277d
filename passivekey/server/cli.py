# SPDX-License-Identifier: GPL-3.0-or-later
"""`passivekey`: sets the service up, runs it, and looks after devices and keys."""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy.engine import make_url

from passivekey.errors import ConfigurationError
from passivekey.protocol import messages
from passivekey.protocol.errors import Refused
from passivekey.server import audit_chain, backup, observing, settings
from passivekey.server.audit import Audit
from passivekey.server.judging import judge
from passivekey.server.keyring import FOLLOWED, KEPT, PURPOSES, Keyring
from passivekey.server.ldap import LdapDirectory
from passivekey.server.passphrase import passphrase
from passivekey.server.privacyidea import PrivacyIdea
from passivekey.server.service import PENDING_LIFE, Service
from passivekey.server.store import Device, Store

_BATCH = 500
"""Seeds put under a new storage key in one transaction."""


def opened(given: settings.Settings, *, clock: Callable[[], float] = time.time) -> Service:
    """The service, with all that it stands on."""
    ring = Keyring.load(given.keys, passphrase(given.passphrase))
    audit = Audit(given.audit, clock, given.audit_days, given.audit_megabytes)
    backend = PrivacyIdea(given.backend) if given.backend else None
    return Service(given.rules, Store(given.database), ring, LdapDirectory(given.directory), audit, clock, backend)


# ---- commands: each takes the settings and the arguments, prints, and returns the exit code


def init(given: settings.Settings, arguments: argparse.Namespace) -> int:
    """Make the server's keys, its CA and its database; once."""
    host = given.rules.host
    ring = Keyring.create(given.keys, passphrase(given.passphrase), arguments.name or f"PassiveKey {host}", host, int(time.time()))
    Store(given.database).close()
    certificate = ring.ca[0]
    print(f"keys           {given.keys} (without the passphrase they are lost: keep both, apart)")
    print(f"CA             {certificate.subject.rfc4514_string()}, until {certificate.not_valid_after_utc:%Y-%m-%d}")
    print(f"database       {make_url(given.database)!r}")  # without its password
    print("next           passivekey serve")
    return 0


def check(given: settings.Settings, arguments: argparse.Namespace) -> int:
    """Judge the settings; opens and changes nothing."""
    if arguments.whole:
        judge(given)
    print(f"{arguments.settings}: good")
    return 0


def serve(given: settings.Settings, arguments: argparse.Namespace) -> int:
    """Run the service."""
    from passivekey.server.serving import run  # what it imports, no other command needs

    run(given, arguments.settings, arguments.workers)
    return 0


def user(given: settings.Settings, arguments: argparse.Namespace) -> int:
    """Show an account and its devices."""
    service = opened(given)
    account = service.directory.by_name(arguments.name)
    if account is None:
        raise ConfigurationError(f"user: {arguments.name!r} is not in the directory")
    print(f"{account.name}  {account.sid}  {'usable' if account.usable else 'disabled or expired: nothing of it is accepted'}")
    with service.store.transaction(reading=True) as transaction:
        _show(transaction.devices_of(account.sid), arguments.json)
    return 0


def device(given: settings.Settings, arguments: argparse.Namespace) -> int:
    """Show one device, or all."""
    service = opened(given)
    with service.store.transaction(reading=True) as transaction:
        if arguments.id:
            found = transaction.device(arguments.id)
            if found is None:
                raise ConfigurationError(f"device: there is no {arguments.id}")
            _show([found], arguments.json)
            return 0
        after, page = "", transaction.all_devices()
        while page:
            _show(page, arguments.json)
            after = page[-1].id
            page = transaction.all_devices(after=after)
    return 0


def revoke(given: settings.Settings, arguments: argparse.Namespace) -> int:
    """Revoke a device, or all of an account."""
    service = opened(given)
    chosen = [arguments.device] if arguments.device else _devices_of(service, arguments.user)
    if not chosen:
        print(f"{arguments.user}: there is no device to revoke")
    for each in chosen:
        done = service.revoke(each, arguments.reason, by="command line")
        print(f"{each}  {'revoked' if done else 'was revoked already'}")
    return 0


def _devices_of(service: Service, name: str) -> list[str]:
    account = service.directory.by_name(name)
    if account is None:
        raise ConfigurationError(f"revoke: {name!r} is not in the directory; revoke its devices one by one (passivekey device)")
    with service.store.transaction(reading=True) as transaction:
        return [found.id for found in transaction.devices_of(account.sid, "active", "pending")]


def ticket(given: settings.Settings, arguments: argparse.Namespace) -> int:
    """Issue a one-time enrolment ticket for an account (enrollment.second_factor), or withdraw those that are out."""
    service = opened(given)
    account = service.directory.by_name(arguments.name)
    if account is None:
        raise ConfigurationError(f"ticket: {arguments.name!r} is not in the directory")
    if arguments.withdraw:
        print(f"{account.name}  {account.sid}  withdrawn: {service.withdraw_tickets(account, by='command line')}")
        return 0
    issued = service.issue_ticket(account, arguments.hours, by="command line")
    print(f"{account.name}  {account.sid}", file=sys.stderr)
    print(
        f"good once, for {arguments.hours} hours, for this account alone; it is not shown again. The user: passivekey-agent enroll",
        file=sys.stderr,
    )
    print(issued)
    return 0


def rotate(given: settings.Settings, arguments: argparse.Namespace) -> int:
    """Make a new key; for storage keys, put all seeds under it and forget the old ones."""
    service = opened(given)
    kid = service.keyring.rotate(arguments.purpose, service.now)
    service.audit.write("rotate", purpose=arguments.purpose, kid=kid)
    print(f"{arguments.purpose}  {kid}")
    if arguments.purpose == "storage":
        time.sleep(2 * FOLLOWED)  # until running servers seal nothing more to the old one
        print(f"seeds under it: {rewrap(service)}")
    print("servers that run with this key file have taken it up in a few seconds")
    return 0


def rewrap(service: Service) -> int:
    """Put every seed under the newest storage key; may be broken off, and goes on where it was."""
    kid, public = service.keyring.storage
    count = 0
    while True:
        with service.store.transaction() as transaction:
            page = transaction.seeds_not_under(kid, _BATCH)
            for number, state, sealed, old in page:
                value = messages.unseal(sealed, number, service.keyring.storage_key(old))
                transaction.reseal(number, state, sealed, messages.seal(value, number, public, kid), kid)
        count += len(page)
        if not page:
            break
    for key in service.keyring.overview():
        if key["purpose"] == "storage" and key["kid"] != kid:
            service.keyring.drop("storage", key["kid"])
    return count


def keys(given: settings.Settings, _arguments: argparse.Namespace) -> int:
    """Show the server's keys, and of each CA how many certificates have not ended, until when, and where its CRL is."""
    service = opened(given)
    live = service.live_authorities()
    newest = {key["purpose"]: key["kid"] for key in service.keyring.overview()}
    for key in service.keyring.overview():
        made = datetime.datetime.fromtimestamp(key["created"], datetime.timezone.utc)
        use = "in use" if newest[key["purpose"]] == key["kid"] else "older"
        print(f"{key['purpose']:<8} {key['kid']}  {made:%Y-%m-%d}  {use}")
        if "authority" in key:
            print(f"         {_certificates(live.get(key['authority']))}; {given.rules.origin}/v1/crl/{key['authority']}")
    return 0


def drop(given: settings.Settings, arguments: argparse.Namespace) -> int:
    """Forget keys that nothing needs any more; a CA's, once its last certificate has ended."""
    service = opened(given)
    live = service.live_authorities() if arguments.purpose == "ca" else {}
    older = [key for key in service.keyring.overview() if key["purpose"] == arguments.purpose][: -KEPT[arguments.purpose]]
    for key in older:
        needed = live.get(key.get("authority", ""))
        if not needed:
            service.audit.write("drop", purpose=key["purpose"], kid=key["kid"])
            service.keyring.drop(key["purpose"], key["kid"])
        print(f"{key['purpose']}  {key['kid']}  {f'stays: {_certificates(needed)}' if needed else 'dropped'}")
    if not older:
        print(f"{arguments.purpose}: nothing to drop")
    return 0


def _certificates(found: tuple[int, int] | None) -> str:
    if not found:
        return "no certificate that has not ended"
    return f"{found[0]} certificates, the last until {datetime.datetime.fromtimestamp(found[1], datetime.timezone.utc):%Y-%m-%d}"


def clean(given: settings.Settings, _arguments: argparse.Namespace) -> int:
    """Forget what is over: sessions, challenges, devices that never came to their end. `serve` does it every hour."""
    service = opened(given)
    with service.store.transaction() as transaction:
        orphans = transaction.clean(service.now, PENDING_LIFE, given.rules.session_life)
    print(f"forgotten: {len(orphans)} unfinished enrolments")
    return 0


def save(given: settings.Settings, arguments: argparse.Namespace) -> int:
    """Write a backup of the database."""
    rows = backup.save(opened(given), arguments.file)
    print(f"{arguments.file}: {rows} rows; keep the key file {given.keys} and the audit log {given.audit} too, each in another place")
    return 0


def restore(given: settings.Settings, arguments: argparse.Namespace) -> int:
    """Fill a new database from a backup; what was revoked since stays revoked."""
    done = backup.restore(opened(given), arguments.file, without_audit=arguments.without_audit)
    print(f"{done['rows']} rows; {done['revoked']} devices revoked, as they were after the backup")
    print("codes are accepted again in two minutes")
    return 0


def export(given: settings.Settings, arguments: argparse.Namespace) -> int:
    """Write the audit log's entries since a day as JSON lines."""
    audit = Audit(given.audit, time.time, given.audit_days, given.audit_megabytes)
    for entry in audit.read(after=arguments.since):
        print(json.dumps(entry))
    return 0


def audit(given: settings.Settings, arguments: argparse.Namespace) -> int:
    """Judge the audit log's chain: which lines were cut out, put in or changed; exit code 1 where any was. Changes nothing."""
    known = None
    if arguments.known:
        number, _colon, text = arguments.known.partition(":")
        if not re.fullmatch("[0-9]{1,18}", number) or not re.fullmatch("[0-9a-f]{64}", text):
            raise ConfigurationError(f"--known: {arguments.known!r} is not as the last line of an earlier verification has it, NUMBER:HASH")
        known = int(number), text
    if not given.audit.is_dir():
        raise ConfigurationError(f"audit.folder: there is no {given.audit}")
    found = audit_chain.verify(given.audit, arguments.since, known)
    for finding in found.wrong:
        print(f"wrong  {finding}")
    for finding in found.cut:
        print(f"cut    {finding}: a crash or a full disk")
    print(f"lines  {found.lines}, {found.plain} of them from before there was a chain; {found.thinned} files thinned out")
    print("whole  what is there is as it was written" if not found.wrong else f"NOT WHOLE  in {len(found.wrong)} places")
    print(f"last   {found.end[0]}:{found.end[1]}")
    return 1 if found.wrong else 0


def observe(given: settings.Settings, _arguments: argparse.Namespace) -> int:
    """Print what an audit asks of devices, database and directory, as JSON; needs no passphrase and changes nothing."""
    print(json.dumps(observing.observed(given, int(time.time()))))
    return 0


def _show(found: Sequence[Device], as_json: bool) -> None:
    for each in found:
        if as_json:
            names = ("id", "sid", "name", "state", "workstation", "created", "seen", "drift", "revoked", "reason")
            print(json.dumps({name: getattr(each, name) for name in names}))
            continue
        seen = datetime.datetime.fromtimestamp(each.seen, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M") if each.seen else "never seen"
        print(f"{each.id}  {each.state:<8} {seen:<16}  {each.name}  {each.workstation}{f'  ({each.reason})' if each.reason else ''}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser("passivekey", description=__doc__)
    top.add_argument("--settings", type=Path, default=settings.DEFAULT, help=f"the settings (default {settings.DEFAULT})")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(function: Callable[[settings.Settings, argparse.Namespace], int], name: str) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=(function.__doc__ or "").split(";")[0], description=function.__doc__)
        found.set_defaults(function=function)
        return found

    command(init, "init").add_argument("--name", help="of the CA")
    command(check, "check").add_argument("--whole", action="store_true", help="open what they name, and ask the directory")
    command(serve, "serve").add_argument("--workers", type=int, default=1)
    users = command(user, "user")
    users.add_argument("name", help="UPN, DOMAIN\\name or sAMAccountName")
    one = command(device, "device")
    one.add_argument("id", nargs="?")
    for shown in (users, one):
        shown.add_argument("--json", action="store_true", help="one JSON object a line")
    revoked = command(revoke, "revoke")
    which = revoked.add_mutually_exclusive_group(required=True)
    which.add_argument("--device")
    which.add_argument("--user", help="all devices of the account")
    revoked.add_argument("--reason", default="revoked by an administrator")
    tickets = command(ticket, "ticket")
    tickets.add_argument("name", help="UPN, DOMAIN\\name or sAMAccountName")
    tickets.add_argument("--hours", type=int, default=24, help="how long it is good (default 24)")
    tickets.add_argument("--withdraw", action="store_true", help="end all tickets of the account that are not used yet")
    command(rotate, "rotate").add_argument("purpose", choices=PURPOSES)
    command(keys, "keys")
    command(drop, "drop").add_argument("purpose", choices=tuple(KEPT))
    command(clean, "clean")
    command(save, "backup").add_argument("file", type=Path)
    restored = command(restore, "restore")
    restored.add_argument("file", type=Path)
    restored.add_argument("--without-audit", action="store_true", help="the audit log is lost: revoke all devices")
    command(export, "export").add_argument("--since", default="", metavar="YYYY-MM-DD")
    judged = command(audit, "audit")
    judged.add_argument("what", choices=["verify"])
    judged.add_argument("--from", dest="since", default="", metavar="FILE", help="begin with this file (its name)")
    judged.add_argument("--known", metavar="NUMBER:HASH", help="a line that must be there, as an earlier verification had its last")
    command(observe, "observe")
    return top


def main(given: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(given)
    try:
        code: int = arguments.function(settings.load(arguments.settings), arguments)
        return code
    except (ConfigurationError, Refused) as error:
        print(f"passivekey: {error}", file=sys.stderr)
        return 1
