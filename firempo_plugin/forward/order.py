"""The order in which rows are seen, so that rows on one image come in one batch."""

import random
from collections.abc import Hashable, Iterable, Iterator, Sequence

from torch.utils.data import Sampler

from .disk import image_digest
from .tree import Image

IN_SIGHT = 500
"""How many groups are looked through for one that fits."""

Group = tuple[Hashable, list[int]]


def images_shown(rows: Iterable[Sequence[Image]]) -> list[Hashable]:
    """What each row shows, by its images; a row without any shows what no other does."""
    return [
        tuple(image if isinstance(image, str) else image_digest(image) for image in images) or (number,)
        for number, images in enumerate(rows)
    ]


class GroupByImage(Sampler[int]):
    """Random order in which a batch holds up to `together` rows of an image, if the image has as many.

    An image's rows are dealt anew every epoch, and their groups are spread over the epoch at random, so
    that a batch holds as many images as its size allows.

    Args:
        images: What each row shows.
        together: Most rows of an image that come together, >= 2.
        batch_size: Rows of a batch; groups are not torn over two batches if another order avoids it.
        seed: With the epoch it decides the order, on every rank alike.
    """

    def __init__(self, images: Sequence[Hashable], together: int, batch_size: int, seed: int) -> None:
        self._images = images
        self._together = min(together, batch_size)
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[int]:
        draw = random.Random(f"{self._seed} {self._epoch}")
        return arrange(self._groups(draw), self._batch_size)

    def _groups(self, draw: random.Random) -> list[Group]:
        by_image: dict[Hashable, list[int]] = {}
        for row, image in enumerate(self._images):
            by_image.setdefault(image, []).append(row)
        groups: list[Group] = []
        for image, rows in by_image.items():
            draw.shuffle(rows)
            starts = range(0, len(rows), self._together)
            groups += [(image, rows[start : start + self._together]) for start in starts]
        draw.shuffle(groups)
        return groups


def arrange(groups: Sequence[Group], batch_size: int) -> Iterator[int]:
    """Lays groups one after the other, mainly in the order given.

    A group waits while another one fits the room that is left in a batch and it does not, or while its image
    is in the batch already. One is torn over two batches only where none of those in sight fits.

    Args:
        groups: Groups of rows by image, none larger than a batch.
        batch_size: Rows of a batch.
    """
    waiting = list(groups)
    room, shown = batch_size, set[Hashable]()
    while waiting:
        fitting = [number for number, (_, rows) in enumerate(waiting[:IN_SIGHT]) if len(rows) <= room]
        chosen = next((number for number in fitting if waiting[number][0] not in shown), next(iter(fitting), 0))
        image, rows = waiting.pop(chosen)
        if len(rows) > room:
            waiting.insert(0, (image, rows[room:]))
        yield from rows[:room]
        shown.add(image)
        room -= len(rows)
        if room <= 0:
            room, shown = batch_size, set()
