"""Where everything stands: layers from top to bottom, boxes inside boxes, arrows around them.

The usual way of drawing such graphs (Sugiyama, Tagawa and Toda, 1981) in its plainest form: layers
by longest path, order within a layer by the mean place of the neighbours, then places as near to
the neighbours as the order allows. The same plan always gives the same picture.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from talea.drawing.scene import Arrow, Box, Scene

TITLE_SIZE = 13.0
LINE_SIZE = 11.0
LINE_HEIGHT = 15.0
PADDING = 12.0
FRAME = 18.0
"""Between the frame of a block and what is inside."""
COLUMN_GAP = 28.0
LANE_GAP = 16.0
"""Between an arrow that passes a layer and its neighbours."""
LAYER_GAP = 46.0
SWEEPS = 8
BEND_LIMIT = 20_000
"""Passing places of arrows in one block; where there would be more, arrows go straight."""

Point = tuple[float, float]


@dataclass(slots=True)
class Placed:
    """A box with its place; `inside` is relative to its own upper left corner."""

    box: Box
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    inside: Layout | None = None
    inside_at: Point = (0.0, 0.0)


@dataclass(slots=True)
class Line:
    """An arrow's way: points in pairs, the two ends of each straight piece; curves join pairs."""

    arrow: Arrow
    points: list[Point]


@dataclass(slots=True)
class Layout:
    """One block with all its places."""

    width: float
    height: float
    boxes: list[Placed]
    lines: list[Line]


