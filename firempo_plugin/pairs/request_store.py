"""Requests to models and their replies, in the workspace's store: what was answered once is never asked again."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .endpoint.replies import Reply, StoredReply
from .workspace import Workspace


class WorkspaceRequests:
    """The `RequestStore` of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def get(self, key: str) -> StoredReply | None:
        """How the request ended for good, or None where it is due."""
        rows = self._workspace.query("SELECT reply, error, permanent FROM requests WHERE key = ?", key)
        if not rows:
            return None
        reply, error, permanent = rows[0]
        if reply is not None:
            return StoredReply(reply=Reply(**json.loads(reply)))
        return StoredReply(error=error) if permanent else None

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
        with self._workspace.transaction() as db:
            db.execute(
                "UPDATE requests SET reply = ?, ended = ? WHERE key = ? AND reply IS NULL",
                (json.dumps(asdict(reply), ensure_ascii=False), time.time(), key),
            )

    def fail(self, key: str, error: str, permanent: bool) -> None:
        """Keeps a reason."""
        with self._workspace.transaction() as db:
            db.execute(
                "UPDATE requests SET error = ?, permanent = ?, ended = ? WHERE key = ?",
                (error, permanent, time.time(), key),
            )

    def totals(self) -> tuple[int, int, int, float | None]:
        """Replies, prompt tokens, completion tokens, and cost (None where a reply's price is unknown)."""
        rows = self._workspace.query("SELECT reply FROM requests WHERE reply IS NOT NULL")
        replies = [Reply(**json.loads(row[0])) for row in rows]
        costs = [reply.cost for reply in replies]
        known = None if any(cost is None for cost in costs) else sum(cost for cost in costs if cost is not None)
        return (
            len(replies),
            sum(reply.prompt_tokens for reply in replies),
            sum(reply.completion_tokens for reply in replies),
            known,
        )
