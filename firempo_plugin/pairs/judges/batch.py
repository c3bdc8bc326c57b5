"""The judge that asks a model by the Batch API: what is not answered yet waits for a later run."""

from .endpoint import EndpointJudge


class BatchJudge(EndpointJudge):
    """As `EndpointJudge`, at the price and the pace of batches."""

    later = True
