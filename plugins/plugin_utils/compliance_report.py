# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a compliance run as an action's work: what only Ansible knows of the run (versions, inventory, terminal), put together."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.release import __version__ as ansible_version

from ansible_collections.certlogon.core.plugins.module_utils.compliance import reporting
from ansible_collections.certlogon.core.plugins.module_utils.compliance.audit import Expected, fails
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Target
from ansible_collections.certlogon.core.plugins.module_utils.compliance.outputs.locations import Locator
from ansible_collections.certlogon.core.plugins.module_utils.errors import UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Warn

COLLECTION = Path(__file__).resolve().parents[2]
_BESIDE_HOSTS = (
    "domains",
    "certification_authorities",
    "domain_controllers",
    "vpn",
    "vpn_appliances",
    "vpn_gateways",
    "passivekey_servers",
)
"""Groups whose variables mend what is found beside hosts (CRLs)."""


class Inventory:
    """Where the run's inventory has what mends a finding. Nothing is read before the first question."""

    def __init__(self, task_vars: Mapping[str, Any]) -> None:
        self._sources = [Path(source) for source in task_vars.get("ansible_inventory_sources") or () if "," not in str(source)]
        self._playbook = Path(str(task_vars["playbook_dir"])) if task_vars.get("playbook_dir") else None
        self._hosts = task_vars.get("hostvars") or {}
        self._groups: dict[str, list[str]] = {}

    @property
    def root(self) -> Path | None:
        """The folder that files are named relative to."""
        folders = [source if source.is_dir() else source.parent for source in self._sources if source.exists()]
        return folders[0].resolve() if folders else None

    @cached_property
    def _locator(self) -> Locator:
        playbook = self._playbook if self._playbook and COLLECTION not in (self._playbook, *self._playbook.parents) else None
        return Locator(self._sources, playbook, self.root)

    def locate(self, target: Target, subject: str, variables: Sequence[str]) -> dict[str, Any] | None:
        if self.root is None:
            return None
        host = subject.partition(": ")[0] if target.kind == "drift" else target.name
        return self._locator.find(host, self._groups_of(host), variables)

    def _groups_of(self, host: str) -> list[str]:
        if host not in self._groups:
            self._groups[host] = self._nearest_first(host) or list(_BESIDE_HOSTS)
        return self._groups[host]

    def _nearest_first(self, host: str) -> list[str]:
        """As Ansible lets groups override each other: children before parents."""
        inventory = getattr(self._hosts, "_inventory", None)
        found = inventory.get_host(host) if inventory else None
        if found is None:
            return []
        groups = sorted(found.get_groups(), key=lambda group: (group.depth, group.priority, group.name), reverse=True)
        return [str(group.name) for group in groups]


def run(params: Mapping[str, Any], inventory: Inventory, warn: Warn) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
    """The result, and the report where one was made. Raises `UserError`."""
    folder = Path(params["folder"])
    if params["state"] == "unanswered":
        target = Target(params["target"]["kind"], params["target"]["name"])
        return {"changed": False, "observation": str(reporting.unanswered(folder, target, params["target"]["error"]))}, None
    wishes = reporting.examine(params, warn, inventory.root)
    if params["state"] == "prepared":
        reporting.prepare(folder)
        return {"changed": False, "observations": str(folder / reporting.OBSERVATIONS)}, None
    expected = [Expected(Target(kind, str(name))) for kind, names in params["targets"].items() for name in names]
    about = {
        "title": params["title"],
        "certlogon": version(),
        "ansible_core": ansible_version,
        "python": platform.python_version(),
        "stand_ins": params["stand_ins"],
    }
    setting = {"run": about, "fail_on": params["fail_on"], "locate": inventory.locate}
    written = reporting.write(folder, wishes, expected, setting, warn)
    return _result(params, written), written.report


def _result(params: Mapping[str, Any], written: reporting.Written) -> dict[str, Any]:
    summary = written.report["summary"]
    result = {
        "changed": False,
        "outputs": {name: str(path) for name, path in written.outputs.items()},
        **{name: summary[name] for name in ("verdict", "score", "counts", "reasons", "new", "gone", "still")},
    }
    if fails(written.report, unknown_fails=params["unknown_is"] == "failure"):
        words = {"fail": "fails", "unknown": "cannot be judged"}[summary["verdict"]]
        result |= {"failed": True, "msg": f"Compliance {words}: {'; '.join(summary['reasons'])}. All of it: {_best(written)}"}
    return result


def _best(written: reporting.Written) -> str:
    return str(written.outputs.get("html") or written.outputs["json"])


def version() -> str:
    """The collection's, as its own file says it; built collections have it in another file."""
    loader = DataLoader()
    for name, member in (("galaxy.yml", ()), ("MANIFEST.json", ("collection_info",))):
        path = COLLECTION / name
        if path.is_file():
            found = loader.load_from_file(str(path))
            for step in member:
                found = found[step]
            return str(found["version"])
    raise UserError(
        f"{COLLECTION} has neither galaxy.yml nor MANIFEST.json, so that its version is not known; install the collection again"
    )
