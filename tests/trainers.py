"""A model with encoded rows as the workflow loads them, and trainers on it, for tests that look at single steps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, FinetuningArguments, ModelArguments
from llamafactory.model import load_model, load_tokenizer
from transformers import Seq2SeqTrainingArguments

from firempo_plugin.host.arguments import settings_of
from firempo_plugin.host.data.collator import BATCH, FireCollator
from firempo_plugin.host.data.processor import image_settings
from firempo_plugin.host.train.caches import Caches
from firempo_plugin.host.train.trainer import FireMPOTrainer
from firempo_plugin.host.train.workflow import checkpoint_exactly


@dataclass
class Loaded:
    """A model with rows; trainers that are built on it one after the other share its weights and gradients.

    Attributes:
        model: The policy.
        template: The host's.
        tokens: The host's tokenizer and processor, by name.
        rows: Encoded rows, a `datasets.Dataset`.
        output_dir: Of the trainers.
        keys: Of the stage and of tuning, with which the model was loaded.
    """

    model: Any
    template: Any
    tokens: dict[str, Any]
    rows: Any
    output_dir: Path
    keys: dict[str, Any]

    def trainer(self, *, pass_tokens=None, **keys):
        """A trainer as the workflow builds it; `keys` are those of the stage that are to be others."""
        finetuning_args = FinetuningArguments(stage="fire_mpo", lora_target="all", **self.keys | keys)
        training_args = Seq2SeqTrainingArguments(output_dir=str(self.output_dir), use_cpu=True, report_to=[])
        settings = settings_of(finetuning_args)
        images = image_settings(self.template, self.tokens["processor"])
        caches = Caches.of(self.model, None, settings, training_args, finetuning_args, images)
        known = caches.reference, caches.vision
        self.model.zero_grad()
        return FireMPOTrainer(
            self.model,
            None,
            settings,
            finetuning_args,
            None,
            caches,
            args=training_args,
            data_collator=FireCollator.of(self.model, self.template, settings, self.tokens, pass_tokens, *known),
            train_dataset=self.rows,
        )


def load(checkpoint, template, dataset, dataset_dir, output_dir, *, adapter=None, model=None, **keys) -> Loaded:
    """Loads a checkpoint with rows of data sets; `model` is keys of the model, `keys` are those of stage and tuning."""
    model_args = ModelArguments(
        model_name_or_path=str(checkpoint), adapter_name_or_path=str(adapter) if adapter else None, **model or {}
    )
    model_args.compute_dtype = torch.float32
    model_args.device_map = None
    finetuning_args = FinetuningArguments(stage="fire_mpo", lora_target="all", **keys)
    data_args = DataArguments(template=template, dataset=dataset, dataset_dir=str(dataset_dir), overwrite_cache=True)
    training_args = Seq2SeqTrainingArguments(output_dir=str(output_dir), use_cpu=True, report_to=[])
    tokens = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(tokens["tokenizer"], data_args)
    rows = get_dataset(template, model_args, data_args, training_args, stage="fire_mpo", **tokens)["train_dataset"]
    checkpoint_exactly(model_args)
    model = load_model(tokens["tokenizer"], model_args, finetuning_args, is_trainable=True)
    return Loaded(model, template, tokens, rows, output_dir, keys)


def step(trainer, batch):
    """Loss and gradients as a training step makes them."""
    trainer.current_gradient_accumulation_steps = 1
    trainer._rows_of_step = len(batch)
    trainer.model.zero_grad()
    loss = trainer.training_step(trainer.model, {BATCH: batch})
    return loss, {name: w.grad for name, w in trainer.model.named_parameters() if w.requires_grad}
