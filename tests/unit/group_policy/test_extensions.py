# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import extensions
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.extensions import MACHINE, USER, Extension

REGISTRY, SECURITY, PUBLIC_KEYS = (
    "{35378EAC-683F-11D2-A89A-00C04FBBCFA2}",
    "{827D319E-6EAC-11D2-A4EA-00C04F79F83A}",
    "{B1BE8D72-6EAC-11D2-A4EA-00C04F79F83A}",
)
TEMPLATES, CERTIFICATES, TEMPLATE_EDITOR = (
    "{D02B1F72-3407-48AE-BA88-E8213C6761F1}",
    "{53D6AB1D-2488-11D1-A28C-00C04FB94F17}",
    "{803E14A0-B4FB-11D0-A0D0-00A0C90F574B}",
)
OTHER = "{0F6B957D-509E-11D1-A7CC-0000F87571E3}"
REAL = f"[{REGISTRY}{CERTIFICATES}{TEMPLATES}][{SECURITY}{TEMPLATE_EDITOR}][{PUBLIC_KEYS}{CERTIFICATES}]"


def test_what_a_policy_with_roots_services_and_registry_needs() -> None:
    assert extensions.merge(None, [*MACHINE["registry"], *MACHINE["security"], *MACHINE["certificates"]]) == REAL


def test_reads_what_it_writes() -> None:
    groups = extensions.parse(REAL)
    assert groups[0] == Extension(REGISTRY, (CERTIFICATES, TEMPLATES))
    assert extensions.serialise(groups) == REAL
    assert extensions.parse(None) == extensions.parse(" ") == ()
    assert extensions.serialise(()) == ""


def test_service_preferences_stand_first_and_in_their_own_place() -> None:
    value = extensions.merge(REAL, MACHINE["preferences_services"])
    assert [group.cse[:9] for group in extensions.parse(value)] == ["{00000000", "{35378EAC", "{827D319E", "{91FBB303", "{B1BE8D72"]


@pytest.mark.parametrize(
    ("value", "present", "absent", "after"),
    [
        pytest.param(REAL, MACHINE["security"], (), REAL, id="there already"),
        pytest.param(REAL.lower(), MACHINE["security"], (), REAL.lower(), id="there in another case"),
        pytest.param(
            f"[{REGISTRY}{TEMPLATES}{CERTIFICATES}]", MACHINE["registry"], (), f"[{REGISTRY}{TEMPLATES}{CERTIFICATES}]", id="order of tools"
        ),
        pytest.param(f"[{REGISTRY}{OTHER}]", MACHINE["registry"], (), f"[{REGISTRY}{OTHER}{TEMPLATES}]", id="foreign tool stays"),
        pytest.param(f"[{SECURITY}{OTHER}][{REGISTRY}{OTHER}]", (), (), f"[{REGISTRY}{OTHER}][{SECURITY}{OTHER}]", id="order is mended"),
        pytest.param(f"[{REGISTRY}{OTHER}][{REGISTRY}{TEMPLATES}]", (), (), f"[{REGISTRY}{OTHER}{TEMPLATES}]", id="groups are joined"),
        pytest.param(REAL, (), MACHINE["security"], REAL.replace(f"[{SECURITY}{TEMPLATE_EDITOR}]", ""), id="content gone"),
        pytest.param(
            REAL,
            MACHINE["registry"],
            MACHINE["certificates"],
            f"[{REGISTRY}{TEMPLATES}][{SECURITY}{TEMPLATE_EDITOR}]",
            id="one of two gone",
        ),
        pytest.param(REAL, MACHINE["security"], MACHINE["security"], REAL, id="what is present stays"),
        pytest.param(f"[{SECURITY}{TEMPLATE_EDITOR}]", (), MACHINE["security"], "", id="nothing left"),
        pytest.param(f"[{SECURITY}]", (), MACHINE["security"], f"[{SECURITY}]", id="an extension without tools"),
        pytest.param(None, USER["registry"], (), f"[{REGISTRY}{{D02B1F73-3407-48AE-BA88-E8213C6761F1}}]", id="user half"),
    ],
)
def test_merge(value: str | None, present: list[extensions.Pair], absent: list[extensions.Pair], after: str) -> None:
    assert extensions.merge(value, present, absent) == after
    assert extensions.merge(after, present, absent) == after


@pytest.mark.parametrize("value", ["[]", "x", f"[{REGISTRY}", f"[{REGISTRY}]x", REGISTRY, "[{35378EAC}]"])
def test_refuses(value: str) -> None:
    with pytest.raises(FormatError, match=r"extension names: no .* at character"):
        extensions.parse(value)
