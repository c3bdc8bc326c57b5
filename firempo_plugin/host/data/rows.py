"""One aligned row -> token ids, phrase positions and images under the run's template, or its problem."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from ...forward.plan import TokenRow
from ...phrases import (
    PhrasedText,
    PhraseError,
    WeightedSpan,
    phrase_pair,
    read_weights,
    token_positions,
    token_weights,
)
from .by_size import by_size
from .once import encoding_once, repeatable
from .reasons import RowError, blamed_on_the_row, together
from .row_images import open_images

VERSION = 2
"""Raised when another encoded row, or another problem, comes of the same source row: by the conversion in `dataset`,
by this module, or by `once`, `row_images`, `reasons` and `phrases`. Cached rows are keyed by it."""

Message = dict[str, str]
Offsets = list[tuple[int, int]]

ID_COLUMNS = (
    "prompt_ids",
    "noised_prompt_ids",
    "blind_prompt_ids",
    "chosen_ids",
    "rejected_ids",
    "chosen_phrase",
    "rejected_phrase",
)
WEIGHT_COLUMNS = ("chosen_weights", "rejected_weights")
LEAST_WEIGHT = 1e-6


def encoded_features(images: Any, rejected_images: Any) -> Any:
    """The columns of an encoded dataset; the image columns keep the type they came with."""
    from datasets import Features, Sequence, Value

    return Features(
        **dict.fromkeys(ID_COLUMNS, Sequence(Value("int32"))),
        **dict.fromkeys(WEIGHT_COLUMNS, Sequence(Value("float32"))),
        images=images,
        rejected_images=rejected_images,
        weight=Value("float64"),
        truncated=Value("bool"),
        source=Value("string"),
        problem=Value("string"),
        code=Value("string"),
        media=Value("string"),
    )


def row_of(encoded: dict[str, Any]) -> TokenRow:
    """The `TokenRow` of an encoded dataset's entry."""
    return TokenRow(**{part.name: encoded[part.name] for part in fields(TokenRow)})


@dataclass(frozen=True)
class Side:
    """A response as the template encodes it, before `cutoff_len` shortens it.

    Attributes:
        text: The plain response.
        prompt: Token ids of the prompt.
        ids: Token ids of the response.
        phrase: Positions in `ids` of the phrase tokens.
        weights: What each of `ids` counts; empty where the row does not say.
        offsets: Of every id, the characters of `text` that it stands for: [start, end), which lies outside the text
            or is empty where the template adds the token.
    """

    text: str
    prompt: list[int]
    ids: list[int]
    phrase: list[int]
    weights: list[float]
    offsets: Offsets


Sides = tuple[Side, Side]
"""Chosen and rejected."""


