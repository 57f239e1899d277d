# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs are there without the extras that they need, and say which."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "lacks", "extra"),
    [("passivekey.server.command", "sqlalchemy", "passivekey-server"), ("passivekey.agent.logon", "joserfc", "passivekey-agent")],
)
def test_the_missing_extra_is_named(module: str, lacks: str, extra: str) -> None:
    program = f"import sys; sys.modules['{lacks}'] = None; sys.argv = ['x', 'status']; from {module} import main; sys.exit(main())"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert f"the Python package {lacks}" in ran.stderr and ran.stderr.endswith(f"install certlogon with its extra {extra}\n")
