"""`stage: fire_mpo` from parsed arguments to a trained adapter, as the host's own workflows go."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...objectives.settings import Settings
from ..arguments import STAGE, settings_of
from . import reporters


def extend_tuner(module: Any) -> None:
    """Adds our branch in front of the host's choice of workflow, with the callbacks that the host gives to each."""
    training_function, get_train_args = module._training_function, module.get_train_args
    ahead: list[Any] = []

    def get_train_args_once(args: Any = None) -> Any:
        """What was parsed to see the stage is what the host's own workflows get."""
        return ahead.pop() if ahead else get_train_args(args)

    def training_function_with_stage(config: dict[str, Any]) -> None:
        parsed = get_train_args(config["args"])
        model_args, data_args, training_args, finetuning_args, _ = parsed
        if finetuning_args.stage != STAGE:
            ahead.append(parsed)
            training_function(config)
            return
        callbacks = config["callbacks"] + list(host_callbacks(module, *parsed))
        run_fire_mpo(model_args, data_args, training_args, finetuning_args, callbacks)
        if not (module.is_ray_available() and module.ray.is_initialized()) and module.dist.is_initialized():
            module.dist.destroy_process_group()

    module.get_train_args = get_train_args_once
    module._training_function = training_function_with_stage


def host_callbacks(
    module: Any, model_args: Any, data_args: Any, training_args: Any, finetuning_args: Any, generating_args: Any
) -> Iterator[Any]:
    """The callbacks that the host's `_training_function` gives to each of its workflows, in its order."""
    yield module.LogCallback()
    if finetuning_args.pissa_convert:
        yield module.PissaConvertCallback()
    if finetuning_args.use_swanlab:
        yield module.get_swanlab_callback(finetuning_args)
    if finetuning_args.early_stopping_steps is not None:
        yield module.EarlyStoppingCallback(early_stopping_patience=finetuning_args.early_stopping_steps)
    if training_args.enable_torch_profiler:
        yield module.TorchProfilerCallback(training_args)
    if training_args.profile_modules:
        yield module.ModuleProfilerCallback(training_args.profile_modules)
    yield module.ReporterCallback(model_args, data_args, finetuning_args, generating_args)


PASS_TOKENS_CPU = 1024
PASS_TOKENS = 4096
PASS_TOKENS_CHECKPOINTED = 16384
WEIGHTS = ("*.safetensors", "*.bin", "global_step*", "pytorch_model_fsdp_*/.metadata")
"""Of a checkpoint: of one process, DeepSpeed's, and FSDP's by shards, whose list of shards is written last."""


def refuse_unsupported(model_args: Any, data_args: Any, training_args: Any, finetuning_args: Any) -> None:
    """Refuses what the stage cannot do, before anything is loaded.

    Raises:
        UserError: Names the key and what to write.
    """
    its_own_reference = finetuning_args.use_ref_model and finetuning_args.ref_model is None
    lora_without_reference = not training_args.do_train and its_own_reference
    refusals = {
        "fp8": (
            training_args.fp8 or training_args.fp8_enable_fsdp_float8_all_gather,
            "Remove it; LLaMA-Factory sets FP8 up in the stages pt and sft alone, and would train on without it.",
        ),
        "streaming": (data_args.streaming, "Write `streaming: false`; every row is checked before training starts."),
        "include_effective_tokens_per_second": (
            finetuning_args.include_effective_tokens_per_second,
            "Write `include_num_input_tokens_seen: true` instead.",
        ),
        "neftune_noise_alpha": (
            training_args.neftune_noise_alpha is not None,
            "Remove it; policy and reference would draw different noise.",
        ),
        "fire_group_by_image with disable_shuffling or train_sampling_strategy": (
            finetuning_args.fire_group_by_image is not None
            and (finetuning_args.disable_shuffling or training_args.train_sampling_strategy != "random"),
            "Each sets the order of the rows; remove all but one.",
        ),
        "fire_group_by_image with per_device_train_batch_size: 1": (
            finetuning_args.fire_group_by_image is not None and training_args.per_device_train_batch_size < 2,
            "Rows share the image's tokens within a batch; raise per_device_train_batch_size.",
        ),
        "deepspeed with several processes on a CPU": (
            _shards_on_the_cpu(training_args),
            "ZeRO-2 ends there in an error, and ZeRO-3 in losses that are no numbers, in the host's own stages too. "
            "Remove deepspeed, or train with one process.",
        ),
        "fsdp on a CPU": (
            bool(training_args.fsdp) and training_args.device.type == "cpu",
            "accelerate shards on GPUs and their like alone; here it would end in an error, or not shard. Remove fsdp.",
        ),
        "image_do_pan_and_scan": (
            model_args.image_do_pan_and_scan,
            "Remove it; LLaMA-Factory's crops fail on every row. Gemma 3 then takes each image whole.",
        ),
        "packing": (data_args.packing, "Remove packing and neat_packing."),
        **{
            f"{key}: {vars(training_args)[key]}": (vars(training_args)[key] < 1, "Write a whole number of at least 1.")
            for key in ("per_device_train_batch_size", "gradient_accumulation_steps")
        },
        "torch_compile": (
            training_args.torch_compile,
            "Remove it; the passes of a step have another shape each, and would be compiled anew.",
        ),
        "do_eval without do_train": (
            lora_without_reference,
            "Name the model that the rewards are relative to, for example `ref_model: <the base model>`.",
        ),
    }
    for key, (found, remedy) in refusals.items():
        if found:
            raise UserError(f"stage: {STAGE} does not support {key}. {remedy}")
    if missing := reporters.problem(training_args.report_to):
        raise UserError(": ".join(missing))


