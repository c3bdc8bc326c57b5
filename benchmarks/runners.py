"""Ways to run a step: each collates micro-batches and runs them, forward and backward."""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any, Protocol

import published
import torch
from datasets import Dataset, Image, Sequence
from llamafactory.data import PairwiseDataCollatorWithPadding
from llamafactory.train.dpo.trainer import CustomDPOTrainer
from model import Loaded, host_arguments
from rows import Rows
from trl import DPOConfig, DPOTrainer

from firempo_plugin.forward.batch import PassInputs
from firempo_plugin.forward.flops import Text, Work, sequences
from firempo_plugin.forward.plan import Layout
from firempo_plugin.host.arguments import settings_of
from firempo_plugin.host.data.collator import BATCH, FireCollator
from firempo_plugin.host.train.caches import Caches
from firempo_plugin.host.train.trainer import FireMPOTrainer
from firempo_plugin.host.train.workflow import pass_tokens

Backward = Callable[..., None]


class Runner(Protocol):
    """A way to run the rows of a step."""

    def collate(self, rows: Rows) -> list[Any]:
        """The micro-batches of a step, as the data loader's workers would make them."""

    def run(self, batches: list[Any], backward: Callable[[Backward], Backward]) -> float:
        """Runs a step without the optimiser's.

        Args:
            batches: From `collate`.
            backward: Wraps the function that propagates a loss back, so that it can be timed.

        Returns:
            The loss of the step.
        """

    def work(self, batches: list[Any]) -> Work:
        """What a step runs."""


class Published:
    """The published algorithm; see `published`."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._rows = 0

    def collate(self, rows: Rows) -> list[Any]:
        processor, tokenizer = self._loaded.tokens["processor"], self._loaded.tokens["tokenizer"]
        image_token = self._loaded.model.config.image_token_id
        parts = [part for batch in rows.fire for part in self._loaded.checkpoint.parts(batch, rows.image_tokens)]
        self._rows = len(parts[0])
        return [published.collate(part, processor, image_token, tokenizer.pad_token_id) for part in parts]

    def run(self, batches: list[Any], backward: Callable[[Backward], Backward]) -> float:
        propagate = backward(torch.Tensor.backward)
        total = 0.0
        for cells in batches:
            here = {name: cell.to(self._loaded.device) for name, cell in cells.items()}
            total += published.step(self._loaded.model, here, self._rows, len(batches), propagate)
        return total

    def work(self, batches: list[Any]) -> Work:
        cells = [cell for batch in batches for cell in batch.values()]
        text = sum((_all_places(cell.inputs["input_ids"]) for cell in cells), Text())
        patches = tuple(int(grid.prod()) for cell in cells for grid in cell.inputs["image_grid_thw"])
        return Work(text, text, 2 * patches)


class _ByTrainer:
    """A trainer of the transformers library and its collator: `training_step` on every micro-batch."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self.trainer, self.collator = self.build(loaded)

    def build(self, loaded: Loaded) -> tuple[Any, Any]:
        raise NotImplementedError

    def collate(self, rows: Rows) -> list[Any]:
        return [self.collator(batch) for batch in rows.fire]

    def run(self, batches: list[Any], backward: Callable[[Backward], Backward]) -> float:
        self.trainer.current_gradient_accumulation_steps = len(batches)
        accelerator = self.trainer.accelerator
        plain = accelerator.backward
        accelerator.backward = backward(plain)
        try:
            return sum(self.trainer.training_step(self._loaded.model, batch).item() for batch in batches)
        finally:
            accelerator.backward = plain


class ThisProject(_ByTrainer):
    """`stage: fire_mpo` with some of its savings switched off, or its caches on.

    Args:
        loaded: The model.
        share_images: Whether each distinct image goes through the vision tower once a step.
        trees: Whether sequences with a common beginning are run as one.
        passes: Whether a batch is propagated back in several passes.
        caches: The keys of the caches that it fills and uses.
    """

    def __init__(
        self, loaded: Loaded, *, share_images: bool, trees: bool, passes: bool, caches: tuple[str, ...]
    ) -> None:
        self._savings = (share_images, trees, passes)
        self._caches = caches
        super().__init__(loaded)

    def build(self, loaded: Loaded) -> tuple[Any, Any]:
        arguments, finetuning = loaded.arguments, copy(loaded.arguments.finetuning)
        for key in self._caches:
            folder = loaded.checkpoint.folder / key
            folder.mkdir(exist_ok=True)
            setattr(finetuning, key, str(folder))
        settings = settings_of(finetuning)
        caches = Caches.of(loaded.model, None, settings, arguments.training, finetuning, images={})
        limit = pass_tokens(arguments.model, arguments.training, finetuning)
        full = FireCollator.of(
            loaded.model, loaded.template, settings, loaded.tokens, limit, caches.reference, caches.vision
        )
        share_images, trees, passes = self._savings
        layout = Layout(full.layout.image_tokens if trees else None, full.layout.pass_tokens if passes else None)
        collator = replace(full, template=loaded.template, layout=layout, share_images=share_images)
        trainer = FireMPOTrainer(
            model=loaded.model,
            ref_model=None,
            settings=settings,
            finetuning_args=finetuning,
            processor=None,
            caches=caches,
            args=arguments.training,
            data_collator=collator,
        )
        return trainer, collator

    def run(self, batches: list[Any], backward: Callable[[Backward], Backward]) -> float:
        self.trainer._rows_of_step = sum(len(batch[BATCH]) for batch in batches)
        return super().run(batches, backward)

    def work(self, batches: list[Any]) -> Work:
        total = Work()
        for batch in [inputs[BATCH] for inputs in batches]:
            for each in batch.passes:
                text = _pass_text(each)
                known = each.known is not None and each.known.scores is not None
                total += Work(text, Text(scored=len(each.scoring.kl)) if known else text)
            images = batch.images
            grids = images.inputs["image_grid_thw"]
            if images.features:
                grids = grids[: len(images.keys) - len(images.features)]
            patches = tuple(int(grid.prod()) for grid in grids)
            total += Work(patches=patches if self.collator.share_images else 2 * patches)
        return total


