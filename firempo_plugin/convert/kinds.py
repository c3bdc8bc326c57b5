"""The models that `firempo convert` knows: how they are recognised, and what the original does around them.

Sources: github.com/FreedomIntelligence/HuatuoGPT-Vision (cli.py, llava/model) and github.com/microsoft/LLaVA-Med
(llava/model, llava/mm_utils.py, llava/conversation.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

IMAGE_TOKEN = "<image>"
CLIP = "openai/clip-vit-large-patch14-336"
CLIP_VISION = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
"""The vision configuration of CLIP, for a source that has its weights but not its configuration."""

FIELDS = {
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "mm_projector_type": "mlp2x_gelu",
    "mm_hidden_size": CLIP_VISION["hidden_size"],
    "image_aspect_ratio": "pad",
}
WHERE_PRESENT = {"tie_word_embeddings": False, "mm_use_im_start_end": False, "mm_use_im_patch_token": False}
"""Fields that may be left out, since what they then mean is what is expected."""


@dataclass(frozen=True)
class Kind:
    """A model as first released.

    Attributes:
        title: Its name for people.
        fields: What its config.json must say.
        text: The `model_type` of its language model in transformers.
        tokenizer: The class of its tokenizer in transformers.
        tokenizer_keys: What its tokenizer is to be loaded and kept with.
        image_token_id: The id that `<image>` gets, behind the source's own entries; if the embedding has no such row,
            one is appended.
        template: The name of its template with the host.
        prompt: A user's turn up to the answer, as the host writes it.
        bos: Whether the prompt begins with the tokenizer's BOS.
    """

    title: str
    fields: Mapping[str, Any]
    text: str
    tokenizer: str
    tokenizer_keys: Mapping[str, Any]
    image_token_id: int
    template: str
    prompt: str
    bos: bool

    @property
    def appended_rows(self) -> int:
        """How many rows the embedding and the head lack for `<image>`."""
        return max(0, self.image_token_id + 1 - int(self.fields["vocab_size"]))


KINDS = {
    "LlavaQwen2ForCausalLM": Kind(
        title="HuatuoGPT-Vision-7B",
        fields={**FIELDS, "model_type": "llava_qwen2", "vocab_size": 152064},
        text="qwen2",
        tokenizer="Qwen2Tokenizer",
        tokenizer_keys={"pad_token": "<|endoftext|>"},
        image_token_id=151646,
        template="huatuo_vision",
        prompt="<|user|>\n{{content}}\n<|assistant|>\n",
        bos=False,
    ),
    "LlavaMistralForCausalLM": Kind(
        title="LLaVA-Med v1.5",
        fields={**FIELDS, "model_type": "llava_mistral", "vocab_size": 32000},
        text="mistral",
        tokenizer="LlamaTokenizer",
        # As the original, which reads the pieces around an image apart: legacy keeps the ▁ behind the image.
        tokenizer_keys={"pad_token": "<unk>", "legacy": True},
        image_token_id=32000,
        template="llava_med",
        prompt="[INST] {{content}} [/INST]",
        bos=True,
    ),
}
"""By the architecture that config.json names."""
