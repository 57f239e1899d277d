# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab's domain made large: loaded offline once, kept as an archive, put into other labs."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab import root, settings
from lab.errors import LabError
from lab.labs import Lab
from lab.progress import Progress

COUNTS = {"templates": 1000, "policies": 2000, "units": 5000, "users": 100_000, "certificates": 50_000, "computers": 500}
"""Of the whole directory: objects of each kind, and how many users carry a certificate."""

SERVICES = ("Corp Example Issuing CA", "Corp Example VPN CA")
LOADER = settings.CHECKOUT / "tests/benchmarks/large_directory_load.py"
TEMPLATES = settings.CHECKOUT / "lab/windows_ca/authority/builtin_templates.json"
HOST = "dc1"
DATABASE = "var/lib/samba"
ARCHIVED = ("--xattrs", "--xattrs-include=*", "--acls", "--warning=no-file-ignored")
"""SYSVOL's permissions are extended attributes."""


def counts(share: int) -> dict[str, int]:
    """Of a share of the directory, in percent."""
    return {name: max(number * share // 100, 1) for name, number in COUNTS.items()}


def fill(lab: Lab, share: int, folder: Path, progress: Progress) -> None:
    """Make the domain of a running lab large: from the archive in `folder`, made where it is missing. Samba is stopped meanwhile."""
    wanted = counts(share)
    archive = folder / f"directory-{share}-{_key(wanted)}.tar"
    passwords = archive.with_suffix(".json")
    lab.kill(HOST)
    if archive.exists() and passwords.exists():
        with progress.step(f"the directory of {wanted['users']:,} users from its archive"), archive.open("rb") as content:
            _run(lab, ["tar", "--extract", *ARCHIVED, "--directory=/"], stdin=content)
        # the archive is a domain of its own, whichever the lab was started with
        shutil.copy(passwords, lab.folder / "accounts.json")
    else:
        with progress.step(f"{wanted['users']:,} users loaded, which takes minutes; kept as {archive.name}"):
            _load(lab, wanted)
            shutil.copy(lab.folder / "accounts.json", passwords)
            _keep(lab, archive)
        for old in folder.glob(f"directory-{share}-*"):
            if old not in (archive, passwords):
                old.unlink()
    with progress.step("samba answers again"):
        lab.start(HOST)


def _key(wanted: Mapping[str, int]) -> str:
    """Changes with the loader, and with the Samba that reads the files again."""
    digest = hashlib.sha256(json.dumps([wanted, root.key()]).encode())
    for file in (LOADER, TEMPLATES):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _load(lab: Lab, wanted: Mapping[str, int]) -> None:
    given = {"templates": json.loads(TEMPLATES.read_text()), "counts": dict(wanted), "services": list(SERVICES)}
    _write(lab, "/root/settings.json", json.dumps(given))
    _write(lab, "/root/load.py", LOADER.read_text())
    _run(lab, ["python3", "/root/load.py", "/root/settings.json"])


def _keep(lab: Lab, archive: Path) -> None:
    unfinished = archive.with_suffix(".unfinished")
    unfinished.touch(mode=0o600)
    with unfinished.open("wb") as content:
        _run(lab, ["tar", "--create", "--sparse", *ARCHIVED, "--directory=/", DATABASE], stdout=content)
    unfinished.rename(archive)


def _write(lab: Lab, path: str, text: str) -> None:
    lab.run(HOST, "sh", "-c", 'cat > "$0"', path, stdin=text)


def _run(lab: Lab, command: Sequence[str], **streams: Any) -> None:
    done = subprocess.run(lab.command(HOST, command), stderr=subprocess.PIPE, check=False, **{"stdin": subprocess.DEVNULL, **streams})
    if done.returncode:
        raise LabError(f"{HOST}: {' '.join(command)} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")