@dataclass
class RowEncoder:
    """Encodes aligned rows; an instance pickles into dataset workers and is hashed for the cache.

    Attributes:
        template, tokenizer, processor: The host's.
        cutoff_len: Most tokens a sequence may have.
        media_dir: Named in messages about missing files.
        code: Fingerprint of all that encodes.
        media: Fingerprint of the image files.
        special: What no text of a row may hold: the tokeniser's special tokens, and what stands for an image.
        repeated: The token of an image's places, see `once.repeatable`.
    """

    template: Any
    tokenizer: Any
    processor: Any
    cutoff_len: int
    media_dir: str
    code: str
    media: str
    special: list[str] = field(init=False)
    repeated: str | None = field(init=False)

    def __post_init__(self) -> None:
        from llamafactory.extras.constants import IMAGE_PLACEHOLDER

        added = self.tokenizer.added_tokens_decoder.values()
        self.special = [*(str(token) for token in added if token.special), IMAGE_PLACEHOLDER]
        self.repeated = repeatable(self.tokenizer, self.template.mm_plugin.image_token)

    def __call__(self, aligned: dict[str, Any], rank: int | None = None) -> dict[str, Any]:
        """The encoded row, in the process of a rank among several that share the cores, or in the only one."""
        if rank is not None:
            _take_one_thread()
        return self.encode(aligned)[0]

    def encode(self, aligned: dict[str, Any]) -> tuple[dict[str, Any], Sides | None]:
        """The encoded row, and its responses before they were shortened; None where the row cannot be used."""
        fire = json.loads(aligned["_fire"])
        common = {"source": f"{fire['dataset']}, row {fire['row']}", "code": self.code, "media": self.media}
        try:
            if fire["problem"]:
                raise RowError(fire["problem"])
            encoded, sides = self._encode(aligned, fire)
            return {**encoded, **common, "problem": ""}, sides
        except (RowError, PhraseError) as problem:
            reason = str(problem)
        empty: dict[str, Any] = {name: [] for name in (*ID_COLUMNS, *WEIGHT_COLUMNS)}
        images = {name: aligned[f"_{name}"] for name in ("images", "rejected_images")}
        return {**empty, **images, "weight": 0.0, "truncated": False, **common, "problem": reason}, None

    def _encode(self, aligned: dict[str, Any], fire: dict[str, Any]) -> tuple[dict[str, Any], Sides]:
        pair, weighted, weight, clean, noised = self._checked(aligned, fire)
        messages = self._with_image_tokens(aligned["_prompt"], clean)
        tokenizer = encoding_once(self.tokenizer, self.repeated)
        chosen, rejected = (
            self._encode_side(tokenizer, aligned, messages, response, clean, text, weights)
            for response, text, weights in zip(aligned["_response"], pair, weighted, strict=True)
        )
        if chosen.prompt != rejected.prompt:
            raise RowError("the template encodes the prompt differently for chosen and rejected")
        noised_prompt = chosen.prompt if noised else []
        blind_prompt = self._blind_prompt(tokenizer, aligned, pair[0]) if noised else []
        if noised and [image.size for image in noised] != [image.size for image in clean]:
            messages = self._with_image_tokens(aligned["_prompt"], noised)
            noised_prompt, _ = self._turn(tokenizer, aligned, messages, aligned["_response"][0], noised, pair[0].text)
        room = self._room(max(len(chosen.prompt), len(noised_prompt)), (chosen.phrase, rejected.phrase))
        if chosen.ids[:room] == rejected.ids[:room]:
            raise RowError(
                "chosen and rejected have the same tokens"
                + (" within cutoff_len" if chosen.ids != rejected.ids else "")
            )
        encoded = {
            "prompt_ids": chosen.prompt,
            "noised_prompt_ids": noised_prompt,
            "blind_prompt_ids": blind_prompt,
            "chosen_ids": chosen.ids[:room],
            "rejected_ids": rejected.ids[:room],
            "chosen_phrase": [place for place in chosen.phrase if place < room],
            "rejected_phrase": [place for place in rejected.phrase if place < room],
            "chosen_weights": chosen.weights[:room],
            "rejected_weights": rejected.weights[:room],
            "images": aligned["_images"],
            "rejected_images": aligned["_rejected_images"],
            "weight": weight,
            "truncated": max(len(chosen.ids), len(rejected.ids)) > room,
        }
        return encoded, (chosen, rejected)

    def _checked(
        self, aligned: dict[str, Any], fire: dict[str, Any]
    ) -> tuple[tuple[PhrasedText, PhrasedText], list[tuple[WeightedSpan, ...]], float, list[Any], list[Any]]:
        """Responses, their weights, the row's weight, clean and noised images; RowError names all that is wrong."""
        chosen, rejected = texts = tuple(message["content"] for message in aligned["_response"])
        problems: list[str] = []
        try:
            pair = phrase_pair(chosen, rejected, fire["chosen_spans"], fire["rejected_spans"])
            texts = tuple(side.text for side in pair)
        except PhraseError as problem:
            problems.append(str(problem))
        weighted = []
        for side, text in zip(("chosen", "rejected"), texts, strict=True):
            try:
                weighted.append(read_weights(text, fire[f"{side}_weights"], side))
            except PhraseError as problem:
                problems.append(str(problem))
        try:
            weight = _check_weight(fire["weight"])
        except RowError as problem:
            problems.append(str(problem))
        try:
            clean, noised = open_images(aligned, self.media_dir)
        except RowError as problem:
            problems.append(str(problem))
        problems += _placeholder_problems(aligned["_prompt"], texts, len(aligned["_images"]))
        problems += self._special_token_problems(aligned, texts)
        if problems:
            raise RowError(together(problems))
        return pair, weighted, weight, clean, noised

    def _special_token_problems(self, aligned: dict[str, Any], texts: tuple[str, ...]) -> Iterator[str]:
        """Text of a row must not steer the template: special tokens in it would end turns or stand for images."""
        from llamafactory.extras.constants import IMAGE_PLACEHOLDER

        places = {
            "the chosen response": texts[0].replace(IMAGE_PLACEHOLDER, ""),
            "the rejected response": texts[1].replace(IMAGE_PLACEHOLDER, ""),
            "the system text": aligned["_system"] or "",
            "the tools": aligned["_tools"] or "",
            "the prompt": "".join(turn["content"].replace(IMAGE_PLACEHOLDER, "") for turn in aligned["_prompt"]),
        }
        for where, text in places.items():
            held = next((token for token in self.special if token in text), None)
            if held is not None:
                yield f"{where} holds the special token {held}"

    def _room(self, prompt_length: int, phrases: tuple[list[int], list[int]]) -> int:
        """How many response tokens `cutoff_len` leaves; the prompt and its image are never cut."""
        room = self.cutoff_len - prompt_length
        if room < 1:
            raise RowError(
                f"its prompt has {prompt_length} tokens, images included, and cutoff_len is {self.cutoff_len}; "
                "raise cutoff_len, or lower image_max_pixels"
            )
        beyond = [
            f"cutoff_len {self.cutoff_len} cuts off every phrase of the {side} response, which needs "
            f"{prompt_length + phrase[0] + 1} tokens; raise cutoff_len"
            for side, phrase in zip(("chosen", "rejected"), phrases, strict=True)
            if phrase and phrase[0] >= room
        ]
        if beyond:
            raise RowError(together(beyond))
        return room

    def _blind_prompt(self, tokenizer: Any, aligned: dict[str, Any], chosen: PhrasedText) -> list[int]:
        """The prompt as the template writes it where there is no image."""
        from llamafactory.extras.constants import IMAGE_PLACEHOLDER

        placeholder = re.compile(rf"{re.escape(IMAGE_PLACEHOLDER)}\n?")
        turns = [{**turn, "content": placeholder.sub("", turn["content"])} for turn in aligned["_prompt"]]
        messages = self._with_image_tokens(turns, [])
        return self._turn(tokenizer, aligned, messages, aligned["_response"][0], [], chosen.text)[0]

    def _with_image_tokens(self, prompt: list[Message], images: list[Any]) -> list[Message]:
        with blamed_on_the_row(""):
            plugin = by_size(self.template.mm_plugin, self.code)
            return plugin.process_messages(prompt, images, [], [], self.processor)

    def _encode_side(
        self,
        tokenizer: Any,
        aligned: dict[str, Any],
        messages: list[Message],
        response: Message,
        images: list[Any],
        phrased: PhrasedText,
        weighted: tuple[WeightedSpan, ...],
    ) -> Side:
        """A response and its prompt, with the tokens of phrases and weights placed."""
        text = phrased.text
        prompt, ids = self._turn(tokenizer, aligned, messages, response, images, text)
        own_ids, offsets = self._response_tokens(tokenizer, text)
        lead = len(ids) - len(own_ids)
        if lead < 0 or ids[lead:] != own_ids:
            raise RowError("the template rewrites this response, so that its phrases cannot be placed")
        places = [token_positions([span], offsets) for span in phrased.spans]
        for (start, end), found in zip(phrased.spans, places, strict=True):
            if not found:
                raise RowError(f"no token of the {response['role']}'s text covers the phrase {text[start:end]!r}")
        phrase = sorted({lead + place for found in places for place in found})
        offsets = [(0, 0)] * lead + offsets
        if self.template.efficient_eos:
            ids = [*ids, self.tokenizer.eos_token_id]
            offsets.append((0, 0))
        weights = token_weights(weighted, offsets) if weighted else []
        return Side(text, prompt, ids, phrase, weights, offsets)

    def _turn(
        self,
        tokenizer: Any,
        aligned: dict[str, Any],
        messages: list[Message],
        response: Message,
        images: list[Any],
        text: str,
    ) -> tuple[list[int], list[int]]:
        """Prompt and response as the host makes token ids of them."""
        answer = {"role": response["role"], "content": text}
        with blamed_on_the_row("it cannot be encoded: "):
            prompt, ids = self.template.encode_oneturn(
                tokenizer, [*messages, answer], aligned["_system"], aligned["_tools"]
            )
            prompt, _ = self.template.mm_plugin.process_token_ids(
                prompt, None, images, [], [], tokenizer, self.processor
            )
        return list(prompt), list(ids)

    def _response_tokens(self, tokenizer: Any, text: str) -> tuple[list[int], Offsets]:
        """The assistant turn's token ids, and the characters of `text` that each stands for."""
        formatter = self.template.format_assistant
        ids: list[int] = []
        offsets: Offsets = []
        with blamed_on_the_row("it cannot be encoded: "):
            elements = formatter.apply(content=text)
        for slot, element in zip(formatter.slots, elements, strict=True):
            if isinstance(slot, str) and "{{content}}" in slot:
                start = slot.index("{{content}}")
                with blamed_on_the_row("it cannot be encoded: "):
                    ids += tokenizer.encode(element, add_special_tokens=False)
                    offsets += [(a - start, b - start) for a, b in tokenizer.encode.offsets(element)]
            else:
                extra = self.template._convert_elements_to_ids(self.tokenizer, [element])
                ids += extra
                offsets += [(0, 0)] * len(extra)
        return ids, offsets

    def describe(self, encoded: dict[str, Any]) -> str:
        """What the model sees of a row, phrases marked: for people."""
        lines = [f"source: {encoded['source']}", f"prompt: {self.decode(encoded['prompt_ids'])}"]
        for side in ("chosen", "rejected"):
            ids, phrase = encoded[f"{side}_ids"], set(encoded[f"{side}_phrase"])
            pieces = [f"[[{self.decode([t])}]]" if i in phrase else self.decode([t]) for i, t in enumerate(ids)]
            lines.append(f"{side}, [[phrases]] marked: {''.join(pieces)}")
        return "\n".join(lines)

    def decode(self, ids: list[int]) -> str:
        """Text of token ids; a run of image tokens is written as one and its length."""
        text = str(self.tokenizer.decode(ids, skip_special_tokens=False))
        token = self.template.mm_plugin.image_token
        return _collapse(text, token) if token else text


