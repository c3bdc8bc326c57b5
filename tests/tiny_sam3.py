"""A checkpoint of SAM 3's true architecture, with 300,000 random weights and a byte tokeniser."""

import torch
from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer, Sam3Config, Sam3ImageProcessor, Sam3Model, Sam3Processor

WIDTH, HEADS = 32, 2
SMALL = {"hidden_size": WIDTH, "intermediate_size": 64, "num_attention_heads": HEADS}
CONFIG = {
    "vision_config": {
        "backbone_config": {
            **SMALL,
            "num_hidden_layers": 2,
            "image_size": 112,
            "pretrain_image_size": 56,
            "window_size": 4,
            "global_attn_indexes": [1],
        },
        "fpn_hidden_size": WIDTH,
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
    },
    "text_config": {
        **SMALL,
        "vocab_size": 600,
        "projection_dim": 16,
        "num_hidden_layers": 2,
        "max_position_embeddings": 32,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    },
    "geometry_encoder_config": {**SMALL, "num_layers": 1},
    "detr_encoder_config": {**SMALL, "num_layers": 2},
    "detr_decoder_config": {**SMALL, "num_layers": 2, "num_queries": 10},
    "mask_decoder_config": {"hidden_size": WIDTH, "num_attention_heads": HEADS},
}


def save(folder):
    """Saves the model and its processor."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Sam3Model(Sam3Config(**CONFIG))
        for name, weight in model.named_parameters():
            if "query" in name or "box_head" in name or "embed" in name:  # so that queries differ
                torch.nn.init.normal_(weight, std=0.3)
        model.save_pretrained(folder)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    tokenizer = CLIPTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, merges=[])
    images = Sam3ImageProcessor(size={"height": 112, "width": 112}, mask_size={"height": 32, "width": 32})
    Sam3Processor(images, tokenizer).save_pretrained(folder)
    return folder
