# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the nodes and links of the chain of trust stand: across for wide windows, down for narrower ones, a spine for telephones (pure)."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

Words = Mapping[str, Any]

STATES = ("fail", "warn", "unknown", "pass")
LAYERS = (("root",), ("ca",), ("template",), ("card", "crl"), ("domain_controller", "gateway"), ("user",))
TITLES = {
    "root": "Trust roots",
    "ca": "Certification authorities",
    "template": "Templates",
    "card": "Cards",
    "crl": "Revocation lists",
    "domain_controller": "Domain controllers",
    "gateway": "VPN gateways",
    "user": "Users",
}
ACROSS = {"root": 4, "ca": 5, "template": 7, "card": 1, "crl": 4, "domain_controller": 5, "gateway": 5, "user": 1}
DOWN = {"root": 3, "ca": 3, "template": 4, "card": 1, "crl": 2, "domain_controller": 2, "gateway": 2, "user": 1}
SPINE = {**ACROSS, "template": 6}
"""How many nodes of each kind a picture has room for; the rest is one node that counts them."""

_CRL = "CRL of "
"""How nodes of CRLs begin; beside the CA's name there is no room for it."""
_PIECES = re.compile(r"\s+|(?:[A-Z]+(?![^\W\dA-Z_])|[A-Z]?[^\sA-Z.@-]+)[.@-]?|[A-Z.@-]")
"""Words, and the parts of words and host names: `Corp|Smartcard|Logon`, `dc1.|corp.|example`."""
_NARROW, _BROAD = frozenset("ijlIft.,:;|!'()[]{} -"), frozenset("mwMW@%—…")


@dataclass
class Box:
    """A node, or (without `node`) the place where a long link passes a layer. `x`, `y` is the upper left corner."""

    node: Words | None
    layer: int
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    label: Sequence[str] = ()
    """In lines."""
    detail: str = ""


@dataclass
class Link:
    edge: Words
    path: str
    number: int
    """Of the finding that breaks it, as the list below the picture has it; 0 for none."""
    x: float
    y: float


@dataclass
class Picture:
    name: str
    width: float
    height: float
    boxes: list[Box] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    titles: list[tuple[float, float, str]] = field(default_factory=list)

    def place(self, box: Box) -> None:
        """Take a box that has its place, and its words as far as they fit."""
        if box.node:
            lines = 2 if box.height > 50 else 1
            label, detail = box.node["label"], box.node["detail"]
            if box.node["kind"] == "crl" and label.startswith(_CRL):
                label, detail = label[len(_CRL) :], f"CRL {detail}".replace("until", "to")
            box.label = wrapped(label, box.width - 36, 13.5, lines)
            box.detail = fit(detail, box.width - 22, 12)
            self.boxes.append(box)


@dataclass(frozen=True)
class Break:
    """What is wrong with links: one message, and where it shows."""

    number: int
    status: str
    message: str
    control: str
    where: Sequence[str]


def breaks(chain: Words) -> list[Break]:
    """The failures and warnings on links, worst first; the same message on several links is one."""
    labels = {node["id"]: node["label"] for node in chain["nodes"]}
    found: dict[tuple[str, str, str], list[str]] = {}
    for edge in sorted(chain["edges"], key=lambda edge: STATES.index(edge["status"])):
        if edge["status"] in ("fail", "warn"):
            where = found.setdefault((edge["status"], edge["message"], edge["control"]), [])
            where.append(f"{labels.get(edge['from'], '?')} → {labels.get(edge['to'], '?')}")
    return [Break(number, *key, where) for number, (key, where) in enumerate(found.items(), 1)]


def pictures(chain: Words) -> list[Picture]:
    """The same chain three times; the style sheet shows the one that fits."""
    numbers = {(each.status, each.message, each.control): each.number for each in breaks(chain)}
    return [_across(chain, numbers), _down(chain, numbers), _spine(chain, numbers)]


# ---- what is drawn


