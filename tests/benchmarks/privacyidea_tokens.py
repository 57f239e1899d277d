# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a privacyIDEA ready to be measured: `python privacyidea_tokens.py PI_CFG USERS SEEDS`, in its own environment.

Users are a table of the same database; each has two tokens, TOTP of 6 digits and 30 seconds as privacyIDEA itself makes them: the first
by its own functions, all others as copies of its rows, each with a seed of its own, sealed by privacyIDEA. SEEDS takes one line of serial,
user and seed (hexadecimal) for each token.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Any

from privacyidea.app import create_app  # type: ignore[import-not-found]
from privacyidea.lib.config import set_privacyidea_config  # type: ignore[import-not-found]
from privacyidea.lib.crypto import encrypt  # type: ignore[import-not-found]
from privacyidea.lib.policy import set_policy  # type: ignore[import-not-found]
from privacyidea.lib.realm import set_default_realm, set_realm  # type: ignore[import-not-found]
from privacyidea.lib.resolver import save_resolver  # type: ignore[import-not-found]
from privacyidea.lib.token import init_token  # type: ignore[import-not-found]
from privacyidea.lib.user import User  # type: ignore[import-not-found]
from privacyidea.models import Token, TokenInfo, TokenOwner, TokenRealm, db  # type: ignore[import-not-found]
from sqlalchemy import insert, make_url, select, text

WINDOW = 30
"""Seconds before and after that a code is good: PassiveKey's window. privacyIDEA's own default is 180."""

BATCH = 5000


def main(config: str, users: int, seeds: Path) -> None:
    app = create_app(config_name="production", config_file=config, silent=True)
    with app.app_context():
        db.create_all()
        db.session.execute(text("CREATE TABLE people (id integer PRIMARY KEY, username varchar(40) UNIQUE, mail varchar(80))"))
        for first in range(0, users, BATCH):
            people = [{"n": number + 1, "u": f"u{number:06}", "m": ""} for number in range(first, min(users, first + BATCH))]
            db.session.execute(text("INSERT INTO people VALUES (:n, :u, :m)"), people)
        # privacyIDEA asks for users by LIKE, which only such an index answers
        db.session.execute(text("CREATE INDEX people_username ON people (username varchar_pattern_ops)"))
        db.session.commit()
        url = make_url(app.config["SQLALCHEMY_DATABASE_URI"])
        save_resolver(
            {
                "resolver": "people",
                "type": "sqlresolver",
                "Driver": url.drivername,
                "Server": url.host,
                "Port": str(url.port),
                "User": url.username,
                "Password": "",
                "Database": url.database,
                "Table": "people",
                "Limit": "500",
                "Map": '{"userid": "id", "username": "username", "email": "mail"}',
                "poolSize": "10",
            }
        )
        set_realm("corp", [{"name": "people"}])
        set_default_realm("corp")
        set_privacyidea_config("totp.timeWindow", str(WINDOW))
        # the code alone, as PassiveKey has no PIN either: without a PIN nothing is hashed
        set_policy("code-alone", scope="authentication", action="otppin=none")
        _tokens(users, seeds)


def _tokens(users: int, seeds: Path) -> None:
    first = init_token(
        {"type": "totp", "otpkey": secrets.token_hex(32), "serial": "SAMPLE", "hashlib": "sha256"}, user=User("u000000", "corp")
    )
    number = first.token.id
    [sample], [owner], [realm] = (_rows(Token, "id", number), _rows(TokenOwner, "token_id", number), _rows(TokenRealm, "token_id", number))
    words = _rows(TokenInfo, "token_id", number)
    first.delete_token()
    lines = []
    for begin in range(0, users, BATCH):
        tokens, owners, realms, infos = [], [], [], []
        for user in range(begin, min(users, begin + BATCH)):
            for each in (0, 1):
                number += 1
                seed, iv = secrets.token_hex(32), secrets.token_bytes(16)
                serial = f"TOTP{user:06}{each}"
                tokens.append({**sample, "id": number, "serial": serial, "key_enc": encrypt(seed.encode(), iv), "key_iv": iv.hex()})
                owners.append({**owner, "token_id": number, "user_id": str(user + 1)})
                realms.append({**realm, "token_id": number})
                infos += [{**info, "token_id": number} for info in words]
                lines.append(f"{serial} u{user:06} {seed}\n")
        for kind, rows in ((Token, tokens), (TokenOwner, owners), (TokenRealm, realms), (TokenInfo, infos)):
            if rows:
                db.session.execute(insert(kind.__table__), rows)
        db.session.commit()
    seeds.write_text("".join(lines))


def _rows(kind: Any, column: str, value: int) -> list[dict[str, Any]]:
    """As they are, but for their own number."""
    found = db.session.execute(select(kind.__table__).where(kind.__table__.c[column] == value))
    return [{name: value for name, value in row._mapping.items() if name != "id"} for row in found]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
