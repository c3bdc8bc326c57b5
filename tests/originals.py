"""Tiny models of the two architectures that `firempo convert` reads, stated anew and saved as they were released.

A CLIP tower, a projector of two layers, and a Qwen2 or Mistral whose input embeddings have the image's features in
place of the image's id, as the originals' `prepare_inputs_labels_for_multimodal` puts them.
"""

import base64
import importlib.util
import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import sentencepiece
import torch
from safetensors.torch import save_file
from sentencepiece import sentencepiece_model_pb2
from transformers import (
    CLIPImageProcessor,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from firempo_plugin.convert.kinds import CLIP, KINDS, Kind

HUATUO, LLAVA_MED = "LlavaQwen2ForCausalLM", "LlavaMistralForCausalLM"
TEXTS = {HUATUO: (Qwen2Config, Qwen2ForCausalLM), LLAVA_MED: (MistralConfig, MistralForCausalLM)}
REAL = {
    HUATUO: ("dashscope", "resources/qwen.tiktoken"),
    LLAVA_MED: ("mistral_common", "data/tokenizer.model.v1"),
}
IMAGE = -200
PROMPTS = {HUATUO: "<|user|>\n{}\n<|assistant|>\n", LLAVA_MED: "[INST] {} [/INST]"}
"""Of which LLaVA-Med's is read behind a BOS."""
WORDS = (
    "Which side is affected? The left lung shows a large mass, with an effusion. The right lung shows a small mass. "
    "What does the image show? Is there a fracture? Answer yes or no. Is it normal? It is a CT or an MR scan (A/B). "
    "Is iodine a contrast agent? It is not one. USER INST user assistant image"
)
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
    "projection_dim": 32,
}
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rope_theta": 1e6,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "sliding_window": None,
}


def kind_of(architecture: str, tokenizer) -> Kind:
    """The kind of a tiny one: the true one with its own sizes. Qwen2's embedding has rows to spare, Mistral's none."""
    kind = KINDS[architecture]
    rows = len(tokenizer) + 8 * (architecture == HUATUO)
    fields = {**kind.fields, "vocab_size": rows, "mm_hidden_size": VISION["hidden_size"]}
    return replace(kind, fields=fields, image_token_id=len(tokenizer))


def prompt_ids(architecture, tokenizer, text):
    """Token ids of a prompt, with -200 for each image: pieces on their own, of which only the first keeps its BOS."""
    found = [tokenizer.bos_token_id] if architecture == LLAVA_MED else []
    for number, piece in enumerate(PROMPTS[architecture].format(text).split("<image>")):
        found += [IMAGE] * (number > 0) + tokenizer(piece, add_special_tokens=False).input_ids
    return found


class Original:
    """A tiny model as first released, with random weights.

    Args:
        architecture: As its config.json names it.
        tokenizer: Its own.
        sizes: Of its language model, where they differ from the tiny ones.
    """

    def __init__(self, architecture, tokenizer, **sizes):
        self.architecture, self.tokenizer = architecture, tokenizer
        self.kind = kind_of(architecture, tokenizer)
        config, model = TEXTS[architecture]
        self.sizes = {**TEXT, **sizes}
        with torch.random.fork_rng():
            torch.manual_seed(11)
            self.text = model(config(**self.sizes, vocab_size=self.kind.fields["vocab_size"])).eval()
            self.tower = CLIPVisionModel(CLIPVisionConfig(**VISION)).eval()
            width = self.sizes["hidden_size"]
            self.projector = torch.nn.Sequential(
                torch.nn.Linear(32, width), torch.nn.GELU(), torch.nn.Linear(width, width)
            )
            for weight in (*self.text.parameters(), *self.tower.parameters()):
                torch.nn.init.normal_(weight, mean=0.5 * (weight.ndim == 1), std=0.2)

    def ids(self, text):
        """Token ids of a user's turn up to the answer, with -200 for each image."""
        return prompt_ids(self.architecture, self.tokenizer, text)

    @torch.no_grad()
    def logits(self, ids, pixels):
        """[T', V], T' with each image as its 16 patches, of `pixels` [images, 3, 56, 56]."""
        patches = self.tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        features = iter(self.projector(patches))
        embed = self.text.get_input_embeddings()
        parts = [next(features) if one == IMAGE else embed(torch.tensor([one])) for one in ids]
        return self.text(inputs_embeds=torch.cat(parts)[None]).logits[0]

    def tensors(self, *, tower=True):
        """By their names as first released."""
        found = dict(self.text.state_dict())
        found |= {f"model.mm_projector.{name}": value for name, value in self.projector.state_dict().items()}
        if tower:
            start = "model.vision_tower.vision_tower.vision_model."
            found |= {start + name: value for name, value in parts_of(self.tower).items()}
            found[start + "embeddings.position_ids"] = torch.arange(17)[None]
        return {name: value.contiguous() for name, value in found.items()}

    def config(self, **other):
        name = "./vit/clip_vit_large_patch14_336" if self.architecture == HUATUO else CLIP
        found = {**self.sizes, **self.kind.fields, "architectures": [self.architecture], "mm_vision_tower": name}
        return {**found, "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2, **other}

    def save(self, folder, *, tower=True, form="safetensors", dtype=torch.float32, **other):
        """Writes it as released, in three shards; the tower's own folder inside of HuatuoGPT-Vision's."""
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save_pretrained(folder)
        (folder / "config.json").write_text(json.dumps(self.config(**other)))
        (folder / "generation_config.json").write_text('{"eos_token_id": 2, "max_new_tokens": 9}')
        (folder / "README.md").write_text("As released.")
        if self.architecture == HUATUO:
            save_tower(self.tower, folder / "vit" / "clip_vit_large_patch14_336", weights=False)
        tensors = {n: v if v.dtype == torch.int64 else v.to(dtype) for n, v in self.tensors(tower=tower).items()}
        save_shards(folder, tensors, form)
        return folder


def parts_of(tower):
    """The tensors of a CLIP vision model by their names in it; older transformers have them in a module of its own."""
    return {name.removeprefix("vision_model."): value for name, value in tower.state_dict().items()}


def save_tower(tower, folder: Path, *, weights=True) -> Path:
    """Writes a whole CLIP around the tower, as the hub has it, with or without its weights."""
    folder.mkdir(parents=True)
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    whole = CLIPModel(CLIPModel.config_class(text_config=text, vision_config=VISION, projection_dim=16))
    whole.vision_model.load_state_dict(parts_of(tower))
    if weights:
        whole.save_pretrained(folder)
    else:
        whole.config.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}).save_pretrained(folder)
    return folder


