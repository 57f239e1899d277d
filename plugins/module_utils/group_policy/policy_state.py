# SPDX-License-Identifier: GPL-3.0-or-later
"""What a policy is, what is wanted of it, what it becomes, and the world around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.certlogon.core.plugins.module_utils.certificates.sources import Authorities
from ansible_collections.certlogon.core.plugins.module_utils.directory.principals import Principal
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import AnyAce, SddlContext, SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Directory
from ansible_collections.certlogon.core.plugins.module_utils.group_policy import content
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.content import Wanted
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.policy_container import Container, Domain, Target
from ansible_collections.certlogon.core.plugins.module_utils.group_policy.sysvol import Sysvol
from ansible_collections.certlogon.core.plugins.module_utils.resource import Warn, Words

STATUS = {"enabled": 0, "user_disabled": 1, "computer_disabled": 2, "all_disabled": 3}
"""Attribute flags ([MS-GPOL] 2.2.1)."""

DEFAULT_POLICIES = ("{31B2F340-016D-11D2-945F-00C04FB984F9}", "{6AC1786C-016F-11D2-945F-00C04FB984F9}")
"""Default Domain Policy and Default Domain Controllers Policy: the same in every domain, and not to be deleted."""


@dataclass(frozen=True)
class State:
    """One policy as read. `folder` is the descriptor of its folder, None where there is none; `gpt` and `files` likewise."""

    container: Container
    gpt: bytes | None
    files: content.Files
    folder: SecurityDescriptor | None


@dataclass(frozen=True)
class LinkWish:
    target: str
    dn: str
    order: int | None
    enabled: bool
    enforced: bool
    block_inheritance: bool | None


@dataclass(frozen=True)
class Wish:
    """One entry of `config`. None leaves a part alone. `exact`: content that has words and is not wished goes."""

    name: str
    guid: str | None
    flags: int | None
    wmi_filter: str | None
    links: tuple[LinkWish, ...] | None
    links_exact: bool
    permissions: tuple[Words, ...] | None
    permissions_exact: bool
    content: Wanted
    exact: bool


@dataclass(frozen=True)
class Outcome:
    """What a policy becomes: its files, its attributes, its descriptors, and why anything has to be written at all."""

    files: content.Files
    name: str
    flags: int
    wmi_filter: str | None
    machine_extensions: str
    user_extensions: str
    descriptor: SecurityDescriptor | None
    version: int
    changed_files: Mapping[str, bytes | None]
    attributes: Mapping[str, str | int | None]
    writes_descriptor: bool
    repairs: tuple[str, ...]
    tree: bool

    @property
    def writes(self) -> bool:
        return bool(self.changed_files or self.attributes or self.writes_descriptor or self.repairs)


@dataclass(frozen=True)
class Current:
    """Everything read: the policies that matter for `config` (all of them for state=gathered), and the world around them."""

    domain: Domain
    containers: Sequence[Container]
    states: Mapping[str, State]
    targets: Mapping[str, Target]
    wmi_filters: Mapping[str, str]
    principals: Mapping[str, Principal]
    names: Mapping[Sid, str]
    leftovers: Mapping[str, str] = field(default_factory=dict)
    similar: Mapping[str, Sequence[str]] = field(default_factory=dict)
    authorities: Authorities = field(default_factory=Authorities)

    @property
    def context(self) -> SddlContext:
        return SddlContext(self.domain.sid, self.domain.root_sid)


@dataclass(frozen=True)
class Placement:
    """A link that some entry of `config` wants on a target."""

    policy: str
    order: int | None
    enabled: bool
    enforced: bool


@dataclass(frozen=True)
class Work:
    """What `apply` needs for one policy."""

    guid: str
    dn: str
    folder: str
    wish: Wish | None
    current: Current
    new: bool = False
    content: bool = False
    only_repairs: bool = False
    placements: Mapping[str, tuple[Placement, ...]] = field(default_factory=dict)
    unlink: Mapping[str, tuple[Placement, ...]] = field(default_factory=dict)
    blocks: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Session:
    """The two halves of a domain controller, and where warnings go."""

    directory: Directory
    sysvol: Sysvol
    warn: Warn


def aces_of(descriptor: SecurityDescriptor | None) -> tuple[AnyAce, ...]:
    return descriptor.aces if descriptor else ()