@dataclass(slots=True)
class _Spot:
    """What takes a place in a layer: a box, or an arrow that passes by."""

    layer: int
    width: float
    box: Placed | None = None
    x: float = 0.0
    above: list[int] = field(default_factory=list[int])
    below: list[int] = field(default_factory=list[int])


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Estimate the width of a text in a usual sans-serif font, rather too wide."""
    width = 0.0
    for char in text:
        if unicodedata.east_asian_width(char) in "WF":
            width += 1.0
        elif char in "iljtfrI.,:;'|![]() ":
            width += 0.36
        elif char in "mwMW@%—…×↻":
            width += 0.92
        else:
            width += 0.7 if char.isupper() else 0.59
    return width * size * (1.06 if bold else 1.0)


def lay_out(scene: Scene) -> Layout:
    """Give every box and arrow of a scene its place.

    What no arrow joins is laid out apart, and set side by side in rows, as words on a page.
    """
    parts = [_lay_out_part(part) for part in _parts(scene)]
    area = sum((part.width + COLUMN_GAP) * (part.height + COLUMN_GAP) for part in parts)
    limit = max([area**0.5 * 1.4, *(part.width for part in parts)])
    whole = Layout(0.0, 0.0, [], [])
    x = y = 0.0
    for part in parts:
        if x and x + part.width > limit:
            x, y = 0.0, whole.height + LAYER_GAP
        for box in part.boxes:
            box.x += x
            box.y += y
        for line in part.lines:
            line.points = [(px + x, py + y) for px, py in line.points]
        whole.boxes += part.boxes
        whole.lines += part.lines
        whole.width = max(whole.width, x + part.width)
        whole.height = max(whole.height, y + part.height)
        x += part.width + COLUMN_GAP
    return whole


def _parts(scene: Scene) -> list[Scene]:
    """Split a scene into what arrows join, in the order of the first box of each."""
    part_of = list(range(len(scene.boxes)))

    def find(index: int) -> int:
        while part_of[index] != index:
            part_of[index] = part_of[part_of[index]]
            index = part_of[index]
        return index

    for arrow in scene.arrows:
        one, other = sorted((find(arrow.source), find(arrow.target)))
        part_of[other] = one
    members: dict[int, list[int]] = {}
    for index in range(len(scene.boxes)):
        members.setdefault(find(index), []).append(index)
    arrows: dict[int, list[Arrow]] = {}
    for arrow in scene.arrows:
        arrows.setdefault(find(arrow.source), []).append(arrow)
    parts: list[Scene] = []
    for first, indexes in members.items():
        place = {index: position for position, index in enumerate(indexes)}
        moved = [
            replace(a, source=place[a.source], target=place[a.target])
            for a in arrows.get(first, ())
        ]
        parts.append(Scene(tuple(scene.boxes[i] for i in indexes), tuple(moved)))
    return parts


def _lay_out_part(scene: Scene) -> Layout:
    placed = [_measure(box) for box in scene.boxes]
    layers = _layers(scene)
    spots, chains = _spots(scene, placed, layers)
    rows = _order(spots)
    _spread(spots, rows)
    tops, bottoms = _stack(spots, rows)
    ways = zip(scene.arrows, chains, _ports(scene, chains, spots), strict=True)
    lines = [Line(arrow, _way(chain, spots, tops, bottoms, ends)) for arrow, chain, ends in ways]
    xs = [x for line in lines for x, _ in line.points]
    left = min([*(box.x for box in placed), *xs])
    for box in placed:
        box.x -= left
    for line in lines:
        line.points = [(x - left, y) for x, y in line.points]
    right = max([*(box.x + box.width for box in placed), *(x - left for x in xs)])
    return Layout(right, bottoms[-1], placed, lines)


def _measure(box: Box) -> Placed:
    widths = [text_width(box.title, TITLE_SIZE, bold=True)]
    widths += [text_width(line, LINE_SIZE) for line in box.lines]
    width = max(96.0, max(widths) + 2 * PADDING + 8)
    height = 2 * PADDING + TITLE_SIZE + LINE_HEIGHT * len(box.lines)
    placed = Placed(box, width=width, height=height)
    if box.inside is not None:
        inside = lay_out(box.inside)
        placed.inside = inside
        placed.width = max(width, inside.width + 2 * FRAME)
        placed.inside_at = ((placed.width - inside.width) / 2, height)
        placed.height = height + inside.height + FRAME
    return placed


def _layers(scene: Scene) -> list[int]:
    """Give each box its layer: below all it depends on, and starts near their first use."""
    count = len(scene.boxes)
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    for arrow in scene.arrows:
        above[arrow.target].append(arrow.source)
        below[arrow.source].append(arrow.target)
    layers = [0] * count
    waits = [len(sources) for sources in above]
    ready = [index for index in range(count) if not waits[index]]
    for index in ready:
        for target in below[index]:
            layers[target] = max(layers[target], layers[index] + 1)
            waits[target] -= 1
            if not waits[target]:
                ready.append(target)
    for index in range(count):
        if not above[index] and below[index]:
            layers[index] = min(layers[target] for target in below[index]) - 1
    return layers


def _spots(
    scene: Scene, placed: Sequence[Placed], layers: Sequence[int]
) -> tuple[list[_Spot], list[list[int]]]:
    """Give the spots, and for each arrow the chain of spots that it goes through."""
    spots = [_Spot(layer, box.width, box) for layer, box in zip(layers, placed, strict=True)]
    bends = sum(layers[a.target] - layers[a.source] - 1 for a in scene.arrows)
    chains: list[list[int]] = []
    for arrow in scene.arrows:
        chain = [arrow.source]
        if bends <= BEND_LIMIT:
            for layer in range(layers[arrow.source] + 1, layers[arrow.target]):
                chain.append(len(spots))
                spots.append(_Spot(layer, 0.0))
        chain.append(arrow.target)
        for upper, lower in pairwise(chain):
            spots[upper].below.append(lower)
            spots[lower].above.append(upper)
        chains.append(chain)
    return spots, chains


def _order(spots: Sequence[_Spot]) -> list[list[int]]:
    """Order each layer so that few arrows cross."""
    rows: list[list[int]] = [[] for _ in range(max((s.layer for s in spots), default=-1) + 1)]
    for index, spot in enumerate(spots):
        rows[spot.layer].append(index)
    best, fewest = [list(row) for row in rows], _crossings(rows, spots)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        place = _places(rows)
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            row.sort(key=lambda i: _mean(spots[i].above if down else spots[i].below, place, i))
            for position, index in enumerate(row):
                place[index] = float(position)
        crossings = _crossings(rows, spots)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _places(rows: Sequence[Sequence[int]]) -> dict[int, float]:
    return {index: float(position) for row in rows for position, index in enumerate(row)}


def _mean(neighbours: Sequence[int], place: dict[int, float], index: int) -> float:
    if not neighbours:
        return place[index]
    return sum(place[neighbour] for neighbour in neighbours) / len(neighbours)


def _crossings(rows: Sequence[Sequence[int]], spots: Sequence[_Spot]) -> int:
    """Count the crossings between neighbouring layers, as inversions, with a Fenwick tree."""
    total = 0
    place = _places(rows)
    for row in rows:
        ends = [
            int(place[lower])
            for upper in row
            for lower in sorted(spots[upper].below, key=place.__getitem__)
        ]
        tree = [0] * (max(ends, default=0) + 2)
        for seen, end in enumerate(ends):
            not_right_of, i = 0, end + 1
            while i:
                not_right_of += tree[i]
                i &= i - 1
            total += seen - not_right_of
            i = end + 1
            while i < len(tree):
                tree[i] += 1
                i += i & -i
    return total


def _spread(spots: Sequence[_Spot], rows: Sequence[Sequence[int]]) -> None:
    """Set every centre: near its neighbours, in the order of its layer, without overlap."""
    for row in rows:
        _settle(row, spots, [0.0] * len(row))
    for sweep in range(SWEEPS * 2):
        down = sweep % 2 == 0
        last = sweep >= SWEEPS * 2 - 2
        for row in rows if down else reversed(rows):
            wishes: list[float] = []
            for index in row:
                spot = spots[index]
                near = spot.above if down else spot.below
                if last or not near:
                    near = [*spot.above, *spot.below]
                wishes.append(sum(spots[i].x for i in near) / len(near) if near else spot.x)
            _settle(row, spots, wishes)


def _settle(row: Sequence[int], spots: Sequence[_Spot], wishes: Sequence[float]) -> None:
    """Put a row as near to its wishes as order and gaps allow, by least squares.

    Less the room that its predecessors need, places must not fall from left to right: an isotonic
    regression, solved by pooling neighbours that would.
    """
    offsets = [0.0]
    for left, right in pairwise(row):
        a, b = spots[left], spots[right]
        gap = COLUMN_GAP if a.box and b.box else LANE_GAP
        offsets.append(offsets[-1] + (a.width + b.width) / 2 + gap)
    pools: list[tuple[float, float, int]] = []
    for index, wish, offset in zip(row, wishes, offsets, strict=True):
        weight = 1.0 if spots[index].box else 4.0
        value, members = wish - offset, 1
        while pools and pools[-1][0] > value:
            before, its_weight, its_members = pools.pop()
            value = (before * its_weight + value * weight) / (its_weight + weight)
            weight += its_weight
            members += its_members
        pools.append((value, weight, members))
    settled = [value for value, _, members in pools for _ in range(members)]
    for index, value, offset in zip(row, settled, offsets, strict=True):
        spots[index].x = value + offset


def _stack(
    spots: Sequence[_Spot], rows: Sequence[Sequence[int]]
) -> tuple[list[float], list[float]]:
    """Set the boxes' corners; give the upper and lower edge of each layer."""
    tops: list[float] = []
    bottoms: list[float] = []
    y = 0.0
    for row in rows:
        boxes = [spots[index] for index in row]
        height = max((spot.box.height for spot in boxes if spot.box), default=0.0)
        for spot in boxes:
            if spot.box:
                spot.box.x = spot.x - spot.width / 2
                spot.box.y = y + (height - spot.box.height) / 2
        tops.append(y)
        bottoms.append(y + height)
        y += height + LAYER_GAP
    return tops, bottoms