def _shards_on_the_cpu(training_args: Any) -> bool:
    if not training_args.deepspeed or training_args.device.type != "cpu" or training_args.world_size == 1:
        return False
    config = training_args.hf_deepspeed_config
    return bool(config.is_zero2() or config.is_zero3())


def run_fire_mpo(
    model_args: Any, data_args: Any, training_args: Any, finetuning_args: Any, callbacks: list[Any]
) -> None:
    """Loads and checks the data, loads the models, trains, evaluates and saves."""
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.extras import logging
    from llamafactory.model import load_config, load_model, load_tokenizer
    from llamafactory.train.trainer_utils import create_modelcard_and_push, create_ref_model

    from ..data.admission import admit, warnings
    from ..data.collator import FireCollator
    from ..data.dataset import encoding_fingerprint
    from ..data.processor import image_settings, shrunk_first
    from . import report, tower
    from .caches import Caches, check_caches
    from .memory import fitting
    from .model_class import refuse_class
    from .trainer import FireMPOTrainer

    logger = logging.get_logger(f"llamafactory.{__name__}")
    refuse_unsupported(model_args, data_args, training_args, finetuning_args)
    refuse_class(model_args, data_args)
    settings = settings_of(finetuning_args)
    check_caches(training_args, finetuning_args, settings)
    most_tokens = pass_tokens(model_args, training_args, finetuning_args)
    skip_broken_checkpoint(training_args)
    output_dir = training_args.output_dir if training_args.should_save else None

    tokenizer_module = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(tokenizer_module["tokenizer"], data_args)
    dataset_module = get_dataset(template, model_args, data_args, training_args, stage=STAGE, **tokenizer_module)
    encoding = encoding_fingerprint(data_args, tokenizer_module["tokenizer"], tokenizer_module["processor"])
    dataset_module, counts = admit(
        dataset_module, settings, finetuning_args.fire_skip_invalid, output_dir, encoding, data_args.tokenized_path
    )
    if most_tokens is None:
        refuse_mixed_images(load_config(model_args).model_type, dataset_module)
    shrunk = shrunk_first(tokenizer_module["processor"])
    for warning in [*warnings(counts, settings), *([shrunk] if shrunk else [])]:
        logger.warning_rank0(warning)

    report.MetricsLogCallback.take_over(callbacks)
    refuse_blind_cells(model_args, settings)
    checkpoint_exactly(model_args)
    model = load_model(tokenizer_module["tokenizer"], model_args, finetuning_args, training_args.do_train)
    if against_the_key := tower.in_training(model, finetuning_args):
        logger.warning_rank0(against_the_key)
    if settings.needs_reference and (apart := starts_apart(model_args, finetuning_args)):
        logger.warning_rank0(apart)
    ref_model = create_ref_model(model_args, finetuning_args) if settings.needs_reference else None
    images = image_settings(template, tokenizer_module["processor"])
    caches = Caches.of(model, ref_model, settings, training_args, finetuning_args, images)
    collator = FireCollator.of(
        model,
        template,
        settings,
        tokenizer_module,
        most_tokens,
        caches.reference,
        caches.vision,
    )
    if finetuning_args.fire_pass_tokens is None and training_args.do_train:
        rows = dataset_module["train_dataset"]
        collator.layout = fitting(collator.layout, model, ref_model, rows, settings, training_args)
    trainer = FireMPOTrainer(
        model=model,
        ref_model=ref_model,
        settings=settings,
        finetuning_args=finetuning_args,
        args=training_args,
        data_collator=collator,
        processing_class=tokenizer_module["tokenizer"],
        processor=tokenizer_module["processor"],
        caches=caches,
        updates_in_backward=any(updating_in_backward(training_args, finetuning_args).values()),
        callbacks=[*callbacks, report.SignWarning()],
        **dataset_module,
    )
    report.announce(report.effective_settings(settings, counts, model), output_dir)

    if training_args.do_train:
        _train(trainer, finetuning_args)
    if training_args.do_eval:
        metrics = trainer.evaluate(metric_key_prefix="eval")
        trainer.log_metrics("eval", metrics)
        trainer.save_metrics("eval", metrics)
    for line in caches.report():
        logger.info_rank0(line)
    if training_args.push_to_hub:
        create_modelcard_and_push(trainer, model_args, data_args, training_args, finetuning_args)
    elif training_args.do_train:
        trainer.create_model_card(finetuned_from=model_args.model_name_or_path, dataset=data_args.dataset)


