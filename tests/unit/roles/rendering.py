# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible itself makes of a role's variables: `python rendering.py`, with JSON on standard input and output.

Given: `role` (folder), `always` (variables), `cases` (a list of variables on top), `wanted` (names of variables). Printed: for each case
the values of what is wanted. A process of its own, for Ansible's loader of collections takes over what this one has imported.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

from ansible import template as templating
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, lookup_loader

_trusted = getattr(templating, "trust_as_template", str)  # since ansible-core 2.19


def variables(path: Path) -> dict[str, Any]:
    loader = DataLoader()
    try:
        found = loader.load_from_file(str(path), trusted_as_template=True)
    except TypeError:  # before 2.19
        found = loader.load_from_file(str(path))
    assert isinstance(found, dict)
    return found


def main() -> None:
    given = json.load(sys.stdin)
    init_plugin_loader()
    # It copies all variables each time, which is most of the time here, where nothing changes them.
    sys.modules[type(lookup_loader.get("ansible.builtin.template")).__module__].deepcopy = copy.copy  # type: ignore[attr-defined]
    role = Path(given["role"])
    common = {**variables(role / "defaults/main.yml"), **variables(role / "vars/main.yml"), **given["always"]}
    common |= {"role_path": str(role), "ansible_search_path": [str(role)], "playbook_dir": str(role), "ansible_check_mode": False}
    wanted = _trusted("{{ [" + ", ".join(given["wanted"]) + "] }}")
    found = [templating.Templar(loader=DataLoader(), variables={**common, **case}).template(wanted) for case in given["cases"]]
    json.dump([dict(zip(given["wanted"], values, strict=True)) for values in found], sys.stdout)


if __name__ == "__main__":
    main()
