"""Runs the sequences of a plan under policy and reference, and scores its tokens."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor, nn

from ..errors import UserError
from ..objectives.losses import HEAD_ROWS, ScoredTokens, kls_in_chunks, logps_in_chunks, token_kls, token_logps
from .batch import Scoring
from .families import FAMILIES, SharedImageFeatures
from .reference_cache import ReferenceScores

ModelInputs = dict[str, Any]


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
        by_chunks: Whether the head may be called outside of the forward, on some tokens at a time: it is not in
            training, has no adapter, is whole on this device, and its outputs are the model's logits.
    """

    call: nn.Module
    head: nn.Module
    core: nn.Module
    around: Callable[[], AbstractContextManager[Any]] | None = None
    by_chunks: bool = False

    @classmethod
    def of(
        cls,
        call: nn.Module,
        unwrapped: Any,
        around: Callable[[], AbstractContextManager[Any]] | None = None,
        sharded: bool = False,
    ) -> "Runner":
        """Finds head and core in an unwrapped Hugging Face model, with or without a PEFT adapter.

        Args:
            call, around: See the class.
            unwrapped: The model inside `call`.
            sharded: Whether weights are whole within the model's forward only.
        """
        base = unwrapped.get_base_model() if isinstance(unwrapped, PeftModel) else unwrapped
        head = base.get_output_embeddings()
        if head is None:
            raise UserError(f"{type(base).__name__} has no output embeddings (`get_output_embeddings` is None)")
        frozen = not any(weight.requires_grad for weight in head.parameters())
        capped = base.config.get_text_config().to_dict().get("final_logit_softcapping") is not None
        by_chunks = frozen and not sharded and not capped and base.config.model_type in FAMILIES
        return cls(call, head, base.base_model, around, by_chunks)


@dataclass
class HeadInput:
    """What the head was given instead of all hidden states.

    Attributes:
        scored: [M, H] hidden states at the scored positions; None before the head is called.
        precision: The autocast that the head was called under.
    """

    scored: Tensor | None = None
    precision: AbstractContextManager[Any] = field(default_factory=nullcontext)


