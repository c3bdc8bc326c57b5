"""Masks from a server of your own.

The request is a POST with a JSON body:

    {"image": "<PNG file, base64>", "target": "left lung"}

The image is 8-bit grey or RGB, and is exactly what training will see. The reply has status 200 and a JSON body with
one entry per detection, of which there may be none:

    {"masks": ["<PNG file, base64>", ...], "scores": [0.93, ...], "boxes": [[x0, y0, x1, y1], ...]}

- masks: of the image's height and width; black is outside, anything else inside; 256 at most.
- scores: in [0, 1]. May be left out: all 1.
- boxes: pixels, x1 and y1 exclusive. May be left out: the masks' bounds.

The reply comes in 16 MB at most, from this very address: redirections are not followed. Other replies:

| status | meaning | what happens |
|---|---|---|
| 400, 413, 415, 422 | this request cannot be answered | the record is rejected with the reply's text |
| 429, 500, 502, 503, 504, none in time | not now | asked again, `Retry-After` obeyed; then the run stops |
| anything else | wrong address, key or server | the run stops |

examples/segmenter_server holds a server to start from.
"""

import base64
import binascii
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING, dataclass
from http.client import HTTPException
from io import BytesIO
from typing import Any, ClassVar

from PIL import Image

from ...endpoint.http_call import HttpAnswer, TooLargeError, call, is_address, key_of
from ...endpoint.pauses import backoff, retry_after
from ...endpoint.settings import is_key_itself
from ...errors import UserError
from ...images.masks import NOTHING, Box, Found, Mask, box_around, is_box, is_number, read_mask, union
from ...images.pixels import Pixels
from ...records import Region, RejectedError
from ...scrub import HIDDEN, scrub
from ...settings import config_key
from .segmenter import Answer, Request, Segmenter

MAX_REPLY = 16 * 2**20
"""Bytes, unpacked; a longer reply is refused."""
MAX_MASKS = 256
"""In one reply."""
REFUSED = (400, 413, 415, 422)
NOT_NOW = (429, 500, 502, 503, 504)
LONGEST_WAIT = 60.0
"""Seconds; a server that asks for more waits only this long."""


class _TryAgainError(ConnectionError):
    """An attempt failed in a way that may pass; `wait` is what the server asked for, in seconds."""

    def __init__(self, what: str, wait: float | None = None) -> None:
        super().__init__(what)
        self.wait = wait


