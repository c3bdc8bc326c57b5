import pytest
from originals import HUATUO, Original, save_tower, tiny_tokenizer

from firempo_plugin.convert.kinds import KINDS


@pytest.fixture(scope="session")
def tokenizers(tmp_path_factory):
    """Returns a function from an architecture to its tiny tokenizer, built once a session."""
    built = {}

    def get(architecture):
        if architecture not in built:
            built[architecture] = tiny_tokenizer(architecture, tmp_path_factory.mktemp(architecture))
        return built[architecture]

    return get


@pytest.fixture
def original(monkeypatch, tokenizers):
    """Returns a function that makes a tiny model as first released, and its sizes those that are expected."""

    def build(architecture=HUATUO, **sizes):
        made = Original(architecture, tokenizers(architecture), **sizes)
        monkeypatch.setitem(KINDS, architecture, made.kind)
        return made

    return build


@pytest.fixture
def released(original, tmp_path):
    """Returns a function that saves one, LLaVA-Med's tower apart, and gives it, its folder, and the tower's."""

    def save(architecture=HUATUO, **how):
        made = original(architecture)
        inside = how.pop("tower", architecture == HUATUO)
        folder = made.save(tmp_path / "released", tower=inside, **how)
        return made, folder, None if inside else save_tower(made.tower, tmp_path / "clip")

    return save
