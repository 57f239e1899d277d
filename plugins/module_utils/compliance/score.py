# SPDX-License-Identifier: GPL-3.0-or-later
"""One figure for how much of what counts is proved to be well (pure); docs/compliance.md says the same for readers.

A control on a target counts with the weight of its severity. What passed counts for the score, what failed or is unknown against it;
what is waived or not applicable does not count. All or nothing: of a control with one failing subject among a thousand, the others earn
nothing. Otherwise a subject that hides behind "unknown" could raise the score by taking failures out of the count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

WEIGHTS = {"critical": 10, "high": 5, "medium": 3, "low": 1, "info": 0}


def score(results: Iterable[tuple[str, str]]) -> float | None:
    """0 to 100, rounded down to a tenth, of (severity, status) pairs; None where nothing counts."""
    proved = possible = 0
    for severity, status in results:
        if status in ("pass", "fail", "unknown"):
            possible += WEIGHTS[severity]
            proved += WEIGHTS[severity] if status == "pass" else 0
    return math.floor(1000 * proved / possible) / 10 if possible else None
