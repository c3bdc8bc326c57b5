"""The example's scripts, imported by name as they do each other, and a tiny random model in the place of SmolLM2."""

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from places import EXAMPLES_DIR
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

FOLDERS = [EXAMPLES_DIR / name for name in ("phantom_language", "phantom", "phantom_rounds")]
POOL = "answers/middle/pool"
NAMES = {file.stem for folder in FOLDERS for file in folder.glob("*.py")}


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Nobody else sees the scripts' names, and they see nobody else's."""
    held = {name: sys.modules.pop(name) for name in NAMES if name in sys.modules}
    monkeypatch.setattr(sys, "path", [*map(str, FOLDERS), *sys.path])
    yield
    for name in NAMES:
        sys.modules.pop(name, None)
    sys.modules.update(held)


def load(more):
    """As `packaged.load`: a language model with weights of chance, and a tokenizer of bytes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", *more]
    words = {word: number for number, word in enumerate([*letters, *special])}
    backend = Tokenizer(models.BPE(words, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(word, special=True) for word in special])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=special[0], eos_token=special[1], pad_token=special[2]
    )
    torch.manual_seed(0)
    heads = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = LlamaConfig(vocab_size=len(words), hidden_size=32, intermediate_size=48, **heads, tie_word_embeddings=True)
    return LlamaForCausalLM(config), tokenizer


@pytest.fixture
def tiny(scripts):
    """The joined model, untaught, and its prompt."""
    import llava
    from answering import Prompt

    language, tokenizer = load((llava.IMAGE,))
    return llava.join(language, tokenizer).eval(), Prompt(tokenizer)


class Here:
    """Runs the commands of a task in this process."""

    def __init__(self, monkeypatch):
        self.monkeypatch, self.commands = monkeypatch, []

    def __call__(self, *command):
        import steps
        import work

        self.commands.append(command)
        if command[0] == "llamafactory-cli":
            from llamafactory.data.template import TEMPLATES
            from llamafactory.train.tuner import run_exp

            # The host writes a run's system text into the template, where the next test would find it.
            self.monkeypatch.setitem(TEMPLATES, "llava", copy.copy(TEMPLATES["llava"]))
            self.monkeypatch.setattr(sys, "argv", list(command[1:]))
            run_exp()
        else:
            {"steps.py": steps, "work.py": work}[Path(command[1]).name].main(list(command[2:]))


@pytest.fixture
def plan(scripts, tmp_path, monkeypatch):
    """A plan at a scale of seconds."""
    from dataclasses import replace

    import answering
    import packaged
    import scales
    import tower
    from plan import Plan
    from splits import Quota
    from tower import Phase

    quota = Quota({"side": 1, "is_side": 1}, reports=2)
    tiny = replace(
        scales.QUICK,
        objectives=("sft", "fire_mpo"),
        phases=(Phase(1, 1e-3, carriers=False), Phase(1, 1e-3, carriers=True)),
        tower_images=6,
        projector_images=6,
        projector_steps=2,
        look=replace(scales.QUICK.look, steps=2, every=1),
        habits=replace(scales.QUICK.habits, steps=1, every=1),
        quotas=dict.fromkeys(("watch", "validation", "test"), quota) | {"pool": replace(quota, reports=0)},
        pairs=8,
    )
    monkeypatch.setitem(scales.SCALES, "quick", tiny)
    monkeypatch.setattr(packaged, "load", load)
    monkeypatch.setattr(tower, "BATCH", 4)
    monkeypatch.setattr(answering, "LONGEST", 3)
    monkeypatch.setattr(answering, "LONGEST_REPORT", 4)
    return Plan(tmp_path / "work", 1, "quick")


def do(stages, shell):
    """Everything that is not done, and the names of that."""
    for stage in stages:
        for task in stage:
            if not task.done.exists():
                task.work(shell)
                assert task.done.exists(), task.name
                yield task.name


def half_right(plan, file=None):
    """Answers to the pool as no random model gives them: every other one is wrong; into the base's, or a file."""
    import answering
    import pairs
    import steps

    pool = steps.examples(plan.scale, "pool")
    random, turn, said = np.random.default_rng(0), 0, []
    for example in pool:
        said.append([])
        for question in example.questions:
            turn += 1
            said[-1].append(question.answer if turn % 2 else pairs._edited(question, random))
    answering.write(pool, said, file or plan.folder / POOL / "answers.jsonl")


@pytest.fixture
def repository(scripts, tmp_path, monkeypatch):
    """An empty folder in the place of `published`."""
    import published

    monkeypatch.setattr(published, "PUBLISHED", tmp_path / "published")
    return tmp_path / "published"
