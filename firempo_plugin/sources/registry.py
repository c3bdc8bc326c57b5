"""The sources by name. To add one, write its module and its line here."""

from typing import Any

from ..registry import Registry
from .common import Source

SOURCES: Registry[Source[Any, Any]] = Registry(
    __package__,
    {
        "vqa_rad": (".vqa_rad:VQA_RAD", ""),
        "slake": (".slake:SLAKE", ""),
        "iu_xray": (".iu_xray:IU_XRAY", "Open-i or R2Gen layout"),
        "llava_med": (".llava_med:LLAVA_MED", ""),
        "mmedpo": (".mmedpo:MMEDPO", ""),
        "everyday": (".everyday:EVERYDAY", "photographs of scikit-image: a guard for general ability"),
        "table": (".table:TABLE", "JSONL, CSV or Parquet"),
    },
)
