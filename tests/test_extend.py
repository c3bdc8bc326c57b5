"""What docs/extend.md shows works as it stands: written where it says, registered as it says, in a build."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image
from places import ROOT

TEXT = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (firempo_plugin/\S+)\n(.*?)```", TEXT, re.S))
LINES = re.findall(r"in `(firempo_plugin/\S+registry.py)`: `(\".*?),`\n", TEXT)
(FAMILY,) = re.findall(r"in `firempo_plugin/forward/families.py`: `\"(\w+)\": (.*?),`\n", TEXT)


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the package with all that the page shows."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "firempo_plugin", folder / "firempo_plugin", ignore=shutil.ignore_patterns("__pycache__"))
    assert len(FILES) == len(LINES) == 3
    for name, code in FILES.items():
        assert not (folder / name).exists()
        (folder / name).write_text(code, encoding="utf-8")
    for name, line in LINES:
        registry = (folder / name).read_text(encoding="utf-8")
        assert registry.count("\n    },\n)") == 1
        (folder / name).write_text(registry.replace("\n    },\n)", f"\n        {line},\n    }},\n)"), encoding="utf-8")
    return folder


def run(folder, *words):
    environment = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "firempo_plugin.cli", *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


def test_a_source_a_judge_and_a_segmenter_of_ones_own_make_pairs(extended, tmp_path):
    Image.fromarray(np.full((20, 40), 90, np.uint8)).save(tmp_path / "a.png")
    rows = [
        {"case": "1", "scan": "a.png", "ask": "Which lung is opaque?", "known": "left"},
        {"case": "2", "scan": "a.png", "ask": "Which lung is clear?", "known": "right"},
        {"case": "3", "scan": "missing.png", "ask": "Which lung is clear?", "known": "right"},
        {"case": "4", "scan": "a.png", "ask": "Which lung is clear?", "known": "neither"},
    ]
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = [{"id": str(number), "response": "It is the left lung."} for number in range(1, 5)]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    options = {"file": str(tmp_path / "cases.jsonl"), "image_root": str(tmp_path)}
    config = {
        "workspace": str(tmp_path / "work"),
        "source": {"name": "captions", "options": options},
        "respond": {"file": str(tmp_path / "answers.jsonl")},
        "edit": {"judge": "sides", "rules_first": False},
        "segment": {"by": "middle", "options": {"share": 0.5}},
    }
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(config))
    done = run(extended, "build", tmp_path / "build.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "image not found" in done.stdout
    assert "sides: it names no side, or several" in done.stdout
    pairs = json.loads((tmp_path / "work" / "export" / "fire_mpo_pairs.json").read_text())
    assert [(pair["id"], pair["chosen"]["value"], pair["judge"]) for pair in pairs] == [
        ("captions:1", "It is the left lung.", "sides"),
        ("captions:2", "It is the right lung.", "sides"),
    ]
    clean, noised = (
        np.asarray(Image.open(tmp_path / "work" / "export" / pairs[0][key][0]).convert("L"))
        for key in ("images", "rejected_images")
    )
    changed = np.argwhere(clean != noised)
    assert (changed.min(0) >= [5, 10]).all()
    assert (changed.max(0) < [15, 30]).all()
    assert len(changed) > 100


def test_help_and_errors_know_them(extended, tmp_path):
    said = run(extended, "build", "--help").stdout
    for name in ("captions", "middle", "sides", "one scan a line"):
        assert name in said
    (tmp_path / "build.yaml").write_text(yaml.safe_dump({"workspace": "w", "source": {"name": "caption"}}))
    assert "captions" in run(extended, "build", tmp_path / "build.yaml").stderr


def test_a_family_of_ones_own_sees_what_a_plain_forward_sees():
    """Three sequences over two images: the tower runs on two, and the logits are those of three images."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, VipLlavaConfig, VipLlavaForConditionalGeneration

    from firempo_plugin.forward import families

    name, family = FAMILY
    assert name not in families.FAMILIES
    own = eval(family, vars(families))
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    token, tokens = 7, 4
    config = VipLlavaConfig(
        text_config=LlamaConfig(vocab_size=99, **small),
        vision_config=CLIPVisionConfig(image_size=28, patch_size=14, **small),
        vision_feature_layers=[-1, -2],
        image_seq_length=tokens,
        **{own.image_token: token},
    )
    assert config.model_type == name
    torch.manual_seed(0)
    model = VipLlavaForConditionalGeneration(config).eval().requires_grad_(False)
    assert families.is_frozen(own, model.model)
    model.model.get_submodule(own.vision[-1]).requires_grad_()
    assert not families.is_frozen(own, model.model)
    pixels, index = torch.randn(2, 3, 28, 28), [1, 0, 1]
    ids = torch.tensor([[1, *[token] * tokens, last, 3] for last in (2, 5, 8)])
    plain = model(input_ids=ids, pixel_values=pixels[index]).logits
    seen = []
    model.model.vision_tower.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    with families.SharedImageFeatures(own, frozen=False).on(model.model, index):
        shared = model(input_ids=ids, pixel_values=pixels).logits
    assert seen == [2]
    torch.testing.assert_close(shared, plain)
    assert not torch.allclose(plain[0], plain[1])