@contextmanager
def head_at(
    head: nn.Module, tree: Tensor, position: Tensor, more: Tensor | None = None, most: int | None = None
) -> Iterator[HeadInput]:
    """Lets the head see the hidden states of M positions only, so that logits are [M, V], not [N, T, V].

    Args:
        head: The output embeddings of the model that is called inside.
        tree: [M] which sequence of the batch.
        position: [M] which position of it.
        more: [K, H] further hidden states, whose logits follow the M.
        most: Of how many of them the head makes logits; None for all.

    Raises:
        RuntimeError: The model never called its head on [N, T, H] hidden states.
    """
    calls = []
    seen = HeadInput()

    def gather(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = args[0]
        calls.append(hidden.shape)
        seen.scored = hidden[tree, position]
        kind = hidden.device.type
        dtype, enabled = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        seen.precision = torch.autocast(kind, dtype=dtype, enabled=enabled)
        rows = seen.scored if more is None else torch.cat([seen.scored, more.to(seen.scored.dtype)])
        return (rows[:most], *args[1:])

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
    logits, seen = _forward(runner, inputs, scoring, images, more)
    return logits, cast(Tensor, seen.scored)


def _forward(
    runner: Runner,
    inputs: ModelInputs,
    scoring: Scoring,
    images: Images | None,
    more: Tensor | None = None,
    most: int | None = None,
) -> tuple[Tensor, HeadInput]:
    with ExitStack() as stack:
        if runner.around is not None:
            stack.enter_context(runner.around())
        if images is not None:
            stack.enter_context(images.features.on(runner.core, images.index))
        seen = stack.enter_context(head_at(runner.head, scoring.tree, scoring.position, more, most))
        logits: Tensor = runner.call(**inputs, return_dict=True, use_cache=False).logits
    return logits, seen


def score(
    policy: Runner,
    reference: Runner | None,
    inputs: ModelInputs,
    scoring: Scoring,
    images: Images | None,
    known: ReferenceScores | None,
) -> tuple[ScoredTokens, ReferenceScores | None]:
    """Scores a pass under policy (with gradients) and reference (without).

    Args:
        policy: The model in training.
        reference: The frozen model, or the policy with its adapter switched off; None where no term needs one.
        inputs: Keyword arguments of the models' forward.
        scoring: The scored tokens.
        images: Shares image features; None on the plain path and where the pass has no image.
        known: What the reference says, where that is known. Its hidden states are for the reference's head, which
            then is the policy's.

    Returns:
        The scores, and the reference's part in them; None without a reference.
    """
    by_chunks = policy.by_chunks and (reference is None or reference.by_chunks) and len(scoring.token) > HEAD_ROWS
    if reference is None:
        policy_logps = _policy_alone(policy, inputs, scoring, images, by_chunks)
        forward_kl = reverse_kl = policy_logps[:0]
    else:
        way = _score_by_chunks if by_chunks else _score_at_once
        known, policy_logps, (forward_kl, reverse_kl) = way(policy, reference, inputs, scoring, images, known)
    scored = ScoredTokens(
        row=scoring.row,
        cell=scoring.cell,
        in_phrase=scoring.in_phrase,
        weight=scoring.weight,
        policy_logps=policy_logps,
        reference_logps=None if known is None else known.logps,
        kl=scoring.kl,
        forward_kl=forward_kl,
        reverse_kl=reverse_kl,
        terms=scoring.terms,
    )
    return scored, known


Scores = tuple[ReferenceScores, Tensor, tuple[Tensor, Tensor]]
"""The reference's part; log pi of the tokens [M]; the two halves of the KL [K]."""


def _policy_alone(
    policy: Runner, inputs: ModelInputs, scoring: Scoring, images: Images | None, by_chunks: bool
) -> Tensor:
    """log pi of the tokens [M], without a reference."""
    if not by_chunks:
        return token_logps(scored_logits(policy, inputs, scoring, images)[0], scoring.token)
    hidden, precision = _hidden(policy, inputs, scoring, images)
    with precision:
        return logps_in_chunks(policy.head, hidden, scoring.token)


def _score_at_once(
    policy: Runner,
    reference: Runner,
    inputs: ModelInputs,
    scoring: Scoring,
    images: Images | None,
    known: ReferenceScores | None,
) -> Scores:
    """From the model's logits of all tokens."""
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
    return known, token_logps(policy_logits, scoring.token), token_kls(policy_logits[at_kl], reference_logits)


def _score_by_chunks(
    policy: Runner,
    reference: Runner,
    inputs: ModelInputs,
    scoring: Scoring,
    images: Images | None,
    known: ReferenceScores | None,
) -> Scores:
    """From hidden states: a forward makes the logits of one token only, so that wrappers find every weight used."""
    at_kl = scoring.kl
    if known is None:
        with torch.no_grad():
            hidden, precision = _hidden(reference, inputs, scoring, images)
            with precision:
                known = ReferenceScores(logps_in_chunks(reference.head, hidden, scoring.token), hidden[at_kl])
    hidden, precision = _hidden(policy, inputs, scoring, images)
    with precision:
        policy_logps = logps_in_chunks(policy.head, hidden, scoring.token)
        if not len(at_kl):
            return known, policy_logps, (policy_logps[at_kl], policy_logps[at_kl])
        kls = kls_in_chunks(policy.head, reference.head, hidden[at_kl], known.hidden.to(hidden.dtype))
    return known, policy_logps, kls


def _hidden(
    runner: Runner, inputs: ModelInputs, scoring: Scoring, images: Images | None
) -> tuple[Tensor, AbstractContextManager[Any]]:
    """Hidden states [M, H] that predict the scored tokens, and the precision that the head is to be called under."""
    _, seen = _forward(runner, inputs, scoring, images, most=1)
    return cast(Tensor, seen.scored), seen.precision
