# SPDX-License-Identifier: GPL-3.0-or-later
"""Hatch's hook for wheels: an editable installation has the checkout on the path, and no copies that Python would find before it."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Checkout(BuildHookInterface):  # type: ignore[misc]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            self.build_config.force_include.clear()
