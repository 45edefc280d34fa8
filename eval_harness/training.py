"""One training run with `transformers.Trainer`: from a specification to a folder that anyone can load."""

import hashlib
import shutil
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PrinterCallback, Trainer, TrainerCallback, set_seed

from eval_harness.compute import resident_memory, training_flops
from eval_harness.data import TrainingBatches
from eval_harness.encoding import Vocabulary
from eval_harness.environment import describe_environment
from eval_harness.errors import HarnessError
from eval_harness.formats import get_format
from eval_harness.models import (
    AlignedLoss,
    SizedModel,
    build_model,
    calls_embedding,
    describe_checkpoint,
    is_causal,
    is_foreign,
    refusal,
    sees_ahead,
    size_model,
    start_from,
    try_out,
)
from eval_harness.results import RUN, read_json, write_json
from eval_harness.specification import TrainingRun
from eval_harness.tokenizer import build_tokenizer
from eval_harness.training_arguments import PROTOCOL, RunTrainingArguments, plain_value, refuse_other_losses


SPECIFICATION = "specification.json"
CHECKPOINTS = "checkpoints"
EVAL_BATCHES = 16  # for the Trainer's own evaluation, where it is asked for: on training lengths, for the loss alone


class Stopwatch(TrainerCallback):
    """Counts the seconds of training over all its sittings, and the greatest memory seen.

    There is a log line with every checkpoint, so that neither time nor loss before it is lost to an interruption.
    """

    def __init__(self):
        self.seconds, self.memory, self._begun = 0.0, 0, 0.0

    def on_train_begin(self, args, state, control, **kwargs):
        """Continues from what the checkpoint says."""
        self._begun = time.perf_counter()
        self.seconds = next((entry["seconds"] for entry in reversed(state.log_history) if "seconds" in entry), 0.0)

    def on_step_end(self, args, state, control, **kwargs):
        """Asks for the log line."""
        control.should_log |= control.should_save or state.global_step == state.max_steps

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Writes the seconds into the log, which checkpoints carry."""
        self.memory = max(self.memory, resident_memory())
        if state.log_history:
            state.log_history[-1]["seconds"] = self.seconds + time.perf_counter() - self._begun

    def on_train_end(self, args, state, control, **kwargs):
        """Stops the watch."""
        self.memory = max(self.memory, resident_memory())
        self.seconds += time.perf_counter() - self._begun


def default_arguments(run: TrainingRun, folder: Path, **overrides) -> RunTrainingArguments:
    """The Trainer's arguments for a run of a study."""
    chosen: dict[str, Any] = {
        "output_dir": str(Path(folder) / CHECKPOINTS),
        "max_steps": run.steps,
        "learning_rate": run.learning_rate,
        "seed": run.seed,
        "use_cpu": not torch.cuda.is_available(),
    }
    return RunTrainingArguments(**(chosen | run.trainer | overrides))


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
    folder = Path(folder)
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
        claim_folder(run, folder)
    if (folder / RUN).exists():
        return folder
    set_seed(run.seed)
    model, same_vocabulary = first_model(run, sized)
    _check_foreign(run, model, arguments)
    if model.can_generate():
        model.generation_config = generation_config(run)
        model.generation_config.use_cache = getattr(model.config, "use_cache", True)
    arguments.output_dir = str(folder / CHECKPOINTS)
    arguments.train_sampling_strategy = "sequential"
    if is_foreign(model.config):
        arguments.ddp_find_unused_parameters = True  # experts that no token takes, poolers that no head reads
    smoothing, foreign = arguments.label_smoothing_factor, is_foreign(model.config)
    stopwatch = Stopwatch()
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=batches,
        eval_dataset=TrainingBatches(
            replace(run, steps=EVAL_BATCHES), split="tune", **data_options(run, sized.config)
        ),
        data_collator=_only_item if foreign or not smoothing else partial(_only_item, smoothing=smoothing),
        compute_loss_func=AlignedLoss(model, smoothing) if foreign else None,
        processing_class=build_tokenizer(run.make_task(), run.format, run.bos),
        callbacks=[stopwatch, *callbacks],
    )
    trainer.label_smoother = None  # it knows neither aligned labels nor ponder costs
    if quiet:
        trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    if trainer.is_world_process_zero():
        _finish(run, folder, trainer, sized, stopwatch, batches, study, same_vocabulary)
    trainer.accelerator.wait_for_everyone()
    return folder


