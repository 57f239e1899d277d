# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be written so that certificate templates become what is asked for (pure; [MS-CRTD], [MS-WCCE] 3.2.2.6.2.1.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.directory import oids
from ansible_collections.certlogon.core.plugins.module_utils.directory import template_flags as flags
from ansible_collections.certlogon.core.plugins.module_utils.directory.builtin_templates import BUILT_IN, BuiltIn
from ansible_collections.certlogon.core.plugins.module_utils.directory.exposure import exposure_of
from ansible_collections.certlogon.core.plugins.module_utils.directory.names import escape_rdn
from ansible_collections.certlogon.core.plugins.module_utils.directory.principals import well_known
from ansible_collections.certlogon.core.plugins.module_utils.directory.security import SddlContext, SecurityDescriptor, Sid
from ansible_collections.certlogon.core.plugins.module_utils.directory.session import Modify
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_permissions import (
    access_of,
    apply_permissions,
    merge,
    permission_words,
)
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_rules import is_legacy_provider, problems, warnings
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_weaknesses import weaknesses
from ansible_collections.certlogon.core.plugins.module_utils.directory.template_words import (
    Vocabulary,
    canonical,
    takes_algorithms,
    to_attributes,
    to_words,
)
from ansible_collections.certlogon.core.plugins.module_utils.errors import FormatError, Problems, UserError
from ansible_collections.certlogon.core.plugins.module_utils.resource import Change, Plan, Words

DESCRIPTOR = "nTSecurityDescriptor"
OID = "msPKI-Cert-Template-OID"
GROUP_LINK = "msDS-OIDToGroupLink"
OWNER_GROUP_DACL, _DACL = 7, 4
"""SD_FLAGS ([MS-ADTS] 3.1.1.3.4.1.11)."""

_REVISION = ("revision", "msPKI-Template-Minor-Revision")
_TEMPLATE_OID = 1
"""`flags` of msPKI-Enterprise-Oid: what the OID is for."""

_ACCESS = ("owner", "permissions", "inherit_permissions")
_ONLY_ASKED = ("based_on", "permissions_mode", "reenroll_holders")
"""Options that say how, and are no property of a template."""

_COMPATIBLE = {2: 1, 3: 2, 4: 4}
"""The version nibbles that Windows writes for a schema version."""

KNOWN_LATER = "(known after apply)"
"""What a prediction shows in the place of an OID below an arc that the installation of the first CA makes."""

_OFFLINE_DOMAIN = "S-1-5-21-0-0-0"
_OFFLINE_NAMES = {
    498: "Enterprise Read-only Domain Controllers",
    512: "Domain Admins",
    513: "Domain Users",
    515: "Domain Computers",
    516: "Domain Controllers",
    519: "Enterprise Admins",
    553: "RAS and IAS Servers",
}


# --- what there is ---


@dataclass(frozen=True)
class Template:
    """A template as it is in the directory; `descriptor` is None where the account may not read it."""

    name: str
    dn: str
    attributes: Mapping[str, Any]
    descriptor: bytes | None


@dataclass(frozen=True)
class OidObject:
    dn: str
    display_name: str | None
    group: str = ""
    """The group that an issuance policy makes people members of (msDS-OIDToGroupLink)."""


@dataclass(frozen=True)
class Publication:
    """An enrollment service and the templates it offers, as stored."""

    dn: str
    templates: Sequence[str]