def reduced(chain: Words, most: Mapping[str, int]) -> tuple[list[Words], list[Words]]:
    """Nodes and edges with at most `most` nodes of a kind: the worst stay, and one node stands for the others."""
    nodes: list[Words] = []
    instead: dict[str, str] = {}
    for kind in TITLES:
        own = [node for node in chain["nodes"] if node["kind"] == kind]
        ranked = sorted(own, key=lambda node: STATES.index(node["status"])) if len(own) > most[kind] else own
        kept = {node["id"] for node in (ranked[: most[kind] - 1] if len(own) > most[kind] else own)}
        nodes += [node for node in own if node["id"] in kept]
        rest = [node for node in ranked if node["id"] not in kept]
        if rest:
            key = f"more {kind}"
            worst = min((node["status"] for node in rest), key=STATES.index)
            number = sum(map(_stands_for, rest))
            detail = "all in order" if worst == "pass" else "the worst of them"
            nodes.append({"id": key, "kind": kind, "label": f"and {number:,} more", "detail": detail, "status": worst})
            instead |= {node["id"]: key for node in rest}
    there = {node["id"] for node in nodes}
    edges: dict[tuple[str, str], Words] = {}
    for edge in chain["edges"]:
        ends = instead.get(edge["from"], edge["from"]), instead.get(edge["to"], edge["to"])
        if ends[0] == ends[1] or not set(ends) <= there:
            continue
        before = edges.get(ends)
        if before is None or STATES.index(edge["status"]) < STATES.index(before["status"]):
            edges[ends] = {**edge, "from": ends[0], "to": ends[1]}
    # broken links last: they are drawn above the others
    return nodes, sorted(edges.values(), key=lambda edge: -STATES.index(edge["status"]))


def _stands_for(node: Words) -> int:
    """How many things a node is: one, or as many as it counts itself ("12 more templates", whose id names none)."""
    found = re.match(r"(\d+) more ", node["label"]) if node["id"].endswith("/") else None
    return int(found[1]) if found else 1


def _layers(nodes: Sequence[Words], edges: Sequence[Words]) -> dict[str, int]:
    """The layer of each node: by its kind, CAs below CAs one further."""
    base = {kind: number for number, kinds in enumerate(LAYERS) for kind in kinds}
    depth = {node["id"]: 0 for node in nodes if node["kind"] == "ca"}
    for _round in range(min(len(depth), 4)):
        for edge in edges:
            if edge["from"] in depth and edge["to"] in depth:
                depth[edge["to"]] = min(max(depth[edge["to"]], depth[edge["from"]] + 1), 3)
    deeper = max(depth.values(), default=0)
    number = {node["id"]: base[node["kind"]] + (depth.get(node["id"], deeper) if base[node["kind"]] else 0) for node in nodes}
    used = sorted(set(number.values()))
    return {key: used.index(value) for key, value in number.items()}


@dataclass
class _Drawing:
    """Nodes in layers, long links cut into steps from layer to layer, each layer in an order with few crossings."""

    layers: list[list[Box]]
    routes: list[tuple[Words, list[Box]]]

    @classmethod
    def of(cls, nodes: Sequence[Words], edges: Sequence[Words]) -> _Drawing:
        place = _layers(nodes, edges)
        layers: list[list[Box]] = [[] for _layer in range(max(place.values(), default=-1) + 1)]
        boxes = {}
        for node in nodes:
            boxes[node["id"]] = Box(node, place[node["id"]])
            layers[place[node["id"]]].append(boxes[node["id"]])
        routes = []
        for edge in edges:
            ends = boxes[edge["from"]], boxes[edge["to"]]
            route = [ends[0]]
            for layer in range(ends[0].layer + 1, ends[1].layer):
                route.append(Box(None, layer))
                layers[layer].append(route[-1])
            routes.append((edge, [*route, ends[1]]))
        drawing = cls(layers, routes)
        drawing._order()
        return drawing

    def _order(self) -> None:
        """Each box where its neighbours are on average, forth and back (Sugiyama's barycentres)."""
        neighbours: dict[int, tuple[list[Box], list[Box]]] = {id(box): ([], []) for layer in self.layers for box in layer}
        for _edge, route in self.routes:
            for one, next_one in pairwise(route):
                neighbours[id(next_one)][0].append(one)
                neighbours[id(one)][1].append(next_one)
        for sweep in range(6):
            forth = sweep % 2 == 0
            for layer in self.layers if forth else reversed(self.layers):
                position = {id(box): number / max(len(each), 1) for each in self.layers for number, box in enumerate(each)}
                own = {
                    id(box): _average([position[id(near)] for near in neighbours[id(box)][0 if forth else 1]], position[id(box)])
                    for box in layer
                }
                layer.sort(key=lambda box: own[id(box)])


