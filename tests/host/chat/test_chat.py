"""The host's engine answers with image tokens at the places that they have in training."""

import pytest
import torch
from PIL import Image


@pytest.fixture
def arguments_of(checkpoint, adapter, scans):
    """Returns a function from a family to its loaded engine and what that engine generates with."""
    import tiny
    from llamafactory.chat import ChatModel

    image = str(sorted((scans / "images").glob("*.png"))[0])

    def get(family, **keys):
        chat = ChatModel(
            {
                "model_name_or_path": str(checkpoint(family)),
                "template": tiny.TEMPLATES[family],
                "infer_backend": "huggingface",
                "image_max_pixels": 128 * 128,
                **keys,
            }
        )
        engine = chat.engine
        generating, _ = type(engine)._process_args(
            engine.model,
            engine.tokenizer,
            engine.processor,
            engine.template,
            {**engine.generating_args, "do_sample": False, "max_new_tokens": 4},
            [{"role": "user", "content": "What is it?"}],
            images=[Image.open(image)],
        )
        return engine.model, generating

    return get


def first_scores(model, generating, **more):
    given = {**generating, **more}
    with torch.no_grad():
        return model.generate(**given, return_dict_in_generate=True, output_logits=True).logits[0]


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl"])
@pytest.mark.parametrize("merged", [True, False], ids=["no adapter", "adapter"])
def test_generation_starts_from_the_logits_of_a_plain_forward(arguments_of, adapter, family, merged):
    keys = {} if merged else {"adapter_name_or_path": str(adapter(family)), "finetuning_type": "lora"}
    model, generating = arguments_of(family, **keys)
    ids = generating["inputs"]
    kinds = (ids == model.config.image_token_id).long()
    assert kinds.sum() > 3
    pixels = {name: generating[name] for name in ("pixel_values", "image_grid_thw")}
    with torch.no_grad():
        plain = model(input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=kinds, **pixels).logits
    scores = first_scores(model, generating)
    torch.testing.assert_close(scores, plain[:, -1].float(), rtol=1e-4, atol=1e-4)
    without = first_scores(model, generating, mm_token_type_ids=None)
    assert (scores - without).abs().max() > 1e-3, "the places of image tokens matter to this model"


def test_a_model_that_has_no_such_places_is_left_alone(arguments_of):
    _, generating = arguments_of("llava")
    assert "mm_token_type_ids" not in generating


def test_a_prompt_without_image_is_left_alone(checkpoint):
    from llamafactory.chat import ChatModel

    chat = ChatModel(
        {
            "model_name_or_path": str(checkpoint("qwen3_vl")),
            "template": "qwen3_vl_nothink",
            "infer_backend": "huggingface",
        }
    )
    (response,) = chat.chat([{"role": "user", "content": "Hello?"}], max_new_tokens=3)
    assert response.prompt_length > 0
