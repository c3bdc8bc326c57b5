"""A server of the tests' own, and a store of requests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pairs_server import PairsServer
from pairs_store import LinesStore


@pytest.fixture
def server() -> Iterator[PairsServer]:
    with PairsServer() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> LinesStore:
    return LinesStore(tmp_path / "requests.jsonl")
