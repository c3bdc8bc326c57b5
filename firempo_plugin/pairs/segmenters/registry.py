"""The segmenters by name. To add one, write its module, a dataclass whose fields are its options, and its line here."""

from typing import Any

from ...registry import Registry

SEGMENTERS: Registry[Any] = Registry(
    __package__,
    {
        "none": ("", "the whole image is noised"),
        "file": (".file:FileSegmenter", "masks of the record or a folder"),
        "box": (".box:BoxSegmenter", "boxes of the record or a COCO file"),
        "sam3": (".sam3:Sam3Segmenter", "a local SAM 3 checkpoint"),
        "http": (".http:HttpSegmenter", "a server of your own"),
    },
)