@dataclass(frozen=True)
class Templates:
    """All templates and OIDs of the forest, and the names of those who are mentioned.

    `templates` by name without case; `arc` is the forest's OID arc, or the one it shall get; `principals` are those that `config` names,
    `names` the one name that each SID has in words; `scope` are the templates that `config` names, None for all.
    """

    container: str
    oid_container: str
    templates: Mapping[str, Template]
    oid_objects: Mapping[str, OidObject]
    publications: Sequence[Publication]
    arc: str
    has_arc: bool
    vocabulary: Vocabulary
    context: SddlContext
    names: Mapping[Sid, str]
    principals: Mapping[str, Sid]
    scope: frozenset[str] | None = None
    awaits_arc: bool = False
    """Whether the forest gets its arc, and with it the OIDs of its templates, from a CA that is yet to be installed."""

    @cached_property
    def linked(self) -> dict[str, str]:
        """Groups of issuance policies, by the policies' names in words."""
        return {self.vocabulary.policies.words([oid])[0]: item.group for oid, item in self.oid_objects.items() if item.group}

    @cached_property
    def _sids(self) -> Mapping[str, Sid]:
        return {name: sid for sid, name in self.names.items()}

    def name_of(self, sid: Sid) -> str:
        return self.names.get(sid) or str(sid)

    def sid_of(self, name: str) -> Sid:
        return self._sids.get(name) or Sid.parse(name)

    def canonical_name(self, principal: str) -> str:
        return self.name_of(self.principals[principal])

    def find(self, name: str) -> Template | None:
        return self.templates.get(name.casefold())

    def words(self, template: Template) -> Words:
        """The template exactly as `config` would accept it."""
        words = to_words(template.name, template.attributes, self.vocabulary)
        if template.descriptor is not None:
            words.update(self.access_words(template.descriptor))
        registered = self.oid_objects.get(words.get("oid", ""))
        if words["schema_version"] > 1 and (registered is None or registered.display_name != words.get("display_name")):
            words["oid_registered"] = False
        return words

    def access_words(self, descriptor: bytes) -> Words:
        access = access_of(descriptor)
        return {
            **({"owner": self.name_of(access.owner)} if access.owner else {}),
            "permissions": permission_words(access, self.names),
            "inherit_permissions": access.inherits,
        }


@dataclass(frozen=True)
class Step:
    """One write. `operation`: arc, add_oid, add, modify, delete."""

    operation: str
    dn: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    modifies: Sequence[Modify] = ()
    descriptor: int = 0


def installed(current: Templates) -> Templates:
    """The forest with the built-in templates that the installation of its first CA writes, as a prediction takes it."""
    found = {
        name: Template(
            name,
            f"CN={name},{current.container}",
            {**built_in.attributes, OID: f"{current.arc}.{built_in.oid_suffix}"},
            _descriptor(built_in, current.context),
        )
        for name, built_in in BUILT_IN.items()
        if not current.find(name)
    }
    registered = {
        template.attributes[OID]: OidObject(
            f"CN={oids.object_name(template.attributes[OID])},{current.oid_container}", built_in.display_name
        )
        for name, template in found.items()
        if (built_in := BUILT_IN[name]).attributes["msPKI-Template-Schema-Version"] > 1
    }
    templates = {name.casefold(): template for name, template in found.items()}
    return replace(current, templates={**templates, **current.templates}, oid_objects={**registered, **current.oid_objects})


def principals_of(config: Iterable[Words]) -> list[str]:
    """Everybody whom `config` names."""
    names = [
        name
        for entry in config
        for name in (entry.get("owner"), *(permission.get("principal") for permission in entry.get("permissions") or ()))
        if name
    ]
    return list(dict.fromkeys(names))


def built_in_sids(context: SddlContext) -> set[Sid]:
    """Everybody whom the built-in templates name."""
    return {sid for built_in in BUILT_IN.values() for sid in access_of(_descriptor(built_in, context)).sids}


def _descriptor(built_in: BuiltIn, context: SddlContext) -> bytes:
    return bytes(SecurityDescriptor.from_sddl(built_in.sddl, context))


# --- what there shall be ---


@dataclass(frozen=True)
class _Base:
    """What options left out are taken from."""

    words: Words
    descriptor: bytes | None


