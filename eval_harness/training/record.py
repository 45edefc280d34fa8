"""The files that a run writes: the specification first, then checkpoints, and `run.json` last."""

import hashlib
import shutil
import time
from dataclasses import asdict
from datetime import UTC, datetime

import torch
from transformers import TrainerCallback

from eval_harness.errors import HarnessError
from eval_harness.models import adapter_of
from eval_harness.models.compute import resident_memory, training_flops
from eval_harness.results.environment import describe_environment
from eval_harness.results.files import read_json, write_json
from eval_harness.results.folders import RunFolder
from eval_harness.specification import TrainingRun
from eval_harness.training.arguments import PROTOCOL, plain_value


class Stopwatch(TrainerCallback):
    """Counts the seconds of training over all interruptions, and the peak memory.

    Every checkpoint comes with a log line, so that an interruption loses neither time nor loss before it.
    """

    def __init__(self):
        self.seconds, self.memory, self._begun = 0.0, 0, 0.0

    def on_train_begin(self, args, state, control, **kwargs):
        """Continues from the seconds in the checkpoint."""
        self._begun = time.perf_counter()
        self.seconds = next((entry["seconds"] for entry in reversed(state.log_history) if "seconds" in entry), 0.0)

    def on_step_end(self, args, state, control, **kwargs):
        """Requests the log line."""
        control.should_log |= control.should_save or state.global_step == state.max_steps

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Writes the seconds into the log, which checkpoints carry."""
        self.memory = max(self.memory, resident_memory())
        if state.log_history:
            state.log_history[-1]["seconds"] = self.seconds + time.perf_counter() - self._begun

    def on_train_end(self, args, state, control, **kwargs):
        """Adds the seconds since the last checkpoint."""
        self.memory = max(self.memory, resident_memory())
        self.seconds += time.perf_counter() - self._begun


def claim_folder(run: TrainingRun, folder: RunFolder) -> None:
    """Writes the specification into the folder, or checks that the folder already has this one.

    Raises:
        HarnessError: the folder holds something else.
    """
    if folder.specification.exists():
        if differences := run.differences(read_json(folder.specification)["training"]):
            raise HarnessError(f"{folder.path} holds a run of another specification: {'; '.join(differences)}.")
        return
    if folder.config.exists():
        raise HarnessError(f"{folder.path} holds a model that was not trained here; choose another folder.")
    write_json(folder.specification, {"run_id": run.identity(), "training": asdict(run)})


def last_checkpoint(folder: RunFolder) -> str | None:
    """The newest complete checkpoint; the Trainer writes its state last, so one without it was cut off."""
    checkpoints = sorted(folder.checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
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


def save_run(run, folder, trainer, sized, stopwatch, batches, study, same_vocabulary):
    """Saves the model, then `run.json` last, then deletes the checkpoints."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    model.save_pretrained(folder.path)
    trainer.processing_class.save_pretrained(folder.path)
    sequences = batches.sequences()
    task = run.make_task()
    folder.write_record(
        {
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
                "causal": adapter_of(model.config).is_causal,
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
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
