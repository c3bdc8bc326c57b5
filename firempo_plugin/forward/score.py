"""Runs the sequences of a plan under policy and reference, and scores its tokens."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor, nn

from ..losses import ScoredTokens, token_kls, token_logps
from .families import SharedImageFeatures
from .reference_cache import ReferenceScores

ModelInputs = dict[str, Any]


@dataclass
class Scoring:
    """The scored tokens of a pass as tensors, and the rows of its batch.

    Attributes:
        tree, position, token, row, cell: [M] int64; see `plan.Pass`.
        in_phrase: [M] bool.
        kl: [K] int64, which of the M the KL sums over.
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
    kl: Tensor
    terms: Tensor
    has_noised: Tensor
    weight: Tensor


@dataclass
class Images:
    """The images of a pass, for a model whose image features are shared.

    Attributes:
        features: Computes the features of the batch's distinct images once.
        index: Which of them every image place of the pass shows, in order.
    """

    features: SharedImageFeatures
    index: list[int]


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


@dataclass
class HeadInput:
    """What the head was given instead of all hidden states.

    Attributes:
        scored: [M, H] hidden states at the scored positions; None before the head is called.
    """

    scored: Tensor | None = None


@contextmanager
def head_at(head: nn.Module, tree: Tensor, position: Tensor, more: Tensor | None = None) -> Iterator[HeadInput]:
    """Lets the head see the hidden states of M positions only, so that logits are [M, V], not [N, T, V].

    Args:
        head: The output embeddings of the model that is called inside.
        tree: [M] which sequence of the batch.
        position: [M] which position of it.
        more: [K, H] further hidden states, whose logits follow the M.

    Raises:
        RuntimeError: The model never called its head on [N, T, H] hidden states.
    """
    calls = []
    seen = HeadInput()

    def gather(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = args[0]
        calls.append(hidden.shape)
        seen.scored = hidden[tree, position]
        rows = seen.scored if more is None else torch.cat([seen.scored, more.to(seen.scored.dtype)])
        return (rows, *args[1:])

    handle = head.register_forward_pre_hook(gather)
    try:
        yield seen
    finally:
        handle.remove()
    if len(calls) != 1 or len(calls[0]) != 3:
        raise RuntimeError(
            f"expected one call of the language-model head on [N, T, H] hidden states, saw {calls}: "
            "this model class computes its logits in another way and is not supported"
        )


def scored_logits(
    runner: Runner, inputs: ModelInputs, scoring: Scoring, images: Images | None, more: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One forward over all trees of a pass: logits [M, V] that predict the scored tokens, and hidden states [M, H].

    With `more` hidden states [K, H], logits are [M + K, V].
    """
    with ExitStack() as stack:
        if runner.around is not None:
            stack.enter_context(runner.around())
        if images is not None:
            stack.enter_context(images.features.on(runner.core, images.index))
        seen = stack.enter_context(head_at(runner.head, scoring.tree, scoring.position, more))
        logits: Tensor = runner.call(**inputs, return_dict=True, use_cache=False).logits
    return logits, cast(Tensor, seen.scored)


def score(
    policy: Runner,
    reference: Runner,
    inputs: ModelInputs,
    scoring: Scoring,
    images: Images | None,
    known: ReferenceScores | None,
) -> tuple[ScoredTokens, ReferenceScores]:
    """Scores a pass under policy (with gradients) and reference (without).

    Args:
        policy: The model in training.
        reference: The frozen model, or the policy with its adapter switched off.
        inputs: Keyword arguments of the models' forward.
        scoring: The scored tokens.
        images: Shares image features; None on the plain path and where the pass has no image.
        known: What the reference says, where that is known. Its hidden states are for the policy's head.

    Returns:
        The scores, and the reference's part in them.
    """
    at_kl = scoring.kl
    if known is None:
        with torch.no_grad():
            logits, hidden = scored_logits(reference, inputs, scoring, images)
            known = ReferenceScores(token_logps(logits, scoring.token), hidden[at_kl])
            reference_logits = logits[at_kl]
            del logits
        policy_logits, _ = scored_logits(policy, inputs, scoring, images)
    else:
        all_logits, _ = scored_logits(policy, inputs, scoring, images, known.hidden if len(known.hidden) else None)
        policy_logits, reference_logits = all_logits[: len(scoring.token)], all_logits[len(scoring.token) :].detach()
    forward_kl, reverse_kl = token_kls(policy_logits[at_kl], reference_logits)
    scored = ScoredTokens(
        row=scoring.row,
        cell=scoring.cell,
        in_phrase=scoring.in_phrase,
        policy_logps=token_logps(policy_logits, scoring.token),
        reference_logps=known.logps,
        kl_row=scoring.row[at_kl],
        forward_kl=forward_kl,
        reverse_kl=reverse_kl,
        terms=scoring.terms,
    )
    return scored, known
