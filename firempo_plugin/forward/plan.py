"""What a batch of rows needs to be run: which token trees, in which passes, and which tokens are scored.

No torch, no model. A batch is cut into passes whose losses are independent of each other, so that each can
be propagated back, and its memory freed, before the next is run.
"""

from collections.abc import Collection, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from typing import Any

from ..objectives.settings import Settings
from ..objectives.terms import Cell
from .tree import Image, Tree, TreeBuilder


@dataclass(frozen=True)
class TokenRow:
    """A pair under one template.

    Attributes:
        prompt_ids: The prompt with the clean image's placeholder tokens.
        noised_prompt_ids: The same with the noised image's; empty where the row has no noised image.
        blind_prompt_ids: The same without any image; empty where the row has no noised image.
        chosen_ids, rejected_ids: The responses, end-of-turn included.
        chosen_phrase, rejected_phrase: Phrase positions, counted from the response's first token.
        chosen_weights, rejected_weights: What each token of the response counts; empty: all the same.
        images, rejected_images: The clean images and their noised twins.
        weight: The row's share in the loss.
    """

    prompt_ids: SequenceOf[int]
    noised_prompt_ids: SequenceOf[int]
    blind_prompt_ids: SequenceOf[int]
    chosen_ids: SequenceOf[int]
    rejected_ids: SequenceOf[int]
    chosen_phrase: SequenceOf[int]
    rejected_phrase: SequenceOf[int]
    chosen_weights: SequenceOf[float]
    rejected_weights: SequenceOf[float]
    images: SequenceOf[Image]
    rejected_images: SequenceOf[Image]
    weight: float

    @property
    def has_noised(self) -> bool:
        return len(self.rejected_images) > 0


@dataclass(frozen=True)
class Layout:
    """How sequences may be laid out for a model.

    Attributes:
        image_tokens: Ids of the tokens that images take, for a model that can run several sequences with a
            common beginning as one tree; None where every sequence must stand alone.
        pass_tokens: Most tokens, padding included, that one pass may hold, as long as its losses can be
            separated; None for one pass.
        by_images: Whether a pass holds only rows with the same number of images.
    """

    image_tokens: Collection[int] | None = None
    pass_tokens: int | None = None
    by_images: bool = False


@dataclass(frozen=True)
class ScoredCell:
    """A cell of a row, and which tokens of its response are scored.

    Attributes:
        row, cell: Whose it is.
        prompt_ids, response_ids: Its sequence.
        images: What the prompt's image tokens stand for.
        scored: Places in the response, at least one.
        in_phrase, in_kl: Those that lie in a phrase, and those that a KL sums over.
        weights: What each token of the response counts; empty: all the same.
    """

    row: int
    cell: Cell
    prompt_ids: SequenceOf[int]
    response_ids: SequenceOf[int]
    images: SequenceOf[Image]
    scored: SequenceOf[int]
    in_phrase: frozenset[int]
    in_kl: frozenset[int]
    weights: SequenceOf[float]

    @property
    def input_ids(self) -> tuple[int, ...]:
        """The sequence up to the token before the last scored one: nothing later reaches the loss."""
        return (*self.prompt_ids, *self.response_ids[: self.scored[-1]])


@dataclass
class Pass:
    """The trees of one forward and, in parallel lists, the M tokens that it scores.

    Attributes:
        trees: Each is run once.
        tree, position: Where the hidden state is that predicts the token.
        token: The token's id.
        row, cell: Whose it is.
        in_phrase: Whether it lies in a phrase.
        in_kl: Whether a KL sums over it.
        weight: What it counts.
        cells: The cells whose tokens these are, in order.
        terms: For every term of the settings, the rows whose cells of it are all here.
    """

    trees: list[Tree] = field(default_factory=list)
    tree: list[int] = field(default_factory=list)
    position: list[int] = field(default_factory=list)
    token: list[int] = field(default_factory=list)
    row: list[int] = field(default_factory=list)
    cell: list[int] = field(default_factory=list)
    in_phrase: list[bool] = field(default_factory=list)
    in_kl: list[bool] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    cells: list[ScoredCell] = field(default_factory=list)
    terms: list[list[int]] = field(default_factory=list)


def make_plan(rows: SequenceOf[TokenRow], settings: Settings, layout: Layout) -> list[Pass]:
    """The passes that the settings need of the rows.

    Sequences with the same images, up to and including the last image token, become one tree; where the
    layout allows no trees, equal ones of a row are still run once.
    """
    cells = list(_scored_cells(rows, settings))
    builders: dict[Any, TreeBuilder] = {}
    homes = [_home(cell, layout, builders) for cell in cells]
    nodes = [builders[home].add(cell.input_ids) for cell, home in zip(cells, homes, strict=True)]
    built = {home: builder.build() for home, builder in builders.items()}
    trees = [tree for tree, _ in built.values()]
    numbers = {home: number for number, home in enumerate(built)}
    tree_of = {(cell.row, cell.cell): numbers[home] for cell, home in zip(cells, homes, strict=True)}
    components, component_of_term = _components(rows, settings, len(trees), tree_of)
    passes, pass_of_tree = _passes(trees, components, layout, len(settings.terms))
    for (row, term), tree in component_of_term.items():
        passes[pass_of_tree[tree][0]].terms[term].append(row)
    for cell, home, path in zip(cells, homes, nodes, strict=True):
        number, place_in_pass = pass_of_tree[numbers[home]]
        place_of = built[home][1]
        into = passes[number]
        into.cells.append(cell)
        for place in cell.scored:
            into.tree.append(place_in_pass)
            into.position.append(place_of[path[len(cell.prompt_ids) + place - 1]])
            into.token.append(cell.response_ids[place])
            into.row.append(cell.row)
            into.cell.append(int(cell.cell))
            into.in_phrase.append(place in cell.in_phrase)
            into.in_kl.append(place in cell.in_kl)
            into.weight.append(cell.weights[place] if cell.weights else 1.0)
    return passes


