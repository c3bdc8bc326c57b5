"""The benchmark's contestants compute the same loss, its arithmetic is right, and its tables say what was measured."""

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from places import ROOT

sys.path.append(str(ROOT / "benchmarks"))

import published
import report
import rows as benchmark_rows
from contestants import CONTESTANTS, DEFAULT, PUBLISHED
from measure import Measurement, Task, measure, run_first_epoch
from model import load
from presets import PRESETS, Checkpoint, shrunk, write_checkpoint
from report import Line, Workload
from rows import Shape, make_rows
from torch.utils.flop_counter import FlopCounterMode

from firempo_plugin.forward.flops import Text, Work, flops, sequences

SMALL = shrunk(PRESETS["cpu"])
SHAPE = Shape(image_tokens=16, words=20, batch=2, accumulation=2)
SAME = [name for name, contestant in CONTESTANTS.items() if contestant.same_as]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small checkpoint, and its rows by whether they share an image."""
    folder = tmp_path_factory.mktemp("benchmark")
    write_checkpoint(SMALL, folder / "model")
    checkpoint = Checkpoint(SMALL, folder / "model", threads=1)
    return checkpoint, {one: make_rows(checkpoint, SHAPE, one, folder / str(one)) for one in (False, True)}


@pytest.fixture(autouse=True)
def _fresh_accelerate():
    from accelerate.state import AcceleratorState, GradientState, PartialState

    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


@pytest.fixture(scope="module")
def results(small):
    """Returns a function from a contestant to its measurement, made once."""
    checkpoint, rows = small
    known = {}

    def get(name):
        if name not in known:
            mine = rows[CONTESTANTS[name].one_image]
            task = Task(name, checkpoint, mine, mine)
            if CONTESTANTS[name].second_epoch:
                run_first_epoch(task)
            known[name] = measure(task)
        return known[name]

    return get


def test_a_quantised_model_is_measured_and_gives_the_published_loss(tmp_path):
    preset = replace(SMALL, quantization_bit=4)
    write_checkpoint(preset, tmp_path / "model")
    checkpoint = Checkpoint(preset, tmp_path / "model", checkpointing=True, threads=1)
    rows = make_rows(checkpoint, SHAPE, False, tmp_path / "rows")
    ours, plain = (measure(Task(name, checkpoint, rows, rows)) for name in (DEFAULT, PUBLISHED))
    kinds = {type(weight).__name__ for weight in load(checkpoint).model.parameters()}
    assert "Params4bit" in kinds
    assert ours.loss == pytest.approx(plain.loss, rel=1e-5)
    assert ours.gradient_norm == pytest.approx(plain.gradient_norm, rel=1e-4)


def test_published_is_the_plain_computation(trainer_and_batch, write_dataset, checkpoint, adapter, demo_data):
    from plain import Pair, plain_of

    images = demo_data / "images"
    clean = sorted(path for path in images.glob("*.png") if "noised" not in path.name)[:2]
    noised = [next(images.glob(f"*_{path.stem}_noised.png")) for path in clean]
    texts = [
        ("There is a mass in the left lower lobe.", "There is a mass in the right lower lobe.", [19, 27], [19, 28]),
        ("A CT scan.", "An MR scan.", [0, 4], [0, 5]),
    ]
    pairs = [
        Pair("<image>What is it?", *sides, [span], [other], [str(image)], [str(twin)])
        for (*sides, span, other), image, twin in zip(texts, clean, noised, strict=True)
    ]
    data = [
        {
            "conversations": [{"from": "human", "value": pair.question}],
            "chosen": {"from": "gpt", "value": pair.chosen},
            "rejected": {"from": "gpt", "value": pair.rejected},
            "images": pair.images,
            "rejected_images": pair.rejected_images,
            "chosen_spans": pair.chosen_spans,
            "rejected_spans": pair.rejected_spans,
        }
        for pair in pairs
    ]
    path = checkpoint("qwen3_vl")
    trainer, _ = trainer_and_batch("qwen3_vl", "pairs", dataset_dir=write_dataset(data), adapter=adapter("qwen3_vl"))
    plain = plain_of("qwen3_vl", path, adapter("qwen3_vl"))
    expected, _ = plain.batch(pairs, "fire_mpo")
    gradients = plain.gradients(expected)
    config = trainer.model.config
    cells = published.collate(list(trainer.train_dataset), plain.processor, config.image_token_id, padding=0)
    found = published.step(trainer.model, cells, len(pairs), 1, torch.Tensor.backward)
    assert found == pytest.approx(expected.item(), rel=1e-5)
    for name, weight in trainer.model.named_parameters():
        if weight.requires_grad:
            scale = gradients[name].abs().max().item()
            torch.testing.assert_close(weight.grad, gradients[name], rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("name", SAME)
def test_contestants_give_the_published_loss_and_gradient(name, results):
    mine, other = results(name), results(CONTESTANTS[name].same_as)
    assert mine.loss == pytest.approx(other.loss, rel=1e-5)
    assert mine.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-5)
    assert mine.gradient_norm > 0
    assert mine.flops < other.flops
    assert mine.seconds > mine.backward_seconds > 0


def test_every_saving_computes_less(results):
    found = [results(name) for name in ("head", "vision", "trees", DEFAULT)]
    assert all(less.flops <= more.flops for more, less in pairwise(found))
    cached = [results(name).flops for name in (DEFAULT, "cached", "all_cached")]
    assert cached[0] > cached[1] > cached[2]
    assert results("one_image").tokens < results(DEFAULT).tokens


def test_host_dpo_runs_half_of_the_published_sequences(results):
    assert results("llamafactory_dpo").tokens == pytest.approx(results(PUBLISHED).tokens / 2, rel=0.1)


def test_the_accelerator_path_in_bf16_with_checkpointing(tmp_path):
    preset = replace(SMALL, dtype="bfloat16")
    write_checkpoint(preset, tmp_path / "model")
    checkpoint = Checkpoint(preset, tmp_path / "model", checkpointing=True, threads=1)
    rows = make_rows(checkpoint, SHAPE, False, tmp_path / "rows")
    expected, *others = (measure(Task(name, checkpoint, rows, rows)) for name in (PUBLISHED, "head", DEFAULT))
    for found in others:
        assert found.loss == pytest.approx(expected.loss, rel=0.02)
        assert found.gradient_norm == pytest.approx(expected.gradient_norm, rel=0.1)
    dpo = measure(Task("llamafactory_dpo", checkpoint, rows, rows))
    assert 0 < dpo.loss < 2
    assert dpo.gradient_norm > 0


def test_rows_have_the_words_and_image_tokens_that_were_asked_for(small):
    checkpoint, rows = small
    image_token = load(checkpoint).model.config.image_token_id
    for batch, texts in zip(rows[False].fire, rows[False].text, strict=True):
        assert len({row["images"][0] for row in batch}) == SHAPE.batch
        for row, text in zip(batch, texts, strict=True):
            assert row["prompt_ids"].count(image_token) == SHAPE.image_tokens
            assert len(text["chosen"]["value"].split()) == len(text["rejected"]["value"].split()) == SHAPE.words
            assert 1 <= len(row["chosen_phrase"]) <= 8
    assert all(len({row["images"][0] for row in batch}) == 1 for batch in rows[True].fire)
    assert benchmark_rows.responses(["a"] * 5, 1, 12)[0].split().count("a") < 12


def test_flops_by_hand(small):
    model = load(small[0]).model
    query, key_value, mlp = 64 * 64, 2 * 64 * 32, 3 * 64 * 96
    layer = 2 * (2 * query + key_value + mlp)
    adapter = 2 * 4 * (2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 96))
    not_backward = 2 * (query + key_value) + 2 * 4 * 3 * 64
    attention, head = 4 * 2 * 32 * 2, 2 * 64 * 2000
    work = Work(policy=Text(tokens=10, pairs=55, scored=3), reference=Text(tokens=7, pairs=28, scored=2))
    expected = 10 * (2 * 2 * layer + 3 * 2 * adapter - not_backward) + 3 * 55 * attention + 2 * 3 * head
    expected += 7 * 2 * layer + 28 * attention + 2 * head
    assert flops(model, work) == expected
    assert sequences(2, 5, 4) == Text(tokens=10, pairs=30, scored=4)


def test_flops_against_the_counter_of_torch(small):
    """Whether it counts fused attention on the CPU depends on its version; our count without pairs leaves it out."""
    checkpoint, rows = small
    loaded = load(checkpoint)
    runner = CONTESTANTS[PUBLISHED].build(loaded)
    batches = runner.collate(rows[False])
    counter = FlopCounterMode(display=False)
    with counter:
        runner.run(batches, lambda backward: backward)
    loaded.model.zero_grad(set_to_none=True)
    work = runner.work(batches)
    no_pairs = Work(replace(work.policy, pairs=0), replace(work.reference, pairs=0), work.patches)
    config = SMALL.vision
    in_vision = sum(4 * config["hidden_size"] * config["depth"] * patches**2 for patches in work.patches)
    counted = counter.get_flop_counts()["Global"]
    products = sum(count for operation, count in counted.items() if "attention" not in str(operation))
    assert products == pytest.approx(flops(loaded.model, no_pairs) - in_vision, rel=1e-3)


def test_tables_and_disagreements():
    def line(seconds, loss, memory):
        return Line([Measurement(s, s / 2, 0.1, memory, memory, 100, 2e9, loss, 1.0) for s in seconds])

    workload = Workload(Shape(256, 13, 4, 1), checkpointing=False)
    workload.lines = {
        PUBLISHED: line([9.0, 10.0, 11.0], 0.8, 8 * 10**9),
        "trl_dpo": Line(error="AttributeError: no"),
        DEFAULT: line([2.0], 0.8, 10**9),
    }
    assert report.disagreements([workload]) == []
    table = report.workload_table(workload, throughput=1e9)
    assert "| published algorithm | 3 | 10 (9 to 11) | 5 | 5 |" in table
    assert "| TRL DPO | failed | AttributeError: no |" in table
    assert "| + passes (the default) | 1 | 2 (2 to 2) |" in table
    assert "| arithmetic limit of the default |  | 2 |" in table
    figures = report.figures_table("cpu", [workload])
    assert "| step time, published / ours, one epoch | 5 (>= 6.5) |" in figures
    assert "| memory above the weights, published / ours | 8 (>= 6) |" in figures
    assert "| step time, stock `stage: dpo` / ours | not measured (>= 3) |" in figures
    workload.lines[DEFAULT] = line([2.0], 0.8002, 10**9)
    assert report.disagreements([workload]) == [
        f"256 image tokens, 13 words: loss of {DEFAULT} and {PUBLISHED} differ by 2.5e-04"
    ]
    assert len({len(row.split("|")) for row in table.splitlines()}) == 1


def test_micro_batches_are_run_in_equal_parts_that_fit():
    checkpoint = Checkpoint(replace(SMALL, plain_tokens=2048), Path())
    assert checkpoint.parts([1, 2, 3, 4], 256) == [[1, 2, 3, 4]]
    assert checkpoint.parts([1, 2, 3, 4], 1024) == [[1, 2], [3, 4]]
    assert checkpoint.parts([1, 2, 3], 1024) == [[1, 2, 3]], "no unequal parts: their rows would weigh differently"
    assert Checkpoint(replace(SMALL, plain_tokens=None), Path()).parts([1, 2], 4096) == [[1, 2]]
