import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from firempo_plugin.forward.disk import DamagedError, Vectors, write_whole
from firempo_plugin.forward.families import ImageFeatures
from firempo_plugin.forward.vision_cache import FeatureKind, VisionCache

FEATURES = ImageFeatures(torch.ones(4, 6), [torch.full((4, 6), float(n)) for n in range(12)])
GRID = torch.tensor([1, 4, 4])
IMAGE = {"bytes": b"an image", "path": None}
VECTORS = Vectors(6, frozenset({torch.float32}))
KIND = FeatureKind(VECTORS, layers=12, patches=4)


@pytest.fixture
def cache(tmp_path):
    return VisionCache(tmp_path, "tower", 10**6, KIND)


def the_file(folder):
    (file,) = folder.glob("*/*.safetensors")
    return file


@pytest.mark.parametrize("grid", [GRID, None])
@pytest.mark.parametrize("layers", [12, 0])
def test_what_is_saved_is_loaded(tmp_path, grid, layers):
    kind = FeatureKind(VECTORS, layers=layers, patches=None if grid is None else 4)
    cache = VisionCache(tmp_path, "tower", 10**6, kind)
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
        VisionCache(tmp_path, "another tower", 10**6, KIND).key(IMAGE),
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


@pytest.mark.parametrize(
    "change",
    [
        {"deepstack00": torch.ones(3, 6)},
        {"deepstack00": torch.ones(4, 6).double()},
        {"deepstack11": None},
        {"deepstack12": torch.ones(4, 6)},
        {"pooled": None},
        {"pooled": torch.ones(4, 6, dtype=torch.int64)},
        {"pooled": torch.ones(24)},
        {f"deepstack{n:02}": torch.ones(4, 7) for n in range(12)} | {"pooled": torch.ones(4, 7)},
        {f"deepstack{n:02}": torch.ones(3, 6) for n in range(12)} | {"pooled": torch.ones(3, 6)},
        {"grid": None},
        {"grid": torch.tensor([1, 4, 6])},
        {"grid": torch.tensor([[1, 4, 4]])},
        {"grid": torch.tensor([1.0, 4.0, 4.0])},
    ],
    ids=lambda change: "+".join(change)[-11:],
)
def test_features_of_another_shape_or_kind_are_not_used(cache, tmp_path, change):
    key = cache.key(IMAGE)
    cache.save(key, FEATURES, GRID)
    content = {name: tensor for name, tensor in load_file(the_file(tmp_path)).items() if name != "checksum"}
    write_whole(the_file(tmp_path), {n: x for n, x in (content | change).items() if x is not None})
    with pytest.raises(DamagedError, match="features of another shape or kind"):
        cache.load(key)


def test_processes_that_share_a_folder_keep_to_its_limit_together(tmp_path):
    """Each writes its own images; one that counted these alone would write up to the limit itself."""
    limit = 400_000
    caches = [VisionCache(tmp_path, "tower", limit, KIND) for _ in range(4)]
    for number in range(400):
        image = {"bytes": str(number).encode(), "path": None}
        caches[number % 4].save(caches[0].key(image), FEATURES, GRID)
    size = sum(file.stat().st_size for file in tmp_path.glob("*/*.safetensors"))
    assert limit <= size < 1.25 * limit
    assert all(cache.is_full for cache in caches)


def test_a_folder_is_measured_whatever_lies_in_it(cache, tmp_path):
    cache.save(cache.key(IMAGE), FEATURES, GRID)
    (tmp_path / "xy").mkdir()
    (tmp_path / "xy" / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    (tmp_path / "xy" / "folder.safetensors").mkdir()
    assert VisionCache(tmp_path, "tower", 10**6, KIND).bytes == cache.bytes > 0
