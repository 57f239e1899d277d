# SPDX-License-Identifier: GPL-3.0-or-later
"""The files beside an observation that list every finding of its streams: JSON lines, one file a control, readable by the owner only."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from ansible_collections.certlogon.core.plugins.module_utils.compliance.catalogue import Control
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Target, Verdict
from ansible_collections.certlogon.core.plugins.module_utils.compliance.observation import file_name
from ansible_collections.certlogon.core.plugins.module_utils.compliance.outputs.annex import line


class Annexes(ExitStack):
    """A stream's sink; `files` are the names of the files written, by control id. A context manager, which closes them."""

    def __init__(self, folder: Path, target: Target) -> None:
        super().__init__()
        self.files: dict[str, str] = {}
        self._folder = folder
        self._stem = file_name(target).removesuffix(".json")
        self._open: dict[str, TextIO] = {}

    def __call__(self, control: Control, verdict: Verdict) -> None:
        if control.id not in self._open:
            self._open[control.id] = self._new(control.id)
        self._open[control.id].write(line(control, verdict) + "\n")

    def _new(self, control: str) -> Any:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{self._stem}.{control}.jsonl"
        handle = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self.files[control] = name
        return self.enter_context(os.fdopen(handle, "w", encoding="utf-8"))
