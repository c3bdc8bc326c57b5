"""A Qwen3-VL of a quarter of a million random parameters, which trains on a laptop and knows nothing.

Architecture, file layout, tokeniser class and processor are those of the released models, so whatever
loads Qwen/Qwen3-VL-4B-Instruct loads this folder too.
"""

import json
from pathlib import Path
from typing import Any

from .questions import PAIRS

VOCABULARY = 1000
"""Entries of the byte-pair vocabulary, the 256 bytes included and the special tokens not."""

END, PADDING = "<|im_end|>", "<|endoftext|>"
SPECIAL = (
    PADDING,
    "<|im_start|>",
    END,
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content -%}
{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor -%}
{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

SENTENCES = """\
The heart is normal in size and the lungs are clear.
No pleural effusion or pneumothorax is seen.
There is a small right pleural effusion with adjacent atelectasis.
Patchy opacity in the left lower lobe may represent pneumonia.
The mediastinal contours are unremarkable.
The liver, spleen, pancreas and kidneys are normal in size and shape.
A simple cyst of 12 mm is seen in the upper pole of the left kidney.
There is no evidence of acute haemorrhage, mass effect or midline shift.
The ventricles and sulci are normal for age.
A hyperintense lesion is present in the right frontal lobe on the T2-weighted image.
The gallbladder is thin-walled and contains no stones.
Mild degenerative changes of the lumbar spine are noted.
There is a fracture of the distal radius with slight dorsal displacement.
The lymph node is enlarged, with loss of its fatty hilum.
The optic disc has a sharp margin and a normal cup.
Several microaneurysms and hard exudates are seen near the macula.
The glands are lined by tall columnar epithelium with basal nuclei.
The chest radiograph was taken in posterior-anterior projection.
A nodule of 8 mm in the right upper lobe is unchanged since the previous examination.
The image shows a coronal section through the abdomen after contrast.
Diffusion is restricted in the territory of the left middle cerebral artery.
The trachea is central and both hila are of normal size.
Free fluid is present in the pelvis, and the bowel loops are not dilated.
The aortic arch is calcified, with an ectatic ascending aorta.
Ultrasound shows a hypoechoic nodule in the left lobe of the thyroid.
The portal vein is patent, with flow towards the liver.
There is oedema of the bone marrow in the medial femoral condyle.
The anterior cruciate ligament is intact and the menisci show no tear.
Scattered white matter lesions are compatible with small vessel disease.
A thrombus is seen in the right pulmonary artery.
The prostate is enlarged and impresses the floor of the bladder.
Tumour cells with large hyperchromatic nuclei infiltrate the submucosa.
Mitoses are frequent, and there are areas of necrosis.
The cornea is clear and the lens shows an early cataract.
Follow-up in three months is recommended.
Compared with the earlier study, the consolidation has resolved.
"""


def build(folder: Path, *, seed: int = 0) -> None:
    """Writes the model with its configuration, tokeniser and processor, under 2 MB, into a folder.

    The same seed gives the same files; the caller's random state in torch stays as it was.
    """
    tokenizer = learn_tokenizer(corpus(), VOCABULARY, 4096)
    processor = _processor(tokenizer)
    model = _model(tokenizer, seed)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)  # the tokeniser's files too


def corpus() -> list[str]:
    """The text the tokeniser learns its words from."""
    answers = [pair.side(number)[0] for pair in PAIRS for number in (0, 1)]
    return [*SENTENCES.splitlines(), *(pair.question for pair in PAIRS), *answers]


def learn_tokenizer(texts: list[str], words: int, longest: int) -> Any:
    """A byte-pair tokeniser of the released models' kind that has learnt its words from some texts.

    Args:
        texts: What to learn from.
        words: Most words, the special ones not counted.
        longest: Tokens that the model can take.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer
    from transformers import Qwen2Tokenizer

    pattern = Qwen2Tokenizer().backend_tokenizer  # its way of cutting text into words, not its (empty) vocabulary
    learner = Tokenizer(BPE())
    learner.normalizer, learner.pre_tokenizer = pattern.normalizer, pattern.pre_tokenizer
    alphabet = sorted(ByteLevel.alphabet())
    trainer = BpeTrainer(vocab_size=words, initial_alphabet=alphabet, show_progress=False)
    learner.train_from_iterator(texts, trainer)
    learned = json.loads(learner.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=[tuple(merge) for merge in learned["merges"]],
        unk_token=PADDING,
        eos_token=END,
        pad_token=PADDING,
        extra_special_tokens=list(SPECIAL),
        model_max_length=longest,
    )


def _processor(tokenizer: Any) -> Any:
    from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    sight = {"patch_size": 16, "merge_size": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    # Without `size`, the image processor changes a dictionary that all of its instances share.
    images = Qwen2VLImageProcessor(size={"shortest_edge": 32 * 32, "longest_edge": 256 * 256}, **sight)
    videos = Qwen3VLVideoProcessor(size={"shortest_edge": 32 * 32, "longest_edge": 256 * 256}, **sight)
    return Qwen3VLProcessor(images, tokenizer, videos, chat_template=CHAT_TEMPLATE)


def _model(tokenizer: Any, seed: int) -> Any:
    import torch
    from transformers import GenerationConfig, Qwen3VLForConditionalGeneration

    end, padding = tokenizer.convert_tokens_to_ids([END, PADDING])
    # The weights are drawn on the CPU; seeding through `torch.manual_seed` would reach the accelerators too.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(_config(tokenizer))
    model.generation_config = GenerationConfig(eos_token_id=[end, padding], pad_token_id=padding)
    return model


def _config(tokenizer: Any) -> Any:
    from transformers import Qwen3VLConfig

    ids = dict(zip(SPECIAL, tokenizer.convert_tokens_to_ids(list(SPECIAL)), strict=True))
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 4096,
        # The sections are halves of rotary pairs for time, height and width: they add up to head_dim / 2.
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [4, 2, 2],
            "mrope_interleaved": True,
        },
        "eos_token_id": ids[END],
        "pad_token_id": ids[PADDING],
        "tie_word_embeddings": True,
        "initializer_range": 0.1,  # the usual 0.02 gives so small a model gradients that a short run cannot show
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": text["hidden_size"],
        "num_position_embeddings": 256,
        "deepstack_visual_indexes": [0],
    }
    return Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=True,
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
    )
