"""The formats of exports by name. To add one, write its module with an `export`, and its line here."""

from typing import Any

from ...registry import Registry

FORMATS: Registry[Any] = Registry(
    __package__,
    {
        "llamafactory": (".llamafactory:export", ""),
        "swift": (".swift:export", "ms-swift"),
        "trl": (".trl:export", ""),
    },
)
