"""One training run with `transformers.Trainer`: from a specification to a folder that anyone can load."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from transformers import PrinterCallback, Trainer, TrainerCallback, set_seed

from eval_harness.errors import HarnessError
from eval_harness.models import adapter_of
from eval_harness.results.folders import RunFolder
from eval_harness.specification import TrainingRun
from eval_harness.tokenization.tokenizer import build_tokenizer
from eval_harness.training.arguments import RunTrainingArguments, default_arguments, refuse_other_losses
from eval_harness.training.batches import TrainingBatches
from eval_harness.training.loss import AlignedLoss
from eval_harness.training.record import Stopwatch, claim_folder, last_checkpoint, save_run
from eval_harness.training.setup import data_options, first_model, generation_config, size_for


EVAL_BATCHES = 16  # for the Trainer's own evaluation, if requested: only the loss, on training lengths


def train(
    run: TrainingRun,
    folder: Path | str,
    arguments: RunTrainingArguments | None = None,
    callbacks: tuple[TrainerCallback, ...] = (),
    study: str | None = None,
    quiet: bool = False,
) -> Path:
    """Trains a run, or goes on where it was interrupted; a finished run is left as it is.

    Args:
        run: the specification.
        folder: where checkpoints, the model and `run.json` go.
        arguments: the Trainer's arguments; by default those of the specification.
        callbacks: more of the Trainer's callbacks.
        study: the study that the run belongs to.
        quiet: whether to keep the Trainer's log lines to its log.

    Returns:
        The folder: `AutoModel….from_pretrained` and `AutoTokenizer.from_pretrained` load it.

    Raises:
        HarnessError: the folder holds a run of another specification, or the specification cannot be met.
    """
    run_folder = RunFolder(folder := Path(folder))
    arguments = arguments or default_arguments(run, folder)
    if arguments.per_device_train_batch_size != 1:
        raise HarnessError(
            f"per_device_train_batch_size cannot be {arguments.per_device_train_batch_size}; "
            "give batch_size, the examples of a step over all processes."
        )
    for name, value in (("max_steps", run.steps), ("learning_rate", run.learning_rate), ("seed", run.seed)):
        if getattr(arguments, name) != value:
            raise HarnessError(f"The Trainer's {name} is {getattr(arguments, name)}, but the run's is {value}.")
    refuse_other_losses(arguments)
    sized = size_for(run)
    parts = arguments.world_size * arguments.gradient_accumulation_steps
    batches = TrainingBatches(run, parts, **data_options(run, sized.config))
    with arguments.main_process_first(local=False):
        claim_folder(run, run_folder)
    if run_folder.is_trained:
        return folder
    set_seed(run.seed)
    model, same_vocabulary = first_model(run, sized)
    adapter, smoothing = adapter_of(model.config), arguments.label_smoothing_factor
    adapter.check_training(model, run.model, run.problem, run.train_length, bool(arguments.neftune_noise_alpha))
    if model.can_generate():
        model.generation_config = generation_config(run)
        model.generation_config.use_cache = getattr(model.config, "use_cache", True)
    arguments.output_dir = str(run_folder.checkpoints)
    arguments.train_sampling_strategy = "sequential"
    if not adapter.uses_all_parameters:
        arguments.ddp_find_unused_parameters = True
    stopwatch = Stopwatch()
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=batches,
        eval_dataset=TrainingBatches(
            replace(run, steps=EVAL_BATCHES), split="tune", **data_options(run, sized.config)
        ),
        data_collator=partial(_only_item, smoothing=smoothing) if adapter.computes_loss and smoothing else _only_item,
        compute_loss_func=None if adapter.computes_loss else AlignedLoss(model, smoothing),
        processing_class=build_tokenizer(run.problem),
        callbacks=[stopwatch, *callbacks],
    )
    trainer.label_smoother = None  # it knows neither aligned labels nor ponder costs
    if quiet:
        trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=last_checkpoint(run_folder))
    if trainer.is_world_process_zero():
        save_run(run, run_folder, trainer, sized, stopwatch, batches, study, same_vocabulary)
    trainer.accelerator.wait_for_everyone()
    return folder


def _only_item(items, **more):
    return items[0] | more
