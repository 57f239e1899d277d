# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits of a multi-valued text attribute that others write as well: value by value, compared without case."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Directory, Modify
from ansible_collections.certlogon.core.plugins.module_utils.errors import Problems
from ansible_collections.certlogon.core.plugins.module_utils.resource import Plan


@dataclass(frozen=True)
class ValueEdit:
    """The values to add to and to delete from one attribute of one object."""

    dn: str
    attribute: str
    add: Sequence[str]
    delete: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.add or self.delete)

    def result(self, have: Iterable[str]) -> list[str]:
        return [*(value for value in have if value not in self.delete), *self.add]

    def apply(self, session: Directory) -> None:
        edits = [Modify("add", self.attribute, self.add), Modify("delete", self.attribute, self.delete)]
        session.modify(self.dn, [modify for modify in edits if modify.values], permissive=True)


def edit(
    dn: str, attribute: str, have: Sequence[str], wanted: Iterable[str], state: str, foreign: Callable[[str], bool] = lambda value: False
) -> ValueEdit:
    """What turns the stored values into the wanted ones; under `replaced`, values that are `foreign` stay.

    Values that differ in case only are one: Samba stores both, and `replaced` leaves the first of them.
    """
    wanted = unique(wanted)
    names = {value.casefold() for value in wanted}
    if state == "deleted":
        return ValueEdit(dn, attribute, [], [value for value in have if value.casefold() in names])
    stored = {value.casefold() for value in have}
    add = [value for value in wanted if value.casefold() not in stored]
    if state == "merged":
        return ValueEdit(dn, attribute, add, [])
    kept = {value for value in unique(have) if value.casefold() in names}
    return ValueEdit(dn, attribute, add, [value for value in have if value not in kept and not foreign(value)])


def unique(values: Iterable[str]) -> list[str]:
    """The values without those that differ from an earlier one in case only."""
    found: dict[str, str] = {}
    for value in values:
        found.setdefault(value.casefold(), value)
    return list(found.values())


def in_order(values: Iterable[str]) -> list[str]:
    """The canonical order of values whose order means nothing."""
    return sorted(values, key=lambda value: (value.casefold(), value))


def authorize(session: Directory, plan: Plan, remedy: str) -> None:
    """Raise `UserError` for every `ValueEdit` of the plan that the account may not write."""
    problems = Problems()
    for change in plan.changes:
        edit = change.details
        if not session.may_write(edit.dn, edit.attribute):
            problems.add(f"{change.name}: this account may not write {edit.attribute} of {edit.dn}; {remedy}")
    problems.raise_any()
