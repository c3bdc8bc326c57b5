"""What every segmenter offers; how one is made from its options, and asked through the cache."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

from ...images.masks import Found, MaskCache
from ...images.pixels import Pixels, pixel_id
from ...records import Region, RejectedError, Segmentation
from ...settings import checked
from ...store.workspace import later
from .registry import SEGMENTERS


@dataclass(frozen=True, eq=False)
class Request:
    """One target on one image.

    Attributes:
        image_path: The image's file, which file and box segmenters look up.
        image: Its pixels, as the trainer decodes them: [H, W] or [H, W, 3].
        phrase: What to find.
        regions: Those of the record that lie on this image.
    """

    image_path: str
    image: Pixels
    phrase: str
    regions: tuple[Region, ...] = ()

    @cached_property
    def image_id(self) -> str:
        """Names the image by its pixels."""
        return pixel_id(self.image)


Answer = Found | RejectedError | ConnectionError
"""What was found, why the record is rejected, or that the segmenter was out of reach."""


class Segmenter(ABC):
    """What every segmenter offers.

    Attributes:
        name: Its name in `SEGMENTERS`.
        revision: Raised when another region comes of the same request and settings.
        cached: Whether masks found before are taken from the cache. Not those read from files: the files may have
            changed, and reading them is as quick as reading the cache.
        portable: Whether it is a model that can be run in another process. Not what asks a server with a key, or looks
            up files that another machine may lack.
    """

    name: ClassVar[str]
    revision: ClassVar[int] = 1
    cached: ClassVar[bool]
    portable: ClassVar[bool] = False

    @property
    def at_once(self) -> int:
        """How many requests `segment_many` gains from at a time."""
        return 1

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The options that decide which mask is found; no secrets, nothing that is slow."""

    def identity(self) -> dict[str, Any]:
        """All of it that decides which mask is found, for the cache and the workspace."""
        return self.settings() | later(revision=self.revision)

    @abstractmethod
    def segment(self, image_path: str, image: Pixels, phrase: str, regions: tuple[Region, ...] = ()) -> Found:
        """Finds one target on one image; see `Request`.

        Raises:
            RejectedError: This record's masks or boxes are wrong, or the phrase cannot be used.
            ConnectionError: The segmenter is out of reach; it is no record's fault.
        """

    def segment_many(self, requests: Sequence[Request]) -> list[Answer]:
        """Answers the requests, in order."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Answer:
        try:
            return self.segment(request.image_path, request.image, request.phrase, request.regions)
        except (RejectedError, ConnectionError) as reason:
            return reason


def make(name: str, options: Mapping[str, Any]) -> Segmenter:
    """Makes a segmenter from its options.

    Raises:
        UserError: An option is unknown, missing or wrong.
    """
    kind: type[Segmenter] = SEGMENTERS.load(name)
    return checked(kind, options, "segment.options.")


def find(segmenter: Segmenter, cache: MaskCache, requests: Sequence[Request]) -> list[Segmentation | RejectedError]:
    """Answers requests from the cache, and asks the segmenter for the rest, each image and phrase once.

    Returns:
        For each request, in order, what was found, or why it is rejected.

    Raises:
        ConnectionError: The segmenter was out of reach; what it did answer is in the cache.
    """
    if not segmenter.cached:
        return _reached([_keep(answer, cache.keep, segmenter) for answer in segmenter.segment_many(requests)])
    identity = segmenter.identity()
    keys = [cache.key(r.image_id, r.phrase, segmenter.name, identity) for r in requests]
    known: dict[str, Segmentation | RejectedError] = {}
    for key in dict.fromkeys(keys):
        entry = cache.get(key)
        if entry is not None:
            known[key] = entry
    missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in known}
    answers = segmenter.segment_many(list(missing.values())) if missing else []
    kept = [_keep(answer, partial(cache.put, key), segmenter) for key, answer in zip(missing, answers, strict=True)]
    known |= zip(missing, _reached(kept), strict=True)
    return [known[key] for key in keys]


def _keep(
    answer: Answer, keep: Callable[[Found, str], Segmentation], segmenter: Segmenter
) -> Segmentation | RejectedError | ConnectionError:
    return keep(answer, segmenter.name) if isinstance(answer, Found) else answer


def _reached(
    answers: Sequence[Segmentation | RejectedError | ConnectionError],
) -> list[Segmentation | RejectedError]:
    """The answers, where all are there."""
    for answer in answers:
        if isinstance(answer, ConnectionError):
            raise answer
    return [answer for answer in answers if not isinstance(answer, ConnectionError)]
