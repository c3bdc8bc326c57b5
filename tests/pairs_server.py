"""A local OpenAI-compatible server that behaves as well or as badly as a script says, and counts what it is asked.

A script is a function from a `Call` to an `Answer`; both are plain data. Batches go through the same script, line by
line, when `finish_batch` is called.
"""

import json
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Call:
    """A chat request as the server sees it."""

    body: dict[str, Any]
    headers: dict[str, str]
    time: float
    number: int
    """How often this very body has come before."""
    before: int
    """How many calls of any kind have come before."""

    @property
    def text(self) -> str:
        """Of the last user message."""
        content = next(m["content"] for m in reversed(self.body["messages"]) if m["role"] == "user")
        return content if isinstance(content, str) else content[-1]["text"]


@dataclass(frozen=True)
class Answer:
    """What goes back.

    Attributes:
        status: HTTP status.
        body: JSON, or bytes as they are.
        headers: Added, or in the place of the usual ones.
        delay: Seconds before the answer.
        drop: Close the connection instead.
        drip: Seconds before each single byte; 0: all at once.
        drips: What comes so: "head" (and body), or "body".
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False
    drip: float = 0.0
    drips: str = "body"


Script = Callable[[Call], Answer]

DROP = Answer(drop=True)
BROKEN = Answer(body=b'{"id": "chatcmpl-1", "choices": [{"message": {"con')


def well(
    text: str = "fine", *, prompt: int = 20, completion: int = 5, finish: str = "stop", delay: float = 0
) -> Answer:
    """A chat completion; what ended by "length" had as many tokens as anybody here asks for."""
    completion = 512 if finish == "length" else completion
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": "served-model"}
    return Answer(body={**body, "choices": [choice], "usage": usage}, delay=delay)


def error(status: int, message: str = "no", code: str | None = None, **headers: str) -> Answer:
    """An error in OpenAI's form; headers with "_" for "-"."""
    body = {"error": {"message": message, "type": "error", "code": code, "param": None}}
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


