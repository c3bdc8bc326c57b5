"""The trainer: the passes of a step, their losses, and their metrics over ranks and steps."""

from dataclasses import replace
from functools import cached_property
from types import MethodType
from typing import Any

import torch
from llamafactory.extras import logging
from llamafactory.train.callbacks import SaveProcessorCallback
from llamafactory.train.trainer_utils import create_custom_optimizer, create_custom_scheduler
from torch import Tensor
from transformers import Trainer
from transformers.trainer_pt_utils import LengthGroupedSampler
from trl.models.utils import prepare_deepspeed, prepare_fsdp

from ...forward.batch import Batch
from ...forward.dropout import switch_off
from ...forward.families import FAMILIES
from ...forward.masks import TreeMasks
from ...forward.order import GroupByImage, images_shown
from ...forward.score import Runner
from ...forward.step import Models, Step
from ...objectives.losses import RowTerm
from ...objectives.settings import Settings
from ..data.collator import BATCH
from . import model_card
from .caches import Caches
from .guard import FiniteGuard
from .metrics import MeanByName, metric_names

logger = logging.get_logger(f"llamafactory.{__name__}")

LOSS = "loss"
RUN_COLUMNS = ("prompt_ids", "noised_prompt_ids", "chosen_ids", "rejected_ids", "chosen_ids", "rejected_ids")


def _never_wait(args: Any) -> None:
    """Lets the host run ahead of the device: it waits for neither a batch to be copied nor a loss to be known."""
    args.accelerator_config.non_blocking = args.dataloader_pin_memory
    # The filter reads every loss, for the sake of a mean that the exact one of this trainer replaces.
    args.logging_nan_inf_filter = False


