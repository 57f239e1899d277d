# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts and groups by the names people use, and back: `CORP\\Group`, `Group`, `user@corp.example`, a DN, a SID, a well-known name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.certlogon.core.plugins.module_utils.directory.names import escape_filter, escape_filter_bytes
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import Sid
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems

if TYPE_CHECKING:
    from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Directory, Entry

WELL_KNOWN: Mapping[str, str] = {
    "S-1-1-0": "Everyone",
    "S-1-3-0": "CREATOR OWNER",
    "S-1-3-1": "CREATOR GROUP",
    "S-1-3-4": "OWNER RIGHTS",
    "S-1-5-2": "NETWORK",
    "S-1-5-4": "INTERACTIVE",
    "S-1-5-7": "ANONYMOUS LOGON",
    "S-1-5-9": "ENTERPRISE DOMAIN CONTROLLERS",
    "S-1-5-10": "SELF",
    "S-1-5-11": "Authenticated Users",
    "S-1-5-18": "SYSTEM",
    "S-1-5-19": "LOCAL SERVICE",
    "S-1-5-20": "NETWORK SERVICE",
    "S-1-5-32-544": "BUILTIN\\Administrators",
    "S-1-5-32-545": "BUILTIN\\Users",
    "S-1-5-32-546": "BUILTIN\\Guests",
    "S-1-5-32-548": "BUILTIN\\Account Operators",
    "S-1-5-32-549": "BUILTIN\\Server Operators",
    "S-1-5-32-550": "BUILTIN\\Print Operators",
    "S-1-5-32-551": "BUILTIN\\Backup Operators",
    "S-1-5-32-554": "BUILTIN\\Pre-Windows 2000 Compatible Access",
    "S-1-5-32-560": "BUILTIN\\Windows Authorization Access Group",
}
"""SIDs that are the same in every domain ([MS-DTYP] 2.4.2.4)."""

_BATCH = 50
_ATTRIBUTES = ("objectSid", "sAMAccountName", "userPrincipalName", "distinguishedName")


@dataclass(frozen=True)
class Principal:
    """An account or a group: its SID, and the name that means it everywhere."""

    sid: Sid
    name: str


def _well_known_by_name() -> dict[str, str]:
    table = {}
    for sid, name in WELL_KNOWN.items():
        table[name.casefold()] = sid
        table[f"nt authority\\{name}".casefold()] = sid
    return table


_BY_NAME = _well_known_by_name()


def well_known(name: str) -> Principal | None:
    """A principal that needs no directory: a SID, or a name that is the same in every domain."""
    sid = _BY_NAME.get(name.casefold())
    if sid is None and name.upper().startswith("S-1-"):
        try:
            parsed = Sid.parse(name)
        except FormatError:
            return None
        return Principal(parsed, WELL_KNOWN.get(str(parsed), str(parsed)))
    return Principal(Sid.parse(sid), WELL_KNOWN[sid]) if sid else None


def resolve(directory: Directory, wanted: Sequence[str]) -> dict[str, Principal]:
    """One answer for each of `wanted`; raises one `UserError` naming each that is unknown or means several accounts."""
    found = {name: principal for name in wanted if (principal := well_known(name))}
    missing = [name for name in dict.fromkeys(wanted) if name not in found]
    problems = Problems()
    if missing:
        filters = {name: _filter(name, directory.domains) for name in missing}
        with _catalogue(directory) as catalogue:
            entries = _look_up(catalogue, filters.values())
        for name in missing:
            matches = _matches(name, entries, directory)
            if len(matches) == 1:
                found[name] = matches[0]
            else:
                problems.add(_unresolved(name, matches, entries, directory))
    problems.raise_any()
    return found


@contextmanager
def _catalogue(directory: Directory) -> Iterator[Directory]:
    """Where all of the forest's accounts can be found; with one domain that is the connection there is."""
    if len(directory.domains) < 2:
        yield directory
        return
    with directory.global_catalogue() as catalogue:
        yield catalogue


def _filter(name: str, domains: Mapping[str, str]) -> str:
    if "\\" in name:
        return f"(sAMAccountName={escape_filter(name.rpartition(chr(92))[2])})"
    if "=" in name and "," in name:
        return f"(distinguishedName={escape_filter(name)})"
    if "@" in name:
        account = name.partition("@")[0]
        return f"(|(userPrincipalName={escape_filter(name)})(sAMAccountName={escape_filter(account)}))"
    return f"(sAMAccountName={escape_filter(name)})"


