# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes to try parsers with: random ones, and files that were good before something happened to them."""

from __future__ import annotations

from hypothesis import strategies as st


@st.composite
def mutated(draw: st.DrawFn, files: st.SearchStrategy[bytes]) -> bytes:
    """A file with a few bytes changed, inserted, removed, repeated, or its end cut off."""
    data = bytearray(draw(files))
    for _mutation in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        kind = draw(st.sampled_from(("change", "insert", "remove", "repeat", "cut")))
        if kind == "cut":
            del data[start:]
        elif kind == "remove":
            del data[start:end]
        elif kind == "repeat":
            data[end:end] = data[start:end]
        else:
            data[start : end if kind == "change" else start] = draw(st.binary(max_size=12))
    return bytes(data)