def data_options(run: TrainingRun, config) -> dict[str, Any]:
    """What `TrainingBatches` has to know of the model."""
    supplied = getattr(config, "position_ids_scheme", None) == "supplied"
    return {
        "shifted": get_format(run.format).head == "token" and is_causal(config) and not is_foreign(config),
        "id_range": config.max_position_embeddings if supplied else None,
    }


def size_for(run: TrainingRun) -> SizedModel:
    """The run's model at its budget, with a vocabulary and tables as its task and format need them."""
    task, head = run.make_task(), get_format(run.format).head
    vocabulary = Vocabulary(task)
    longest = longest_tokens(run)
    needs: dict[str, Any] = {
        "vocab_size": vocabulary.size,
        "pad_token_id": vocabulary.pad_id,
        "bos_token_id": vocabulary.bos_id,
        "eos_token_id": vocabulary.eos_id,
        "max_position_embeddings": longest,
    }
    if head == "sequence_to_sequence":
        needs["decoder_start_token_id"] = vocabulary.bos_id
    if head == "classification":
        needs["id2label"] = dict(enumerate(task.output_alphabet))
        needs["label2id"] = {symbol: number for number, symbol in needs["id2label"].items()}
    if "abacus" in (run.config.get("position_ids_scheme"), run.config.get("eval_position_ids_scheme")):
        digits = [place for place, token in enumerate(vocabulary.tokens) if token in tuple("0123456789")]
        offset = run.config.get("abacus_offset", 100)
        needs |= {"abacus_tokens": digits, "abacus_offset": offset, "max_position_embeddings": longest + offset}
    if run.config.get("jump_length") == "input":  # of a Tape-RNN
        needs["input_end_token_id"] = [vocabulary.sep_id, vocabulary.mask_id]
    if run.revision:
        sized = describe_checkpoint(run.model, run.revision, head, needs, run.config)
    else:
        sized = size_model(run.model, run.budget, head, needs, **run.config)
    if get_format(run.format).needs_causal and not is_causal(sized.config):
        raise HarnessError(f"The {run.format} format needs a causal model: a bidirectional one would see the answer.")
    _check_positions(run, sized.config)
    return sized


def first_model(run: TrainingRun, sized: SizedModel) -> tuple[Any, bool | None]:
    """The model that training begins with; of a checkpoint also whether its vocabulary is the task's."""
    head = get_format(run.format).head
    if not run.revision:
        return build_model(sized.config, head), None
    return start_from(run.model, run.revision, sized.config, head, Vocabulary(run.make_task()).tokens)


def _check_foreign(run: TrainingRun, model, arguments: RunTrainingArguments) -> None:
    format = get_format(run.format)
    if not is_foreign(model.config):
        return
    sizes = format.token_lengths(run.make_task(), run.train_length, bos=run.bos)
    try_out(model.eval(), sizes, decodes=False)
    if arguments.neftune_noise_alpha and not calls_embedding(model, sizes):
        raise HarnessError(f"neftune_noise_alpha is refused: {run.model} does not call its input embedding.")
    try:
        training_flops(model, [(sizes, 1)])
    except Exception as error:  # of every kind, from every type, and better now than after the training
        raise refusal(run.model, error) from error
    if format.needs_causal and sees_ahead(model, sizes["input_ids"]):
        raise HarnessError(
            f"The {run.format} format needs a causal model, and {run.model} reads tokens behind the one it answers at."
        )


def _check_positions(run: TrainingRun, config) -> None:
    schemes = [getattr(config, f"{stage}position_ids_scheme", None) for stage in ("", "eval_")]
    if "supplied" in schemes:
        _check_coupled(run)
    if not hasattr(config, "bounds_positions") or not config.bounds_positions(config.position_ids_scheme):
        return
    tokens = get_format(run.format).token_length(run.make_task(), run.train_length, bos=run.bos)
    if tokens > config.max_position_embeddings:
        raise HarnessError(
            f"Training length {run.train_length} needs {tokens} position ids; max_position_embeddings is "
            f"{config.max_position_embeddings}."
        )


