# SPDX-License-Identifier: GPL-3.0-or-later
"""The extensions that a policy has content for: `gPCMachineExtensionNames` and `gPCUserExtensionNames` ([MS-GPOL] 2.2.4).

The value is `[{client-side extension}{tool}...]...`. Groups stand in ascending order of the extension's GUID, without case; a client
stops at the first one that is out of order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError

Pair = tuple[str, str]
"""A client-side extension and the tool that edits its content."""

_REGISTRY = "{35378EAC-683F-11D2-A89A-00C04FBBCFA2}"
_SECURITY = "{827D319E-6EAC-11D2-A4EA-00C04F79F83A}"
_PUBLIC_KEYS = "{B1BE8D72-6EAC-11D2-A4EA-00C04F79F83A}"
_PREFERENCES = "{00000000-0000-0000-0000-000000000000}"
_SERVICES = "{91FBB303-0CD5-4055-BF42-E512A681B325}"

_FILES, _FILES_TOOL = "{7150F9BF-48AD-4DA4-A49C-29EF4A8369BA}", "{3BAE7E51-E3F4-41D0-853D-9BB9FD47605F}"
_VALUES, _VALUES_TOOL = "{B087BE9D-ED37-454F-AF9C-04291E351182}", "{BEE07A6A-EC9F-4659-B8C9-0B1937907C83}"
_TASKS, _TASKS_TOOL = "{AADCED64-746C-4633-A97C-D61349046527}", "{CAB54552-DEEA-4691-817E-ED4A4D1AFC72}"

_MACHINE_TEMPLATES_TOOL = "{D02B1F72-3407-48AE-BA88-E8213C6761F1}"
_USER_TEMPLATES_TOOL = "{D02B1F73-3407-48AE-BA88-E8213C6761F1}"
_SECURITY_TOOL = "{803E14A0-B4FB-11D0-A0D0-00A0C90F574B}"
_PUBLIC_KEYS_TOOL = "{53D6AB1D-2488-11D1-A28C-00C04FB94F17}"
_SERVICES_TOOL = "{CC5746A9-9B74-4be5-AE2E-64379C86E0E4}"

MACHINE: dict[str, tuple[Pair, ...]] = {
    "security": ((_SECURITY, _SECURITY_TOOL),),  # [MS-GPSB] 1.9
    "registry": ((_REGISTRY, _MACHINE_TEMPLATES_TOOL),),  # [MS-GPREG] 1.9
    "certificates": ((_REGISTRY, _PUBLIC_KEYS_TOOL), (_PUBLIC_KEYS, _PUBLIC_KEYS_TOOL)),  # [MS-GPEF] 1.9
    "preferences_services": ((_PREFERENCES, _SERVICES_TOOL), (_SERVICES, _SERVICES_TOOL)),  # [MS-GPPREF] 1.9, as all of these
    "file_preferences": ((_PREFERENCES, _FILES_TOOL), (_FILES, _FILES_TOOL)),
    "registry_preferences": ((_PREFERENCES, _VALUES_TOOL), (_VALUES, _VALUES_TOOL)),
    "task_preferences": ((_PREFERENCES, _TASKS_TOOL), (_TASKS, _TASKS_TOOL)),
}
"""What the machine half needs by kind of content. Every policy but the Default Domain Policy has this public key tool."""

USER: dict[str, tuple[Pair, ...]] = {
    "registry": ((_REGISTRY, _USER_TEMPLATES_TOOL),),  # [MS-GPREG] 1.9
}
"""What the user half needs by kind of content."""


class Extension(NamedTuple):
    """A client-side extension and the tools that edited content for it."""

    cse: str
    tools: tuple[str, ...]


_GUID = r"\{[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\}"
_GROUP = re.compile(rf"\s*\[((?:{_GUID})+)\]\s*")


def parse(value: str | None) -> tuple[Extension, ...]:
    """The groups in the order of the value. Raises `FormatError`."""
    groups: list[Extension] = []
    position = 0
    rest = (value or "").strip()
    while position < len(rest):
        found = _GROUP.match(rest, position)
        if not found:
            raise FormatError(f"extension names: no '[{{GUID}}{{GUID}}]' at character {position + 1}: {rest[position : position + 60]!r}")
        guids = found[1].replace("}{", "} {").split(" ")
        groups.append(Extension(guids[0], tuple(guids[1:])))
        position = found.end()
    return tuple(groups)


def serialise(groups: Iterable[Extension]) -> str:
    """The value; empty where there is nothing, which is to be no value at all."""
    return "".join(f"[{group.cse}{''.join(group.tools)}]" for group in groups)


def merge(value: str | None, present: Iterable[Pair], absent: Iterable[Pair] = ()) -> str:
    """The value with all pairs of `present` and none of those `absent` that are not also present; all others stay.

    A value that says so already, in an order that clients accept, is returned as it is.
    """
    present = list(present)
    kept = {_folded(pair) for pair in present}
    gone = {_folded(pair) for pair in absent} - kept
    groups: dict[str, tuple[str, dict[str, str]]] = {}
    for cse, tools in parse(value):
        ours = [tool for tool in tools if _folded((cse, tool)) not in gone]
        if ours or not tools:
            groups.setdefault(cse.casefold(), (cse, {}))[1].update({tool.casefold(): tool for tool in ours})
    for cse, tool in present:
        groups.setdefault(cse.casefold(), (cse, {}))[1].setdefault(tool.casefold(), tool)
    merged = [Extension(cse, tuple(tools[tool] for tool in sorted(tools))) for _key, (cse, tools) in sorted(groups.items())]
    return (value or "").strip() if _same(merged, parse(value)) else serialise(merged)


def _folded(pair: Pair) -> Pair:
    return pair[0].casefold(), pair[1].casefold()


def _same(one: Iterable[Extension], other: Iterable[Extension]) -> bool:
    """Whether two lists say the same; the order of the tools in a group has no meaning."""
    return [(group.cse.casefold(), {tool.casefold() for tool in group.tools}) for group in one] == [
        (group.cse.casefold(), {tool.casefold() for tool in group.tools}) for group in other
    ]
