"""What is shared between an image's questions changes nothing: losses and answers are those of each question alone."""

import math
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn


def examples(number=2, questions=4):
    from splits import taught

    return [taught("few", place, 0.8, questions) for place in range(number)]


@pytest.fixture
def exact(monkeypatch):
    """Alignment in float32."""
    monkeypatch.setattr(torch, "autocast", lambda *names: nullcontext())


def alone(model, prompt, example, question, answer):
    """Logits of an answer's tokens by a plain forward of the whole model, and its ids."""
    from llava import prepared

    asked, told = prompt.prefix + prompt.question(question.text), prompt.answer(answer)
    pixels = prepared([example.picture.pixels])
    ids = torch.tensor([asked + told])
    logits = model(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids)).logits
    return logits[0, len(asked) - 1 : -1].float(), torch.tensor(told)


def test_the_loss_is_that_of_each_question_alone(tiny, exact):
    from alignment import adapt, language_loss

    model, prompt = tiny
    adapt(model)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.5)
    shown = examples()
    pairs = [alone(model, prompt, one, question, question.answer) for one in shown for question in one.questions]
    wanted = nn.functional.cross_entropy(*map(torch.cat, zip(*pairs, strict=True)))
    found = language_loss(model, prompt, shown)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    for one, other in zip(torch.autograd.grad(found, weights), torch.autograd.grad(wanted, weights), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_answers_are_those_of_each_question_alone(tiny, monkeypatch):
    import answering

    model, prompt = tiny
    monkeypatch.setattr(answering, "LONGEST", 6)
    monkeypatch.setattr(answering, "LONGEST_REPORT", 9)
    for weight in model.model.language_model.layers.parameters():
        nn.init.normal_(weight, std=0.4)
    shown = examples(2)
    asked = [question for one in shown for question in one.questions]
    assert len({question.kind == "report" for question in asked}) == 2
    for example, texts in zip(shown, answering.answers(model, prompt, shown), strict=True):
        for question, text in zip(example.questions, texts, strict=True):
            said = []
            longest = 9 if question.kind == "report" else 6
            for _ in range(longest):
                logits, _ = alone_after(model, prompt, example, question, said)
                said.append(int(logits.argmax()))
                if said[-1] == prompt.end:
                    break
            ended = said[-1] == prompt.end
            assert text == prompt.tokenizer.decode(said[:-1] if ended else said) + ("" if ended else answering.CUT)


@torch.no_grad()
def alone_after(model, prompt, example, question, said):
    from llava import prepared

    ids = torch.tensor([prompt.prefix + prompt.question(question.text) + said])
    pixels = prepared([example.picture.pixels])
    return model(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids)).logits[0, -1], ids


def test_the_prompt_is_the_template_of_the_host(tiny):
    from llamafactory.data.template import TEMPLATES

    _, prompt = tiny
    messages = [{"role": "user", "content": "<image>\nWhy?"}, {"role": "assistant", "content": "So."}]
    image = prompt.prefix[-1]
    asked, said = TEMPLATES["llava"].encode_oneturn(prompt.tokenizer, messages, system="")
    shown = prompt.prefix[: prompt.before + 1] + prompt.question("Why?")
    assert asked[asked.index(image) :] == shown[shown.index(image) :]
    assert asked[-len(shown) :] == shown
    assert said == prompt.answer("So.")


def test_merged_weights_answer_as_the_adapted_ones(tiny):
    from alignment import adapt, merge, restore, trained

    model, _ = tiny
    adapt(model)
    weights = {name: torch.randn_like(weight) for name, weight in trained(model).items()}
    restore(model, weights)
    ids = torch.arange(40)[None] % 30
    with torch.no_grad():
        before = model.model.language_model(input_ids=ids).last_hidden_state
        merge(model)
        torch.testing.assert_close(
            model.model.language_model(input_ids=ids).last_hidden_state, before, atol=1e-3, rtol=1e-3
        )
    assert not any("lora" in name for name, _ in model.named_parameters())


