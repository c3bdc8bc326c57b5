"""Runs the sequences of a plan under policy and reference, and scores its tokens."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from ..losses import ScoredTokens, token_kls, token_logps
from ..objectives import Cell, Settings
from .families import SharedImageFeatures

ModelInputs = dict[str, Any]


@dataclass
class Scoring:
    """The scored tokens of a pass as tensors, and the rows of its batch.

    Attributes:
        tree, position, token, row, cell: [M] int64; see `plan.Pass`.
        in_phrase: [M] bool.
        terms: [terms, B] bool, the rows whose cells of each preference term are all in the pass.
        has_noised: [B] bool.
        weight: [B] float32.
    """

    tree: Tensor
    position: Tensor
    token: Tensor
    row: Tensor
    cell: Tensor
    in_phrase: Tensor
    terms: Tensor
    has_noised: Tensor
    weight: Tensor


@dataclass
class Images:
    """The images of a pass, for a model whose image features are shared.

    Attributes:
        features: Computes the features of the batch's distinct images once.
        index: [P] which of them every image place of the pass shows.
    """

    features: SharedImageFeatures
    index: Tensor


@dataclass
class Runner:
    """A model as it is called, and the parts of it that scoring reaches into.

    Attributes:
        call: The possibly wrapped model (DDP, DeepSpeed, FSDP); its forward is what gets called.
        head: The output embeddings, which turn hidden states into logits.
        core: The module whose `get_image_features` the forward uses.
        around: Makes what is entered around a forward, as the adapter's switch is; None where nothing is needed.
    """

    call: nn.Module
    head: nn.Module
    core: nn.Module
    around: Callable[[], AbstractContextManager[Any]] | None = None

    @classmethod
    def of(
        cls, call: nn.Module, unwrapped: Any, around: Callable[[], AbstractContextManager[Any]] | None = None
    ) -> "Runner":
        """Finds head and core in an unwrapped Hugging Face model, with or without a PEFT adapter."""
        base = unwrapped.get_base_model() if isinstance(unwrapped, PeftModel) else unwrapped
        head = base.get_output_embeddings()
        if head is None:
            raise TypeError(f"{type(base).__name__} has no output embeddings (`get_output_embeddings` is None)")
        return cls(call, head, base.base_model, around)


@contextmanager
def head_at(head: nn.Module, tree: Tensor, position: Tensor) -> Iterator[None]:
    """Lets the head see the hidden states of M positions only, so that logits are [M, V], not [N, T, V].

    Args:
        head: The output embeddings of the model that is called inside.
        tree: [M] which sequence of the batch.
        position: [M] which position of it.

    Raises:
        RuntimeError: The model never called its head on [N, T, H] hidden states.
    """
    calls = []

    def gather(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = args[0]
        calls.append(hidden.shape)
        return (hidden[tree, position], *args[1:])

    handle = head.register_forward_pre_hook(gather)
    try:
        yield
    finally:
        handle.remove()
    if len(calls) != 1 or len(calls[0]) != 3:
        raise RuntimeError(
            f"expected one call of the language-model head on [N, T, H] hidden states, saw {calls}: "
            "this model class computes its logits in another way and is not supported"
        )


def tree_mask(end: Tensor, dtype: torch.dtype | None) -> Tensor:
    """The attention mask of token trees: every place sees the places whose subtree it lies in.

    Args:
        end: [N, T] first place after each token's subtree; of padding, the next place.
        dtype: Of an additive mask, as eager attention needs it; None for a boolean one.

    Returns:
        [N, 1, T, T].
    """
    places = torch.arange(end.shape[1], device=end.device)
    seen = (places[None, :] <= places[:, None]) & (places[:, None] < end[:, None, :])
    if dtype is None:
        return seen[:, None]
    return torch.zeros_like(seen, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)[:, None]


def scored_logits(runner: Runner, inputs: ModelInputs, scoring: Scoring, images: Images | None) -> Tensor:
    """One forward over all trees of a pass: the logits that predict the scored tokens, [M, V]."""
    with ExitStack() as stack:
        if runner.around is not None:
            stack.enter_context(runner.around())
        if images is not None:
            stack.enter_context(images.features.on(runner.core, images.index))
        stack.enter_context(head_at(runner.head, scoring.tree, scoring.position))
        logits: Tensor = runner.call(**inputs, return_dict=True, use_cache=False).logits
    return logits


def score(
    policy: Runner,
    reference: Runner,
    inputs: ModelInputs,
    scoring: Scoring,
    settings: Settings,
    images: Images | None,
) -> ScoredTokens:
    """Scores a pass under policy (with gradients) and reference (without).

    Args:
        policy: The model in training.
        reference: The frozen model, or the policy with its adapter switched off.
        inputs: Keyword arguments of the models' forward.
        scoring: The scored tokens.
        settings: Says where the KL is needed.
        images: Shares image features; None on the plain path and where the pass has no image.
    """
    at_kl = torch.zeros_like(scoring.in_phrase)
    if settings.has_kl:
        at_kl = scoring.cell == Cell.CLEAN_CHOSEN
        if settings.kl_scope == "phrase":
            at_kl = at_kl & scoring.in_phrase
    with torch.no_grad():
        logits = scored_logits(reference, inputs, scoring, images)
        reference_logps = token_logps(logits, scoring.token)
        reference_logits = logits[at_kl]
        del logits
    policy_logits = scored_logits(policy, inputs, scoring, images)
    forward_kl, reverse_kl = token_kls(policy_logits[at_kl], reference_logits)
    return ScoredTokens(
        row=scoring.row,
        cell=scoring.cell,
        in_phrase=scoring.in_phrase,
        policy_logps=token_logps(policy_logits, scoring.token),
        reference_logps=reference_logps,
        kl_row=scoring.row[at_kl],
        forward_kl=forward_kl,
        reverse_kl=reverse_kl,
        terms=scoring.terms,
    )
