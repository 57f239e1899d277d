# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the waivers themselves are in order (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import Facts, Verdict, failed, passed, unknown


def expired(facts: Facts, parameters: Mapping[str, Any]) -> Iterator[Verdict]:
    for waiver in facts["waivers"]:
        evidence = {"owner": waiver["owner"], "expires": waiver["expires"], "line": waiver["line"]}
        if waiver["expired"]:
            yield failed(
                waiver["name"],
                f"The waiver of {waiver['owner']} ended on {waiver['expires']}; what it accepted counts again.",
                mend="Mend what it was about and remove the waiver, or have its owner give it a new date.",
                **evidence,
            )
        else:
            yield passed(waiver["name"], **evidence)


def unused(facts: Facts, parameters: Mapping[str, Any]) -> Iterator[Verdict]:
    for waiver in facts["waivers"]:
        if waiver["expired"]:
            continue
        if waiver["used"]:
            yield passed(waiver["name"], used=waiver["used"])
        elif waiver["undecided"]:
            yield unknown(waiver["name"], f"Whether it is still needed is not known: {waiver['undecided']}", owner=waiver["owner"])
        else:
            yield failed(
                waiver["name"],
                "The waiver accepts nothing: no such failure was found.",
                mend="Remove it, or correct its target and subject.",
                owner=waiver["owner"],
                line=waiver["line"],
            )
