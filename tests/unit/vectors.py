# SPDX-License-Identifier: GPL-3.0-or-later
"""Files made by Windows' own tools, kept beside the project; CERTLOGON_VECTORS says where else they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("CERTLOGON_VECTORS") or Path(__file__).resolve().parents[3] / "shared" / "vectors")


def folder(name: str) -> Path:
    """A folder of vectors; skips the test where it is absent."""
    path = FOLDER / name
    if not path.is_dir():
        pytest.skip(f"no test vectors in {path} (CERTLOGON_VECTORS says where they are)")
    return path
