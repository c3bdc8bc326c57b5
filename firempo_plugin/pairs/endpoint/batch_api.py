"""The calls of the OpenAI Batch API."""

import time
from pathlib import Path
from typing import Any

from .batch_parts import Part, drop_part, lines_file, save_part
from .failures import CallFailedError, Failure, StopRunError
from .limits import backoff
from .settings import EndpointSettings
from .wire import Wire

URL = "/v1/chat/completions"
_MAKER, _TAG = "made_by", "part"


class BatchApi:
    """The calls of the Batch API, each repeated until it succeeds or cannot.

    All raise StopRunError where the server will not have them, and CallFailedError where it does not answer.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        """Connects nothing yet."""
        self._settings = settings
        self._wire = Wire(settings)

    def upload(self, lines: Path) -> str:
        """Uploads a file; costs nothing, so that doing it twice does no harm."""

        def send(client: Any) -> str:
            with lines.open("rb") as file:
                return str(client.files.create(file=(lines.name, file), purpose="batch").id)

        return self._wire.patiently(send)

    def create(self, file_id: str, tag: str) -> str:
        """Creates a batch, once: after a failure that leaves it open whether it was created, looks for it."""
        for repetition in range(self._settings.retries + 1):
            answer = self._wire.call(
                lambda client: (
                    client.batches.create(
                        input_file_id=file_id,
                        endpoint=URL,
                        completion_window="24h",
                        metadata={_MAKER: "firempo", _TAG: tag},
                    ).id
                )
            )
            if not isinstance(answer, Failure):
                return str(answer)
            if answer.kind not in ("failed", "paused"):
                raise StopRunError(f"{self._settings.base_url}: {answer.message}")
            time.sleep(max(answer.pause or 0.0, backoff(self._settings.backoff, repetition)))
            found = self.find(tag)
            if found is not None:
                return found
        raise CallFailedError(f"{self._settings.base_url}: {answer.message}")

    def find(self, tag: str) -> str | None:
        """The id of the batch with our tag in its metadata."""

        def send(client: Any) -> str | None:
            for batch in client.batches.list(limit=100):
                if (batch.metadata or {}).get(_TAG) == tag:
                    return str(batch.id)
            return None

        return self._wire.patiently(send)

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
        """How a batch stands."""
        return self._wire.patiently(lambda client: client.batches.retrieve(part.batch_id).model_dump())

    def download(self, file_id: str) -> str:
        """The lines of a file of results."""
        return self._wire.without_key(self._wire.patiently(lambda client: str(client.files.content(file_id).text)))

    def close(self) -> None:
        """Closes the connections."""
        self._wire.close()