def _look_up(directory: Directory, filters: Iterable[str]) -> list[Entry]:
    pending = list(dict.fromkeys(filters))
    base = directory.domain_dn if len(directory.domains) < 2 else ""
    entries: list[Entry] = []
    while pending:
        batch, pending = pending[:_BATCH], pending[_BATCH:]
        entries.extend(directory.search(base, f"(&(objectSid=*)(|{''.join(batch)}))", _ATTRIBUTES))
    return entries


def _matches(name: str, entries: Iterable[Entry], directory: Directory) -> list[Principal]:
    """Those that `name` means; the connected domain's own account is meant before another domain's of the same name."""
    hits = [entry for entry in entries if _means(name, entry, directory)]
    own = [entry for entry in hits if _domain_of(entry.dn, directory.domains) == _domain_of(directory.domain_dn, directory.domains)]
    chosen = own if own and "\\" not in name and "@" not in name else hits
    unique = {entry.dn.casefold(): entry for entry in chosen}
    return [Principal(Sid.from_bytes(entry.raw("objectSid") or b""), _name(entry, directory.domains)) for entry in unique.values()]


def _means(name: str, entry: Entry, directory: Directory) -> bool:
    account = (entry.text("sAMAccountName") or "").casefold()
    domain = _domain_of(entry.dn, directory.domains)
    if "\\" in name:
        prefix, _backslash, plain = name.rpartition("\\")
        return account == plain.casefold() and domain.casefold() == prefix.casefold()
    if "=" in name and "," in name:
        return entry.dn.casefold() == name.casefold()
    if "@" in name:
        plain, _at, suffix = name.casefold().partition("@")
        dns = ".".join(part.partition("=")[2] for part in directory.domains.get(domain, "").split(",")).casefold()
        return (entry.text("userPrincipalName") or "").casefold() == name.casefold() or (account == plain and dns == suffix)
    return account == name.casefold()


def _domain_of(dn: str, domains: Mapping[str, str]) -> str:
    """NetBIOS name of the domain that holds `dn`: the one whose name is its longest ending."""
    holding = [(len(base), netbios) for netbios, base in domains.items() if dn.casefold().endswith(base.casefold())]
    return max(holding)[1] if holding else ""


def _name(entry: Entry, domains: Mapping[str, str]) -> str:
    sid = Sid.from_bytes(entry.raw("objectSid") or b"")
    account = entry.text("sAMAccountName")
    # what stands for an account of another forest, or for a SID without one, has no name of its own
    return WELL_KNOWN.get(str(sid)) or (f"{_domain_of(entry.dn, domains)}\\{account}" if account else str(sid))


def _unresolved(name: str, matches: Sequence[Principal], entries: Iterable[Entry], directory: Directory) -> str:
    if matches:
        return f"principal {name!r} means several accounts: {', '.join(match.name for match in matches)}; write DOMAIN\\name"
    prefix = name.rpartition("\\")[0]
    if prefix and prefix.casefold() not in {known.casefold() for known in directory.domains}:
        return f"principal {name!r}: the forest has no domain {prefix!r}; it has {', '.join(sorted(directory.domains))}"
    near = difflib.get_close_matches(name.rpartition("\\")[2], _candidates(directory, name), 1, 0.6)
    hint = f"; did you mean {near[0]!r}?" if near else "; give a name of the domain, DOMAIN\\name, user@domain, or a SID"
    return f"principal {name!r} is not known in {directory.forest}{hint}"


def _candidates(directory: Directory, name: str) -> list[str]:
    """Accounts whose names begin alike, for a suggestion."""
    start = escape_filter(name.rpartition("\\")[2][:2])
    found = directory.search(directory.domain_dn, f"(&(objectSid=*)(sAMAccountName={start}*))", ["sAMAccountName"])
    return [entry.text("sAMAccountName") or "" for entry in found]


def names(directory: Directory, sids: Sequence[Sid]) -> dict[Sid, str]:
    """`DOMAIN\\name` for each SID, its own text where nobody is known by it."""
    result = {sid: WELL_KNOWN[str(sid)] for sid in sids if str(sid) in WELL_KNOWN}
    missing = [sid for sid in dict.fromkeys(sids) if sid not in result]
    if missing:
        with _catalogue(directory) as catalogue:
            entries = _look_up(catalogue, [f"(objectSid={escape_filter_bytes(bytes(sid))})" for sid in missing])
        result.update((Sid.from_bytes(entry.raw("objectSid") or b""), _name(entry, directory.domains)) for entry in entries)
    return {sid: result.get(sid, str(sid)) for sid in sids}
