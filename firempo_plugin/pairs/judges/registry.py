"""The judges of edits by name. To add one, write its module and its line here."""

from typing import TYPE_CHECKING

from ...registry import Registry

if TYPE_CHECKING:  # it knows the configuration, which knows this table
    from .judge import EditJudge

JUDGES: "Registry[type[EditJudge]]" = Registry(
    __package__,
    {
        "rules": (".rules:RuleJudge", "built in"),
        "endpoint": (".endpoint:EndpointJudge", "a model"),
        "batch": (".batch:BatchJudge", "OpenAI Batch API"),
    },
)
