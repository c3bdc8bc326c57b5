"""A micro-batch under policy and reference: its passes, one after the other, and what came of them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..objectives.losses import RowTerm, add_reports, objective_loss
from ..objectives.settings import Settings
from .batch import Batch, Known, PassInputs
from .families import Family, ImageFeatures, SharedImageFeatures, is_frozen
from .masks import TreeMasks
from .reference_cache import ReferenceScores
from .score import Images, Runner, score


@dataclass(frozen=True)
class Models:
    """What runs a step.

    Attributes:
        policy, reference: See `score`; a step whose objective needs no reference has None.
        family: Of the policy, for shared image features; None on the plain path.
        masks: Of its layers.
    """

    policy: Runner
    reference: Runner | None
    family: Family | None
    masks: TreeMasks


class Step:
    """One micro-batch. Every pass is to be run once, and propagated back before the next.

    Args:
        models: What runs it.
        settings: The objective and its numbers.
        batch: The rows, on the models' device.
    """

    def __init__(self, models: Models, settings: Settings, batch: Batch) -> None:
        self.batch = batch
        self._models = models
        self._settings = settings
        self._features: SharedImageFeatures | None = None
        if models.family is not None:
            frozen = is_frozen(models.family, models.policy.core)
            self._features = SharedImageFeatures(models.family, frozen, batch.images.features, batch.images.pieces)
        self._losses: list[Tensor] = []
        self._reports: list[dict[str, RowTerm]] = []
        self.said: list[tuple[Known, ReferenceScores]] = []
        """What the reference said in passes that a cache may keep."""

    def run(self, each: PassInputs) -> Tensor:
        """The share of a pass in the loss of each row: [B], with gradients."""
        models, batch = self._models, self.batch
        images = None
        if self._features is not None and each.image_index is not None and each.has_images:
            images = Images(self._features, each.image_index)
        known = each.known.scores if each.known else None
        inputs = batch.inputs_of(each, models.masks)
        scored, reference = score(models.policy, models.reference, inputs, each.scoring, images, known)
        if each.known and reference:
            self.said.append((each.known, reference))
        losses, report = objective_loss(self._settings, scored, batch.has_noised, batch.weight)
        self._losses.append(losses.detach())
        self._reports.append(report)
        return losses

    @property
    def losses(self) -> Tensor:
        """Of each row, of the passes that were run: [B], without gradients."""
        return torch.stack(self._losses).sum(0)

    def report(self) -> dict[str, RowTerm]:
        """The metrics of `objectives.metrics_of` for each row, of the passes that were run."""
        return add_reports(self._reports)

    def computed_images(self) -> dict[int, ImageFeatures]:
        """The features of distinct images that were not known before."""
        return {} if self._features is None else self._features.computed(self._models.policy.core)
