"""The scores of responses by name. To add one, write its module with a `Score`, and its line here."""

from ...registry import Registry
from .score import Score

SCORES: Registry[Score] = Registry(
    __package__,
    {
        "rouge_l": (".rouge_l:ROUGE_L", "built in"),
        "bleu": (".radeval:BLEU", "radeval"),
        "bertscore": (".radeval:BERTSCORE", "radeval"),
        "f1chexbert": (".radeval:F1CHEXBERT", "radeval"),
        "radgraph": (".radeval:RADGRAPH", "radeval"),
        "ratescore": (".radeval:RATESCORE", "radeval"),
        "green": (".radeval:GREEN", "radeval"),
    },
)
