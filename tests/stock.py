"""The objectives over models that `plain` has no chat format of: rows as transformers' own processors read them.

Shares the host's templates with the package, and nothing else: the tokens of an image and its pixels come from the
model's processor, the places of phrases from decoding token by token, positions and masks from the model class itself,
which runs one sequence at a time with full logits.
"""

from functools import cache
from itertools import pairwise

import torch
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments
from peft import PeftModel
from PIL import Image
from plain import Plain
from tiny import load
from transformers import AutoConfig, AutoProcessor, AutoTokenizer

IMAGES = {
    "qwen2_5_omni": "<|vision_bos|><|IMAGE|><|vision_eos|>",
    "qwen": "<|vision_start|><|image_pad|><|vision_end|>",
    "glm": "<|begin_of_image|><|image|><|end_of_image|>",
    **dict.fromkeys(("llama4", "gemma4", "mllama"), "<|image|>"),
    **dict.fromkeys(("pixtral", "mistral3", "ministral3"), "[IMG]"),
    "gemma3": "<start_of_image>",
    "internvl": "<IMG_CONTEXT>",
}
"""What stands for an image in a text that a family's processor reads; `<image>` of the others."""
TOKEN_KINDS = {
    **dict.fromkeys(("qwen2_5_omni", "qwen3_omni"), None),
    **dict.fromkeys(("qwen", "glm", "gemma4"), "mm_token_type_ids"),
    "gemma3": "token_type_ids",
}
"""Families that are told which tokens are an image's, and under which name."""
OF_TOKENS = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "labels")


class Images:
    """Reads images of a model, under whatever template; each list of files once.

    Args:
        family: Of `tiny`.
        checkpoint: The model's folder.
    """

    def __init__(self, family, checkpoint):
        self.family = family
        self.processor = AutoProcessor.from_pretrained(checkpoint)
        self.known = {}

    def read(self, images):
        """For each image the text that stands for it in a prompt, and the pixel inputs of all of them."""
        if not images:
            return [], {}
        shown = of_family(self.family, IMAGES, "<image>")
        if self.family == "mllama":
            return [shown] * len(images), dict(self.processor.image_processor(images=[images], return_tensors="pt"))
        tokenizer = self.processor.tokenizer
        texts = [tokenizer.decode(self.processor(text=shown, images=[each])["input_ids"][0]) for each in images]
        texts = [text.removeprefix(tokenizer.bos_token or "") for text in texts]
        pixels = dict(self.processor(text=shown * len(images), images=images, return_tensors="pt"))
        pixels = {name: value for name, value in pixels.items() if name not in OF_TOKENS}
        return texts, {name: x.float() if x.is_floating_point() else x for name, x in pixels.items()}

    def read_once(self, paths):
        """The same of files."""
        if paths not in self.known:
            self.known[paths] = self.read([Image.open(path).convert("RGB") for path in paths])
        texts, pixels = self.known[paths]
        return texts, dict(pixels)


@cache
def images_of(family, checkpoint):
    """The same ones for all templates of a family."""
    return Images(family, checkpoint)


def of_family(family, facts, default=None):
    """Of facts by the start of a family's name."""
    return next((fact for name, fact in facts.items() if family.startswith(name)), default)


class Reader:
    """Reads rows of a model under one of the host's templates.

    Args:
        family: Of `tiny`.
        template: A name of the host's.
        checkpoint: The model's folder.
    """

    def __init__(self, family, template, checkpoint):
        self.family = family
        self.images_lead = family.startswith("paligemma")
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.template = get_template_and_fix_tokenizer(self.tokenizer, DataArguments(template=template))
        self.images = images_of(family, checkpoint)
        self.processor = self.images.processor
        config = AutoConfig.from_pretrained(checkpoint)
        self.image_token_id = getattr(config, "thinker_config", config).image_token_id

    def sequence(self, question, answer, images):
        """Input ids, pixel inputs, and where the answer's tokens with their character offsets start."""
        texts, pixels = self.images.read_once(tuple(images))
        for text in texts:
            text = "" if self.images_lead else text.replace("<image>", "<picture>")
            question = question.replace("<image>", text, 1)
        question = question.replace("<picture>", "<image>")
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        prompt, response = self.template.encode_oneturn(self.tokenizer, turns)
        if self.images_lead:
            prompt = [self.image_token_id] * (len(images) * self.processor.image_seq_length) + prompt
        if self.template.efficient_eos:
            response = [*response, self.tokenizer.eos_token_id]
        ids = torch.tensor([[*prompt, *response]])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **pixels}
        if self.images_lead:
            inputs["token_type_ids"] = (ids != self.image_token_id).int()
        elif name := of_family(self.family, TOKEN_KINDS):
            inputs[name] = (ids == self.image_token_id).int()
        elif self.family == "mllama" and images:
            inputs["cross_attention_mask"] = Plain.what_tokens_see(self, ids, inputs.pop("num_tiles"))
        return inputs, len(prompt), self.offsets(response, answer)

    def offsets(self, ids, answer):
        """The characters of the answer that each token of a response stands for; of one without, the next."""
        ends = [len(self.tokenizer.decode(ids[:end])) for end in range(len(ids) + 1)]
        start = self.tokenizer.decode(ids).index(answer)
        return [(a - start, max(b, a + 1) - start) for a, b in pairwise(ends)]


class Stock(Reader, Plain):
    """A policy with its reference under one of the host's templates."""

    def __init__(self, family, template, checkpoint, adapter):
        super().__init__(family, template, checkpoint)
        base, self.reference = (load(checkpoint).float().eval() for _ in range(2))
        self.model = PeftModel.from_pretrained(base, adapter, is_trainable=True).eval()
        self.of_policy, self.of_reference = {}, {}

    def sees_what_follows(self, question, answer, images):
        """Whether what is said of a response's tokens depends on the tokens behind them."""
        inputs, start, _ = self.sequence(question, answer, images)
        other = {**inputs, "input_ids": inputs["input_ids"].clone()}
        other["input_ids"][0, -1] = inputs["input_ids"][0, start]
        with torch.no_grad():
            one, two = (self.reference(**each).logits[0, start - 1 : -1] for each in (inputs, other))
        return not torch.equal(one, two)