class Planning:
    """One run of the plan over all entries of `config`; all that is wrong with them is raised together."""

    def __init__(self, current: Templates, state: str, *, strict: bool) -> None:
        self._current = current
        self._state = state
        self._strict = strict
        self._problems = Problems()
        self._warnings: list[str] = []
        self._needs_arc = not current.has_arc
        # an OID object without a template is what an interrupted run has left, and is used again
        self._taken = {template.attributes.get(OID, "") for template in current.templates.values()}
        self._built_in: dict[str, _Base] = {}

    def plan(self, config: Sequence[Words]) -> Plan:
        changes = [change for entry in config if (change := self._change(entry)) is not None]
        self._problems.raise_any()
        return Plan(changes, self._warnings)

    def _change(self, entry: Words) -> Change | None:
        template = self._current.find(entry["name"])
        before = self._current.words(template) if template else None
        name = template.name if template else entry["name"]
        try:
            given = self._given(entry)
            base = self._base(given, before, template)
            after, descriptor = self._after(given, base, before, template)
        except UserError as error:
            self._problems.collect(f"config: {name}: {line}" for line in str(error).splitlines())
            return None
        self._judge(name, after, before, descriptor)
        if before == after:
            return None
        if self._current.awaits_arc and name in BUILT_IN:
            return Change(name, before, after)
        if self._current.awaits_arc and template is None:
            return Change(name, None, {**after, "oid": given.get("oid") or KNOWN_LATER})
        steps = self._create(after, descriptor) if template is None else self._update(template, before or {}, after, descriptor)
        return Change(name, before, after, tuple(steps))

    def _given(self, entry: Words) -> Words:
        """What the entry asks for, in canonical words; principals by the one name they have."""
        words, wrong = canonical(entry, self._current.vocabulary)
        for permission in words.get("permissions", ()):
            if permission.get("principal") and not permission.get("rights"):
                wrong.append(f"permissions: {permission['principal']} is given no rights; name them or remove the entry")
        if wrong:
            raise UserError("\n".join(wrong))
        if "permissions" in words:
            try:
                words["permissions"] = merge(words["permissions"], name=self._current.canonical_name)
            except FormatError as error:
                raise UserError(f"permissions: {error}") from error
        if "owner" in words:
            words["owner"] = self._current.canonical_name(words["owner"])
        return words

    # what options left out are taken from

    def _base(self, given: Words, before: Words | None, template: Template | None) -> _Base:
        if template is not None and before is not None and self._state == "merged":
            return _Base(before, template.descriptor)
        base = self._named_base(given["based_on"]) if "based_on" in given else self._blank_base(given)
        return _Base(_fresh(base.words, given, before), base.descriptor)

    def _blank_base(self, given: Words) -> _Base:
        missing = [] if "subject" in given or "subject_alternative_name" in given else ["subject"]
        missing += [] if "extended_key_usages" in given else ["extended_key_usages"]
        if missing:
            raise UserError(
                f"based_on: neither it nor {' and '.join(missing)} is given; name a template to start from, like SmartcardLogon"
            )
        base = self._built_in_base(BUILT_IN["SmartcardLogon"])
        nothing = {"supplied_in_request": False, "parts": []}
        subject = {**nothing, "from_old_certificate": False, "other_flags": []}
        return _Base({**base.words, "subject": subject, "subject_alternative_name": nothing}, base.descriptor)

    def _named_base(self, name: str) -> _Base:
        built_in = next((item for item in BUILT_IN.values() if _same(name, item.name, item.display_name)), None)
        if built_in is not None:
            return self._built_in_base(built_in)
        template = self._current.find(name) or next(
            (item for item in self._current.templates.values() if _same(name, item.attributes.get("displayName"))), None
        )
        if template is None:
            known = {*BUILT_IN, *(item.name for item in self._current.templates.values())}
            raise UserError(f"based_on: there is no template {name!r}{oids.suggestion(name, known)}")
        if template.descriptor is None:
            raise UserError(f"based_on: this account may not read the permissions of {template.name}")
        return _Base(self._current.words(template), template.descriptor)

    def _built_in_base(self, built_in: BuiltIn) -> _Base:
        if built_in.name not in self._built_in:
            descriptor = _descriptor(built_in, self._current.context)
            words = to_words(built_in.name, built_in.attributes, self._current.vocabulary)
            self._built_in[built_in.name] = _Base({**words, **self._current.access_words(descriptor)}, descriptor)
        return self._built_in[built_in.name]

    # what the template shall be

    def _after(self, given: Words, base: _Base, before: Words | None, template: Template | None) -> tuple[Words, bytes | None]:
        words = _combine(base.words, given)
        words["name"] = template.name if template else given["name"]
        if before is None:
            words["oid"] = given.get("oid") or self._new_oid(words)
        else:
            words["revision"] = before["revision"]
            words.pop("oid", None)
            words.update(self._kept_oid(words, given, before))
        words.pop("oid_registered", None)
        unregistered = before is None or "oid_registered" in before
        if given.get("oid_registered") is False and unregistered and words["schema_version"] > 1:
            words["oid_registered"] = False
        descriptor = self._access(words, given, base, template)
        return self._settled(words, before, reenroll=given["reenroll_holders"]), descriptor

    def _new_oid(self, words: Words) -> str:
        """The same in every run; a built-in template that is made anew gets the number that AD CS gives it."""
        built_in = BUILT_IN.get(words["name"])
        if built_in and words["schema_version"] == built_in.attributes["msPKI-Template-Schema-Version"]:
            oid = f"{self._current.arc}.{built_in.oid_suffix}"
            if oid not in self._taken:
                return oid
        return oids.template_oid(self._current.arc, words["name"], self._taken)

    def _kept_oid(self, words: Words, given: Words, before: Words) -> Words:
        """A template keeps its OID; only one that has none, and should, gets one."""
        oid = before.get("oid")
        if oid is None:
            needed = words["schema_version"] > 1 and given.get("oid_registered") is not False
            return {"oid": given.get("oid") or self._new_oid(words)} if needed or "oid" in given else {}
        if given.get("oid", oid) != oid:
            self._warnings.append(f"{words['name']}: oid: the template keeps its own, {oid}, for certificates refer to it")
        return {"oid": oid}

    def _access(self, words: Words, given: Words, base: _Base, template: Template | None) -> bytes | None:
        """The descriptor that the words ask for; the words of owner and permissions follow it."""
        have = template.descriptor if template else base.descriptor
        if have is None:
            if any(option in given for option in _ACCESS):
                raise UserError("permissions: this account may not read those there are; use one that may")
            for option in _ACCESS:
                words.pop(option, None)
            return None
        mode = given.get("permissions_mode") or ("exact" if self._state == "replaced" else "merged")
        if "permissions" in given and mode == "merged":
            words["permissions"] = merge(base.words["permissions"], given["permissions"])
        if self._current.access_words(have) == {option: words[option] for option in _ACCESS if option in words}:
            return have
        owner = self._current.sid_of(words["owner"]) if "owner" in words else None
        descriptor = SecurityDescriptor.parse(have)
        changed = bytes(apply_permissions(descriptor, owner, words["permissions"], words["inherit_permissions"], self._current.sid_of))
        words.update(self._current.access_words(changed))
        return changed

    def _settled(self, words: Words, before: Words | None, *, reenroll: bool) -> Words:
        """The words as they will be read back; the revision is raised where anything of the template changes."""
        if words == before:
            return words
        vocabulary = self._current.vocabulary
        settled = to_words(words["name"], _present(to_attributes(words, vocabulary)), vocabulary)
        settled.update({option: words[option] for option in (*_ACCESS, "oid_registered") if option in words})
        if before is not None and _but_registration(settled) != _but_registration(before):
            major, minor = map(int, before["revision"].split("."))
            settled["revision"] = f"{major + 1}.0" if reenroll else f"{major}.{minor + 1}"
        return settled

    def _judge(self, name: str, after: Words, before: Words | None, descriptor: bytes | None) -> None:
        if after != before:
            # an old fault that the change does not touch does not keep others from being mended
            old = problems(before, before) if before else ()
            new = [problem for problem in problems(after, before) if problem not in old]
            self._problems.collect(f"config: {name}: {problem}" for problem in new)
            self._warnings += [f"{name}: {warning}" for warning in warnings(after, before)]
            self._warnings += self._unknown_superseded(name, after)
        if descriptor is not None:
            access = access_of(descriptor)
            if access.denies_late:
                self._warnings.append(
                    f"{name}: permissions: a denial stands after what it denies and has no effect; remove it and add it again"
                )
            weak = weaknesses(after, exposure_of(descriptor), self._current.linked)
            found = [weakness.sentence(self._current.name_of) for weakness in weak]
            if self._strict:
                self._problems.collect(f"config: {name}: {weakness} (refused because of strict)" for weakness in found)
            else:
                self._warnings += [f"{name}: {weakness}" for weakness in found]

    def _unknown_superseded(self, name: str, after: Words) -> Iterator[str]:
        for superseded in after["supersedes"]:
            if superseded not in BUILT_IN and not self._current.find(superseded) and self._state != "rendered":
                yield f"{name}: supersedes: there is no template {superseded!r} (names are asked for, not display names)"

    # how it becomes so

    def _create(self, after: Words, descriptor: bytes | None) -> Iterator[Step]:
        self._taken.add(after["oid"])
        yield from self._register(after)
        attributes = _present(to_attributes(after, self._current.vocabulary))
        yield Step(
            "add",
            f"CN={escape_rdn(after['name'])},{self._current.container}",
            {"objectClass": ["top", "pKICertificateTemplate"], "cn": after["name"], **attributes, DESCRIPTOR: descriptor},
            descriptor=OWNER_GROUP_DACL,
        )

    def _update(self, template: Template, before: Words, after: Words, descriptor: bytes | None) -> Iterator[Step]:
        yield from self._register(after)
        vocabulary = self._current.vocabulary
        old, new = to_attributes(before, vocabulary), to_attributes(after, vocabulary)
        changed = [attribute for attribute in new if new[attribute] != old[attribute]]
        modifies = [Modify("replace", attribute, _values(new[attribute])) for attribute in changed if attribute not in _REVISION]
        access = 0
        if descriptor is not None and descriptor != template.descriptor:
            access = OWNER_GROUP_DACL if after.get("owner") != before.get("owner") else _DACL
            modifies.append(Modify("replace", DESCRIPTOR, [descriptor]))
        for attribute in (attribute for attribute in _REVISION if attribute in changed):
            # compare-and-swap: whoever changed the template in the meantime raised its revision
            have = template.attributes.get(attribute)
            modifies += [] if have is None else [Modify("delete", attribute, [have])]
            modifies.append(Modify("add", attribute, [new[attribute]]))
        if modifies:
            yield Step("modify", template.dn, modifies=modifies, descriptor=access)

    def _register(self, after: Words) -> Iterator[Step]:
        """The forest's arc and the template's OID object, before the template that needs them."""
        if after["schema_version"] == 1 or "oid_registered" in after:
            return
        if self._needs_arc and after["oid"].startswith(f"{self._current.arc}."):
            self._needs_arc = False
            yield Step("arc", self._current.oid_container, modifies=[Modify("add", OID, [self._current.arc])])
        registered = self._current.oid_objects.get(after["oid"])
        display_name = after.get("display_name")
        if registered is None:
            name = oids.object_name(after["oid"])
            attributes = {
                "objectClass": ["top", "msPKI-Enterprise-Oid"],
                "cn": name,
                OID: after["oid"],
                "flags": _TEMPLATE_OID,
                **({"displayName": display_name} if display_name else {}),
            }
            yield Step("add_oid", f"CN={name},{self._current.oid_container}", attributes)
        elif registered.display_name != display_name:
            yield Step("modify", registered.dn, modifies=[Modify("replace", "displayName", _values(display_name))])


