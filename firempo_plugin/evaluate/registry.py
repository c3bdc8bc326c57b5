"""What an evaluation chooses by name: the measures, in the order of the table, and the judges of answers.

To add one, write its file and its line here; a measure that looks into a model also has a line in
`host.evidence.RUNNERS`.
"""

from typing import TYPE_CHECKING

from ..registry import Registry

if TYPE_CHECKING:  # they know the configuration, which knows these tables
    from .measure import Measure
    from .verdict import AnswerJudge

MEASURES: "Registry[Measure]" = Registry(
    __package__,
    {
        "accuracy": (".accuracy:ACCURACY", "of answers to questions"),
        "reports": (".reports:REPORTS", "by the package radeval"),
        "grounding": (".grounding:GROUNDING", "attention to annotated regions"),
        "localisation": (".localisation:LOCALISATION", "whether training raised the phrases"),
        "divergence": (".divergence:DIVERGENCE", "how far training went from its reference"),
        "sensitivity": (".sensitivity:SENSITIVITY", "noise on the evidence and elsewhere"),
    },
)
JUDGES: "Registry[type[AnswerJudge]]" = Registry(
    __package__,
    {
        "rules": (".verdict:RuleJudge", "built in"),
        "endpoint": (".verdict:EndpointJudge", "a model for what the rules leave open"),
    },
)
