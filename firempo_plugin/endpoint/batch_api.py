"""The calls of the OpenAI Batch API."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode

from .batch_parts import Part, drop_part, lines_file, save_part
from .failures import CallFailedError, Failure, StopRunError
from .http_call import HttpAnswer, TooLargeError
from .settings import EndpointSettings
from .wire import LARGEST_REPLY, Wire

URL = "/v1/chat/completions"
LARGEST_FILE = 2**30
"""Bytes of a file of results."""
_MAKER, _TAG = "made_by", "part"
_MOST_PAGES = 1000


class BatchApi:
    """The calls of the Batch API, each repeated until it succeeds or cannot.

    All raise StopRunError where the server will not have them, and CallFailedError where it does not answer.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        """Connects nothing yet."""
        self.wire = Wire(settings)

    def upload(self, lines: Path) -> str:
        """Uploads a file; costs nothing, so that doing it twice does no harm."""
        mark = uuid.uuid4().hex
        form = 'Content-Disposition: form-data; name="{}"'
        head = (
            f"--{mark}\r\n{form.format('purpose')}\r\n\r\nbatch\r\n"
            f'--{mark}\r\n{form.format("file")}; filename="{lines.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{mark}--\r\n".encode()
        headers = {
            "Content-Type": f"multipart/form-data; boundary={mark}",
            "Content-Length": str(len(head) + lines.stat().st_size + len(tail)),
        }

        def body() -> Iterator[bytes]:
            yield head
            with lines.open("rb") as file:
                while piece := file.read(2**20):
                    yield piece
            yield tail

        return self.wire.patiently(lambda: self._id(self.wire.send("POST", "/files", body(), headers=headers)))

    def create(self, file_id: str, tag: str) -> str:
        """Creates a batch, once: after a failure that leaves it open whether it was created, looks for it."""
        wanted = {
            "input_file_id": file_id,
            "endpoint": URL,
            "completion_window": "24h",
            "metadata": {_MAKER: "firempo", _TAG: tag},
        }
        asked = False

        def attempt() -> str | Failure:
            nonlocal asked
            try:
                found = self.find(tag) if asked else None
            except StopRunError as error:  # it may be there and be paid for: not refused, but unknown
                raise CallFailedError(str(error)) from error
            asked = True
            return found or self._id(self.wire.send("POST", "/batches", json.dumps(wanted).encode()))

        return self.wire.patiently(attempt)

    def find(self, tag: str) -> str | None:
        """The id of the batch with our tag in its metadata."""
        after: dict[str, str] = {}
        for _ in range(_MOST_PAGES):
            page = self._get(f"/batches?{urlencode({'limit': '100', **after})}")
            batches = [batch for batch in _list(page.get("data")) if isinstance(batch, dict)]
            for batch in batches:
                if _dict(batch.get("metadata")).get(_TAG) == tag:
                    return str(batch["id"])
            last = {"after": str(batches[-1].get("id"))} if batches else after
            if not page.get("has_more") or last == after:
                return None
            after = last
        # Not "there is none", after which it would be handed in and paid for again.
        raise CallFailedError(f"{self.wire.settings.base_url}: the list of batches has no end")

    def find_again(self, folder: Path, part: Part) -> bool:
        """Whether the part's batch exists; fills in its id, which an interrupted submission may not have recorded.

        A part without a batch is dropped.
        """
        if part.batch_id is None:
            part.batch_id = self.find(part.tag)
            if part.batch_id is None:
                drop_part(folder, part)
                return False
            save_part(folder, part)
        lines_file(folder, part.tag).unlink(missing_ok=True)
        return True

    def retrieve(self, part: Part) -> dict[str, Any]:
        """How a batch stands: `status`, and what else there is of the API's fields, each of its kind."""
        found = self._get(f"/batches/{quote(str(part.batch_id), safe='')}")
        errors = [error for error in _list(_dict(found.get("errors")).get("data")) if isinstance(error, dict)]
        return {
            "status": str(found.get("status")),
            "counts": _dict(found.get("request_counts")),
            "files": [str(found[name]) for name in ("output_file_id", "error_file_id") if found.get(name)],
            "errors": errors,
        }

    def download(self, file_id: str, into: IO[bytes], limit: int) -> str:
        """Fetches a file of results.

        Returns:
            Why it is not whole; "": it is.
        """

        def fetch() -> str | Failure:
            into.seek(0)
            into.truncate()
            path = f"/files/{quote(file_id, safe='')}/content"
            answer = self.wire.send("GET", path, limit=min(limit, LARGEST_FILE), into=into)
            if isinstance(answer, HttpAnswer) and isinstance(answer.trouble, TooLargeError):
                return f"a file of results is cut off: {answer.trouble}"
            if isinstance(answer, HttpAnswer) and answer.trouble:
                return Failure("failed", self.wire.shown(f"a file of results broke off: {answer.trouble}"))
            return answer if isinstance(answer, Failure) else ""

        return self.wire.patiently(fetch)

    def _get(self, path: str) -> dict[str, Any]:
        return self.wire.patiently(lambda: self.wire.json(self.wire.send("GET", path)))

    def _id(self, answer: HttpAnswer | Failure) -> str | Failure:
        """The id of what was created."""
        found = self.wire.json(answer)
        if isinstance(found, Failure):
            return found
        return str(found["id"]) if found.get("id") else Failure("failed", "the answer names no id")


def lines_of(file: IO[bytes]) -> Iterator[str]:
    """The lines of a file of results; one that is larger than a reply may be is cut, and cannot be read then."""
    file.seek(0)
    while line := file.readline(LARGEST_REPLY):
        yield line.decode("utf-8", errors="replace")


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
