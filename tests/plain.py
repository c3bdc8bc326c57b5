"""The objectives computed slowly and plainly: eight full forwards, one sequence at a time, full logits.

No sequence is run twice, though, since neither model is trained. Shares no code with the package: it builds token ids
from the chat format's pieces, places phrases by offsets in the bare answer, and lets the model class count its own
positions.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from peft import PeftModel
from PIL import Image
from relatives import PUBLISHED, Cell, Numbers
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
from transformers.models.mllama.processing_mllama import (
    convert_sparse_cross_attention_mask_to_dense,
    get_cross_attention_token_mask,
)

CHATML = ("<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n")
VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
LLAMA3 = (
    "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "<|eot_id|>",
)
INTERN_SYSTEM = (
    "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
)
FORMATS = {
    "qwen3_vl": ("", *CHATML),
    "qwen2_5_vl": ("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n", *CHATML),
    "mllama": ("", *LLAMA3),
    "llava_onevision": ("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n", *CHATML),
    "llava_next": (VICUNA_SYSTEM, "USER: {} ASSISTANT:", "<eos>"),
    "huatuo_vision": ("", "<|user|>\n{}\n<|assistant|>\n", "<eos>"),
    "llava_med": ("<s>", "[INST] {} [/INST]", "<eos>"),
    "llava": (VICUNA_SYSTEM, "USER: {} ASSISTANT:", "<eos>"),
    "gemma3": ("<|endoftext|>", "<start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n", "<end_of_turn>\n"),
    "glm4v": ("[gMASK]<sop>", "<|user|>\n{}<|assistant|>", "<eos>"),
    "qwen3_5": ("", *CHATML),
    "gemma4": (
        "<|endoftext|><|turn>system\n<|think|>You are a helpful assistant.<turn|>\n",
        "<|turn>user\n{}<turn|>\n<|turn>model\n",
        "<turn|>\n",
    ),
    "internvl": (f"<|im_start|>system\n{INTERN_SYSTEM}<|im_end|>\n", *CHATML),
}
BEFORE_THE_ANSWER = {
    "glm4v": ("<think>\n\n</think>\n\n", "\n"),
    "gemma4": ("<|channel>thought\n<channel|>", ""),
}
"""What a template puts first in the response: a thought without content, tokenised on its own, and text."""
COUNTED = {
    "internvl": ("num_patches", "<img>", "<IMG_CONTEXT>" * 4, "</img>"),
    "gemma4": ("num_soft_tokens_per_image", "<|image>", "<|image|>", "<image|>"),
}
"""Families whose image processor counts the pieces of an image: under which name; start, tokens of one and end."""
GRIDS = {
    **dict.fromkeys(("qwen3_vl", "qwen2_5_vl", "qwen3_5"), ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")),
    "glm4v": ("<|begin_of_image|>", "<|image|>", "<|end_of_image|>"),
}
"""Families that say which patches an image has: start, token and end of an image."""


@dataclass(frozen=True)
class Pair:
    """A pair as a person would write it: spans are of the bare answers."""

    question: str
    chosen: str
    rejected: str
    chosen_spans: list
    rejected_spans: list
    images: list
    rejected_images: list
    weight: float = 1.0
    chosen_weights: list | None = None
    rejected_weights: list | None = None


@cache
def plain_of(family, checkpoint, adapter):
    """The same one for all who ask."""
    return Plain(family, checkpoint, adapter)


class Plain:
    """A policy with its reference, and the objectives over them."""

    def __init__(self, family, checkpoint, adapter):
        self.family = next(known for known in FORMATS if family.startswith(known))
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.processor = AutoProcessor.from_pretrained(checkpoint)
        base, self.reference = (
            AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32).eval() for _ in range(2)
        )
        self.model = PeftModel.from_pretrained(base, adapter, is_trainable=True).eval()
        self.of_policy, self.of_reference, self.shown = {}, {}, {}

    def pixels_of(self, paths):
        """The images of files, and their pixel inputs; read once."""
        if paths not in self.shown:
            opened = [Image.open(path).convert("RGB") for path in paths]
            pixels = self.processor.image_processor(images=opened, return_tensors="pt") if opened else {}
            self.shown[paths] = opened, dict(pixels)
        opened, pixels = self.shown[paths]
        return opened, dict(pixels)

    def sequence(self, question, answer, images):
        """Input ids, pixel inputs, and where the answer's tokens with their character offsets start."""
        opened, pixels = self.pixels_of(tuple(images))
        if self.family == "mllama":
            question = question.replace("<image>", "<|image|>")
        elif self.family in ("huatuo_vision", "llava_med", "llava"):
            question = question.replace("<image>", "<image>" * 16)
        elif self.family in ("llava_next", "llava_onevision"):
            for image in opened:
                written = self.processor(text="<image>", images=[image], return_tensors="pt")["input_ids"]
                count = int((written == self.tokenizer.convert_tokens_to_ids("<image>")).sum())
                question = question.replace("<image>", "<picture>" * count, 1)
            question = question.replace("<picture>", "<image>")
        elif self.family in COUNTED:
            name, start, tokens, end = COUNTED[self.family]
            for pieces in pixels.pop(name, ()):
                question = question.replace("<image>", start + tokens * int(pieces) + end, 1)
        elif self.family == "gemma3":
            question = question.replace("<image>", self.processor.full_image_sequence)
        else:
            start, token, end = GRIDS[self.family]
            for number in range(len(images)):
                count = int(pixels["image_grid_thw"][number].prod()) // 4
                question = question.replace("<image>", start + token * count + end, 1)
        system, user, end = FORMATS[self.family]
        prompt = []
        for piece in (system, user.format(question)):
            prompt += self.tokenizer(piece, add_special_tokens=False)["input_ids"] if piece else []
        end = self.tokenizer.eos_token if end == "<eos>" else end
        thought, before = BEFORE_THE_ANSWER.get(self.family, ("", ""))
        thought = self.tokenizer(thought, add_special_tokens=False)["input_ids"] if thought else []
        encoded = self.tokenizer(before + answer + end, add_special_tokens=False, return_offsets_mapping=True)
        offsets = [(0, 0)] * len(thought) + [(a - len(before), b - len(before)) for a, b in encoded["offset_mapping"]]
        ids = torch.tensor([prompt + thought + encoded["input_ids"]])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **pixels}
        if self.family == "mllama" and images:
            inputs["cross_attention_mask"] = self.what_tokens_see(ids, inputs.pop("num_tiles"))
        if self.family == "gemma3":
            inputs["token_type_ids"] = (ids == self.processor.image_token_id).int()
        if self.family in GRIDS or self.family == "gemma4":
            _, token, _ = GRIDS.get(self.family, COUNTED["gemma4"][1:])
            inputs["mm_token_type_ids"] = (ids == self.tokenizer.convert_tokens_to_ids(token)).int()
        return inputs, len(prompt), offsets

    def what_tokens_see(self, ids, tiles):
        """The mask of Llama 3.2 Vision's own processor: [1, T, images, tiles]."""
        token = self.tokenizer.convert_tokens_to_ids("<|image|>")
        seen = [get_cross_attention_token_mask(ids[0].tolist(), token)]
        most = self.processor.image_processor.max_image_tiles
        return torch.from_numpy(convert_sparse_cross_attention_mask_to_dense(seen, tiles, most, ids.shape[1]))

    def forward(self, question, answer, images):
        """The sequence with the logits of policy and reference."""
        key = (question, answer, *images)
        if key not in self.of_reference:
            sequence = self.sequence(question, answer, images)
            with torch.no_grad():
                self.of_reference[key] = (sequence, self.reference(**sequence[0]).logits[0])
        sequence, reference = self.of_reference[key]
        if key not in self.of_policy:
            self.of_policy[key] = self.model(**sequence[0]).logits[0]
        return *sequence, (self.of_policy[key], reference)

    def cell(self, question, answer, spans, images, scope):
        """log pi and log ref of the scored tokens, and the full log-distributions there."""
        inputs, start, offsets, both = self.forward(question, answer, images)
        phrase = [any(a < e and s < b for s, e in spans) for a, b in offsets]
        places = [start + i for i, inside in enumerate(phrase) if scope == "response" or inside]
        index = torch.tensor(places, dtype=torch.long)
        results = []
        for logits in both:
            log_probs = F.log_softmax(logits.float(), dim=-1)[index - 1]
            tokens = inputs["input_ids"][0, index]
            results.append((log_probs.gather(1, tokens[:, None])[:, 0], log_probs))
        return results

    def response(self, pair, name):
        """The whole response of a cell, named as in `relatives`."""
        sides = {
            "c": (pair.chosen, pair.chosen_spans, pair.chosen_weights),
            "r": (pair.rejected, pair.rejected_spans, pair.rejected_weights),
        }
        answer, spans, weighted = sides[name[1]]
        images = {"c": pair.images, "n": pair.rejected_images, "b": []}[name[0]]
        question = pair.question.replace("<image>", "") if name[0] == "b" else pair.question
        (policy, pi), (reference, ref) = self.cell(question, answer, spans, images, "response")
        _, _, offsets, _ = self.forward(question, answer, images)
        phrase = torch.tensor([any(a < e and s < b for s, e in spans) for a, b in offsets])
        weights = [[w for s, e, w in weighted or () if a < e and s < b] or [1.0] for a, b in offsets]
        kls = (ref.exp() * (ref - pi)).sum(-1), (pi.exp() * (pi - ref)).sum(-1)
        return Cell(policy, reference, phrase, *kls, torch.tensor([first for first, *_ in weights]))

    def published_row(self, pair, objective, numbers):
        """The loss of one pair and its named, unscaled parts, of an objective of `relatives`."""
        names = ("cc", "cr", "nc", "nr", "bc", "br") if pair.rejected_images else ("cc", "cr")
        cells = {name: self.response(pair, name) for name in names}
        parts = PUBLISHED[objective](cells, numbers)
        if numbers.nll:
            parts["nll"] = (numbers.nll, -cells["cc"].policy.mean())
        loss = sum(weight * value for weight, value in parts.values())
        return pair.weight * loss, {name: value for name, (_, value) in parts.items()}

    def row(self, pair, objective, *, beta=0.1, alpha=0.01, gamma=0.1, lam=0.5, kl_scope="phrase", ftx=0.0):
        """The loss of one pair and its named, unscaled parts."""
        scope = "phrase" if objective in ("fire_mpo", "fire_mpo_v1", "fire_mpo_v2", "rrpo", "mask_dpo") else "response"

        def reward(image, response):
            images = pair.images if image == "clean" else pair.rejected_images
            spans = pair.chosen_spans if response == "chosen" else pair.rejected_spans
            answer = pair.chosen if response == "chosen" else pair.rejected
            (policy, _), (reference, _) = self.cell(pair.question, answer, spans, images, scope)
            return beta * (policy - reference).sum()

        def prefer(a, b):
            return -F.logsigmoid(a - b)

        noised = bool(pair.rejected_images)
        parts = {}
        if objective != "copo":
            other = ("noised" if objective == "mmedpo" and noised else "clean", "rejected")
            parts["rank"] = prefer(reward("clean", "chosen"), reward(*other))
        visual = {
            "fire_mpo": (("noised", "rejected"), ("noised", "chosen")),
            "fire_mpo_v1": (("clean", "chosen"), ("noised", "chosen")),
            "fire_mpo_v2": (("clean", "chosen"), ("noised", "rejected")),
        }
        loss = parts.get("rank", 0.0)
        if objective in visual and noised and gamma:
            a, b = visual[objective]
            parts["visual"] = prefer(reward(*a), reward(*b))
            loss = loss + gamma * parts["visual"]
        if objective in ("copo", "mdpo") and noised:
            parts["image"] = prefer(reward("clean", "chosen"), reward("noised", "chosen"))
            loss = loss + parts["image"]
        if objective == "mdpo":
            parts["anchor"] = prefer(reward("clean", "chosen"), torch.tensor(0.0))
            loss = loss + parts["anchor"]
        if objective in (*visual, "rrpo") and alpha:
            (_, pi), (_, ref) = self.cell(pair.question, pair.chosen, pair.chosen_spans, pair.images, kl_scope)
            parts["kl_forward"] = (ref.exp() * (ref - pi)).sum()
            parts["kl_reverse"] = (pi.exp() * (pi - ref)).sum()
            share = 1.0 if objective == "rrpo" else lam
            loss = loss + alpha * (share * parts["kl_forward"] + (1 - share) * parts["kl_reverse"])
        if ftx:
            (policy, _), _ = self.cell(pair.question, pair.chosen, pair.chosen_spans, pair.images, "response")
            parts["nll"] = -policy.mean()
            loss = loss + ftx * parts["nll"]
        return pair.weight * loss, parts

    def batch(self, pairs, objective, **numbers):
        """Mean loss over pairs, and the mean of each part over the pairs that have it."""
        losses, found = [], {}
        for pair in pairs:
            if objective in PUBLISHED:
                loss, parts = self.published_row(pair, objective, Numbers(**numbers))
            else:
                loss, parts = self.row(pair, objective, **numbers)
            losses.append(loss)
            for name, value in parts.items():
                found.setdefault(name, []).append(value.item())
        means = {name: math.fsum(values) / len(values) for name, values in found.items()}
        return torch.stack(losses).mean(), means

    def gradients(self, loss):
        """Of a loss of `batch`, by weight, None where none arrives; the forwards stay for later batches."""
        self.model.zero_grad()
        loss.backward(retain_graph=True)
        return {name: weight.grad for name, weight in self.model.named_parameters() if weight.requires_grad}