class PairsServer:
    """The server, on a free port of this machine or a given one; a context manager.

    Attributes:
        script: How chat requests are answered; may be changed at any time.
        uploads: Files by their ids; an `Answer` among them is what a download gets.
        calls: All chat requests so far, in order.
        on_create: Called with a new batch before it is answered; what it returns replaces the answer.
    """

    def __init__(self, script: Script | None = None, *, port: int = 0) -> None:
        self.script: Script = script or (lambda call: well())
        self.calls: list[Call] = []
        self.most_at_once = 0
        self.uploads: dict[str, Any] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.downloads: Counter[str] = Counter()
        self.on_create: Callable[[dict[str, Any]], Answer | None] = lambda batch: None
        self._at_once = 0
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Listener(("127.0.0.1", port), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None):
        self.die()

    def die(self) -> None:
        """Stops listening and cuts every connection."""
        self._server.shutdown()
        self._server.server_close()
        with self._lock:
            for connection in tuple(self._sockets):
                connection.close()

    def texts(self) -> list[str]:
        """The user's text of every chat request."""
        return [call.text for call in self.calls]

    def chat(self, body: dict[str, Any], headers: dict[str, str]) -> Answer:
        """Answers a chat request by the script."""
        name = json.dumps(body, sort_keys=True)
        with self._lock:
            call = Call(body, headers, time.monotonic(), self._seen[name], len(self.calls))
            self._seen[name] += 1
            self.calls.append(call)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            answer = self.script(call)
            time.sleep(answer.delay)
            return answer
        finally:
            with self._lock:
                self._at_once -= 1

    def create_batch(self, wanted: dict[str, Any]) -> Answer:
        """Creates a batch, which does nothing until `finish_batch`."""
        batch = {
            **wanted,
            "id": f"batch_{uuid.uuid4().hex[:8]}",
            "object": "batch",
            "status": "in_progress",
            "created_at": int(time.time()),
        }
        self.batches[batch["id"]] = batch
        return self.on_create(batch) or Answer(body=batch)

    def lines(self, batch_id: str) -> list[dict[str, Any]]:
        """The requests of a batch."""
        content = self.uploads[self.batches[batch_id]["input_file_id"]]
        return [json.loads(line) for line in content.splitlines()]

    def finish_batch(self, batch_id: str, status: str = "completed", only: Iterable[str] | None = None) -> None:
        """Ends a batch: results in reverse order; requests that are not among `only` expire."""
        wanted = None if only is None else set(only)
        outputs, errors = [], []
        for line in reversed(self.lines(batch_id)):
            if wanted is not None and line["custom_id"] not in wanted:
                lost = {"code": "batch_expired", "message": "This request could not be executed in time."}
                errors.append({"custom_id": line["custom_id"], "response": None, "error": lost})
                continue
            answer = self.chat(line["body"], {})
            response = {"status_code": answer.status, "request_id": "r", "body": answer.body}
            result = {"id": "x", "custom_id": line["custom_id"], "response": response, "error": None}
            (outputs if answer.status == 200 else errors).append(result)
        batch = self.batches[batch_id]
        batch["status"] = status
        for name, results in (("output_file_id", outputs), ("error_file_id", errors)):
            if results:
                batch[name] = f"file_{uuid.uuid4().hex[:8]}"
                lines = [json.dumps(result, ensure_ascii=False) for result in results]
                self.uploads[batch[name]] = ("\n".join(lines) + "\n").encode()

    def list_batches(self, query: dict[str, list[str]]) -> Answer:
        """Newest first, in pages."""
        newest = list(reversed(self.batches.values()))
        if "after" in query:
            newest = newest[[batch["id"] for batch in newest].index(query["after"][0]) + 1 :]
        limit = int(query.get("limit", ["20"])[0])
        page = newest[:limit]
        more = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
        return Answer(body={"object": "list", "data": page, "has_more": len(newest) > limit, **more})


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the game."""


class _Handler(BaseHTTPRequestHandler):
    owner: PairsServer
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.owner._sockets.add(self.connection)

    def finish(self) -> None:
        self.owner._sockets.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/files":
            self._send(self._upload(content))
        elif self.path == "/v1/batches":
            self._send(self.owner.create_batch(json.loads(content)))
        elif self.path == "/v1/chat/completions":
            self._send(self.owner.chat(json.loads(content), self._names_lowered()))
        else:
            self._send(error(404, "no such path"))

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        match url.path.split("/")[2:]:
            case ["batches"]:
                self._send(self.owner.list_batches(parse_qs(url.query)))
            case ["batches", batch_id]:
                self._send(Answer(body=self.owner.batches[batch_id]))
            case ["files", file_id, "content"]:
                self.owner.downloads[file_id] += 1
                found = self.owner.uploads[file_id]
                self._send(found if isinstance(found, Answer) else Answer(body=found))
            case _:
                self._send(error(404, "no such path"))

    def _names_lowered(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def _upload(self, content: bytes) -> Answer:
        boundary = EmailMessage()
        boundary["Content-Type"] = self.headers["Content-Type"]
        mark = b"--" + (boundary.get_param("boundary") or "").encode()
        part = next(part for part in content.split(mark) if b'name="file"' in part)
        file_id = f"file_{uuid.uuid4().hex[:8]}"
        self.owner.uploads[file_id] = part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        return Answer(
            body={"id": file_id, "object": "file", "purpose": "batch", "filename": "x", "bytes": len(content)}
        )

    def _send(self, answer: Answer) -> None:
        if answer.drop:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        raw = isinstance(answer.body, bytes)
        content = answer.body if raw else json.dumps(answer.body, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content)), **answer.headers}
        lines = [f"HTTP/1.1 {answer.status} as told", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        head = "\r\n".join(lines).encode()
        at_once, slowly = (b"", head + content) if answer.drips == "head" else (head, content)
        self.wfile.write(at_once)
        if not answer.drip:
            self.wfile.write(slowly)
            return
        for byte in slowly:
            time.sleep(answer.drip)
            self.wfile.write(bytes([byte]))