def _ports(scene: Scene, chains: Sequence[Sequence[int]], spots: Sequence[_Spot]) -> list[Point]:
    """Give where each arrow leaves and enters its boxes, in an order that crosses little."""
    leaves: dict[int, list[int]] = {}
    enters: dict[int, list[int]] = {}
    for number, arrow in enumerate(scene.arrows):
        leaves.setdefault(arrow.source, []).append(number)
        enters.setdefault(arrow.target, []).append(number)
    starts = [0.0] * len(chains)
    ends = [0.0] * len(chains)
    for groups, found, beside in ((leaves, starts, 1), (enters, ends, -2)):
        for index, numbers in groups.items():
            numbers.sort(key=lambda number: (spots[chains[number][beside]].x, number))
            step = min(18.0, spots[index].width * 0.7 / len(numbers))
            for position, number in enumerate(numbers):
                found[number] = spots[index].x + (position - (len(numbers) - 1) / 2) * step
    return list(zip(starts, ends, strict=True))


def _way(
    chain: Sequence[int],
    spots: Sequence[_Spot],
    tops: Sequence[float],
    bottoms: Sequence[float],
    ports: Point,
) -> list[Point]:
    first, last = spots[chain[0]], spots[chain[-1]]
    assert first.box is not None
    assert last.box is not None
    points = [(ports[0], first.box.y + first.box.height), (ports[0], bottoms[first.layer])]
    for index in chain[1:-1]:
        spot = spots[index]
        points += [(spot.x, tops[spot.layer]), (spot.x, bottoms[spot.layer])]
    return [*points, (ports[1], tops[last.layer]), (ports[1], last.box.y)]
