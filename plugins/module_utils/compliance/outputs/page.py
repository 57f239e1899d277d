# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as one HTML page that needs nothing else: no network, no script to be readable (pure but for reading its own templates).

Everything in a report is text that somebody else may have chosen. The templates escape all of it; the policy in the page's head lets only
the page's own style and script count, by their hashes.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ansible_collections.certlogon.core.plugins.module_utils.compliance.chain import family_name
from ansible_collections.certlogon.core.plugins.module_utils.compliance.model import SEVERITIES
from ansible_collections.certlogon.core.plugins.module_utils.compliance.outputs import page_chain, page_time
from ansible_collections.certlogon.core.plugins.module_utils.libraries import jinja2

Words = Mapping[str, Any]

HERE = Path(__file__).resolve().parent
WORST_FIRST = tuple(reversed(SEVERITIES))
STATUS_WORDS = {"fail": "failing", "unknown": "unknown", "waived": "waived", "pass": "passed", "not_applicable": "not applicable"}
KIND_WORDS = {
    "domain": ("domain", "domains"),
    "certification_authority": ("certification authority", "certification authorities"),
    "domain_controller": ("domain controller", "domain controllers"),
    "connect_secure": ("Connect Secure appliance", "Connect Secure appliances"),
    "ocserv": ("ocserv gateway", "ocserv gateways"),
    "passivekey": ("PassiveKey server", "PassiveKey servers"),
    "crls": ("set of CRLs", "sets of CRLs"),
    "drift": ("run of site in check mode", "runs of site in check mode"),
    "waivers": ("file of waivers", "files of waivers"),
}
USE_WORDS = {
    "root": "trust root",
    "ca": "certification authority",
    "domain_controller": "domain controller",
    "device": "device",
    "web": "web server",
    "enrollment_agent": "enrollment agent",
}

MOST_FINDINGS, MOST_OF_RESULT, MOST_TEXT = 600, 25, 1500
"""Findings in the page, of one control and target, and characters of one value; the report in JSON and the annexes have all."""
MOST_ROWS = 100
UNFOLDED = 5
"""Findings of one control that show without a click where there are more."""
"""Certificates, CRLs, targets and other lists."""
_FACT = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*: ")


def render(report: Words) -> str:
    """The page as HTML. `report`: as `docs/schemas/compliance-report.schema.json` has it."""
    now = page_time.moment(report["run"]["ended"]) or datetime.datetime.fromtimestamp(0, datetime.timezone.utc)
    endings = page_time.endings(report["certificates"], now)
    style, script = (_own(name) for name in ("page.css", "page.js"))
    breaks = page_chain.breaks(report["chain"])
    crls = sorted(report["crls"], key=lambda crl: crl["next_update"] or "")
    found: str = (
        _environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            run=report["run"],
            summary=report["summary"],
            style=style,
            script=script,
            style_hash=_hash(style),
            script_hash=_hash(script),
            headline=headline(report),
            figures=figures(report),
            scope=scope(report["targets"]),
            families=_families(report),
            severities=[name for name in WORST_FIRST if any(report["summary"]["by_severity"].get(name, {}).values())],
            findings=findings(report["controls"]),
            causes=causes(report["controls"]),
            catalogue=catalogue(report),
            targets=_targets(report["targets"]),
            chain=report["chain"],
            pictures=page_chain.pictures(report["chain"]) if report["chain"]["nodes"] else [],
            breaks=breaks,
            label=_label(breaks),
            line=page_time.time_line(crls[:MOST_ROWS], now),
            endings=endings,
            months=page_time.months(endings, now),
            most_rows=MOST_ROWS,
            unfolded=UNFOLDED,
        )
    )
    return found


def picture(chain: Words, name: str) -> str:
    """One picture of the chain alone, as SVG: `name` is across, down or spine."""
    template = _environment().get_template("page_chain.svg.j2")
    (found,) = (each for each in page_chain.pictures(chain) if each.name == name)
    drawn: str = template.render(picture=found, label=_label(page_chain.breaks(chain)))
    return drawn


def _label(breaks: Sequence[page_chain.Break]) -> str:
    """What the pictures show, in words."""
    return cut("; ".join(each.message for each in breaks if each.status == "fail"), 600) or "no link is known to be broken"


# ---- templates