def _average(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


# ---- across and down


def _across(chain: Words, numbers: Mapping[tuple[str, str, str], int]) -> Picture:
    nodes, edges = reduced(chain, ACROSS)
    drawing = _Drawing.of(nodes, edges)
    count = max(len(drawing.layers), 1)
    width, height, gap, head = 1180.0, 62.0, 12.0, 44.0
    between = 46.0 if count <= 6 else 34.0
    box_width = min((width - between * (count - 1)) / count, 190.0)
    tallest = max((_extent(layer, height, gap) for layer in drawing.layers), default=0)
    left = (width - box_width * count - between * (count - 1)) / 2
    for number, layer in enumerate(drawing.layers):
        y = head + (tallest - _extent(layer, height, gap)) / 2
        for box in layer:
            box.x, box.y, box.width, box.height = left + number * (box_width + between), y, box_width, height if box.node else 0.0
            y += (height if box.node else 0.0) + gap
    picture = Picture("across", width, head + tallest + 8)
    for layer in filter(None, drawing.layers):
        for number, line in enumerate(wrapped(_title(layer), box_width + between / 2, 12.5, 2)):
            picture.titles.append((layer[0].x, 14.0 + 16 * number, line))
    return _finished(picture, drawing, numbers, flat=True)


def _down(chain: Words, numbers: Mapping[tuple[str, str, str], int]) -> Picture:
    nodes, edges = reduced(chain, DOWN)
    drawing = _Drawing.of(nodes, edges)
    width, height, gap, between, head = 760.0, 62.0, 14.0, 52.0, 8.0
    for number, layer in enumerate(drawing.layers):
        real = sum(box.node is not None for box in layer)
        room = width - gap * (len(layer) - 1)
        box_width = min(room / max(real, 1), 210.0)
        x = (width - box_width * real - gap * (len(layer) - 1)) / 2
        for box in layer:
            box.x, box.y, box.width, box.height = x, head + number * (height + between), box_width if box.node else 0.0, height
            x += box.width + gap
    picture = Picture("down", width, head + len(drawing.layers) * (height + between) - between + 8)
    return _finished(picture, drawing, numbers, flat=False)


def _extent(layer: Sequence[Box], height: float, gap: float) -> float:
    return sum(height if box.node else 0.0 for box in layer) + gap * max(len(layer) - 1, 0)


def _title(layer: Sequence[Box]) -> str:
    kinds = dict.fromkeys(box.node["kind"] for box in layer if box.node)
    return " · ".join(TITLES[kind] for kind in TITLES if kind in kinds)


def _finished(picture: Picture, drawing: _Drawing, numbers: Mapping[tuple[str, str, str], int], *, flat: bool) -> Picture:
    for layer in drawing.layers:
        for box in layer:
            picture.place(box)
    taken: list[tuple[float, float]] = []
    for edge, route in drawing.routes:
        points = [_port(route[0], flat, out=True)]
        for box in route[1:-1]:
            # a passage is as long as the boxes beside it: the line goes straight there
            points += [_port(box, flat, out=False, wide=route[0].width), _port(box, flat, out=True, wide=route[0].width)]
        points.append(_port(route[-1], flat, out=False))
        x, y = _free(points, taken, flat)
        number = numbers.get((edge["status"], edge["message"], edge["control"]), 0)
        if number:
            taken.append((x, y))
        picture.links.append(Link(edge, _curve(points, flat), number, x, y))
    return picture


def _port(box: Box, flat: bool, *, out: bool, wide: float = 0.0) -> tuple[float, float]:
    if flat:
        return box.x + ((box.width or wide) if out else 0.0), box.y + box.height / 2
    return box.x + box.width / 2, box.y + (box.height if out else 0.0)


def _curve(points: Sequence[tuple[float, float]], flat: bool) -> str:
    path = f"M{points[0][0]:.0f} {points[0][1]:.0f}"
    for (x, y), (next_x, next_y) in pairwise(points):
        if flat:
            middle = (x + next_x) / 2
            path += f"C{middle:.0f} {y:.0f} {middle:.0f} {next_y:.0f} {next_x:.0f} {next_y:.0f}"
        else:
            middle = (y + next_y) / 2
            path += f"C{x:.0f} {middle:.0f} {next_x:.0f} {middle:.0f} {next_x:.0f} {next_y:.0f}"
    return path


def _free(points: Sequence[tuple[float, float]], taken: Sequence[tuple[float, float]], flat: bool) -> tuple[float, float]:
    """A point on the last step of a link, as near to its middle as other links' signs let it be."""
    (x, y), (next_x, next_y) = points[-2:]
    found = []
    for share in (0.5, 0.64, 0.36, 0.76, 0.24, 0.86):
        # the same cubic curve as the path's, whose control points stand in the middle
        turn, even = share * share * (3 - 2 * share), 1.5 * share * (1 - share) + share**3
        point = (x + (next_x - x) * (even if flat else turn), y + (next_y - y) * (turn if flat else even))
        found.append((min((math.dist(point, other) for other in taken), default=math.inf), point))
        if found[-1][0] > 21:
            return point
    return max(found)[1]


# ---- for telephones


def _spine(chain: Words, numbers: Mapping[tuple[str, str, str], int]) -> Picture:
    """One below the other, each hanging on one line by the worst of the links that lead to it."""
    nodes, edges = reduced(chain, SPINE)
    picture = Picture("spine", 350.0, 0.0)
    y = 4.0
    last = y
    for kind in TITLES:
        own = [node for node in nodes if node["kind"] == kind]
        if not own:
            continue
        picture.titles.append((34.0, y + 12, TITLES[kind]))
        y += 22
        for node in own:
            picture.place(Box(node, 0, 34.0, y, 314.0, 46.0))
            last = y + 23
            picture.links += _hanging([edge for edge in edges if edge["to"] == node["id"]], numbers, last)
            y += 54
        y += 12
    first = picture.boxes[0].y + 23 if picture.boxes else 0
    spine = {"status": "spine", "message": "", "label": "", "from": "", "to": "", "control": ""}
    if picture.boxes:
        picture.links.insert(0, Link(spine, f"M34 {first:.0f}H12V{last:.0f}", 0, 0, 0))
    picture.height = y
    return picture


def _hanging(leading: Sequence[Words], numbers: Mapping[tuple[str, str, str], int], y: float) -> list[Link]:
    """The links that lead to a node as one, with the numbers of all that breaks them above each other."""
    if not leading:
        return []
    ranked = sorted(leading, key=lambda edge: STATES.index(edge["status"]))
    path = f"M12 {y:.0f}H34"
    broken = {numbers[key]: edge for edge in ranked if (key := (edge["status"], edge["message"], edge["control"])) in numbers}
    if not broken:
        return [Link(ranked[0], path, 0, 12.0, y)]
    shown = list(broken.items())[:4]
    first = y - 10.5 * (len(shown) - 1)
    links = [Link(edge, path, number, 12.0, first + 21 * place) for place, (number, edge) in enumerate(shown)]
    return links[::-1]


def fit(text: str, room: float, size: float) -> str:
    """The text, or its beginning and an ellipsis, as far as it fits into `room` at `size` (an estimate: fonts differ)."""
    if length(text, size) <= room:
        return text
    while text and length(text, size) > room - size:
        text = text[:-1]
    return text.rstrip() + "…"


def wrapped(text: str, room: float, size: float, most: int) -> list[str]:
    """The text in at most so many lines, broken at spaces, after dots and hyphens, and before capitals within a word."""
    text = text[:200]
    lines = [""]
    for piece in _PIECES.findall(text):
        if lines[-1] and len(lines) < most and length(lines[-1] + piece, size) > room:
            lines.append("")
        lines[-1] += piece
    return [fit(line.strip(), room, size) for line in lines]


def length(text: str, size: float) -> float:
    return size * sum(_wide(character) for character in text)


def _wide(character: str) -> float:
    if character in _NARROW:
        return 0.4
    if character in _BROAD or character.isupper():
        return 0.78
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    return 0.64