class FireMPOTrainer(Trainer):
    """Trains a policy against a frozen reference with any objective of the table.

    Dropout of every kind, the adapter's included, is off in both models, as in the host's DPO: a log-ratio compares
    two models, not two masks.

    Args:
        model: The policy.
        ref_model: A separate reference, or None: the policy with its adapter switched off, if the objective needs one.
        settings: The objective and its numbers.
        finetuning_args: The host's.
        processor: Saved beside every checkpoint, or None.
        caches: What is kept on disk.
        updates_in_backward: Whether weights change while a loss is propagated back (`workflow.updating_in_backward`).
        **kwargs: Of `transformers.Trainer`.
    """

    optimizer: Any

    def __init__(
        self,
        model: Any,
        ref_model: Any,
        settings: Settings,
        finetuning_args: Any,
        processor: Any,
        caches: Caches,
        updates_in_backward: bool = False,
        **kwargs: Any,
    ) -> None:
        rates = [rate for each in (model, ref_model) if each is not None for rate in switch_off(each).items()]
        if rates:
            named = ", ".join(f"{where} {rate:g}" for where, rate in dict(rates).items())
            logger.info_rank0(f"Dropout is off in policy and reference; without effect are {named}.")
        self.settings = settings
        self.finetuning_args = finetuning_args
        self._family = FAMILIES.get(model.config.model_type)
        self._train_means = MeanByName((LOSS, *metric_names(settings)))
        self._eval_means = MeanByName((LOSS, *metric_names(settings)))
        self._rows_of_step = 1
        self._caches = caches
        self._updates_in_backward = updates_in_backward
        self._tree_masks = TreeMasks.of(model)
        _never_wait(kwargs["args"])
        super().__init__(model=model, **kwargs)
        self.model_accepts_loss_kwargs = False
        self._guard = FiniteGuard(self.accelerator, self._settings_to_name())
        self.ref_model = self._prepare_reference(ref_model)
        if processor is not None:
            self.add_callback(SaveProcessorCallback(processor))
        if finetuning_args.use_badam:
            from badam import BAdamCallback, clip_grad_norm_old_version  # type: ignore[import-not-found]

            self.accelerator.clip_grad_norm_ = MethodType(clip_grad_norm_old_version, self.accelerator)
            self.add_callback(BAdamCallback)

    def create_model_card(self, *, finetuned_from: str = "", dataset: Any = None, **others: Any) -> None:
        """Writes this project's card in the place of the library's, also where the model is pushed to a hub.

        Args:
            finetuned_from: The base model.
            dataset: Names of the data sets.
            **others: What the host says beside them.
        """
        if self.is_world_process_zero():
            model_card.write(self, finetuned_from, ", ".join([dataset] if isinstance(dataset, str) else dataset or []))

    def _settings_to_name(self) -> dict[str, Any]:
        """What a step's numbers depend on most, by key."""
        precision = [key for key in ("bf16", "fp16") if vars(self.args)[key]]
        text = self.model.config.get_text_config()
        return {
            "fire_objective": self.settings.objective.name,
            "pref_beta": self.settings.beta,
            "learning_rate": self.args.learning_rate,
            "max_grad_norm": self.args.max_grad_norm,
            "precision": precision[0] if precision else "fp32",
            "weights": str(self.model.dtype).removeprefix("torch."),
            "attention": text._attn_implementation,
        }

    def _prepare_reference(self, ref_model: Any) -> Any:
        """Wraps a separate reference for the run's kind of distribution, and freezes it."""
        if ref_model is None:
            return None
        ref_model.requires_grad_(False)
        if self.is_deepspeed_enabled:
            quantised = getattr(ref_model, "is_loaded_in_8bit", False) or getattr(ref_model, "is_loaded_in_4bit", False)
            return ref_model if quantised else prepare_deepspeed(ref_model, self.accelerator)
        if self.is_fsdp_enabled:
            if self.accelerator.is_fsdp2:
                from accelerate.utils.fsdp_utils import fsdp2_prepare_model

                return fsdp2_prepare_model(self.accelerator, ref_model)
            return prepare_fsdp(ref_model, self.accelerator)
        return self.accelerator.prepare_model(ref_model, evaluation_mode=True).eval()

    def _models(self, model: Any) -> Models:
        unwrapped = self.accelerator.unwrap_model(model)
        sharded = self.is_deepspeed_enabled or self.is_fsdp_enabled
        policy = Runner.of(model, unwrapped, sharded=sharded)
        reference = None
        if self.settings.needs_reference and self.ref_model is None:
            reference = replace(policy, around=unwrapped.disable_adapter)
        elif self.ref_model is not None:
            reference = Runner.of(self.ref_model, self.accelerator.unwrap_model(self.ref_model), sharded=sharded)
        return Models(policy, reference, self._family, self._tree_masks)

    def start(self, model: Any, batch: Batch) -> Step:
        """A step over a batch of the collator, none of whose passes has been run."""
        return Step(self._models(model), self.settings, batch)

    def row_losses(self, model: Any, batch: Batch) -> tuple[Tensor, dict[str, RowTerm]]:
        """The loss of each row of a batch of the collator [B], and each row's metrics."""
        step = self.start(model, batch)
        losses = torch.stack([step.run(each) for each in batch.passes]).sum(0)
        return losses, self._finish(step)

    def _finish(self, step: Step) -> dict[str, RowTerm]:
        """The metrics of a step's rows; writes what the caches want only now, since writing waits for the device."""
        for known, reference in step.said:
            self._caches.keep_reference(known, reference)
        if step.batch.images.keys:
            self._caches.keep_images(step.batch.images, step.computed_images())
        batch, report = step.batch, step.report()
        rows = {
            LOSS: step.losses,
            "phrase_tokens/chosen": batch.chosen_tokens,
            "phrase_tokens/rejected": batch.rejected_tokens,
            "noised_share": batch.has_noised,
        }
        everywhere = torch.ones_like(batch.has_noised)
        return report | {name: RowTerm(values, everywhere) for name, values in rows.items()}

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The micro-batches of the next step; counts their rows, so that each row weighs the same in the gradient."""
        samples, items = super().get_batch_samples(*args, **kwargs)
        self._rows_of_step = sum(len(sample[BATCH]) for sample in samples)
        return samples, items

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """The library's estimate, 6 operations a token and parameter, of the tokens that are run."""
        return int(6 * inputs[BATCH].tokens * self._parameters)

    @cached_property
    def _parameters(self) -> int:
        return int(self.model.num_parameters(exclude_embeddings=True))

    def _track_num_input_tokens(self, inputs: dict[str, Any]) -> None:
        """Counts the tokens that the policy runs, shared ones once: `include_num_input_tokens_seen`."""
        counted = self.args.include_num_input_tokens_seen
        if counted == "no":
            return
        batch: Batch = inputs[BATCH]
        tokens = batch.tokens if counted == "all" else batch.own_tokens
        if self.accelerator.num_processes > 1:
            tokens = int(self.accelerator.gather(torch.tensor(tokens, device=self.args.device)).sum())
        self.state.num_input_tokens_seen += tokens

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Propagates every pass back before the next is run; gradients are reduced over ranks with the last."""
        model.train()
        step = self.start(model, self._here(inputs))
        *first, last = step.batch.passes
        for each in first:
            with self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    loss = self._step_loss(step.run(each))
                self.accelerator.backward(loss / self.current_gradient_accumulation_steps)
        super().training_step(model, {"step": step, "last": last}, num_items_in_batch)
        report = self._finish(step)
        self._train_means.add(self._train_means.stack(report))
        if not self._updates_in_backward:
            self._guard.add(step.losses, step.batch.sources)
        return self._step_loss(step.losses) / self.current_gradient_accumulation_steps

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """The training loss of a step's last pass; checked here where propagating it back changes the weights."""
        step: Step = inputs["step"]
        losses = step.run(inputs["last"])
        if self._updates_in_backward:
            self._guard.add(losses, step.batch.sources)
            self._guard.check(self.state.global_step + 1)
        return self._step_loss(losses)

    def _here(self, inputs: dict[str, Any]) -> Batch:
        """The collator's batch on this process's device."""
        batch: Batch = inputs[BATCH]
        return batch.to(self.args.device, non_blocking=True)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The last look at a step before its update; infinite gradients under fp16 are the gradient scaler's."""
        grad_norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self._guard.check(self.state.global_step + 1, None if self.accelerator.scaler else grad_norm)
        return grad_norm

    def _step_loss(self, losses: Tensor) -> Tensor:
        """The trainer divides by the number of micro-batches; a short one counts by its rows, not as a whole."""
        return losses.sum() * self.current_gradient_accumulation_steps / self._rows_of_step

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> tuple[Any, None, None]:
        """One evaluation batch. Rows are gathered, so that rows repeated to even out a batch do not count."""
        with torch.no_grad(), self.compute_loss_context_manager():
            losses, report = self.row_losses(model, self._here(inputs))
        self._eval_means.add(self.accelerator.gather_for_metrics(self._eval_means.stack(report)))
        return losses.mean(), None, None

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        """The library's loop, with the means over all rows, the loss included, in its output."""
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        means = self._eval_means.take()
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in means.items()})
        return output

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Adds the metrics since the last log to a training log, the same names on every rank and step."""
        if LOSS in logs:
            logs |= self._train_means.take(self._sum_over_ranks)
        super().log(logs, *args, **kwargs)

    def _sum_over_ranks(self, sums: Tensor) -> Tensor:
        return self.accelerator.reduce(sums.to(self.accelerator.device), "sum")

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """The host's choice of optimisers before the default one."""
        if self.optimizer is None:
            self.optimizer = create_custom_optimizer(self.model, self.args, self.finetuning_args)
        return super().create_optimizer(*args, **kwargs)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The host's schedules for its layer-wise optimisers before the default one."""
        create_custom_scheduler(self.args, num_training_steps, optimizer)
        return super().create_scheduler(num_training_steps, optimizer)

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        """The library's orders, by real length where that is wanted, and the order that groups by image."""
        rows: Any = self.train_dataset
        if self.finetuning_args.disable_shuffling:
            return torch.utils.data.SequentialSampler(rows)
        together = self.finetuning_args.fire_group_by_image
        if together is not None:
            images = images_shown(row["images"] for row in rows.select_columns("images"))
            seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
            return GroupByImage(images, together, self.args.train_batch_size, seed)
        if self.args.train_sampling_strategy == "group_by_length":
            lengths = [sum(map(len, ids)) for ids in zip(*(rows[name] for name in RUN_COLUMNS), strict=True)]
            batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
            return LengthGroupedSampler(batch, lengths=lengths)
        return super()._get_train_sampler(*args, **kwargs)
