# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service counts, in the text format of Prometheus (exposition format 0.0.4)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Outcome:
    status: int = 500


class Metrics:
    """Requests and seconds by path and status; the event loop's one thread counts."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: Counter[str] = Counter()

    @contextmanager
    def timed(self, path: str) -> Iterator[Outcome]:
        outcome, begun = Outcome(), time.perf_counter()
        try:
            yield outcome
        finally:
            self._requests[path, outcome.status] += 1
            self._seconds[path] += time.perf_counter() - begun  # type: ignore[assignment]  # a Counter counts fractions too

    def text(self, devices: Mapping[str, int]) -> str:
        lines = ["# TYPE passivekey_requests_total counter"]
        lines += [
            f'passivekey_requests_total{{path="{path}",status="{status}"}} {count}' for (path, status), count in self._requests.items()
        ]
        lines += ["# TYPE passivekey_request_seconds_total counter"]
        lines += [f'passivekey_request_seconds_total{{path="{path}"}} {seconds:.6f}' for path, seconds in self._seconds.items()]
        lines += ["# TYPE passivekey_devices gauge"]
        lines += [f'passivekey_devices{{state="{state}"}} {count}' for state, count in sorted(devices.items())]
        return "\n".join(lines) + "\n"
