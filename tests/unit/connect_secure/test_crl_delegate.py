# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs fetched by another host: the command that it runs is run here, by a shell and the real curl."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.certificates import cdp
from ansible_collections.certlogon.core.plugins.module_utils.certificates.crl_source import Account
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.plugin_utils.crl_delegate import CrlDelegate
from ansible_collections.certlogon.core.tests.unit.certificates.directory_server import directory
from ansible_collections.certlogon.core.tests.unit.connect_secure.authorities import served

pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="the host that fetches needs curl")
COMMANDS: list[str] = []
READER = ('CN=re"ader\\,DC=corp', 'pass"word\\1\nof two lines\t')


def execute(command: str, in_data: bytes) -> dict[str, Any]:
    COMMANDS.append(command)
    done = subprocess.run(["sh", "-c", command], input=in_data, capture_output=True, check=False)
    return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}


def test_http() -> None:
    content = bytes(range(256)) * 40
    with served() as web:
        web["a.crl"] = content
        assert CrlDelegate("jump1", execute).fetch(cdp.parse(f"{web.url}/a.crl"), 5, None) == [content]
        with pytest.raises(UserError, match=r"none.crl: cannot be fetched by jump1 \(curl: .*404"):
            CrlDelegate("jump1", execute).fetch(cdp.parse(f"{web.url}/none.crl"), 5, None)


@pytest.mark.parametrize("attribute", ["certificateRevocationList", "certificateRevocationList;binary"])
def test_ldap_with_an_account(attribute: str) -> None:
    content = bytes(range(256)) * 4
    with directory("CN=CDP,DC=corp", {"cn": [b"x"], "certificateRevocationList;binary": [content]}, READER) as server:
        where = cdp.parse(f"ldap://127.0.0.1:{server.server_address[1]}/CN=CDP,DC=corp?{attribute}")
        assert CrlDelegate("jump1", execute).fetch(where, 5, Account(*READER)) == [content]
        with pytest.raises(UserError, match="cannot be fetched by jump1"):
            CrlDelegate("jump1", execute).fetch(where, 5, Account(READER[0], "wrong"))
    assert not any(READER[1] in command for command in COMMANDS)


def test_a_directory_without_the_crl() -> None:
    with directory("CN=CDP,DC=corp", {"cn": [b"x"]}) as server:
        where = cdp.parse(f"ldap://127.0.0.1:{server.server_address[1]}/CN=CDP,DC=corp?certificateRevocationList")
        with pytest.raises(UserError, match="shows jump1 no CRL there"):
            CrlDelegate("jump1", execute).fetch(where, 5, None)


def test_without_a_host() -> None:
    with pytest.raises(UserError, match="give it delegate_to"):
        CrlDelegate(None, execute).fetch(cdp.parse("http://crl/a.crl"), 5, None)
