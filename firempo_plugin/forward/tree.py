"""Token sequences that begin alike, merged into one tree and laid out as one sequence (no torch, no model)."""

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Any

Image = Any
"""Whatever names or holds one image: a path, encoded bytes, an image object."""


@dataclass(frozen=True)
class Tree:
    """Sequences over the same images, each token that several of them begin with laid out once, depth first.

    Attributes:
        input_ids: The tokens.
        depth: The place that each token has in its own sequences.
        end: The first place after each token's subtree. Place i belongs to a sequence that continues place j
            exactly where j <= i < end[j]: that is the attention mask.
        text_from: The first place after the images' tokens; everything before is common to all sequences.
        images: What the image tokens stand for.
    """

    input_ids: tuple[int, ...]
    depth: tuple[int, ...]
    end: tuple[int, ...]
    text_from: int
    images: SequenceOf[Image]

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def is_chain(self) -> bool:
        """Whether it is one plain sequence."""
        return self.depth[-1] == len(self) - 1


class TreeBuilder:
    """Merges sequences that have their image tokens, and everything before them, in common."""

    def __init__(self, text_from: int, images: SequenceOf[Image]) -> None:
        self._text_from = text_from
        self._images = images
        self._tokens: list[int] = []
        self._parents: list[int] = []
        self._children: list[dict[int, int]] = []
        self._roots: dict[int, int] = {}

    def add(self, ids: SequenceOf[int]) -> list[int]:
        """Merges a sequence in; returns the node of each of its tokens, numbered as `build` places them."""
        path: list[int] = []
        siblings = self._roots
        for token in ids:
            if token not in siblings:
                siblings[token] = len(self._tokens)
                self._tokens.append(token)
                self._parents.append(path[-1] if path else -1)
                self._children.append({})
            path.append(siblings[token])
            siblings = self._children[path[-1]]
        return path

    def build(self) -> tuple[Tree, list[int]]:
        """The tree, and the place of each node in it."""
        order: list[int] = []
        waiting = list(reversed(self._roots.values()))
        while waiting:
            node = waiting.pop()
            order.append(node)
            waiting.extend(reversed(self._children[node].values()))
        place = [0] * len(order)
        depth = [0] * len(order)
        for number, node in enumerate(order):
            place[node] = number
            parent = self._parents[node]
            depth[number] = depth[place[parent]] + 1 if parent >= 0 else 0
        end = list(range(1, len(order) + 1))
        for number in range(len(order) - 1, -1, -1):
            parent = self._parents[order[number]]
            if parent >= 0:
                end[place[parent]] = max(end[place[parent]], end[number])
        tokens = tuple(self._tokens[node] for node in order)
        return Tree(tokens, tuple(depth), tuple(end), self._text_from, self._images), place
