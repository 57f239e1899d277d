# SPDX-License-Identifier: GPL-3.0-or-later
"""What an installation that fails leaves for the next run: a mark where it died, none where somebody else's key is in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.windows_ca import scripts
from lab.windows_ca.authority import CertSrvError
from lab.windows_ca.authority.errors import KEY_EXISTS
from lab.windows_ca.machine import Machine
from lab.windows_ca.scripts.authority import MARK

E_FAIL = 0x80004005


@pytest.mark.parametrize(
    ("begun", "hresult", "marked"), [(False, KEY_EXISTS, False), (False, E_FAIL, True), (True, KEY_EXISTS, True)], ids=str
)
def test_mark_after_a_failure(tmp_path: Path, begun: bool, hresult: int, marked: bool):
    class Dying:
        def install(self, *_arguments: Any) -> None:
            raise CertSrvError(hresult, "no")

    scripts.load_handlers()
    machine = Machine(tmp_path)
    if begun:
        machine.registry.set(MARK, "Name", "Corp CA", "REG_SZ")
    parameters = {"CAType": "StandaloneRootCA", "CACommonName": "Corp CA"}
    authority: Any = Dying()
    caller: Any = None
    with pytest.raises(CertSrvError):
        scripts.HANDLERS["adcs_install"](machine, authority, parameters, caller)
    assert machine.registry.exists(MARK) is marked