@cache
def _take_one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _collapse(text: str, token: str) -> str:
    runs = re.compile(f"(?:{re.escape(token)})+")
    return runs.sub(lambda run: f"{token} x {len(run.group()) // len(token)}", text)


def _check_weight(weight: Any) -> float:
    if weight is None:
        return 1.0
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not number or not LEAST_WEIGHT <= weight <= 1 / LEAST_WEIGHT:
        limits = f"{LEAST_WEIGHT:g} to {1 / LEAST_WEIGHT:g}"
        raise RowError(f"weight must be a positive number ({limits}), found {weight!r}")
    return float(weight)


def _placeholder_problems(prompt: list[Message], texts: tuple[str, ...], images: int) -> Iterator[str]:
    from llamafactory.extras.constants import AUDIO_PLACEHOLDER, IMAGE_PLACEHOLDER, VIDEO_PLACEHOLDER

    for side, text in zip(("chosen", "rejected"), texts, strict=True):
        for placeholder in (IMAGE_PLACEHOLDER, VIDEO_PLACEHOLDER, AUDIO_PLACEHOLDER):
            if placeholder in text:
                yield f"the {side} response holds the placeholder {placeholder}"
    found = sum(message["content"].count(IMAGE_PLACEHOLDER) for message in prompt)
    if found != images:
        yield f"its prompt has {found} {IMAGE_PLACEHOLDER} placeholders and it has {images} images"