@dataclass(frozen=True)
class HttpSegmenter(Segmenter):
    """Asks a server, by the protocol above."""

    name: ClassVar[str] = "http"
    cached: ClassVar[bool] = True

    url: str = config_key(MISSING, "address of the server, http or https, without user and password")
    key_env: str = config_key("", "NAME of the environment variable that is sent as `Authorization: Bearer ...`")
    version: str = config_key("", "tells one state of the server from another; a new one asks for every mask again")
    timeout: float = config_key(60.0, "seconds for the whole of one attempt", above=0)
    retries: int = config_key(4, "further attempts where one failed for now", least=0)
    wait: float = config_key(1.0, "seconds before the second attempt; doubled before each further one", least=0)
    concurrency: int = config_key(2, "requests at a time", least=1)

    def __post_init__(self) -> None:
        """Raises ValueError where an option is wrong; sends nothing."""
        if not is_address(self.url):
            shown = "holds a password" if "@" in self.url else f"is {self.url!r}"
            raise UserError(
                f"url {shown}; write http://host:port/path in ASCII, and what is secret into an "
                "environment variable that key_env names"
            )
        if scrub(self.url) != self.url:
            raise UserError("url holds what looks like a key; put it into the environment")
        if self.key_env and self._key is None:
            name = HIDDEN if is_key_itself(self.key_env) else self.key_env
            raise UserError(f"key_env: the environment variable {name} is not set")

    @property
    def at_once(self) -> int:
        """The number of requests at a time."""
        return self.concurrency

    def settings(self) -> dict[str, Any]:
        """The server and its version."""
        return {"url": self.url, "version": self.version}

    def segment(self, image_path: str, image: Pixels, phrase: str, regions: tuple[Region, ...] = ()) -> Found:
        """Asks for one target on one image; the regions of the record are left aside."""
        png = BytesIO()
        Image.fromarray(image).save(png, "PNG", compress_level=1)
        body = json.dumps({"image": base64.b64encode(png.getvalue()).decode(), "target": phrase}).encode()
        try:
            return _read(self._ask(body), (image.shape[0], image.shape[1]), self.url)
        except RejectedError as error:
            raise RejectedError(scrub(str(error), self._key)) from error
        except ConnectionError as error:
            raise ConnectionError(scrub(str(error), self._key)) from error

    @property
    def _key(self) -> str | None:
        return key_of(self.key_env)

    def segment_many(self, requests: Sequence[Request]) -> list[Answer]:
        """Asks for several at a time."""
        with ThreadPoolExecutor(self.concurrency) as pool:
            return list(pool.map(self._answer, requests))

    def _ask(self, body: bytes) -> bytes:
        for attempt in range(self.retries + 1):
            try:
                return self._post(body)
            except _TryAgainError as failure:
                if attempt == self.retries:
                    tries = f"{attempt + 1} attempts"
                    raise ConnectionError(f"segmenter {self.url} gave no answer in {tries}: {failure}") from failure
                wait = backoff(self.wait, attempt) if failure.wait is None else failure.wait
                time.sleep(min(wait, LONGEST_WAIT))
        raise AssertionError("unreachable")

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            answer = call("POST", self.url, headers, body, timeout=self.timeout, limit=MAX_REPLY)
        except (OSError, HTTPException) as error:
            raise _TryAgainError(str(error) or type(error).__name__) from error
        if answer.status != 200:
            raise self._refusal(answer)
        if isinstance(answer.trouble, TooLargeError):
            raise RejectedError(f"segmenter sent more than {MAX_REPLY} bytes")
        if answer.trouble:
            raise _TryAgainError(str(answer.trouble)) from answer.trouble
        return answer.content

    def _refusal(self, answer: HttpAnswer) -> Exception:
        what = f"status {answer.status}: {answer.content[:500].decode(errors='replace').strip() or 'no explanation'}"
        if answer.status in REFUSED:
            return RejectedError(f"segmenter refused the image or the target: {what}")
        if answer.status in NOT_NOW:
            return _TryAgainError(what, retry_after(answer.headers))
        if 300 <= answer.status < 400:
            what += ". Redirections are not followed, since they carry images elsewhere: write the final address"
        return ConnectionError(f"segmenter {self.url} answered {what}")


def _read(content: bytes, shape: tuple[int, int], url: str) -> Found:
    """Checks a reply and joins its detections.

    Raises:
        RejectedError: The reply breaks the protocol; names the field and what was found.
    """
    try:
        reply = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RejectedError(f"segmenter {url} sent no JSON: {content[:80]!r}") from error
    if not isinstance(reply, dict) or not isinstance(reply.get("masks"), list):
        raise RejectedError(f"segmenter {url} sent no list of masks")
    count = len(reply["masks"])
    if count > MAX_MASKS:
        raise RejectedError(f"segmenter sent {count} masks; {MAX_MASKS} are the most")
    scores = _detections(reply, "scores", count, [1.0] * count)
    if not all(is_number(score) and 0 <= score <= 1 for score in scores):
        raise RejectedError(f"segmenter sent scores outside [0, 1]: {scores!r:.80}")
    boxes = [_box(box) for box in _detections(reply, "boxes", count, [])]
    found = NOTHING
    for number, encoded in enumerate(reply["masks"]):  # one at a time: each is as large as the image
        mask = _mask(encoded, number, shape)
        if mask.any():
            box = boxes[number] if boxes else box_around(mask)
            joined = mask if found.mask is None else union([found.mask, mask])
            found = Found(joined, (*found.boxes, box), (*found.scores, float(scores[number])))
    return found


def _detections(reply: dict[str, Any], field: str, count: int, default: list[Any]) -> list[Any]:
    values = reply.get(field, default)
    if values is not default and (not isinstance(values, list) or len(values) != count):
        raise RejectedError(f"segmenter sent {count} masks, but {field}: {values!r:.80}")
    return values


def _mask(encoded: object, number: int, shape: tuple[int, int]) -> Mask:
    try:
        data = base64.b64decode(encoded if isinstance(encoded, str) else "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise RejectedError(f"segmenter sent a mask {number} that is not base64") from error
    return read_mask(BytesIO(data), shape, name=f"number {number} of the segmenter's reply")


def _box(box: Any) -> Box:
    if not is_box(box):
        raise RejectedError(f"segmenter sent a box that is not x0, y0, x1, y1: {box!r:.80}")
    x0, y0, x1, y1 = (float(edge) for edge in box)
    return (x0, y0, x1, y1)
