"""What a training YAML says of images leaves room for them."""

import pytest

from firempo_plugin.chat_templates import images_of

TEXT = 512
LARGEST = {
    "qwen2_vl": 401408 // 28**2,
    "qwen3_vl_nothink": 401408 // 32**2,
    "mistral_small": 401408 // 28**2 + 28,
    "pixtral": 401408 // 16**2 + 40,
    "intern_vl": 13 * 256 + 2,
    "gemma3": 258,
    "gemma4": 282,
    "llava": 576,
    "llava_med": 576,
    "huatuo_vision": 576,
    "llava_next_mistral": 2929,
    "llava_next_qwen": 7371,
    "granite3_vision": 7371,
}
"""Tokens of a large square image under the released processors, within the cap of pixels that the table writes.

Those of tiles are counted as LlavaNextProcessor and LlavaOnevisionProcessor do, with the released grids.
"""


@pytest.mark.parametrize("template", LARGEST)
def test_two_images_and_a_text_fit(template):
    assert 2 * LARGEST[template] + TEXT <= images_of(template).cutoff_len