def starts_apart(model_args: Any, finetuning_args: Any) -> str | None:
    """Says where an adapter goes on training whose reference is the model without it; None elsewhere."""
    goes_on = finetuning_args.finetuning_type in ("lora", "oft") and not finetuning_args.create_new_adapter
    if not model_args.adapter_name_or_path or not goes_on or finetuning_args.ref_model:
        return None
    return (
        f"The adapter {model_args.adapter_name_or_path[-1]} goes on training, and the reference is the base "
        "model without it: the run starts away from its reference. Write create_new_adapter: true to train a new one "
        "from there, or name the reference in ref_model."
    )


def refuse_blind_cells(model_args: Any, settings: Settings) -> None:
    """Refuses a model that runs rows by their number of images where a row has cells without any.

    Raises:
        UserError: Says what to write.
    """
    from llamafactory.model import load_config

    from ...forward.families import CROSS_ATTENDING

    blind = any(cell.image == "blind" for cell in settings.cells(has_noised=True))
    if blind and (model_type := load_config(model_args).model_type) in CROSS_ATTENDING:
        raise UserError(
            f"fire_objective: {settings.objective.name} compares with the prompt without an image, which {model_type} "
            "cannot run beside the image. Write another fire_objective, for example mdpo."
        )


def checkpoint_exactly(model_args: Any) -> None:
    """Takes the kind of gradient checkpointing that the model can be propagated back with.

    The reentrant kind would propagate states that several layers share back twice, or not at all.
    """
    from llamafactory.extras import logging
    from llamafactory.model import load_config

    from ...forward.families import shares_states

    if model_args.disable_gradient_checkpointing or not model_args.use_reentrant_gc:
        return
    config = load_config(model_args)
    if shares_states(config):
        model_args.use_reentrant_gc = False
        logging.get_logger(f"llamafactory.{__name__}").info_rank0(
            f"use_reentrant_gc is false: layers of {config.model_type} share states with each other."
        )


def refuse_mixed_images(model_type: str, dataset_module: dict[str, Any]) -> None:
    """Refuses rows with different numbers of images, of a model that runs them apart, where a batch must be one pass.

    Raises:
        UserError: Says which numbers were found.
    """
    from ...forward.families import CROSS_ATTENDING
    from ..data.admission import splits_of

    if model_type not in CROSS_ATTENDING:
        return
    found = {len(row["images"]) for rows in splits_of(dataset_module).values() for row in rows.select_columns("images")}
    if len(found) > 1:
        raise UserError(
            f"{model_type} runs rows with different numbers of images apart, and the data has rows with "
            f"{', '.join(map(str, sorted(found)))}. Under deepspeed, fsdp, LOMO and layer-wise optimisers a batch is "
            "propagated back at once: keep to rows with one number of images, or train without these."
        )


def updating_in_backward(training_args: Any, finetuning_args: Any) -> dict[str, bool]:
    """By key, whether a run changes weights while a loss is propagated back."""
    return {
        "deepspeed": bool(training_args.deepspeed),
        "galore_layerwise": finetuning_args.use_galore and finetuning_args.galore_layerwise,
        "apollo_layerwise": finetuning_args.use_apollo and finetuning_args.apollo_layerwise,
        f"optim: {training_args.optim}": training_args.optim in ("lomo", "adalomo"),
    }


