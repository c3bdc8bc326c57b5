"""The judges of answers by name. To add one, write its class and its line here."""

from typing import TYPE_CHECKING

from ..registry import Registry

if TYPE_CHECKING:  # it knows the configuration, which knows this table
    from .verdict import AnswerJudge

JUDGES: "Registry[type[AnswerJudge]]" = Registry(
    __package__,
    {
        "rules": (".verdict:RuleJudge", "built in"),
        "endpoint": (".verdict:EndpointJudge", "a model for what the rules leave open"),
    },
)
