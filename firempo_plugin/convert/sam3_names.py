"""The modules of SAM 3: as transformers' Sam3Model names them, and as Meta's own code does.

Sources: github.com/facebookresearch/sam3 (sam3/model_builder.py, sam3/model) and the converter of transformers
(src/transformers/models/sam3_video/convert_sam3_video_to_hf.py). MedSAM3 cuts the attentions of torch into q_proj,
k_proj, v_proj and out_proj before it trains them (github.com/Joey-S-Liu/MedSAM3, lora_layers.py); only the vision
encoder's keep their fused `qkv`, which is queries, keys and values below each other.
"""

import re
from collections.abc import Mapping

PROJECTIONS = ("q_proj", "k_proj", "v_proj")


def _attention(name: str, original: str) -> dict[str, str]:
    inputs = {f"{name}.{projection}": f"{original}.{projection}" for projection in PROJECTIONS}
    return {**inputs, f"{name}.o_proj": f"{original}.out_proj"}


_MLP = {"mlp.fc1": "linear1", "mlp.fc2": "linear2"}
_LAYER = {**_attention("self_attn", "self_attn"), **_attention("cross_attn", "cross_attn_image"), **_MLP}
PARTS: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("vision_encoder.backbone.layers.*", "backbone.vision_backbone.trunk.blocks.*"): {
        **{f"attention.{projection}": "attn.qkv" for projection in PROJECTIONS},
        "attention.o_proj": "attn.proj",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    },
    ("text_encoder.text_model.encoder.layers.*", "backbone.language_backbone.encoder.transformer.resblocks.*"): {
        **{f"self_attn.{projection}": f"attn.{projection}" for projection in (*PROJECTIONS, "out_proj")},
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    },
    ("geometry_encoder.layers.*", "geometry_encoder.encode.*"): _LAYER,
    ("geometry_encoder", "geometry_encoder"): {
        name: name for name in ("boxes_direct_project", "boxes_pos_enc_project", "final_proj")
    },
    ("detr_encoder.layers.*", "transformer.encoder.layers.*"): _LAYER,
    ("detr_decoder.layers.*", "transformer.decoder.layers.*"): {
        **_attention("self_attn", "self_attn"),
        **_attention("text_cross_attn", "ca_text"),
        **_attention("vision_cross_attn", "cross_attn"),
        **_MLP,
    },
    ("mask_decoder", "segmentation_head"): _attention("prompt_cross_attn", "cross_attend_prompt"),
    ("dot_product_scoring", "dot_prod_scoring"): {"text_proj": "prompt_proj", "query_proj": "hs_proj"},
}
"""Of each part, named by transformers and by Meta, the linear modules; `*` stands for a layer's number."""

ONLY_META = tuple(f"geometry_encoder.points_{kind}_project" for kind in ("direct", "pool", "pos_enc"))
"""Linear modules that encode points as prompts, which Sam3Model does not take."""

_ORIGINAL = {
    f"{part}.{name}": f"{whole}.{old}" for (part, whole), names in PARTS.items() for name, old in names.items()
}


def original_module(name: str) -> str | None:
    """Meta's name of a module of Sam3Model; None where none is known. Three of the vision encoder share theirs."""
    number = re.search(r"\.(\d+)\.", name)
    original = _ORIGINAL.get(kind_of(name))
    return original.replace("*", number[1]) if original and number else original


def kind_of(name: str) -> str:
    """A module's name without its layer's number: the same module of every layer."""
    return re.sub(r"\.\d+\.", ".*.", name)
