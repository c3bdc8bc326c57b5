"""How pairs come about, by name: the steps that may stand in the place of `edit`."""

from typing import TYPE_CHECKING

from ...registry import Registry

if TYPE_CHECKING:  # it knows the configuration, which knows this table
    from .pairing import PairingStep

PAIRINGS: "Registry[type[PairingStep]]" = Registry(
    __package__,
    {
        "minimal": (".edit:EditStep", "a response, and its minimal edit by the judge"),
        "best_worst": (".rank:RankStep", "the best and the worst of respond.samples responses, by rank.by"),
        "priors": (".priors:PriorStep", "a report without its references to earlier examinations, and as it is"),
    },
)
