"""Who is measured, as a table; a new saving is a new line of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

from model import Loaded
from runners import HostDPO, Published, Runner, ThisProject, TrlDPO


@dataclass(frozen=True)
class Contestant:
    """A line of the table.

    Attributes:
        name: On the command line and in the results.
        title: In words.
        build: Makes its runner of a loaded model.
        one_image: Whether the rows of a micro-batch are all about one image.
        same_as: The contestant whose loss it must give; empty where it computes another loss.
        second_epoch: Whether its caches are filled before it is measured.
    """

    name: str
    title: str
    build: Callable[[Loaded], Runner]
    one_image: bool = False
    same_as: str = ""
    second_epoch: bool = False


PUBLISHED, PUBLISHED_ONE_IMAGE = "published", "published_one_image"
DEFAULT = "passes"
REFERENCE, VISION = "fire_reference_cache", "fire_vision_cache"


@cache  # the same savings are the same runner
def _ours(
    *caches: str, share_images: bool = True, trees: bool = True, passes: bool = True
) -> Callable[[Loaded], Runner]:
    return partial(ThisProject, share_images=share_images, trees=trees, passes=passes, caches=caches)


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant(PUBLISHED, "published algorithm", Published),
        Contestant("llamafactory_dpo", "LLaMA-Factory `stage: dpo`", HostDPO),
        Contestant("trl_dpo", "TRL DPO", TrlDPO),
        Contestant(
            "head",
            "head at scored tokens only",
            _ours(share_images=False, trees=False, passes=False),
            same_as=PUBLISHED,
        ),
        Contestant("vision", "+ each image encoded once", _ours(trees=False, passes=False), same_as=PUBLISHED),
        Contestant("trees", "+ token trees", _ours(passes=False), same_as=PUBLISHED),
        Contestant(DEFAULT, "+ passes (the default)", _ours(), same_as=PUBLISHED),
        Contestant("cached", "+ reference cached", _ours(REFERENCE), same_as=PUBLISHED, second_epoch=True),
        Contestant(
            "all_cached", "+ image features cached", _ours(REFERENCE, VISION), same_as=PUBLISHED, second_epoch=True
        ),
        Contestant(PUBLISHED_ONE_IMAGE, "published algorithm, one image", Published, one_image=True),
        Contestant("one_image", "the default, one image", _ours(), one_image=True, same_as=PUBLISHED_ONE_IMAGE),
        Contestant(
            "one_image_cached",
            "+ reference cached, one image",
            _ours(REFERENCE),
            one_image=True,
            same_as=PUBLISHED_ONE_IMAGE,
            second_epoch=True,
        ),
        Contestant(
            "one_image_all_cached",
            "+ image features cached, one image",
            _ours(REFERENCE, VISION),
            one_image=True,
            same_as=PUBLISHED_ONE_IMAGE,
            second_epoch=True,
        ),
    )
}
