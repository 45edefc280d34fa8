"""The Trainer's arguments: the protocol's defaults, those that change the weights, and those that are refused."""

from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from eval_harness.errors import HarnessError
from eval_harness.results.folders import RunFolder
from eval_harness.specification import TrainingRun


# The protocol's training, where it differs from the library's defaults.
PROTOCOL = {
    "lr_scheduler_type": "linear",
    "warmup_steps": 0.05,  # a share of all steps
    "max_grad_norm": 1.0,
    "weight_decay": 0.0,
}


@dataclass
class RunTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the protocol's defaults."""

    lr_scheduler_type: str = PROTOCOL["lr_scheduler_type"]
    warmup_steps: float = PROTOCOL["warmup_steps"]
    max_grad_norm: float = PROTOCOL["max_grad_norm"]
    weight_decay: float = PROTOCOL["weight_decay"]
    learning_rate: float = 1e-3
    max_steps: int = 1000
    per_device_train_batch_size: int = 1  # one micro-batch per item; the global batch is TrainingRun.batch_size
    per_device_eval_batch_size: int = 1
    seed: int = 0
    logging_steps: float = 100
    save_strategy: str = "steps"
    save_steps: float = 500
    save_total_limit: int | None = 1
    remove_unused_columns: bool = False
    dataloader_pin_memory: bool = False
    ddp_find_unused_parameters: bool | None = False  # every model uses all its parameters at every step


def check_arguments(run: TrainingRun, arguments: RunTrainingArguments) -> None:
    """Refuses arguments that contradict the specification.

    Raises:
        HarnessError: naming the argument.
    """
    if arguments.per_device_train_batch_size != 1:
        raise HarnessError(
            f"per_device_train_batch_size cannot be {arguments.per_device_train_batch_size}; "
            "give batch_size, the examples of a step over all processes."
        )
    for name, value in (("max_steps", run.steps), ("learning_rate", run.learning_rate), ("seed", run.seed)):
        if getattr(arguments, name) != value:
            raise HarnessError(f"The Trainer's {name} is {getattr(arguments, name)}, but the run's is {value}.")
    refuse_other_losses(arguments)


def refuse_other_losses(arguments: RunTrainingArguments) -> None:
    """Refuses arguments that change the loss, or the batch that it is averaged over.

    Raises:
        HarnessError: such an argument is given.
    """
    accumulation = getattr(arguments.accelerator_config, "gradient_accumulation_kwargs", None) or {}
    refused = {
        "use_liger_kernel": (arguments.use_liger_kernel, "Liger has no kernels for our models and replaces losses"),
        "average_tokens_across_devices=False": (
            not arguments.average_tokens_across_devices,
            "the weights would depend on the number of processes",
        ),
        "gradient_accumulation_kwargs": ("num_steps" in accumulation, "give gradient_accumulation_steps"),
    }
    for name, (given, why) in refused.items():
        if given:
            raise HarnessError(f"{name} is refused: {why}.")
    if arguments.n_gpu > 1:
        raise HarnessError(
            f"One process sees {arguments.n_gpu} GPUs; start with `accelerate launch`, or set CUDA_VISIBLE_DEVICES."
        )


def weight_changing(arguments: RunTrainingArguments) -> dict:
    """The Trainer's arguments that change the weights and are not the defaults, without the specification's own."""
    names = (
        *("adam_beta1", "adam_beta2", "adam_epsilon", "bf16", "fp16", "label_smoothing_factor", "lr_scheduler_kwargs"),
        *("lr_scheduler_type", "max_grad_norm", "neftune_noise_alpha", "optim", "optim_args", "tf32", "warmup_steps"),
        "weight_decay",
    )
    # Not from a second instance: making one would reset the state of a distributed run.
    defaults = {each.name: each.default for each in fields(RunTrainingArguments) if each.name in names}
    values = {name: plain_value(getattr(arguments, name)) for name in names if hasattr(arguments, name)}
    return {name: value for name, value in values.items() if value != plain_value(defaults[name])}


def plain_value(value):
    """The value of an enumeration's member, for JSON."""
    return value.value if isinstance(value, Enum) else value


def default_arguments(run: TrainingRun, folder: Path, **overrides) -> RunTrainingArguments:
    """The Trainer's arguments for a run of a study."""
    chosen: dict[str, Any] = {
        "output_dir": str(RunFolder(Path(folder)).checkpoints),
        "max_steps": run.steps,
        "learning_rate": run.learning_rate,
        "seed": run.seed,
        "use_cpu": not torch.cuda.is_available(),
    }
    return RunTrainingArguments(**(chosen | run.trainer | overrides))
