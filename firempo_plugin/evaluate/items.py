"""What one model got on one item of a measure: the unit that is stored, resumed and compared."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """A question, a report, an image with boxes, or a pair, as one model did on it.

    Attributes:
        id: The same for every model, so that models are compared item by item.
        kind: What results are also shown for apart, such as "closed" and "open"; "" for nothing.
        values: By metric; a metric that could not be computed is absent.
        skipped: Why there are no values; "" where there are.
        detail: What a person needs to check the values: the answer, the verdict, the protocol's odd cases.
    """

    id: str
    kind: str
    values: dict[str, float]
    skipped: str = ""
    detail: str = ""
