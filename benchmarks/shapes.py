"""Graph shapes: for each node the earlier nodes that it depends on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isqrt
from random import Random

Graph = list[tuple[int, ...]]


def chain(n: int) -> Graph:
    """Each node after the one before it."""
    return [(i - 1,) if i else () for i in range(n)]


def fan(n: int) -> Graph:
    """One node, then all but one at once, then one that joins them."""
    return [(), *[(0,)] * (n - 2), tuple(range(1, n - 1))]


def grid(n: int) -> Graph:
    """Rows of equal width; a node depends on two or three neighbours in the row above."""
    width = max(3, isqrt(n))
    graph: Graph = [()] * width
    for start in range(0, n - width, width):
        for column in range(min(width, n - width - start)):
            above = {column, (column + 1) % width}
            if column % 2:
                above.add(column - 1)
            graph.append(tuple(start + place for place in sorted(above)))
    return graph


def random(n: int) -> Graph:
    """One to five dependencies each, anywhere before."""
    dice = Random(7)
    return [tuple(sorted(dice.sample(range(i), min(i, dice.randint(1, 5))))) for i in range(n)]


def tree(n: int) -> Graph:
    """Leaves, joined two by two down to one; of an even number one is left out."""
    leaves = (n + 1) // 2
    return [*[()] * leaves, *[(2 * i, 2 * i + 1) for i in range(leaves - 1)]]


SHAPES: dict[str, Callable[[int], Graph]] = {
    "chain": chain,
    "fan": fan,
    "grid": grid,
    "random": random,
    "tree": tree,
}


def unequal(branches: int = 5, steps: int = 10) -> tuple[Graph, list[float]]:
    """Branches in which another step is the slow one each; with the seconds each node takes.

    A scheduler that waits for whole rows waits for the slow one in each; the longest path has two.
    """
    graph: Graph = [()]
    seconds = [0.0]
    ends: list[int] = []
    for branch in range(branches):
        for step in range(steps):
            graph.append((len(graph) - 1 if step else 0,))
            seconds.append(0.05 if step % branches == branch else 0.01)
        ends.append(len(graph) - 1)
    graph.append(tuple(ends))
    seconds.append(0.0)
    return graph, seconds


def critical_path(graph: Graph, seconds: Sequence[float]) -> float:
    """Give the least time in which the graph can be done."""
    ends: list[float] = []
    for node, dependencies in enumerate(graph):
        ends.append(seconds[node] + max((ends[i] for i in dependencies), default=0.0))
    return max(ends)
