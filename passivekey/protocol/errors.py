# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a message. Whatever bytes come in, parsers raise this and nothing else."""

from __future__ import annotations

from collections.abc import Mapping


class Refused(Exception):
    """A message that this protocol does not allow. `code` is one of section 2's error types; the text never holds what was sent.
    `more`: further members of the answer."""

    def __init__(self, code: str, detail: str, more: Mapping[str, object] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.more = more or {}
