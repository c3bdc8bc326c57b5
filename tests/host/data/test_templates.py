"""The templates of converted models give, token by token, what the originals read piece by piece."""

import importlib.util
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.data.template import TEMPLATES
from llamafactory.hparams import DataArguments, ModelArguments
from llamafactory.model import load_tokenizer
from originals import HUATUO, IMAGE, LLAVA_MED, REAL, TEXT, prompt_ids, real_tokenizer
from PIL import Image
from tiny import TEMPLATES as TINY
from tiny.released import original as released_original
from transformers import AutoProcessor, AutoTokenizer
from transformers.models.internvl.processing_internvl import InternVLProcessorKwargs

from firempo_plugin.chat_templates import OF_TEMPLATES, Images, images_of, lead
from firempo_plugin.convert import target
from firempo_plugin.convert.kinds import CLIP_VISION, KINDS
from firempo_plugin.host.data.reasons import RowError, blamed_on_the_row

QUESTIONS = (
    "What does the image show?",
    "Is there a fracture?\nAnswer yes or no.",
    " Which side:  left or right (A/B)?  ",
    "[INST] <|user|>: über 5,5\u202fcm – 肺炎?",
    "\n\nA line of its own",
)
ANSWER = "The left lung."
CUT = {"internvl": InternVLProcessorKwargs._defaults["images_kwargs"] | {"max_patches": 12}}
"""What a family's processor asks of its image processor, and what released checkpoints say but the tiny one."""


class Host:
    """The host's reading of turns under a template: ids of the prompt and of the answer."""

    def __init__(self, folder, template):
        self.tokens = load_tokenizer(ModelArguments(model_name_or_path=str(folder), use_fast_tokenizer=False))
        self.template = get_template_and_fix_tokenizer(self.tokens["tokenizer"], DataArguments(template=template))

    def __call__(self, messages, images):
        scans = [Image.new("RGB", (40, 60), (9, 90, 200))] * images
        written = self.template.mm_plugin.process_messages(messages, scans, [], [], self.tokens["processor"])
        return self.template.encode_oneturn(self.tokens["tokenizer"], written)


def spread(ids, kind, patches):
    return [token for one in ids for token in ([kind.image_token_id] * patches if one == IMAGE else [one])]


def turns(question, images):
    content = "<image>\n" * images + question
    return [{"role": "user", "content": content}, {"role": "assistant", "content": ANSWER}]


@pytest.mark.parametrize("family", ["huatuo_vision", "llava_med"])
def test_a_turn_is_read_as_the_original_reads_it(family, checkpoint, tmp_path):
    original, read = released_original(family, tmp_path), Host(checkpoint(family), family)
    for question in QUESTIONS:
        for images in range(3):
            prompt, answer = read(turns(question, images), images)
            text = "<image>\n" * images + question
            assert prompt == spread(original.ids(text), original.kind, 16), text
            own = original.tokenizer(ANSWER, add_special_tokens=False).input_ids
            assert answer == [*own, original.tokenizer.eos_token_id]


@pytest.fixture(scope="module", params=[HUATUO, LLAVA_MED])
def real(request, tmp_path_factory):
    """The true vocabulary and table: the kind, its own tokenizer, and the target's folder but for its weights."""
    if importlib.util.find_spec(REAL[request.param][0]) is None:
        pytest.skip("dashscope and mistral-common, which carry the vocabularies, are not installed")
    folder = tmp_path_factory.mktemp("real")
    kind, own = KINDS[request.param], real_tokenizer(request.param, folder / "vocabulary")
    for name in ("source", "target"):
        (folder / name).mkdir()
    own.save_pretrained(folder / "source")
    config = {**TEXT, **kind.fields, "architectures": [request.param], "torch_dtype": "bfloat16"}
    model = target.model_config(kind, config, CLIP_VISION)
    target.write_processor(folder / "target", folder / "source", kind, model)
    target.write_config(folder / "target", model, config)
    return SimpleNamespace(architecture=request.param, kind=kind, own=own, target=folder / "target")


def test_the_same_with_the_true_vocabularies(real):
    read = Host(real.target, real.kind.template)
    for question in QUESTIONS:
        for images in range(3):
            prompt, _ = read(turns(question, images), images)
            text = "<image>\n" * images + question
            assert prompt == spread(prompt_ids(real.architecture, real.own, text), real.kind, 576), text


def test_it_stays_so_wherever_the_tokenizer_is_saved_again(checkpoint, tmp_path):
    """Beside an adapter there is no config.json, by which transformers chooses another class."""
    folder, text = tmp_path / "0", "[INST] <image>\nIs it normal? [/INST]"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(checkpoint("llava_med") / name, folder / name)
    for number in range(1, 3):
        AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / str(number))
        folder = tmp_path / str(number)
    first, last = (AutoTokenizer.from_pretrained(place) for place in (checkpoint("llava_med"), folder))
    assert first(text).input_ids == last(text).input_ids
    assert json.loads((checkpoint("llava_med") / "tokenizer_config.json").read_text())["legacy"] is True


@pytest.mark.parametrize("family", [family for family, name in TINY.items() if images_of(name).keys != Images().keys])
@pytest.mark.parametrize("size", [(1700, 1100), (90, 60), (1000, 1000)], ids=str)
def test_images_reach_the_model_as_its_own_processor_makes_them(family, size, checkpoint):
    """Under the keys that examples and exports write; the host would scale large images first, and cut none."""
    keys = yaml.safe_load("\n".join(images_of(TINY[family]).keys))
    host = load_tokenizer(ModelArguments(model_name_or_path=str(checkpoint(family)), **keys))
    processor = AutoProcessor.from_pretrained(checkpoint(family), use_fast=keys.get("use_fast_tokenizer", True))
    scan = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
    plugin = get_template_and_fix_tokenizer(host["tokenizer"], DataArguments(template=TINY[family])).mm_plugin
    found = plugin.get_mm_inputs([scan], [], [], [1], [], [], [[0]], host["processor"])["pixel_values"]
    expected = processor.image_processor(images=[scan], return_tensors="pt", **CUT.get(family, {}))["pixel_values"]
    assert found.shape == expected.shape
    assert (found == expected).all()


def test_every_template_that_is_told_of_is_one_of_the_hosts():
    for start in OF_TEMPLATES:
        assert any(name.startswith(start) for name in TEMPLATES), start


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.template)
def test_every_kind_has_its_template_and_a_line_break_behind_images(kind):
    assert TEMPLATES[kind.template].format_user.slots == [kind.prompt]
    assert lead(1, kind.template) == "<image>\n"


def test_the_template_of_another_family_is_named_as_the_cause(checkpoint):
    read = Host(checkpoint("llava"), "qwen3_vl_nothink")
    words = r"^it: the template asks the model's LlavaProcessor for video_processor, .* that of another family"
    with pytest.raises(RowError, match=words), blamed_on_the_row("it: "):
        read(turns("Where?", 1), 1)
    with pytest.raises(RowError, match=r"^AttributeError: 'dict' object has no attribute"), blamed_on_the_row(""):
        {}.nothing  # noqa: B018
