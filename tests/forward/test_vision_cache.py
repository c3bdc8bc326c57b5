import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from firempo_plugin.forward.disk import DamagedError, write_whole
from firempo_plugin.forward.families import ImageFeatures
from firempo_plugin.forward.vision_cache import VisionCache

FEATURES = ImageFeatures(torch.ones(4, 6), [torch.full((4, 6), float(n)) for n in range(12)])
GRID = torch.tensor([1, 4, 4])
IMAGE = {"bytes": b"an image", "path": None}


@pytest.fixture
def cache(tmp_path):
    return VisionCache(tmp_path, "tower", 10**6)


def the_file(folder):
    (file,) = folder.glob("*/*.safetensors")
    return file


@pytest.mark.parametrize("grid", [GRID, None])
@pytest.mark.parametrize("layers", [12, 0])
def test_what_is_saved_is_loaded(cache, grid, layers):
    key = cache.key(IMAGE)
    assert cache.load(key) is None
    cache.save(key, ImageFeatures(FEATURES.pooled, FEATURES.deepstack[:layers]), grid)
    found, found_grid = cache.load(key)
    assert_close(found.pooled, FEATURES.pooled)
    assert_close(found.deepstack, FEATURES.deepstack[:layers])
    assert (found_grid is None) == (grid is None)
    assert grid is None or found_grid.tolist() == grid.tolist()


def test_another_image_or_tower_is_another_entry(cache, tmp_path):
    keys = [
        cache.key(IMAGE),
        cache.key({"bytes": b"another", "path": None}),
        cache.key(Image.new("CMYK", (4, 4))),
        VisionCache(tmp_path, "another tower", 10**6).key(IMAGE),
    ]
    assert len(set(keys)) == 4


def test_damaged_features_are_not_used_and_replaced(cache, tmp_path):
    key = cache.key(IMAGE)
    cache.save(key, FEATURES, GRID)
    save_file(load_file(the_file(tmp_path)) | {"pooled": torch.zeros(4, 6)}, the_file(tmp_path))
    with pytest.raises(DamagedError):
        cache.load(key)
    cache.save(key, FEATURES, GRID)
    assert cache.load(key) is not None
    assert cache.bytes == the_file(tmp_path).stat().st_size, "what is replaced counts once"


@pytest.mark.parametrize("layer", [torch.ones(3, 6), torch.ones(4, 6).double()], ids=["rows", "kind"])
def test_layers_that_are_not_alike_are_not_used(cache, tmp_path, layer):
    key = cache.key(IMAGE)
    cache.save(key, FEATURES, GRID)
    write_whole(the_file(tmp_path), {"pooled": FEATURES.pooled, "deepstack00": layer, "grid": GRID})
    with pytest.raises(DamagedError, match="different shapes or kinds"):
        cache.load(key)


def test_a_folder_is_measured_whatever_lies_in_it(cache, tmp_path):
    cache.save(cache.key(IMAGE), FEATURES, GRID)
    (tmp_path / "xy").mkdir()
    (tmp_path / "xy" / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    (tmp_path / "xy" / "folder.safetensors").mkdir()
    assert VisionCache(tmp_path, "tower", 10**6).bytes == cache.bytes > 0
