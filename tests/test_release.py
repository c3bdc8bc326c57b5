"""What a release is told beside the checkout: where the repository is."""

import importlib.util
import re

import pytest
from places import ROOT

from firempo_plugin import __version__

ADDRESS = "https://git.example/owner/name"


@pytest.fixture
def hook():
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Release(str(ROOT), {})


def test_links_and_pictures_of_a_release_are_found_from_the_index(hook, monkeypatch):
    monkeypatch.setenv("FIREMPO_REPOSITORY", f"{ADDRESS}/")
    found = {}
    hook.update(found)
    targets = re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", found["readme"]["text"])
    assert len(targets) > 20
    for picture, target in targets:
        assert target.startswith(("https://", "#"))
        if target.startswith(ADDRESS):
            kind, tag, path = target.removeprefix(f"{ADDRESS}/").split("/", 2)
            assert (kind, tag) == ("raw" if picture else "blob", f"v{__version__}")
            assert (ROOT / path.partition("#")[0]).exists()
    assert found["urls"]["Issues"] == f"{ADDRESS}/issues"


def test_a_checkout_is_built_with_its_own_readme(hook, monkeypatch):
    monkeypatch.delenv("FIREMPO_REPOSITORY", raising=False)
    found = {}
    hook.update(found)
    assert found == {
        "readme": {"content-type": "text/markdown", "text": (ROOT / "README.md").read_text(encoding="utf-8")}
    }


@pytest.mark.parametrize("address", ["git@example:owner/name", "https://git.example/owner", "name"])
def test_an_address_that_is_none_is_refused(hook, monkeypatch, address):
    monkeypatch.setenv("FIREMPO_REPOSITORY", address)
    with pytest.raises(ValueError, match="HOST/OWNER/NAME"):
        hook.update({})