def _same(name: str, *others: str | None) -> bool:
    return any(other is not None and name.casefold() == other.casefold() for other in others)


def _but_registration(words: Words) -> Words:
    return {option: value for option, value in words.items() if option != "oid_registered"}


def _present(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {attribute: value for attribute, value in attributes.items() if value is not None and value != ()}


def _values(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, tuple) else [value]


def _ordered(words: Iterable[str], table: flags.Table) -> list[str]:
    return flags.words_of(flags.bits_of(words, table), table)


def _fresh(base: Words, given: Words, before: Words | None) -> Words:
    """The base of another template: its own identity taken away, its version raised to one that can be edited."""
    words = {option: value for option, value in base.items() if option not in ("oid", "oid_registered")}
    words["display_name"] = given["name"]
    words["schema_version"] = given.get("schema_version") or max(2, base["schema_version"])
    words["revision"] = given.get("revision", "100.0")
    level = _COMPATIBLE.get(words["schema_version"], 0)
    words["compatibility"] = {
        "authority": _at_least(base["compatibility"]["authority"], level, flags.AUTHORITIES),
        "client": _at_least(base["compatibility"]["client"], level, flags.CLIENTS),
    }
    words.update(_cryptography(words, given))
    state = ("is_default", "is_modified")
    kept = [word for word in base["general_flags"] if word not in state]
    own = [word for word in before["general_flags"] if word in state] if before else ["is_modified"]
    words["general_flags"] = _ordered([*kept, *own], flags.GENERAL)
    return words


def _at_least(word: str, level: int, table: flags.Table) -> str:
    number = flags.bits_of([word], table)
    return word if number >= level else next(name for name, value in table.items() if value == level)


def _cryptography(words: Words, given: Words) -> Words:
    """What the schema version makes of the base's providers and algorithms ([MS-CRTD] 2.23, 2.27 USE_LEGACY_PROVIDER)."""
    asked = given.get("private_key", {})
    private_key = {**words["private_key"], **asked}
    providers: list[str] = given["providers"] if "providers" in given else words["providers"]
    if words["schema_version"] == 4 and "flags" not in asked and any(map(is_legacy_provider, providers)):
        private_key["flags"] = _ordered([*private_key["flags"], "legacy_provider"], flags.PRIVATE_KEY)
    changed: Words = {"private_key": private_key}
    if takes_algorithms({**words, "private_key": private_key}):
        signs_only = given.get("key_spec", words["key_spec"]) == "signature"
        default = {"asymmetric": "RSA", "hash": "SHA256", "key_usage": ["sign"] if signs_only else ["all"]}
        changed["algorithms"] = words.get("algorithms", default)
        changed["providers"] = [provider for provider in providers if "providers" in given or not is_legacy_provider(provider)]
    elif "algorithms" in words:
        changed["algorithms"] = {}
    return changed


def _combine(base: Words, given: Words) -> Words:
    """The base with what is given, and with what follows from that where it is not given."""
    words = dict(base)
    for option, value in given.items():
        if option not in _ONLY_ASKED:
            words[option] = {**base.get(option, {}), **value} if isinstance(value, dict) else value
    if not words.get("algorithms", True):
        del words["algorithms"]
    if "extended_key_usages" in given and "application_policies" not in given:
        words.pop("application_policies", None)
    if words.get("application_policies") == (words["extended_key_usages"] if words["schema_version"] > 1 else []):
        del words["application_policies"]
    words.update(_subject(words, given))
    if words["autoenrollment"] != base["autoenrollment"] and "general_flags" not in given:
        others = [word for word in words["general_flags"] if word != "auto_enrollment"]
        words["general_flags"] = _ordered([*others, *(["auto_enrollment"] if words["autoenrollment"] else [])], flags.GENERAL)
    return words


def _subject(words: Words, given: Words) -> Words:
    """Whoever supplies the subject supplies all of it; whoever names its parts wants it built from the directory."""
    asked = given.get("subject", {})
    if asked.get("supplied_in_request"):
        options = [option for option in ("subject", "subject_alternative_name") if "parts" not in given.get(option, {})]
        return {option: {**words[option], "parts": []} for option in options}
    if asked.get("parts") and "supplied_in_request" not in asked:
        return {"subject": {**words["subject"], "supplied_in_request": False}}
    return {}


def deletions(config: Iterable[Words], current: Templates) -> Plan:
    """Unpublished first and the template last, so that a run that was interrupted is taken up by the next."""
    changes = []
    warned: list[str] = []
    doomed = {entry["name"].casefold() for entry in config}
    for template in (template for entry in config if (template := current.find(entry["name"]))):
        steps = []
        for publication in current.publications:
            published = [name for name in publication.templates if _same(template.name, name)]
            if published:
                steps.append(Step("modify", publication.dn, modifies=[Modify("delete", "certificateTemplates", published)]))
        registered = current.oid_objects.get(template.attributes.get(OID, ""))
        if registered is not None:
            steps.append(Step("delete", registered.dn))
        changes.append(Change(template.name, current.words(template), None, (*steps, Step("delete", template.dn))))
        warned += [
            f"{other.name}: it supersedes {template.name}, which is deleted"
            for key, other in current.templates.items()
            if key not in doomed and _same(template.name, *other.attributes.get("msPKI-Supersede-Templates", ()))
        ]
    return Plan(changes, warned)


# --- offline ---


def offline(config: Sequence[Words]) -> Templates:
    """A forest without templates, in which everybody exists whom `config` names."""
    domain = Sid.parse(_OFFLINE_DOMAIN)
    names = {domain.child(rid): name for rid, name in _OFFLINE_NAMES.items()}
    names |= {sid: known.name for sid in built_in_sids(SddlContext(domain)) - names.keys() if (known := well_known(str(sid)))}
    by_name = {name.casefold(): sid for sid, name in names.items()}
    principals = {}
    for principal in principals_of(config):
        found = well_known(principal)
        sid = found.sid if found else by_name.get(principal.casefold())
        if sid is None:
            # its own, so that different names stay different
            sid = domain.child(1000 + int.from_bytes(hashlib.sha256(principal.casefold().encode()).digest()[:3], "big"))
        principals[principal] = sid
        names.setdefault(sid, found.name if found else principal)
    arc = oids.forest_arc(bytes(16))
    return Templates(
        container="CN=Certificate Templates",
        oid_container="CN=OID",
        templates={},
        oid_objects={},
        publications=(),
        arc=arc,
        has_arc=True,
        vocabulary=Vocabulary.of(arc),
        context=SddlContext(domain),
        names=names,
        principals=principals,
    )
