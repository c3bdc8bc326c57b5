"""A row has its prompt with both responses, and in it an image's token hundreds of times: each is encoded once."""

import copy
import re
from typing import Any


def repeatable(tokenizer: Any, token: str | None) -> str | None:
    """The token, where a tokeniser makes of a run of it as many of its ids, whatever is around them; else None."""
    held = [added for added in tokenizer.added_tokens_decoder.values() if str(added) == token]
    return token if held and not held[0].single_word and not tokenizer.split_special_tokens else None


def encoding_once(tokenizer: Any, repeated: str | None) -> Any:
    """A tokeniser like another, whose `encode` is an `Once`: for the texts of one row.

    Args:
        tokenizer: A fast one.
        repeated: Of `repeatable`.
    """
    like = copy.copy(tokenizer)
    like.encode = Once(tokenizer, repeated)
    return like


class Once:
    """`encode` as the host's templates call it, which keeps what it has made."""

    def __init__(self, tokenizer: Any, repeated: str | None) -> None:
        self._tokenizer = tokenizer
        self._repeated = repeated
        self._ids: dict[str, list[int]] = {}
        self._offsets: dict[str, list[tuple[int, int]]] = {}

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """A text's token ids."""
        if add_special_tokens:
            return list(self._tokenizer.encode(text))
        if text not in self._ids:
            self._ids[text] = self._with_runs(text) or self._with_offsets(text)
        return list(self._ids[text])

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """The characters [start, end) of a text that each of its token ids stands for."""
        if text not in self._offsets:
            self._ids[text] = self._with_offsets(text)
        return self._offsets[text]

    def _with_offsets(self, text: str) -> list[int]:
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        self._offsets[text] = encoded["offset_mapping"]
        return list(encoded["input_ids"])

    def _with_runs(self, text: str) -> list[int]:
        """The ids of a text that holds a run of the token; none for one that does not."""
        token = self._repeated
        if token is None or token * 2 not in text:
            return []
        run = re.compile(f"(?:{re.escape(token)})+")
        lengths = iter([len(found.group()) // len(token) for found in run.finditer(text)])
        one = self._tokenizer.convert_tokens_to_ids(token)
        ids: list[int] = []
        for each in self._tokenizer.encode(run.sub(lambda _: token, text), add_special_tokens=False):
            ids += [each] * (next(lengths) if each == one else 1)
        return ids