def _check_coupled(run: TrainingRun) -> None:
    task, format = run.make_task(), get_format(run.format)
    few = task.sample(run.train_length, 1, run.seed, "train")
    if format.coupled_ids(few, task, format.token_length(task, run.train_length), run.bos) is None:
        raise HarnessError(
            f"The position ids scheme 'supplied' needs ids with every batch; task {task.name!r} gives none in the "
            f"{format.name} format."
        )


def longest_length(run: TrainingRun) -> int:
    """The greatest task length that position tables must hold."""
    task = run.make_task()
    longest = int(min(run.table_factor * run.train_length, task.max_length))
    above = (length for length in range(longest, 2 * longest + 1) if task.valid_length(length))
    below = (length for length in range(longest, 0, -1) if task.valid_length(length))
    return next(above, None) or next(below)


def longest_tokens(run: TrainingRun) -> int:
    """Number of tokens of the longest sequence that position tables must hold."""
    return get_format(run.format).token_length(run.make_task(), longest_length(run), bos=run.bos)


def generation_config(run: TrainingRun) -> GenerationConfig:
    """Greedy decoding up to the answer's end, so that a pipeline answers a prompt of the task."""
    task, head = run.make_task(), get_format(run.format).head
    vocabulary = Vocabulary(task)
    return GenerationConfig(
        do_sample=False,
        max_new_tokens=task.output_length(longest_length(run)) + 1,
        pad_token_id=vocabulary.pad_id,
        bos_token_id=vocabulary.bos_id,
        decoder_start_token_id=vocabulary.bos_id if head == "sequence_to_sequence" else None,
        eos_token_id=vocabulary.eos_id,
    )


def claim_folder(run: TrainingRun, folder: Path) -> None:
    """Writes the specification into the folder, or checks that it is the one that is there.

    Raises:
        HarnessError: the folder holds something else.
    """
    path = folder / SPECIFICATION
    if path.exists():
        if differences := run.differences(read_json(path)["training"]):
            raise HarnessError(f"{folder} holds a run of another specification: {'; '.join(differences)}.")
        return
    if (folder / "config.json").exists():
        raise HarnessError(f"{folder} holds a model that was not trained here; choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {"run_id": run.identity(), "training": asdict(run)})


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint; the Trainer writes its state last, so one without it was cut off."""
    checkpoints = sorted((folder / CHECKPOINTS).glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for checkpoint in reversed(checkpoints):
        try:
            read_json(checkpoint / "trainer_state.json")
            return str(checkpoint)
        except HarnessError:
            shutil.rmtree(checkpoint, ignore_errors=True)
    return None


def weights_digest(model) -> str:
    """SHA-256 over the names and values of all weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _only_item(items, **more):
    return items[0] | more


def _finish(run, folder, trainer, sized, stopwatch, batches, study, same_vocabulary):
    """Saves the model, then `run.json`, whose presence says that the run is whole; then drops the checkpoints."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    model.save_pretrained(folder)
    trainer.processing_class.save_pretrained(folder)
    sequences = batches.sequences()
    task = run.make_task()
    write_json(
        folder / RUN,
        {
            "schema": 1,
            "run_id": run.identity(),
            "study": study,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "training": asdict(run) | {"task_version": task.version, "min_length": int(batches.lengths.min())},
            "trainer": {name: plain_value(getattr(trainer.args, name)) for name in (*PROTOCOL, "optim", "world_size")},
            "model": {
                "architecture": type(model).__name__,
                "position_encoding": getattr(model.config, "position_encoding", None),
                "position_ids": [
                    getattr(model.config, "position_ids_scheme", None),
                    getattr(model.config, "eval_position_ids_scheme", None),
                ],
                "causal": is_causal(model.config),
                "checkpoint": run.revision or None,
                "kept_vocabulary": same_vocabulary,
                "chosen": ", ".join(f"{name} {size}" for name, size in sized.chosen.items()),
                "parameters": sized.parameters,
            },
            "compute": {
                "training_flops": training_flops(model, sequences),
                "training_seconds": stopwatch.seconds,
                "training_tokens": sum(sum(sizes.values()) * count for sizes, count in sequences),
                "peak_memory_bytes": stopwatch.memory,
            },
            "final_loss": next(entry["loss"] for entry in reversed(trainer.state.log_history) if "loss" in entry),
            "environment": describe_environment(),
            "weights_digest": weights_digest(model),
        },
    )
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
