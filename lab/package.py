# SPDX-License-Identifier: GPL-3.0-or-later
"""A wheel of this checkout's package `passivekey`, for roles that install it: in a tenth of a second, by the standard library alone.

It has no collection in it. The whole wheel is built by hatchling, and tried in tests/packaging.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from pathlib import Path

from lab import settings
from lab.errors import LabError

PACKAGE = "passivekey"


def wheel(folder: Path) -> Path:
    """The wheel in `folder`; the same bytes for the same sources."""
    project = (settings.CHECKOUT / "pyproject.toml").read_text()
    name, scripts = one(r'(?m)^name = "(.+)"$', project), one(r"(?ms)^\[project\.scripts\]\n(.+?)\n\n", project).replace('"', "")
    version = one(r"(?m)^version: (\S+)$", (settings.CHECKOUT / "galaxy.yml").read_text())
    info = f"{name}-{version}.dist-info"
    sources = sorted(path for path in (settings.CHECKOUT / PACKAGE).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    files = {str(path.relative_to(settings.CHECKOUT)): path.read_bytes() for path in sources}
    files |= {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{scripts}\n".encode(),
    }
    record = "".join(f"{path},sha256={digest(content)},{len(content)}\n" for path, content in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}-{version}-py3-none-any.whl"
    new = target.with_suffix(".new")
    with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path), content)
    new.replace(target)
    return target


def one(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise LabError(f"this checkout has nothing like {pattern!r}")
    return found[1]


def digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
