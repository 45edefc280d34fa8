"""Training data: the batch of each step.

Item i of the dataset is micro-batch i: all its examples have the same length. A step is a fixed set of examples, cut
into as many micro-batches as there are processes times accumulation steps, so that the number of processes changes
nothing.
"""

from collections import Counter
from dataclasses import replace
from math import ceil, inf

import numpy as np
import torch
from torch.utils.data import Dataset

from eval_harness.errors import HarnessError
from eval_harness.specification import TrainingRun
from eval_harness.tasks import Sample
from eval_harness.tasks.task import BLOCK, derive_rng
from eval_harness.tokenization.vocabulary import Encoded


class TrainingBatches(Dataset):
    """The micro-batches of a training run, as a map-style dataset.

    Each step has one length, uniform from the shortest to the greatest of that step (of a corpus: each as often as its
    rows are many), and fresh examples of it; or, where `train_examples` or a corpus limits them, that length's
    examples, in a new order each time they have all been seen.

    Args:
        run: the specification.
        micro_batches: into how many parts a step is cut.
        shifted: whether the model takes labels aligned with its logits as `shift_labels` too, as causal heads do.
        id_range: position ids that the task couples are given, each row with its own offset, and lie
            below this; by default the model makes its own ids.
        split: the stream that examples come from.
    """

    def __init__(
        self,
        run: TrainingRun,
        micro_batches: int = 1,
        shifted: bool = True,
        id_range: int | None = None,
        split: str = "train",
    ):
        if run.batch_size % micro_batches:
            raise HarnessError(
                f"A batch of {run.batch_size} cannot be cut into {micro_batches} equal micro-batches; "
                "processes times accumulation steps must divide batch_size."
            )
        self.run, self.micro_batches, self.shifted, self.split = run, micro_batches, shifted, split
        self.id_range = id_range
        self.problem = run.problem
        self.lengths = training_lengths(run)
        self.starts = _earlier_examples(self.lengths, run.batch_size)
        self.quotas = _quotas(run, self.problem.task)

    def __len__(self) -> int:
        return self.run.steps * self.micro_batches

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        step, part = divmod(index, self.micro_batches)
        size = self.run.batch_size // self.micro_batches
        length, start = int(self.lengths[step]), int(self.starts[step]) + part * size
        sample = self._rows(length, start, size)
        encoded = self.problem.encode(sample)
        if self.id_range is not None:
            ids = self.problem.coupled_ids(sample, encoded.input_ids.shape[1])
            encoded = replace(encoded, position_ids=self._moved(ids, self.id_range, length, start))
        return to_model_inputs(encoded, self.shifted)

    def sequences(self) -> list[tuple[dict[str, int], int]]:
        """How many sequences of each number of tokens, by the argument that carries them, the run has."""
        steps = Counter(self.lengths.tolist())
        return [
            (self.problem.token_lengths(length), count * self.run.batch_size)
            for length, count in sorted(steps.items())
        ]

    def _moved(self, ids, id_range: int, length: int, start: int) -> np.ndarray:
        """Coupled ids [B, T], each row with its own offset, uniform over the range.

        Ids at test time begin at 0 but reach further, so every id of the range has to be met in training.
        """
        blocks = range(start // BLOCK, (start + len(ids) - 1) // BLOCK + 1)
        stream = ("coupled ids", self.run.task, length, self.run.seed)
        draws = np.concatenate([derive_rng(*stream, block).random(BLOCK) for block in blocks])[start % BLOCK :]
        room = id_range - ids.max(axis=1)  # [B]
        return ids + (draws[: len(ids)] * room).astype(np.int64)[:, None]

    def _rows(self, length: int, start: int, count: int) -> Sample:
        if self.quotas is None:
            return self.problem.task.sample(length, count, self.run.seed, self.split, start)
        quota = self.quotas[length]
        everything = self.problem.task.sample(length, quota, self.run.seed, self.split)
        rows = [_row_in_epoch(self.run, length, quota, position) for position in range(start, start + count)]
        return everything[np.array(rows)]


def to_model_inputs(encoded: Encoded, shifted: bool) -> dict[str, torch.Tensor]:
    """Tensors as a model's forward takes them; what is None is left out, and the mask where there is no padding."""
    inputs = {"input_ids": torch.from_numpy(encoded.input_ids), "labels": torch.from_numpy(encoded.labels)}
    for name in ("decoder_input_ids", "position_ids"):
        if getattr(encoded, name) is not None:
            inputs[name] = torch.from_numpy(getattr(encoded, name))
    if shifted:
        inputs["shift_labels"] = inputs["labels"]
    if not encoded.attention_mask.all():
        inputs["attention_mask"] = torch.from_numpy(encoded.attention_mask)
    return inputs


def training_lengths(run: TrainingRun) -> np.ndarray:
    """The task length of each step `[steps]`; a longer run begins like a shorter one unless it has a curriculum."""
    task = run.make_task()
    valid = np.array(task.training_lengths(run.train_length))
    weights = np.cumsum([task.training_rows(length) or 1 for length in valid.tolist()])
    uniform = derive_rng("training lengths", task.key(), task.version, run.train_length, run.seed).random(run.steps)
    allowed = np.full(run.steps, len(valid))
    if run.curriculum:
        grown = (1 + np.arange(run.steps)) / (run.curriculum * run.steps)
        allowed = np.ceil(np.clip(grown, 0, 1) * len(valid)).astype(int)
    return valid[np.searchsorted(weights, uniform * weights[allowed - 1], side="right")]


def _earlier_examples(lengths: np.ndarray, batch_size: int) -> np.ndarray:
    """For each step, how many examples of its length came before it `[steps]`."""
    starts = np.zeros(len(lengths), dtype=np.int64)
    for length in np.unique(lengths):
        steps = np.flatnonzero(lengths == length)
        starts[steps] = np.arange(len(steps)) * batch_size
    return starts


def _quotas(run: TrainingRun, task) -> dict[int, int] | None:
    """How many different examples each length has, as equal as can be; None where nothing limits them."""
    if run.train_examples is None:
        return None
    rooms = {length: task.training_rows(length) or inf for length in task.training_lengths(run.train_length)}
    if not len(rooms) <= run.train_examples <= sum(rooms.values()):
        raise HarnessError(
            f"train_examples is {run.train_examples}, but there are {len(rooms)} training lengths"
            + (f" and {sum(rooms.values())} rows of them." if sum(rooms.values()) < inf else ".")
        )
    quotas, left = {}, run.train_examples
    for rank, length in enumerate(sorted(rooms, key=rooms.__getitem__)):  # what the smallest lack, the others share
        quotas[length] = min(rooms[length], ceil(left / (len(rooms) - rank)))
        left -= quotas[length]
    return quotas


def _row_in_epoch(run: TrainingRun, length: int, quota: int, position: int) -> int:
    """The example at a position of the endless walk through a length's examples, shuffled again in every round."""
    epoch, place = divmod(position, quota)
    return int(derive_rng("order", run.task, length, run.seed, epoch).permutation(quota)[place])