def _scored_cells(rows: SequenceOf[TokenRow], settings: Settings) -> Iterator[ScoredCell]:
    """The cells with scored tokens; one without needs no forward."""
    for number, row in enumerate(rows):
        shown: dict[str, tuple[SequenceOf[int], SequenceOf[Image]]] = {
            "clean": (row.prompt_ids, row.images),
            "noised": (row.noised_prompt_ids, row.rejected_images),
            "blind": (row.blind_prompt_ids, ()),
        }
        kl_scopes = settings.kl_scopes(row.has_noised)
        for cell, scope in settings.cells(row.has_noised).items():
            response, phrase, weights = (
                (row.chosen_ids, row.chosen_phrase, row.chosen_weights)
                if cell.response == "chosen"
                else (row.rejected_ids, row.rejected_phrase, row.rejected_weights)
            )
            scored = range(len(response)) if scope == "response" else phrase
            if scored:
                prompt, images = shown[cell.image]
                in_phrase = frozenset(phrase)
                in_scope = {"phrase": in_phrase, "response": frozenset(scored)}
                in_kl = in_scope[kl_scopes[cell]] if cell in kl_scopes else frozenset()
                yield ScoredCell(number, cell, prompt, response, images, scored, in_phrase, in_kl, weights)


def image_key(image: Image) -> Any:
    """What tells two images of a batch apart: the path, the encoded bytes, or the object itself."""
    if isinstance(image, str):
        return image
    if isinstance(image, dict):
        return image["bytes"] if image["bytes"] is not None else image["path"]
    return id(image)


def _home(cell: ScoredCell, layout: Layout, builders: dict[Any, TreeBuilder]) -> Any:
    """The key of the tree that a sequence belongs to; starts the tree if it is the first."""
    images = tuple(image_key(image) for image in cell.images)
    ids = cell.input_ids
    text_from = 0
    key: Any = (cell.row, cell.cell.image, ids)
    if layout.image_tokens is not None:
        places = [place for place, token in enumerate(cell.prompt_ids) if token in layout.image_tokens]
        text_from = places[-1] + 1 if places else 0
        key = (images, ids[:text_from]) if places else (cell.row, cell.cell.image)
    if key not in builders:
        builders[key] = TreeBuilder(text_from, cell.images)
    return key


def _components(
    rows: SequenceOf[TokenRow], settings: Settings, trees: int, tree_of: dict[tuple[int, Cell], int]
) -> tuple[list[list[int]], dict[tuple[int, int], int]]:
    """Trees that some term joins, which one backward must see together.

    Returns:
        The trees of each component, and for every (row, term) that applies, a tree of its component.
    """
    leader = list(range(trees))

    def find(tree: int) -> int:
        while leader[tree] != tree:
            tree = leader[tree]
        return tree

    tree_of_term: dict[tuple[int, int], int] = {}
    for number, row in enumerate(rows):
        for which, term in enumerate(settings.terms):
            cells = term.cells(row.has_noised)
            homes = [tree_of[number, cell] for cell in cells if (number, cell) in tree_of]
            for home in homes[1:]:
                leader[find(home)] = find(homes[0])
            if cells:
                tree_of_term[number, which] = homes[0] if homes else 0
    members: dict[int, list[int]] = {}
    for tree in range(trees):
        members.setdefault(find(tree), []).append(tree)
    return list(members.values()), tree_of_term


def _passes(
    trees: list[Tree], components: list[list[int]], layout: Layout, terms: int
) -> tuple[list[Pass], list[tuple[int, int]]]:
    """Fills passes with components of like length, so that little padding is run.

    Where they are told apart by their images, those with most images come last.

    Returns:
        The passes with their trees, and for every tree its pass and its place there.
    """
    most_tokens = layout.pass_tokens
    longest = {id(component): max(len(trees[tree]) for tree in component) for component in components}
    images = {id(component): len(trees[component[0]].images) * layout.by_images for component in components}
    if most_tokens is not None:
        components = sorted(components, key=lambda component: -longest[id(component)])
    components = sorted(components, key=lambda component: images[id(component)])
    passes: list[Pass] = []
    width = shown = 0
    where: list[tuple[int, int]] = [(0, 0)] * len(trees)
    for component in components:
        full = passes and most_tokens is not None and (len(passes[-1].trees) + len(component)) * width > most_tokens
        if not passes or full or images[id(component)] != shown:
            passes.append(Pass(terms=[[] for _ in range(terms)]))
            width, shown = longest[id(component)], images[id(component)]
        for tree in component:
            where[tree] = (len(passes) - 1, len(passes[-1].trees))
            passes[-1].trees.append(trees[tree])
    return passes, where
