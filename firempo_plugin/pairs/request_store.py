"""Requests to models and their replies, in the workspace's store: what was answered once is never asked again."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .endpoint.replies import Reply, StoredReply
from .workspace import Workspace


@dataclass(frozen=True)
class Totals:
    """What replies have taken.

    Attributes:
        replies: How many.
        prompt_tokens, completion_tokens: Of all of them.
        cost: Of those with a known price.
        unpriced: How many have none.
    """

    replies: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    unpriced: int


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

    def answers(self, model: str) -> bool:
        """Whether any request to the model has a reply."""
        return bool(
            self._workspace.query(
                "SELECT 1 FROM requests WHERE reply IS NOT NULL AND json_extract(payload, '$.model') = ? LIMIT 1", model
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

    def totals(self) -> Totals:
        """What all replies in the store have taken."""
        rows = self._workspace.query("SELECT reply FROM requests WHERE reply IS NOT NULL")
        replies = [Reply(**json.loads(row[0])) for row in rows]
        costs = [reply.cost for reply in replies if reply.cost is not None]
        return Totals(
            replies=len(replies),
            prompt_tokens=sum(reply.prompt_tokens for reply in replies),
            completion_tokens=sum(reply.completion_tokens for reply in replies),
            cost=sum(costs),
            unpriced=len(replies) - len(costs),
        )
