import torch
from PIL import Image

from firempo_plugin.forward.disk import image_digest, weights_digest


def test_images_are_known_by_content(tmp_path):
    path = tmp_path / "scan.png"
    Image.new("L", (4, 4), 1).save(path)
    first, content = image_digest(str(path)), path.read_bytes()
    assert image_digest({"bytes": content, "path": None}) == first
    assert image_digest({"bytes": None, "path": str(path)}) == first
    Image.new("L", (4, 4), 2).save(path)
    assert image_digest(str(path)) != first
    assert image_digest(Image.new("L", (4, 4), 1)) != image_digest(Image.new("L", (4, 4), 2))


def test_weights_are_known_by_every_bit():
    weight = torch.zeros(3, 2, dtype=torch.bfloat16)
    first = weights_digest([("a", weight)])
    assert weights_digest([("a", weight.clone())]) == first
    assert weights_digest([("b", weight)]) != first
    assert weights_digest([("a", weight.view(2, 3))]) != first
    changed = weight.clone()
    changed[2, 1] = 1e-30
    assert weights_digest([("a", changed)]) != first
    assert weights_digest([("a", torch.zeros(0))]) != weights_digest([])