def save_shards(folder: Path, tensors, form="safetensors", count=3) -> None:
    """Writes tensors as shards with their index, in the layout of the hub."""
    start, ending = ("model", "safetensors") if form == "safetensors" else ("pytorch_model", "bin")
    names, places = list(tensors), {}
    for number in range(count):
        shard = f"{start}-{number + 1:05}-of-{count:05}.{ending}"
        some = {name: tensors[name] for name in names[number::count]}
        if form == "safetensors":
            save_file(some, folder / shard, {"format": "pt"})
        else:
            torch.save(some, folder / shard, _use_new_zipfile_serialization=form != "old bin")
        places |= dict.fromkeys(some, shard)
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / f"{start}.{ending}.index.json").write_text(json.dumps(index))


def tiny_tokenizer(architecture: str, folder: Path):
    """A small tokenizer with the traits of the true one: byte-level BPE, or SentencePiece with byte fallback."""
    return qwen_tokenizer() if architecture == HUATUO else llama_tokenizer(folder)


def qwen_tokenizer():
    """Byte-level BPE, no BOS; `<|user|>` is plain text."""
    from tokenizers import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator([WORDS], vocab_size=340, min_frequency=1, show_progress=False)
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    return Qwen2Tokenizer(vocab=model["vocab"], merges=merges, unk_token="<|endoftext|>")


class SentencePiece:
    """A model of SentencePiece in the place of a tokenizer: what LLaVA-Med's own reads with.

    Args:
        folder: Where its tokenizer.model is.
    """

    bos_token_id, eos_token_id = 1, 2

    def __init__(self, folder: Path):
        self.folder = folder
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))

    def __len__(self):
        return len(self.pieces)

    def __call__(self, text, *, add_special_tokens):
        assert not add_special_tokens
        return SimpleNamespace(input_ids=self.pieces.encode(text))

    def save_pretrained(self, folder):
        shutil.copyfile(self.folder / "tokenizer.model", folder / "tokenizer.model")
        keys = {"tokenizer_class": "LlamaTokenizer", "legacy": True, "add_bos_token": True}
        (folder / "tokenizer_config.json").write_text(json.dumps(keys))


def llama_tokenizer(folder: Path) -> SentencePiece:
    """SentencePiece BPE as Mistral's: byte fallback, a dummy prefix, and two spaces early by id and last by score."""
    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([WORDS] * 2),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=330,
        byte_fallback=True,
        hard_vocab_limit=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    file = folder / "tokenizer.model"
    model = sentencepiece_model_pb2.ModelProto.FromString(file.read_bytes())
    merged = next(piece for piece in model.pieces if piece.type == piece.NORMAL and len(piece.piece) > 1)
    merged.piece, merged.score = "▁▁", min(piece.score for piece in model.pieces) - 1
    file.write_bytes(model.SerializeToString())
    return SentencePiece(folder)


def real_tokenizer(architecture: str, folder: Path):
    """The true vocabulary, out of the package that carries it: Qwen's of dashscope, Mistral's of mistral-common.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    folder.mkdir(parents=True)
    package, file = REAL[architecture]
    found = importlib.util.find_spec(package)
    if found is None:
        raise ModuleNotFoundError(package)
    carried = Path(found.submodule_search_locations[0], file)
    if architecture == LLAVA_MED:
        shutil.copyfile(carried, folder / "tokenizer.model")
        return SentencePiece(folder)
    ranks = {base64.b64decode(word): int(rank) for word, rank in map(bytes.split, carried.open("rb"))}
    written = bytes_to_unicode()

    def spelt(word):
        return "".join(written[byte] for byte in word)

    merges = []
    for word, rank in sorted(ranks.items(), key=lambda item: item[1]):
        merges += [(spelt(a), spelt(b)) for a, b in merged_last(word, rank, ranks)]
    tokenizer = Qwen2Tokenizer(vocab={spelt(word): rank for word, rank in ranks.items()}, merges=merges)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return tokenizer


def merged_last(word: bytes, rank: int, ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The two parts of a word that the merge of this rank puts together: what is left after all earlier merges."""
    parts = [word[place : place + 1] for place in range(len(word))]
    while len(parts) > 2:
        joined = [(ranks.get(a + b, rank), place) for place, (a, b) in enumerate(pairwise(parts))]
        best, place = min(joined)
        if best >= rank:
            break
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return [(parts[0], parts[1])] if len(parts) == 2 else []
