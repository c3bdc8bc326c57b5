"""What a step costs at real sizes, counted and not measured: matrix products over a rate, as a table.

    .venv/bin/python benchmarks/counted.py            # a few seconds; needs neither GPU nor weights

Models have their real shapes and no weights; rows go through the package's own planner. What a GPU adds, kernels that
are not matrix products, launches, the loader, is not in it: a step takes longer than this, on both sides of a ratio.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from peft import LoraConfig, get_peft_model
from presets import FAMILIES, PRESETS, Preset
from transformers import AutoModelForImageTextToText

from firempo_plugin.forward.flops import Text, Work, pass_text, sequences
from firempo_plugin.forward.flops import operations as count
from firempo_plugin.forward.plan import Layout, TokenRow, make_plan
from firempo_plugin.objectives.settings import Settings
from firempo_plugin.objectives.table import OBJECTIVES

RATE = 790e12
"""Operations a second: large matrix products in bf16 on an H200, assumed; `benchmarks/gpu` measures a machine's own."""
IMAGE_TOKENS = (256, 1024, 2304)
AT = 1024
"""The image tokens for which seconds are given."""
PAIRS = 8
PROMPT, RESPONSE, PHRASE = 30, 40, 6
"""Tokens: of the question, of a response, of its phrase."""
PATCHES = 4
"""Of the vision tower, for each image token."""
IMAGE = 1
SETTINGS = Settings(OBJECTIVES["fire_mpo"], 0.1, 0.01, 0.1, 0.5, "phrase", 0.0)
LINEAR = r".*language_model.*(q|k|v|o|gate|up|down)_proj"


@dataclass(frozen=True)
class Way:
    """A way to run the pairs of one image.

    Attributes:
        title: In the table.
        work: Of the image's tokens and the pairs on it; without the recomputation of checkpointing.
        pairs: On one image.
        checkpointing: Whether the policy's forward is run again backward.
    """

    title: str
    work: Callable[[int, int], Work]
    pairs: int = 1
    checkpointing: bool = True


def published(image_tokens: int, pairs: int) -> Work:
    """Four cells under two models, each with its image and all logits."""
    length = image_tokens + PROMPT + RESPONSE
    text = sequences(4 * pairs, length, 4 * pairs * length)
    return Work(text, text, (PATCHES * image_tokens,) * (8 * pairs))


def stock_dpo(image_tokens: int, pairs: int) -> Work:
    """Two sequences under two models, each with its image and all logits."""
    length = image_tokens + PROMPT + RESPONSE
    text = sequences(2 * pairs, length, 2 * pairs * length)
    return Work(text, text, (PATCHES * image_tokens,) * (4 * pairs))


def ours(image_tokens: int, pairs: int) -> Work:
    """The trees that the planner makes."""
    text = Text()
    for each in make_plan([_row(image_tokens, number) for number in range(pairs)], SETTINGS, Layout((IMAGE,))):
        text += pass_text(each)
    return Work(text, text, (PATCHES * image_tokens,) * 2)


def cached(image_tokens: int, pairs: int) -> Work:
    """Of the reference only the KL's logits, from kept hidden states."""
    work = ours(image_tokens, pairs)
    return Work(work.policy, Text(scored=PHRASE * pairs), work.patches)


def all_cached(image_tokens: int, pairs: int) -> Work:
    """The vision tower neither."""
    work = cached(image_tokens, pairs)
    return Work(work.policy, work.reference)


def _row(image_tokens: int, number: int) -> TokenRow:
    """A pair with its own question on the one image, whose responses differ in a phrase in the middle."""
    prompt = [IMAGE] * image_tokens + [10 + number] * PROMPT
    before = (RESPONSE - PHRASE) // 2
    chosen, rejected = ([2] * before + [phrase] * PHRASE + [3] * (RESPONSE - PHRASE - before) for phrase in (4, 5))
    places = range(before, before + PHRASE)
    return TokenRow(
        prompt_ids=prompt,
        noised_prompt_ids=prompt,
        blind_prompt_ids=prompt[image_tokens:],
        chosen_ids=chosen,
        rejected_ids=rejected,
        chosen_phrase=places,
        rejected_phrase=places,
        chosen_weights=(),
        rejected_weights=(),
        images=["clean"],
        rejected_images=["noised"],
        weight=1.0,
    )


WAYS = (
    Way("published algorithm", published),
    Way("LLaMA-Factory's `stage: dpo`, half the work of FiRe-MPO", stock_dpo),
    Way("**this project**", ours),
    Way("the same without gradient checkpointing", ours, checkpointing=False),
    Way("from the second epoch on, `fire_reference_cache`", cached),
    Way("and `fire_vision_cache`", all_cached),
    Way("4 pairs an image, `fire_group_by_image: 4`", ours, pairs=4),
    Way("and `fire_reference_cache`", cached, pairs=4),
)


def model_of(preset: Preset) -> torch.nn.Module:
    """The preset's model with its adapter, without weights."""
    family = FAMILIES[preset.family]
    config = family.config(text_config=dict(preset.text), vision_config=dict(preset.vision))
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
        return get_peft_model(model, LoraConfig(r=preset.lora_rank, target_modules=LINEAR))


def operations(model: torch.nn.Module, way: Way, image_tokens: int) -> float:
    """Of one pair."""
    work = way.work(image_tokens, way.pairs)
    return count(model, work, checkpointed=way.checkpointing).total / way.pairs


def table(preset: Preset) -> list[str]:
    """The lines of a preset's table."""
    model = model_of(preset)
    columns = [f"{tokens:,} image tokens" for tokens in IMAGE_TOKENS]
    lines = [
        f"| {preset.name}: counted, not measured | {' | '.join(columns)} | {PAIRS} pairs at {AT:,} |",
        f"|---|{'---|' * len(columns)}---|",
    ]
    first = {tokens: operations(model, WAYS[0], tokens) for tokens in IMAGE_TOKENS}
    for way in WAYS:
        cells = []
        for tokens in IMAGE_TOKENS:
            found = operations(model, way, tokens)
            ratio = "" if way is WAYS[0] else f", {first[tokens] / found:.1f} x"
            cells.append(f"{found / 1e12:.0f} TFLOP{ratio}")
        lines.append(f"| {way.title} | {' | '.join(cells)} | {PAIRS * operations(model, way, AT) / RATE:.2f} s |")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--presets", nargs="+", default=["qwen3_vl_4b", "qwen2_5_vl_7b"], choices=list(PRESETS))
    for name in parser.parse_args(argv).presets:
        print("\n".join(table(PRESETS[name])), end="\n\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
