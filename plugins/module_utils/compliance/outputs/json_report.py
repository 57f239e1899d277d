# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as it is: JSON, described by docs/schemas/compliance-report.schema.json (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def render(report: Mapping[str, Any]) -> str:
    return json.dumps(report, indent=1, ensure_ascii=False) + "\n"
