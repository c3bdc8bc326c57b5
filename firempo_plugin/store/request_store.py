"""Requests to models and their replies, in the workspace's store: what was answered once is never asked again."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from threading import Lock
from typing import Any

from ..endpoint.replies import Reply, StoredReply
from .workspace import Workspace

_CHANGED = (
    "the stored reply was changed and cannot be read; delete its row from the table requests of store.sqlite to ask "
    "again"
)


@dataclass(frozen=True)
class Totals:
    """What replies have taken.

    Attributes:
        replies: How many.
        prompt_tokens, completion_tokens: Of all of them.
        cost: Of those with a known price.
        unpriced: How many have none.
    """

    replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    unpriced: int = 0

    def more(self, reply: Reply | None) -> "Totals":
        """With a reply more; None: with one that cannot be read."""
        if reply is None:
            return replace(self, replies=self.replies + 1, unpriced=self.unpriced + 1)
        return Totals(
            self.replies + 1,
            self.prompt_tokens + reply.prompt_tokens,
            self.completion_tokens + reply.completion_tokens,
            self.cost + (reply.cost or 0.0),
            self.unpriced + (reply.cost is None),
        )


class WorkspaceRequests:
    """The `RequestStore` of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = Lock()
        self._totals: Totals | None = None

    def get(self, key: str) -> StoredReply | None:
        """How the request ended for good, or None where it is due."""
        rows = self._workspace.query("SELECT reply, error, permanent FROM requests WHERE key = ?", key)
        if not rows:
            return None
        reply, error, permanent = rows[0]
        if reply is not None:
            found = _read(reply)
            return StoredReply(error=_CHANGED) if found is None else StoredReply(reply=found)
        return StoredReply(error=error) if permanent else None

    def answers(self, model: str) -> bool:
        """Whether any request to the model has a reply."""
        return bool(
            self._workspace.query(
                "SELECT 1 FROM requests WHERE reply IS NOT NULL AND "
                "CASE WHEN json_valid(payload) THEN json_extract(payload, '$.model') END = ? LIMIT 1",
                model,
            )
        )

    def begin(self, key: str, payload: Mapping[str, Any]) -> None:
        """Notes a request that is about to be sent."""
        content = json.dumps(payload, ensure_ascii=False, sort_keys=True)
        with self._workspace.transaction() as db:
            db.execute(
                "INSERT INTO requests (key, payload, began) VALUES (?, ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET began = excluded.began",
                (key, content, time.time()),
            )

    def finish(self, key: str, reply: Reply) -> None:
        """Keeps a reply; the first one stays."""
        with self._lock, self._workspace.transaction() as db:
            kept = db.execute(
                "UPDATE requests SET reply = ?, ended = ? WHERE key = ? AND reply IS NULL",
                (json.dumps(asdict(reply), ensure_ascii=False), time.time(), key),
            )
            if self._totals is not None and kept.rowcount:
                self._totals = self._totals.more(reply)

    def fail(self, key: str, error: str, permanent: bool) -> None:
        """Keeps a reason."""
        with self._workspace.transaction() as db:
            db.execute(
                "UPDATE requests SET error = ?, permanent = ?, ended = ? WHERE key = ?",
                (error, permanent, time.time(), key),
            )

    def totals(self) -> Totals:
        """What all replies in the store have taken."""
        with self._lock:
            if self._totals is None:
                self._totals = self._added()
            return self._totals

    def _added(self) -> Totals:
        """Some rows at a time: all replies of a large build are more than memory holds."""
        totals, last = Totals(), ""
        query = "SELECT key, reply FROM requests WHERE reply IS NOT NULL AND key > ? ORDER BY key LIMIT 1000"
        while rows := self._workspace.query(query, last):
            last = rows[-1][0]
            for _, reply in rows:
                totals = totals.more(_read(reply))
        return totals


def _read(stored: Any) -> Reply | None:
    """A stored reply; None where it was changed since, and is none."""
    try:
        reply = Reply(**json.loads(stored))
    except (ValueError, TypeError, RecursionError):
        return None
    counts = (reply.prompt_tokens, reply.completion_tokens, reply.latency, 0.0 if reply.cost is None else reply.cost)
    texts = (reply.text, reply.model, reply.finish_reason)
    fine = all(isinstance(text, str) for text in texts) and all(isinstance(count, int | float) for count in counts)
    return reply if fine else None