def _pass_text(each: PassInputs) -> Text:
    count, length = each.inputs["input_ids"].shape
    scored = len(each.scoring.token)
    if each.end is None:
        return sequences(count, length, scored)
    places = torch.arange(length)
    # Place j is seen from j to the end of its subtree; padding sees itself.
    return Text(count * length, int((each.end - places).sum()), scored)


class HostDPO(_ByTrainer):
    """LLaMA-Factory's own `stage: dpo`."""

    def collate(self, rows: Rows) -> list[Any]:
        parts = [part for batch in rows.dpo for part in self._loaded.checkpoint.parts(batch, rows.image_tokens)]
        return [self.collator(part) for part in parts]

    def build(self, loaded: Loaded) -> tuple[Any, Any]:
        arguments = host_arguments(loaded.checkpoint, stage="dpo")
        collator = PairwiseDataCollatorWithPadding(
            template=loaded.template, model=loaded.model, pad_to_multiple_of=8, **loaded.tokens
        )
        trainer = CustomDPOTrainer(
            model=loaded.model,
            ref_model=None,
            args=arguments.training,
            finetuning_args=arguments.finetuning,
            data_collator=collator,
            **loaded.tokens,
        )
        return trainer, collator

    def work(self, batches: list[Any]) -> Work:
        text = sum((_all_places(batch["input_ids"]) for batch in batches), Text())
        patches = tuple(int(grid.prod()) for batch in batches for grid in batch["image_grid_thw"])
        return Work(text, text, 2 * patches)


class TrlDPO(_ByTrainer):
    """TRL's own DPO trainer, which tokenises the rows itself.

    As of TRL 0.24 it hands a model no `image_grid_thw`, without which the Qwen families cannot place an image; what
    they answer is in the table.
    """

    def build(self, loaded: Loaded) -> tuple[Any, Any]:
        return None, None

    def collate(self, rows: Rows) -> list[Any]:
        dataset = Dataset.from_list(
            [
                {
                    "prompt": [{"role": "user", "content": _parts(text["conversations"][0]["value"])}],
                    "chosen": [{"role": "assistant", "content": _parts(text["chosen"]["value"])}],
                    "rejected": [{"role": "assistant", "content": _parts(text["rejected"]["value"])}],
                    "images": row["images"],
                }
                for batch, texts in zip(rows.fire, rows.text, strict=True)
                for row, text in zip(batch, texts, strict=True)
            ]
        ).cast_column("images", Sequence(Image()))
        training = self._loaded.arguments.training
        self._loaded.model.get_base_model().warnings_issued = {}  # gone from transformers 5, and TRL writes to it
        self.trainer = DPOTrainer(
            model=self._loaded.model,
            args=DPOConfig(
                output_dir=training.output_dir,
                use_cpu=training.use_cpu,
                bf16=training.bf16,
                gradient_checkpointing=False,  # already as the checkpoint says
                max_prompt_length=None,
                max_length=None,
                report_to=[],
                disable_tqdm=True,
            ),
            processing_class=self._loaded.tokens["processor"],
            train_dataset=dataset,
        )
        size = len(rows.text[0])
        features = list(self.trainer.train_dataset)
        return [self.trainer.data_collator(features[at : at + size]) for at in range(0, len(features), size)]

    def work(self, batches: list[Any]) -> Work:
        text = Text()
        for batch in batches:
            prompt = batch["prompt_input_ids"].shape[1]
            answer = max(batch["chosen_input_ids"].shape[1], batch["rejected_input_ids"].shape[1])
            rows = 2 * len(batch["prompt_input_ids"])
            text += sequences(rows, prompt + answer, rows * (prompt + answer))
        return Work(text, text)


def _parts(text: str) -> list[dict[str, Any]]:
    image = [{"type": "image", "text": ""}] if text.startswith("<image>") else []
    return [*image, {"type": "text", "text": text.removeprefix("<image>")}]


def _all_places(input_ids: torch.Tensor) -> Text:
    """Plain sequences with logits at every place."""
    return sequences(*input_ids.shape, scored=input_ids.numel())
