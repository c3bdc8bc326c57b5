"""A request store of JSON lines, small enough to trust, for tests of what asks and what is kept."""

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from firempo_plugin.endpoint.replies import Reply, StoredReply


class LinesStore:
    """Appends one line an event; what is on disk when it is opened counts.

    Attributes:
        failed: Reasons that are not permanent, by key.
        begun: Payloads, by key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._ended: dict[str, StoredReply] = {}
        self.begun: dict[str, Mapping[str, Any]] = {}
        self.failed: dict[str, str] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").split("\n"):
                if line.endswith("}"):
                    self._replay(json.loads(line))

    def __len__(self) -> int:
        """How many requests have ended for good."""
        return len(self._ended)

    def texts(self) -> set[str]:
        """Of all replies."""
        return {ended.reply.text for ended in self._ended.values() if ended.reply is not None}

    def get(self, key: str) -> StoredReply | None:
        return self._ended.get(key)

    def answers(self, model: str) -> bool:
        return any(ended.reply is not None and self.begun[key]["model"] == model for key, ended in self._ended.items())

    def begin(self, key: str, payload: Mapping[str, Any]) -> None:
        self._append({"event": "begin", "key": key, "payload": payload})

    def finish(self, key: str, reply: Reply) -> None:
        self._append({"event": "finish", "key": key, "reply": asdict(reply)})

    def fail(self, key: str, error: str, permanent: bool) -> None:
        self._append({"event": "fail", "key": key, "error": error, "permanent": permanent})

    def _append(self, event: dict[str, Any]) -> None:
        with self._lock:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event, ensure_ascii=False) + "\n")
            self._replay(event)

    def _replay(self, event: dict[str, Any]) -> None:
        key = event["key"]
        if event["event"] == "begin":
            self.begun[key] = event["payload"]
        elif event["event"] == "finish":
            self._ended[key] = StoredReply(reply=Reply(**event["reply"]))
        elif event["permanent"]:
            self._ended[key] = StoredReply(error=event["error"])
        else:
            self.failed[key] = event["error"]
