# SPDX-License-Identifier: GPL-3.0-or-later
"""The comments in GPT.INI by which a run finds what an earlier one did not finish, and the version beside them."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import gpt_ini, text
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.content import GPT_INI

_UNFINISHED = "; certlogon: a change is under way; if it is not, its run died, and the next run finishes it"
DELETED = "; certlogon: this policy is being deleted:"


def marked(data: bytes) -> bool:
    return any(line.strip().startswith(_UNFINISHED[:40]) for line in lines(data))


def lines(data: bytes) -> tuple[str, ...]:
    try:
        return text.decode(data, GPT_INI).lines
    except FormatError:
        return ()


def with_mark(data: bytes | None, mark: str = _UNFINISHED) -> bytes:
    """GPT.INI with a comment that says what is under way; clients do not see it."""
    source = text.decode(data or gpt_ini.serialise(gpt_ini.new(0)), GPT_INI)
    end = text.line_end(source.lines)
    kept = [line if line.endswith(("\r", "\n")) else line + end for line in source.lines if not line.startswith("; certlogon:")]
    if source.encoding == "latin-1":
        mark = mark.encode("latin-1", "replace").decode("latin-1")
    return text.encode(replace(source, lines=(*kept, mark + end)), GPT_INI)


def with_version(data: bytes | None, version: int) -> bytes:
    if not data:
        return gpt_ini.serialise(gpt_ini.new(version))
    ini = gpt_ini.parse(data)
    kept = tuple(line for line in ini.content.lines if not line.startswith("; certlogon:"))
    clean = gpt_ini.parse(text.encode(replace(ini.content, lines=kept), GPT_INI))
    return gpt_ini.serialise(gpt_ini.with_version(clean, version))
