"""The demo's folders, built once for all of its tests."""

from pathlib import Path

import pytest

from firempo_plugin.demo import tiny_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "model"
    tiny_model.build(folder)
    return folder
