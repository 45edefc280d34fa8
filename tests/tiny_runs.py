"""Training runs that take a second, and how tests look at them."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from eval_harness.specification import TrainingRun
from eval_harness.training.arguments import default_arguments
from eval_harness.training.train import train


class InterruptAt(TrainerCallback):
    """Stops training as a user does, after so many steps."""

    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def tiny(model: str = "lstm", **changes) -> TrainingRun:
    """A specification that takes a second."""
    sizes = {"budget": 8_000, "train_length": 6, "table_factor": 4.0, "steps": 30, "batch_size": 8}
    return TrainingRun(**{"task": "duplicate", "model": model, **sizes, **changes})


def train_quietly(run: TrainingRun, folder: Path, callbacks=(), **arguments) -> Path:
    """Trains without a bar and without log lines."""
    return train(run, folder, default_arguments(run, folder, disable_tqdm=True, **arguments), callbacks, quiet=True)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights that were saved."""
    return load_file(folder / "model.safetensors")


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Time and size of every file of a folder, to tell whether anything was written."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}
