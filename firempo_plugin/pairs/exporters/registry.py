"""The formats of exports by name. To add one, write its module with a `Format`, and its line here."""

from ...registry import Registry
from .common import Format

FORMATS: Registry[Format] = Registry(
    __package__,
    {
        "llamafactory": (".llamafactory:LLAMAFACTORY", ""),
        "swift": (".swift:SWIFT", "ms-swift"),
        "trl": (".trl:TRL", ""),
        "label_studio": (".label_studio:LABEL_STUDIO", "tasks to accept or reject pairs there"),
        "hub": (".hub:HUB", "Parquet with the images inside, and a card"),
    },
)
