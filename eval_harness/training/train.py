"""One training run with `transformers.Trainer`: from a specification to a folder that anyone can load."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, set_seed

from eval_harness.models import adapter_of
from eval_harness.results.folders import RunFolder
from eval_harness.specification import TrainingRun
from eval_harness.tokenization.tokenizer import build_tokenizer
from eval_harness.training.arguments import RunTrainingArguments, check_arguments, default_arguments
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
    check_arguments(run, arguments)
    sized = size_for(run)
    options = data_options(run, sized.config)
    batches = TrainingBatches(run, arguments.world_size * arguments.gradient_accumulation_steps, **options)
    with arguments.main_process_first(local=False):
        claim_folder(run, run_folder)
    if run_folder.is_trained:
        return folder
    set_seed(run.seed)
    model, same_vocabulary = first_model(run, sized)
    noise = bool(arguments.neftune_noise_alpha)
    adapter_of(model.config).check_training(model, run.model, run.problem, run.train_length, noise)
    if model.can_generate():
        model.generation_config = generation_config(run)
        model.generation_config.use_cache = getattr(model.config, "use_cache", True)
    arguments.output_dir = str(run_folder.checkpoints)
    tuning = TrainingBatches(replace(run, steps=EVAL_BATCHES), split="tune", **options)
    stopwatch = Stopwatch()
    trainer = _make_trainer(
        model,
        arguments,
        train_dataset=batches,
        eval_dataset=tuning,
        processing_class=build_tokenizer(run.problem),
        callbacks=[stopwatch, *callbacks],
    )
    if quiet:
        trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=last_checkpoint(run_folder))
    if trainer.is_world_process_zero():
        save_run(run, run_folder, trainer, sized, stopwatch, batches, study, same_vocabulary)
    trainer.accelerator.wait_for_everyone()
    return folder


def _make_trainer(model: PreTrainedModel, arguments: RunTrainingArguments, **options) -> Trainer:
    """A Trainer that takes micro-batches as they are, with the loss that its model needs."""
    adapter, smoothing = adapter_of(model.config), arguments.label_smoothing_factor
    arguments.train_sampling_strategy = "sequential"
    if not adapter.uses_all_parameters:
        arguments.ddp_find_unused_parameters = True
    collate, loss = _only_item, None
    if not adapter.computes_loss:
        loss = AlignedLoss(model, smoothing)
    elif smoothing:
        collate = partial(_only_item, smoothing=smoothing)
    trainer = Trainer(model=model, args=arguments, data_collator=collate, compute_loss_func=loss, **options)
    trainer.label_smoother = None  # it knows neither aligned labels nor ponder costs
    return trainer


def _only_item(items, **more):
    return items[0] | more
