"""What the host's chat templates tell of the models behind them: how these take images, in prompts and in runs."""

from dataclasses import dataclass

IMAGE = "<image>"


@dataclass(frozen=True)
class Images:
    """How the models of a template take images.

    Attributes:
        line_break: Whether they were trained with a line break between an image and the question.
        keys: What a training YAML says of images, line by line, with the reason.
        cutoff_len: Room for two of the largest images and the text; a prompt that does not fit is refused.
    """

    line_break: bool = False
    keys: tuple[str, ...] = ("image_max_pixels: 401408  # 512 * 28 * 28, the paper's cap",)
    cutoff_len: int = 2048


ITSELF = "image_max_pixels: 16777216  # the model scales every image itself; once is enough"
CONVERTED = Images(
    line_break=True,
    keys=(
        ITSELF,
        "use_fast_tokenizer: false  # images as the original reads them, bit for bit; the tokenizer is the same",
    ),
)
OF_TEMPLATES = {
    "huatuo_vision": CONVERTED,
    "llava_med": CONVERTED,
    "llava_next_qwen": Images(line_break=True, keys=(ITSELF,), cutoff_len=16384),  # of LLaVA-OneVision too
    "llava_next": Images(line_break=True, keys=(ITSELF,), cutoff_len=8192),
    "granite3_vision": Images(keys=(ITSELF,), cutoff_len=16384),
    "pixtral": Images(cutoff_len=4096),
    "llava": Images(line_break=True, keys=(ITSELF,)),
    "intern_vl": Images(
        line_break=True,
        keys=(ITSELF, "crop_to_patches: true  # an image as up to 12 tiles and a thumbnail, 256 tokens each"),
        cutoff_len=8192,
    ),
    "gemma3": Images(keys=(ITSELF,)),
    "gemma4": Images(keys=(ITSELF,)),
    "mllama": Images(keys=(ITSELF,)),
}
"""By how a template's name begins; the first that fits counts."""


def images_of(template: str) -> Images:
    """How the models of a template take images; as Qwen's, within the paper's cap, where nothing else is known."""
    return next((images for start, images in OF_TEMPLATES.items() if template.startswith(start)), Images())


def lead(images: int, template: str) -> str:
    """The placeholders of images, as a prompt under a template of the host begins with them."""
    return (IMAGE + "\n" * images_of(template).line_break) * images
