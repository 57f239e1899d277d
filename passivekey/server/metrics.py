# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service counts, in the text format of Prometheus (exposition format 0.0.4): of all workers together, whichever is asked."""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FOLDER = "PASSIVEKEY_METRICS"
"""The variable that names the folder where workers keep their counts; without it a process counts for itself."""

_NAME, _NUMBER = 56, 8
_SLOT = _NAME + _NUMBER
_SLOTS = 256
"""Each a name, filled up with zeros, and a number; those without a name are not in use."""


@dataclass
class Outcome:
    status: int = 500


class _Counts:
    """Numbers by name, in a file that other processes read while this one counts."""

    def __init__(self, folder: Path | None) -> None:
        self._places: dict[str, int] = {}
        self._slots: mmap.mmap | bytearray = bytearray(_SLOTS * _SLOT)
        if folder is not None:
            handle, _name = tempfile.mkstemp(dir=folder, prefix=f"{os.getpid()}-")
            os.ftruncate(handle, _SLOTS * _SLOT)
            self._slots = mmap.mmap(handle, _SLOTS * _SLOT)
            os.close(handle)

    def add(self, name: str, number: float) -> None:
        place = self._places.get(name)
        if place is None:
            if len(self._places) == _SLOTS:
                return
            place = len(self._places) * _SLOT
            self._slots[place : place + _NAME] = name.encode("ascii")[:_NAME].ljust(_NAME, b"\0")
            self._places[name] = place
        struct.pack_into("=d", self._slots, place + _NAME, struct.unpack_from("=d", self._slots, place + _NAME)[0] + number)

    def content(self) -> bytes:
        return bytes(self._slots)


def _read(content: bytes) -> Iterator[tuple[str, float]]:
    for name, number in struct.iter_unpack(f"={_NAME}sd", content[: len(content) // _SLOT * _SLOT]):
        if name[:1] != b"\0":
            yield name.rstrip(b"\0").decode("ascii", "replace"), number


class Metrics:
    """Requests and seconds by path and status; the event loop's one thread counts."""

    def __init__(self) -> None:
        named = os.environ.get(FOLDER)
        self._folder = Path(named) if named and Path(named).is_dir() else None
        self._counts = _Counts(self._folder)

    @contextmanager
    def timed(self, path: str) -> Iterator[Outcome]:
        outcome, begun = Outcome(), time.perf_counter()
        try:
            yield outcome
        finally:
            self._counts.add(f"{path} {outcome.status}", 1)
            self._counts.add(path, time.perf_counter() - begun)

    def _all(self) -> Counter[str]:
        """Of all workers, those that have ended included: a counter never goes back."""
        contents = [file.read_bytes() for file in self._folder.iterdir()] if self._folder else [self._counts.content()]
        found: Counter[str] = Counter()
        for content in contents:
            for name, number in _read(content):
                found[name] += number  # type: ignore[assignment]  # a Counter counts fractions too
        return found

    def text(self, devices: Mapping[str, int]) -> str:
        found = sorted(self._all().items())
        lines = ["# TYPE passivekey_requests_total counter"]
        for name, count in found:
            path, _space, status = name.partition(" ")
            if status:
                lines.append(f'passivekey_requests_total{{path="{path}",status="{status}"}} {count:.0f}')
        lines += ["# TYPE passivekey_request_seconds_total counter"]
        lines += [f'passivekey_request_seconds_total{{path="{path}"}} {seconds:.6f}' for path, seconds in found if " " not in path]
        lines += ["# TYPE passivekey_devices gauge"]
        lines += [f'passivekey_devices{{state="{state}"}} {count}' for state, count in sorted(devices.items())]
        return "\n".join(lines) + "\n"
