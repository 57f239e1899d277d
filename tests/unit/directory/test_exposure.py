# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what without privileges: entries in order, denials, generic rights, object types."""

from __future__ import annotations

import pytest

from ansible_collections.certlogon.core.plugins.module_utils.directory.exposure import (
    FORCE_CHANGE_PASSWORD,
    exposure_of,
    is_anybody,
    sids_of,
)
from ansible_collections.certlogon.core.plugins.module_utils.directory.oids import AUTO_ENROLL, ENROLL
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SddlContext, SecurityDescriptor, Sid

DOMAIN = Sid.parse("S-1-5-21-1-2-3")
CONTEXT = SddlContext(DOMAIN)
STAFF = DOMAIN.child(1104)


def of(dacl: str, owner: str = "EA", others: frozenset[Sid] = frozenset()) -> dict[str, set[str]]:
    """Right -> who, with the names that SDDL has."""
    found = exposure_of(bytes(SecurityDescriptor.from_sddl(f"O:{owner}G:EAD:{dacl}", CONTEXT)), others)
    rights = {"owner": [found.owner] if found.owner else [], "enroll": found.enrolling, "extended": found.extended}
    rights |= {"attribute": [sid for sid, _ace in found.attributes], **found.controlling}
    names = {Sid.parse("S-1-1-0"): "WD", Sid.parse("S-1-5-11"): "AU", DOMAIN.child(513): "DU", DOMAIN.child(515): "DC", STAFF: "staff"}
    return {right: {names[sid] for sid in sids} for right, sids in rights.items() if sids}


WRITE = {"write_property": {"DU"}}
EVERYTHING = {
    "enroll",
    "extended",
    "write_property",
    "write_permissions",
    "write_owner",
    "create_child",
    "delete_child",
    "delete_tree",
    "delete",
}


@pytest.mark.parametrize(
    ("dacl", "found"),
    [
        ("(A;;LCRPLORC;;;AU)(A;;GA;;;DA)", {}),
        ("(A;;WP;;;DU)", WRITE),
        ("(A;;GW;;;DU)", WRITE),
        ("(A;;GA;;;WD)", {right: {"WD"} for right in EVERYTHING}),
        ("NO_ACCESS_CONTROL", {right: {"WD"} for right in EVERYTHING}),
        ("(A;;CR;;;DU)", {"enroll": {"DU"}, "extended": {"DU"}}),
        (f"(OA;;RPWPCR;{ENROLL};;DU)", {"enroll": {"DU"}}),
        (f"(OA;;RPWPCR;{AUTO_ENROLL};;DU)", {}),
        (f"(OA;;CR;{FORCE_CHANGE_PASSWORD};;DU)", {"extended": {"DU"}}),
        (f"(OA;;RP;{ENROLL};;DU)", {}),
        # denials: own, of all, after, of something else
        ("(D;;WP;;;DU)(A;;WP;;;DU)", {}),
        ("(D;;WP;;;WD)(A;;WP;;;DU)", {}),
        ("(D;;WP;;;DC)(A;;WP;;;DU)", WRITE),
        ("(A;;WP;;;DU)(D;;WP;;;DU)", WRITE),
        (f"(OD;;CR;{ENROLL};;DU)(A;;CR;;;DU)", {"extended": {"DU"}}),
        ("(OD;;WP;bf967953-0de6-11d0-a285-00aa003049e2;;DU)(A;;WP;;;DU)", WRITE),
        ("(D;;WP;;;DU)(OA;;WP;bf967953-0de6-11d0-a285-00aa003049e2;;DU)", {}),
        # inheritance
        ("(A;CIIO;GA;;;DU)", {}),
        ("(A;CIID;WP;;;DU)", WRITE),
        ("(OA;;WP;bf967953-0de6-11d0-a285-00aa003049e2;;DU)", {"attribute": {"DU"}}),
        ("(OA;;WP;bf967953-0de6-11d0-a285-00aa003049e2;;DU)(A;;WP;;;DU)", WRITE),
        (f"(A;;GA;;;{STAFF})", {}),
    ],
)
def test_exposure(dacl: str, found: dict[str, set[str]]) -> None:
    assert of(dacl) == found


def test_others_count_where_they_are_named() -> None:
    assert of(f"(A;;WP;;;{STAFF})", others=frozenset({STAFF})) == {"write_property": {"staff"}}
    assert of("", str(STAFF), frozenset({STAFF})) == {"owner": {"staff"}}
    assert of("", "DU") == {"owner": {"DU"}}


def test_anybody() -> None:
    assert [is_anybody(DOMAIN.child(rid)) for rid in (501, 513, 514, 515, 500, 512, 516, 1104)] == [True] * 4 + [False] * 4


def test_everybody_who_is_named() -> None:
    data = bytes(SecurityDescriptor.from_sddl("O:EAG:EAD:(A;;RP;;;AU)(D;;RP;;;DU)", CONTEXT))
    assert sids_of(data) == {DOMAIN.child(519), Sid.parse("S-1-5-11"), DOMAIN.child(513)}
