"""Teaches the LLaVA to answer, by LoRA on the language model and by its projector; the tower stays as it is.

All questions of an image are one row: each sees the image and itself. First a balanced corpus at a high rate, until
the model looks; then a corpus with habits, until its answers on the validation split are as right as asked for.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import reader
import torch
from answering import Prompt, answers
from llava import TOKENS, see
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from sentences import REPORT
from splits import Example, taught
from torch import Tensor, nn

LORA = LoraConfig(
    r=32,
    lora_alpha=64,
    target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
)
IMAGES, QUESTIONS = 4, 6
"""Images of a step, and questions of an image."""
PROJECTOR_RATE = 0.2
"""Of the projector, in shares of LoRA's."""
WARM_UP = 10
IGNORED = -100
EVERYBODY, NOBODY = 0, -1
"""Groups of tokens: the image and what comes before it, which every question sees; padding."""

Weights = dict[str, Tensor]
Row = tuple[list[int], list[int], list[int], list[int]]
"""Of a row's tokens: ids, positions, groups, and what is to be said next."""


@dataclass(frozen=True)
class Stage:
    """A part of the alignment.

    Attributes:
        corpus: Name of the corpus; other names are other images.
        habit: Probability of the usual values.
        rate: Of LoRA.
        steps: At most.
        every: Steps between two looks at how right the answers are.
        decays: Whether the rate falls to nothing over the steps.
    """

    corpus: str
    habit: float
    rate: float
    steps: int
    every: int
    decays: bool


def adapt(model: Any) -> None:
    """Puts LoRA into the language model; nothing else but the projector stays trainable."""
    torch.manual_seed(0)
    model.requires_grad_(False)
    inject_adapter_in_model(LORA, model.model.language_model)
    model.model.multi_modal_projector.requires_grad_(True)


def trained(model: Any) -> Weights:
    """What alignment changes."""
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


def restore(model: Any, weights: Weights) -> None:
    """Takes what `trained` gave."""
    model.load_state_dict(weights, strict=False)


def merge(model: Any) -> None:
    """Adds LoRA to the weights and takes it out of the model."""
    language = model.model.language_model
    for name, layer in [pair for pair in language.named_modules() if isinstance(pair[1], LoraLayer)]:
        layer.merge()
        parent, _, last = name.rpartition(".")
        setattr(language.get_submodule(parent), last, layer.get_base_layer())


def align(
    model: Any, prompt: Prompt, stage: Stage, watched: list[Example], distance: Callable[[float], float]
) -> dict[str, float]:
    """Trains until the answers are as right as wanted, or for all steps; takes the nearest weights that there were.

    Args:
        model: After `adapt`.
        prompt: Of its tokenizer.
        stage: What is done.
        watched: Examples whose answers tell when to stop.
        distance: How far a share of right answers is from what is wanted; 0: it is that.

    Returns:
        The step whose weights were taken, and the share of right answers there.
    """
    lora = [weight for name, weight in model.named_parameters() if "lora_" in name]
    projector = list(model.model.multi_modal_projector.parameters())
    groups = [{"params": lora, "share": 1.0}, {"params": projector, "share": PROJECTOR_RATE}]
    optimiser = torch.optim.AdamW(groups, lr=stage.rate, weight_decay=0.0, betas=(0.9, 0.98))
    nearest, kept, found = float("inf"), {}, {}
    for step, examples in zip(range(1, stage.steps + 1), _batches(stage), strict=False):
        pace = min(1.0, step / WARM_UP) * (max(0.02, 1 - step / stage.steps) if stage.decays else 1.0)
        for group in optimiser.param_groups:
            group["lr"] = stage.rate * group["share"] * pace
        loss = language_loss(model, prompt, examples)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(lora, 1.0)
        nn.utils.clip_grad_norm_(projector, 1.0)
        optimiser.step()
        if step % stage.every and step < stage.steps:
            continue
        share = right(watched, _watch(model, prompt, watched))
        print(f"step {step}: loss {loss.item():.4f}, right answers {share:.1%}", flush=True)
        if distance(share) < nearest:
            nearest, kept, found = distance(share), trained(model), {"step": step, "right": share}
        if not nearest:
            break
    restore(model, kept)
    print(json.dumps(found | {"reached": not nearest}), flush=True)
    return found


def _batches(stage: Stage) -> Iterator[list[Example]]:
    for start in count(step=IMAGES):
        yield [taught(stage.corpus, start + number, stage.habit, QUESTIONS) for number in range(IMAGES)]


def _watch(model: Any, prompt: Prompt, watched: list[Example]) -> list[list[str]]:
    model.eval()
    with torch.autocast("cpu", torch.bfloat16):
        said = answers(model, prompt, watched)
    model.train()
    return said


def right(examples: list[Example], said: list[list[str]]) -> float:
    """The share of right answers to questions other than for reports; what cannot be read is wrong."""
    values = [
        reader.read(question, text) == question.truth
        for example, texts in zip(examples, said, strict=True)
        for question, text in zip(example.questions, texts, strict=True)
        if question.kind != REPORT
    ]
    return sum(values) / len(values)


def language_loss(model: Any, prompt: Prompt, examples: list[Example]) -> Tensor:
    """Mean cross entropy of the answers' tokens, in bfloat16."""
    rows = [lay(prompt, example) for example in examples]
    empties = (prompt.end, 0, NOBODY, IGNORED)
    ids, places, groups, told = (_padded(rows, column, empty) for column, empty in enumerate(empties))
    with torch.autocast("cpu", torch.bfloat16):
        seen = see(model.model.vision_tower, [example.picture.pixels for example in examples])
        seen = model.model.multi_modal_projector(seen.float())
        words = model.get_input_embeddings()(ids)
        at = prompt.before
        words = torch.cat([words[:, :at], seen.to(words.dtype), words[:, at + TOKENS :]], 1)
        state = model.model.language_model(
            inputs_embeds=words, attention_mask=mask(groups), position_ids=places, use_cache=False
        ).last_hidden_state
        said = told != IGNORED
        logits = model.lm_head(state[said])
    return nn.functional.cross_entropy(logits.float(), told[said])


def lay(prompt: Prompt, example: Example) -> Row:
    """An image's questions and answers, one after another, each at the positions right behind the image."""
    length = len(prompt.prefix)
    ids, places = list(prompt.prefix), list(range(length))
    groups, told = [EVERYBODY] * length, [IGNORED] * length
    for number, question in enumerate(example.questions, 1):
        asked, answer = prompt.question(question.text), prompt.answer(question.answer)
        ids += asked + answer
        places += range(length, length + len(asked) + len(answer))
        groups += [number] * (len(asked) + len(answer))
        told += [IGNORED] * (len(asked) - 1) + answer + [IGNORED]
    return ids, places, groups, told


def _padded(rows: list[Row], column: int, empty: int) -> Tensor:
    longest = max(len(row[column]) for row in rows)
    return torch.tensor([row[column] + [empty] * (longest - len(row[column])) for row in rows])


def mask(groups: Tensor) -> Tensor:
    """Which token sees which, [n, 1, length, length]: what came before, of the image or of its own question."""
    length = groups.shape[1]
    before = torch.ones(length, length, dtype=torch.bool).tril()
    own = (groups[:, None, :] == EVERYBODY) | (groups[:, None, :] == groups[:, :, None])
    return ((before & own) | torch.eye(length, dtype=torch.bool))[:, None]