def test_alignment_takes_the_weights_that_come_nearest(tiny, exact, monkeypatch):
    import alignment

    model, prompt = tiny
    alignment.adapt(model)
    shares, seen = iter([0.2, 0.6, 0.9, 0.1]), []
    monkeypatch.setattr(alignment, "right", lambda *given: next(shares))
    monkeypatch.setattr(alignment, "answers", lambda *given: seen.append(alignment.trained(model)))
    stage = alignment.Stage("few", 0.5, 1e-2, steps=4, every=1, decays=True)
    found = alignment.align(model, prompt, stage, [], lambda share: abs(share - 0.7))
    assert found == {"step": 2, "right": 0.6}
    now = alignment.trained(model)
    assert all(torch.equal(now[name], weight) for name, weight in seen[1].items())
    assert not all(torch.equal(now[name], weight) for name, weight in seen[3].items())

    shares = iter([0.7])
    monkeypatch.setattr(alignment, "right", lambda *given: next(shares))
    assert alignment.align(model, prompt, replace(stage, steps=9), [], lambda share: 0.0)["step"] == 1


def test_heads_are_told_what_a_defect_leaves():
    import numpy as np
    from pictures import picture
    from tower import ATTRIBUTES, FINDINGS, UNKNOWN, covered, labels, spoil

    random = np.random.default_rng(2)
    bank = [picture(0.5, random) for _ in range(8)]
    states = [(drawn, *spoil(drawn, bank, random, 1.0)) for drawn in bank * 4]
    assert {state for _, _, state in states for state in state.values()} == {0, 1, UNKNOWN}
    for drawn, pixels, state in states:
        changed = pixels != drawn.pixels
        image, tokens = labels(drawn, state)
        for place, name in enumerate(FINDINGS):
            assert image[place] == state[name]
            if state[name] == 1:
                assert (changed & drawn.masks[name]).sum() <= 0.15 * drawn.masks[name].sum()
                assert (tokens[:, place] == 1).sum() == (covered(drawn.masks[name]) > 0.08).sum()
            if name not in drawn.found:
                assert state[name] == 0
        for column, (name, _) in enumerate(ATTRIBUTES, len(FINDINGS)):
            assert (image[column] == UNKNOWN) == (state[name] != 1)


def test_image_tokens_say_the_words_of_what_is_there(tiny):
    import numpy as np
    from pictures import draw
    from projector import Words

    model, prompt = tiny
    words = Words(model.get_input_embeddings().weight.detach(), prompt.tokenizer)
    drawn = draw({"pacemaker": {"side": "left"}}, np.random.default_rng(0))
    states = dict.fromkeys(("nodule", "consolidation", "effusion", "pneumothorax"), 0) | {"pacemaker": 1}
    said, weight = words.of(drawn, states)
    there = (words.word("pacemaker") + words.word("left")) / math.sqrt(2)
    torch.testing.assert_close(said[4], there)
    torch.testing.assert_close(said[0], (words.word("no") + words.word("nodule")) / math.sqrt(2))
    torch.testing.assert_close(said[35], words.word("clear"))
    assert any(torch.allclose(said[token], there) for token in range(5, 36))
    assert {1.0, 5.0} == set(weight.tolist())
    hidden, weight = words.of(drawn, states | {"pacemaker": -1})
    assert weight[4] == 0
    assert not any(torch.allclose(row, there) for row in hidden[weight > 0])


def test_what_is_shipped_is_what_was_learned_to_eight_bits(tiny, tmp_path):
    import llava
    import shipped
    from alignment import adapt, merge

    model, prompt = tiny
    llava.save(model, prompt.tokenizer, tmp_path / "start")
    adapt(model)
    for name, weight in model.named_parameters():
        if any(part in name for part in ("lora_B", "projector", "vision_tower")):
            nn.init.normal_(weight, std=0.5)
    packed = shipped.pack(model)
    back = shipped.unpack(packed)
    changed = {name: weight.detach() for name, weight in model.named_parameters() if name in back}
    assert {"lora_A", "lora_B", "vision_tower", "multi_modal_projector"} <= {
        part for name in changed for part in name.split(".")
    }
    for name, weight in changed.items():
        if "lora_" in name:
            axis = int("lora_A" in name)
            assert packed[name + shipped.SCALE].shape[axis] == 1  # one for each rank
            assert ((back[name] - weight).abs() <= weight.abs().amax(axis, keepdim=True) / 250).all()
        else:
            assert torch.equal(back[name], weight.bfloat16().float())

    shipped.write(packed, {"step": 1}, tmp_path)
    again, found = shipped.read(tmp_path)
    (tmp_path / "base").mkdir()
    shipped.build(tmp_path / "start", again, tmp_path / "base")
    made, _ = llava.load(tmp_path / "base", torch.float32)
    model.load_state_dict(back, strict=False)
    merge(model)
    assert found == {"step": 1}
    for (name, ours), theirs in zip(made.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs.bfloat16().float()), name
