# SPDX-License-Identifier: GPL-3.0-or-later
"""The section of docs/benchmarks.md on PassiveKey."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
DATABASES = {"sqlite": "SQLite (WAL)", "postgresql": "PostgreSQL", "static": "none: FreeRADIUS with a static file"}
WAYS = {"rest": "REST: password, challenge, code (2 requests)", "cookie": "cookie, for nginx: decrypt, verify, code, session (1 request)"}
PEERS = {
    "rest": "PassiveKey: password, challenge, code (2 requests)",
    "cookie": "PassiveKey: cookie (1 request)",
    "user": "privacyIDEA: user and code (1 request)",
    "serial": "privacyIDEA: serial number and code (1 request)",
}
HEAD = "logins a second | median, 99 of 100, ms | processor ms: server, PostgreSQL"


def section(results: list[Row]) -> list[str]:
    """Empty where nothing of it was measured."""
    lines = [*_own(results), *_peer(results)]
    return ["## PassiveKey", "", *lines] if lines else []


def _own(results: list[Row]) -> list[str]:
    found = {
        kind: [row for row in results if row["kind"] == f"passivekey{kind}"] for kind in ("", "-radius", "-flat", "-enrolment", "-killed")
    }
    if not found[""]:
        return []
    accounts, clients = found[""][0]["accounts"], found[""][0]["clients"]
    lines = [
        f"{accounts:,} accounts with {2 * accounts:,} devices, two workers of the server, audit log and lock-out on; databases write as",
        f"durably as in life, {clients} clients at once on the same cores. Each login is another device's. **The directory is imagined and",
        "costs nothing**: in life a login also waits for a domain controller, which judges the password. Plain HTTP on kept connections;",
        "FreeRADIUS asks by TLS.",
        "",
        f"| login | database | {HEAD} |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {WAYS[row['what']]} | {DATABASES[row['database']]} | {_figures(row)} |" for row in found[""]]
    lines += [f"| RADIUS through FreeRADIUS | {DATABASES[row['database']]} | {_figures(row)} |" for row in found["-radius"]]
    lines += [""]
    for row in found["-flat"]:
        many, few = (f"{row[f'ms_{size}']} ms with {2 * row[size]:,} devices" for size in ("many", "few"))
        lines.append(f"- One login at a time, {DATABASES[row['database']]}: {many}, {few}: {row['ratio']} times as long.")
    for row in found["-enrolment"]:
        lines += [
            f"- Enrolments, of six requests each (sign-in, request, two nonces, seed, confirmation), {DATABASES[row['database']]}:",
            f"  {row['rate']} a second, {row['server_ms']} ms of the server's processor each.",
        ]
    for row in found["-killed"]:
        lines += [
            f"- kill -9 in the middle of logins, {DATABASES[row['database']]}: {row['accepted']} codes had been accepted.",
            f"  After the restart, still in their time, {row['accepted_again']} of them were accepted again,",
            f"  and {row['others_accepted']} of {row['others']} that nobody had used.",
        ]
    return [
        *lines,
        "- What is accepted, revoked or enrolled is on the disk (fsync) before it is answered. Challenges outlive a killed process, not a",
        "  power cut; an accepted code is refused after both.",
        "",
    ]


def _peer(results: list[Row]) -> list[str]:
    rows = [row for row in results if row["kind"] == "passivekey-peer"]
    if not rows:
        return []
    [ratios] = [row for row in results if row["kind"] == "passivekey-peer-ratios"]
    lines = [
        f"### Beside privacyIDEA {rows[0]['version']}",
        "",
        f"`./certlogon bench-peer`: {rows[0]['users']:,} users with two tokens or devices each, one PostgreSQL, a database for each, two",
        "workers (uvicorn; gunicorn, two threads each), audit log and lock-out on, the same client, by turns. No directory, no PIN",
        "on either side: privacyIDEA takes `otppin=none`, has its users in a table with an index for the way it asks, and a window",
        "of one step, as PassiveKey has. Its audit log signs each entry, ours chains them. Its own metrics, which it writes into its",
        "database, are off.",
        "",
        f"| login | {HEAD} |",
        "|---|---|---|---|",
    ]
    lines += [f"| {PEERS[row['what']]} | {_figures(row)} |" for row in rows]
    lines += ["", "| times as many logins a second (in brackets: by processor time) | as by user | as by serial number |", "|---|---|---|"]
    for mine in ("rest", "cookie"):
        cells = [ratios[f"{mine}/{other}"] for other in ("user", "serial")]
        lines.append(f"| {PEERS[mine]} | " + " | ".join(f"{cell['clock']} ({cell['processor']})" for cell in cells) + " |")
    return [*lines, ""]


def _figures(row: Row) -> str:
    refused = f", {row['refused']} refused" if row["refused"] else ""
    spent = f"{row['server_ms']}, {row['database_ms']}"
    return f"{row['rate']:,.0f} [{row['runs']}]{refused} | {row['median_ms']}, {row['worst_ms']} | {spent}"