@cache
def _own(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a Content-Security-Policy names it: of all that stands between the tags."""
    return "sha256-" + base64.b64encode(hashlib.sha256(f"\n{text}\n".encode()).digest()).decode()


@cache
def _environment() -> Any:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters.update(
        evidence=evidence, minute=_minute, cut=cut, lines=diff_lines, link=_link, reference=reference, counted=counted,
        waiver=waiver, status=lambda status: STATUS_WORDS.get(status, status), kind=lambda kind: KIND_WORDS.get(kind, (kind,))[0],
        use=lambda use: USE_WORDS.get(use, use), count=lambda number: f"{number:,}", number=lambda value: f"{value:g}",
    )  # fmt: skip
    return environment


def _shown(value: Any) -> Any:
    """What is written into the page: characters that hide or turn text around are shown by their numbers."""
    if not isinstance(value, str) or hasattr(value, "__html__") or (value.isascii() and value.isprintable()):
        return value
    return "".join(character if _plain(character) else f"\\u{ord(character):04x}" for character in value)


def _plain(character: str) -> bool:
    return character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def counted(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _minute(text: str | None) -> str:
    at = page_time.moment(text)
    return f"{at:%Y-%m-%d %H:%M}" if at else "never"


def _link(url: str) -> bool:
    """Whether an address may be followed."""
    return re.fullmatch(r"https://[\w.-]+(/[\w./?=&%#:~+@!*'()-]*)?", url) is not None


def reference(words: Words) -> str:
    """`ESC1`, `STIG V-1234`: the kind only where the number does not say it."""
    kind, name = next((item for item in words.items() if item[0] != "url"), ("", ""))
    return {"stig": "STIG ", "cis": "CIS ", "requirement": "requirement "}.get(kind, "") + str(name)


def cut(text: Any, most: int = MOST_TEXT) -> str:
    text = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} characters more in the JSON report)"


def diff_lines(text: str) -> list[tuple[str, str]]:
    """Lines of a diff with what they are: plus, minus, head or same."""
    kinds = {"+": "plus", "-": "minus", "@": "head"}
    return [("head" if line[:3] in ("+++", "---") else kinds.get(line[:1], "same"), line) for line in cut(text).splitlines()]


def waiver(finding: Words, control: Words, target: Words) -> str:
    """What accepts a failure, for the file of waivers: YAML that lacks who, why and until when. Empty for what cannot be accepted."""
    if finding["status"] != "fail" or control["id"].startswith("waiver-"):
        return ""
    names = {"control": control["id"], "target": target["name"], "subject": finding["subject"]}
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in names.items()]
    return "- " + "\n  ".join([*lines, "owner:", "reason:", "expires:"]) + "\n"


@dataclass(frozen=True)
class Value:
    """One value of the evidence: `kind` is text, list, block or diff."""

    name: str
    kind: str
    content: Any
    more: int = 0


def evidence(values: Words) -> list[Value]:
    return [_value(str(name), value) for name, value in list(values.items())[:40]]


def _value(name: str, value: Any) -> Value:
    if isinstance(value, str) and "\n" in value:
        is_diff = name == "diff" or value.startswith("--- ")
        return Value(name, "diff" if is_diff else "block", value if is_diff else cut(value))
    if isinstance(value, list) and all(not isinstance(each, (dict, list)) for each in value):
        return Value(name, "list", [cut(each, 300) for each in value[:20]], max(len(value) - 20, 0))
    if isinstance(value, (dict, list)):
        return Value(name, "block", cut(json.dumps(value, indent=2, ensure_ascii=False)))
    return Value(name, "text", cut(value))


# ---- what the page says


def headline(report: Words) -> str:
    counts = report["summary"]["counts"]
    verdict = report["summary"]["verdict"]
    failing = sum(any(result["status"] == "fail" for result in control["results"]) for control in report["controls"])
    if not any(counts[status] for status in ("pass", "fail", "unknown", "waived")):
        return "nothing was judged"
    if verdict == "fail":
        return f"{counted(failing, 'control')} {'fails' if failing == 1 else 'fail'}" if failing else "not in order"
    if not counts["pass"] and not counts["fail"] and counts["unknown"]:
        return "nothing could be read"
    if verdict == "unknown":
        return "not everything is known"
    return "in order, with small things to mend" if counts["fail"] else "in order"


def figures(report: Words) -> list[tuple[str, str, str, str]]:
    """Caption, figure, what follows it in small, and a class."""
    summary = report["summary"]
    counts = summary["counts"]
    score = "none" if summary["score"] is None else f"{summary['score']:g}"
    judged = sum(counts[status] for status in ("pass", "fail", "unknown", "waived"))
    found = [
        ("score", score, "of 100" if summary["score"] is not None else "", ""),
        ("results fail", f"{counts['fail']:,}", f"of {judged:,}", "bad" if counts["fail"] else ""),
        ("are unknown", f"{counts['unknown']:,}", "", "warn" if counts["unknown"] else ""),
        ("are waived", f"{counts['waived']:,}", "", ""),
    ]
    if report["run"]["baseline"]:
        mark = "bad" if summary["new"] else ""
        found.append(("new failures since the run before", f"{summary['new']:,}", f"{summary['gone']:,} gone", mark))
    return found


def scope(targets: Sequence[Words]) -> list[str]:
    """`1 domain`, `2 domain controllers`, ..."""
    numbers: dict[str, int] = {}
    for target in targets:
        numbers[target["kind"]] = numbers.get(target["kind"], 0) + 1
    return [counted(number, *KIND_WORDS.get(kind, (kind,))) for kind, number in numbers.items()]


def _targets(targets: Sequence[Words]) -> dict[str, Any]:
    return {
        "accounts": _some(target["account"] for target in targets),
        "servers": _some(server for target in targets for server in target["servers"]),
        "silent": [target for target in targets if not target["answered"]],
        # those that did not answer first, where not all are shown
        "shown": sorted(targets, key=lambda target: target["answered"])[:MOST_ROWS] if len(targets) > MOST_ROWS else targets,
    }


def _some(names: Iterable[str], most: int = 12) -> list[str]:
    found = list(dict.fromkeys(filter(None, names)))
    return found if len(found) <= most else [*found[: most - 1], f"and {len(found) - most + 1:,} more"]


def _families(report: Words) -> list[dict[str, Any]]:
    """Of each family its words and the pieces of its bar, in percent: (status, start, width)."""
    found = []
    for key, family in report["summary"]["by_family"].items():
        counts = family["counts"]
        whole = sum(counts[status] for status in ("pass", "fail", "unknown", "waived"))
        pieces, start = [], 0.0
        for status in ("pass", "waived", "unknown", "fail"):
            width = 100 * counts[status] / whole if whole else 0
            if width:
                pieces.append((status, round(start, 2), round(width, 2)))
            start += width
        found.append({"id": key, "short": family_name(key), **family, "pieces": pieces, "whole": whole})
    return found


@dataclass
class Block:
    """A control with those of its findings that the page shows: (target, finding); `more`: (target, how many more, annex)."""

    control: Words
    shown: list[tuple[Words, Words]] = field(default_factory=list)
    more: list[tuple[Words, int, str]] = field(default_factory=list)
    fails: int = 0
    waived: int = 0

    @property
    def count(self) -> int:
        return self.fails + self.waived


def findings(controls: Sequence[Words]) -> list[Block]:
    """Failures and what is waived, the most severe first, new ones first; cut where they are too many for a page."""
    left = MOST_FINDINGS
    blocks = []
    for control in sorted(controls, key=lambda control: WORST_FIRST.index(control["severity"])):
        block = Block(control)
        for result in control["results"]:
            own = [finding for finding in result["findings"] if finding["status"] in ("fail", "waived")]
            own.sort(key=lambda finding: (finding["status"] == "waived", finding["change"] != "new"))
            total = max(result["counts"]["fail"] + result["counts"]["waived"], len(own))
            kept = own[: max(min(MOST_OF_RESULT, left), 0)]
            left -= len(kept)
            block.shown += [(result["target"], finding) for finding in kept]
            block.fails += result["counts"]["fail"]
            block.waived += result["counts"]["waived"]
            if total > len(kept):
                block.more.append((result["target"], total - len(kept), result["annex"]))
        if block.shown or block.more:
            blocks.append(block)
    return sorted(blocks, key=lambda block: (not block.fails, WORST_FIRST.index(block.control["severity"])))


@dataclass
class Cause:
    """Why something is not known: of one target one reason, the right that is missing; `open`: (control, finding, fact) of each."""

    target: Words
    reason: str
    right: str
    open: list[tuple[Words, Words, str]] = field(default_factory=list)
    more: int = 0


def causes(controls: Sequence[Words]) -> list[Cause]:
    found: dict[tuple[str, str, str, str], Cause] = {}
    for control in sorted(controls, key=lambda control: WORST_FIRST.index(control["severity"])):
        for result in control["results"]:
            own = [finding for finding in result["findings"] if finding["status"] == "unknown"]
            for finding in own:
                target = result["target"]
                message = finding["message"].removeprefix(f"{target['name']}: ")
                fact = _FACT.match(message)
                reason = message[fact.end() :] if fact else message
                key = (target["kind"], target["name"], reason, finding["right"])
                cause = found.setdefault(key, Cause(target, reason, finding["right"]))
                if len(cause.open) < MOST_OF_RESULT and len(found) <= MOST_ROWS:
                    cause.open.append((control, finding, fact[0][:-2] if fact else ""))
                else:
                    cause.more += 1
    return sorted(found.values(), key=lambda cause: -(len(cause.open) + cause.more))


def catalogue(report: Words) -> list[dict[str, Any]]:
    """Every control by its family, with its state: the worst of its targets."""
    found = []
    for key, family in report["summary"]["by_family"].items():
        rows = []
        for control in report["controls"]:
            if control["family"] == key:
                statuses = [result["status"] for result in control["results"]]
                worst = next((status for status in ("fail", "unknown", "waived", "pass") if status in statuses), "not_applicable")
                results = sorted(control["results"], key=lambda result: tuple(STATUS_WORDS).index(result["status"]))
                numbers = {each: sum(result["counts"][each] for result in results) for each in ("pass", "fail", "unknown", "waived")}
                rows.append({"control": control, "status": worst, "results": results, "numbers": numbers})
        if rows:
            found.append({"id": key, "title": family["title"], "rows": rows, "fails": sum(row["status"] == "fail" for row in rows)})
    return found
