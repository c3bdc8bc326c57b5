"""Greedy answers: an image's tokens are run once for all of its questions."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from llava import IMAGE, TOKENS, see
from sentences import REPORT
from splits import Example
from torch import Tensor
from transformers import DynamicCache

IMAGES = 16
"""Images whose questions are answered at a time."""
LONGEST, LONGEST_REPORT = 24, 64
"""Tokens of an answer and of a report; the longest that `sentences` can say have about 20 and 45."""
CUT = " [cut]"
"""Ends an answer that had not ended by then, which no reader takes for a sentence."""


class Prompt:
    """The tokens of the host's template `llava`.

    Args:
        tokenizer: The model's.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.end: int = tokenizer.eos_token_id
        start = self._tokens("USER: ")
        self.before = len(start)
        self.prefix = start + [tokenizer.convert_tokens_to_ids(IMAGE)] * TOKENS

    def _tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def question(self, text: str) -> list[int]:
        """What follows the image."""
        return self._tokens(f"\n{text} ASSISTANT:")

    def answer(self, text: str) -> list[int]:
        """An answer with its end."""
        return [*self._tokens(text), self.end]


@torch.no_grad()
def answers(model: Any, prompt: Prompt, examples: Sequence[Example]) -> list[list[str]]:
    """An answer to every question of every example.

    Args:
        model: LlavaForConditionalGeneration, with layers of LoRA inside or not.
        prompt: Of its tokenizer.
        examples: Images and questions.
    """
    said: list[list[str]] = []
    for start in range(0, len(examples), IMAGES):
        said += _answer(model, prompt, examples[start : start + IMAGES])
    return said


def _answer(model: Any, prompt: Prompt, examples: Sequence[Example]) -> list[list[str]]:
    projector = model.model.multi_modal_projector
    dtype = next(projector.parameters()).dtype
    seen = projector(see(model.model.vision_tower, [example.picture.pixels for example in examples]).to(dtype))
    words = model.get_input_embeddings()(torch.tensor(prompt.prefix)).repeat(len(examples), 1, 1)
    prefix = torch.cat([words[:, : prompt.before], seen.to(words.dtype)], 1)
    shared = DynamicCache()
    model.model.language_model(inputs_embeds=prefix, past_key_values=shared, use_cache=True)
    said = [[""] * len(example.questions) for example in examples]
    for reports, longest in ((False, LONGEST), (True, LONGEST_REPORT)):
        asked = [
            (row, place, question.text)
            for row, example in enumerate(examples)
            for place, question in enumerate(example.questions)
            if (question.kind == REPORT) == reports
        ]
        if asked:
            given = _continue(model, prompt, shared, asked, longest)
            for (row, place, _), text in zip(asked, given, strict=True):
                said[row][place] = text
    return said


def _continue(
    model: Any, prompt: Prompt, shared: DynamicCache, asked: list[tuple[int, int, str]], longest: int
) -> list[str]:
    """Answers to questions of which each continues a row of the images' cache; padding is on the left."""
    language, rows = model.model.language_model, torch.tensor([row for row, _, _ in asked])
    cache = DynamicCache()
    for number, layer in enumerate(shared.layers):
        cache.update(layer.keys[rows], layer.values[rows], number)
    tokens = [prompt.question(text) for _, _, text in asked]
    width = max(map(len, tokens))
    ids = torch.tensor([[prompt.end] * (width - len(row)) + row for row in tokens])
    there = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in tokens])
    mask = torch.cat([torch.ones(len(asked), len(prompt.prefix), dtype=torch.long), there], 1)
    places = (mask.cumsum(1) - 1)[:, len(prompt.prefix) :]
    said: list[list[int]] = [[] for _ in asked]
    ended = torch.zeros(len(asked), dtype=torch.bool)
    for _ in range(longest):
        state = language(
            input_ids=ids, past_key_values=cache, attention_mask=mask, position_ids=places, use_cache=True
        ).last_hidden_state[:, -1]
        best: Tensor = model.lm_head(state).argmax(-1)
        ended |= best == prompt.end
        for row in (~ended).nonzero().flatten().tolist():
            said[row].append(int(best[row]))
        if ended.all():
            break
        ids, places = best[:, None], places[:, -1:] + 1
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
    texts = [prompt.tokenizer.decode(row) for row in said]
    return [text if done else text + CUT for text, done in zip(texts, ended.tolist(), strict=True)]


def write(examples: Sequence[Example], said: list[list[str]], file: Path) -> None:
    """Writes answers, a line each, with the ids that `splits.rows` gives the questions."""
    lines = [
        json.dumps({"id": f"{example.name}-{place}", "answer": text}) + "\n"
        for example, texts in zip(examples, said, strict=True)
        for place, text in enumerate(texts)
    ]
    file.write_text("".join(lines), encoding="utf-8")


def read(examples: Sequence[Example], file: Path) -> list[list[str]]:
    """The answers that `write` wrote, in the examples' order."""
    rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    given = {row["id"]: row["answer"] for row in rows}
    return [[given[f"{one.name}-{place}"] for place in range(len(one.questions))] for one in examples]