def pass_tokens(model_args: Any, training_args: Any, finetuning_args: Any) -> int | None:
    """Most tokens of a pass, as written or by kind of device; None where a batch must be one pass.

    Raises:
        UserError: `fire_pass_tokens` is written where it would have no effect.
    """
    obstacles = {**updating_in_backward(training_args, finetuning_args), "fsdp": bool(training_args.fsdp)}
    written: int | None = finetuning_args.fire_pass_tokens
    for key, found in obstacles.items():
        if found and written is not None:
            raise UserError(
                f"fire_pass_tokens has no effect with {key}, under which a batch is propagated back at once. "
                "Remove fire_pass_tokens, and lower per_device_train_batch_size to save memory."
            )
    if any(obstacles.values()):
        return None
    if written is not None:
        return written
    if training_args.device.type == "cpu":
        return PASS_TOKENS_CPU
    return PASS_TOKENS if model_args.disable_gradient_checkpointing else PASS_TOKENS_CHECKPOINTED


def skip_broken_checkpoint(training_args: Any) -> None:
    """Resumes from the newest complete checkpoint where the newest one was cut off while being written.

    Raises:
        UserError: A checkpoint outside the run's own folder is incomplete.
    """
    from llamafactory.extras import logging

    wanted = training_args.resume_from_checkpoint
    own = _own_checkpoints(Path(training_args.output_dir))
    if wanted is True and own:
        wanted = training_args.resume_from_checkpoint = str(own[-1])
    whole_state = not training_args.save_only_model and not training_args.deepspeed and not training_args.fsdp
    if not isinstance(wanted, str) or is_complete(Path(wanted), whole_state):
        return
    if Path(wanted).resolve() not in [path.resolve() for path in own]:
        raise UserError(f"resume_from_checkpoint: {wanted} is not a complete checkpoint")
    newest = next((path for path in reversed(own) if is_complete(path, whole_state)), None)
    training_args.resume_from_checkpoint = str(newest) if newest else None
    instead = f"resuming from {newest}" if newest else "starting anew"
    logging.get_logger(f"llamafactory.{__name__}").warning_rank0(f"{wanted} was cut off while being written: {instead}")


def _own_checkpoints(folder: Path) -> list[Path]:
    """The run's checkpoints by step."""
    numbered = [(path.name.removeprefix("checkpoint-"), path) for path in folder.glob("checkpoint-*")]
    return [path for _, path in sorted((int(step), path) for step, path in numbered if step.isdigit())]


def is_complete(checkpoint: Path, whole_state: bool) -> bool:
    """Whether the trainer state, which is written last, and all weights of a checkpoint can be read.

    Args:
        checkpoint: The folder.
        whole_state: Whether optimiser and schedule must be there as single files.
    """
    from safetensors import SafetensorError, safe_open

    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        for file in checkpoint.glob("*.safetensors"):
            with safe_open(file, framework="pt") as weights:
                weights.keys()
    except (OSError, ValueError, SafetensorError):
        return False
    torch_files = [*checkpoint.glob("*.pt"), *checkpoint.glob("*.pth"), *checkpoint.glob("*.bin")]
    torch_files = [file for file in torch_files if file.name != "training_args.bin"]
    needed = ("optimizer.pt", "scheduler.pt") if whole_state else ()
    return (
        isinstance(state, dict)
        and isinstance(state.get("global_step"), int)
        and any(path for pattern in WEIGHTS for path in checkpoint.glob(pattern))
        and all((checkpoint / name).is_file() for name in needed)
        and all(zipfile.is_zipfile(file) for file in torch_files)
    )


def _train(trainer: Any, finetuning_args: Any) -> None:
    from llamafactory.extras.ploting import plot_loss

    from .curves import plot_metrics

    result = trainer.train(resume_from_checkpoint=trainer.args.resume_from_checkpoint)
    if trainer.is_fsdp_enabled:  # by shards, FSDP2's default, the library would save no weights, without a word
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    trainer.save_model()
    trainer.log_metrics("train", result.metrics)
    trainer.save_metrics("train", result.metrics)
    trainer.save_state()
    if trainer.is_world_process_zero() and finetuning_args.plot_loss:
        plot_loss(trainer.args.output_dir)
        picture = plot_metrics(trainer.args.output_dir)
        print(f"Figure saved at: {picture}" if picture else "Nothing was logged to draw: lower logging_steps.")
