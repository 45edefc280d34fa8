"""What data cost: examples a second of every task, and as a share of a training step; interleaved in one process.

    python benchmarks/data_generation.py
    python benchmarks/data_generation.py --tasks parity reverse --rounds 40

Each round draws a block of every task, takes batches as training does (cut, encoded), takes one step of a transformer
of 100,000 parameters on one of them, and draws as many examples with plain NumPy where such a peer is written here.
The first draw finds other things in the caches, as in training, and counts for the share of a step; examples a
second, ours and the peer's, are those of a draw right behind another. Times are CPU time; printed are medians over
the rounds, ratios are those of each round.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch
from tqdm.auto import tqdm

from eval_harness import TrainingRun
from eval_harness.models import build_model
from eval_harness.tasks import Sample, Task, get_task, list_tasks
from eval_harness.tokenization.problem import get_problem
from eval_harness.training.batches import to_model_inputs
from eval_harness.training.setup import size_for


MODEL, BATCH, TRAIN_LENGTH = "transformer-rope", 64, 40
WARM_UP = 2  # rounds that are not counted


def parity(rng, count, length):
    """The bits, and whether the ones are odd."""
    inputs = rng.integers(0, 2, size=(count, length))
    return inputs, inputs.sum(axis=1) % 2


def even_pairs(rng, count, length):
    """The bits, and whether the changes are odd."""
    inputs = rng.integers(0, 2, size=(count, length))
    return inputs, (inputs[:, 1:] != inputs[:, :-1]).sum(axis=1) % 2


def reverse(rng, count, length):
    """The bits, and the bits backwards."""
    inputs = rng.integers(0, 2, size=(count, length))
    return inputs, inputs[:, ::-1].copy()


PEERS = {"parity": parity, "even_pairs": even_pairs, "reverse": reverse}


class Measured:
    """A task at one length, with what is timed of it.

    Args:
        task: the task.
        length: the task length.
        trains: whether a training step is timed too.
    """

    def __init__(self, task: Task, length: int, trains: bool):
        self.task, self.length, self.count = task, length, task.block_size(length)
        self.rng = np.random.default_rng(0)
        self.problem = get_problem(task)
        self.seed = 0
        self.once: dict[str, Callable] = {"first drawn": self.draw, "encoded": self.encode}
        self.behind_another: dict[str, Callable] = {"drawn": self.fresh_sample}
        if task.name in PEERS:
            self.behind_another["peer"] = self.draw_plainly
        if trains:
            run = TrainingRun(task=task.key(), model=MODEL, train_length=length, table_factor=1.0)
            self.model = build_model(size_for(run).config, self.problem.head).train()
            self.optimizer = torch.optim.AdamW(self.model.parameters(), fused=True)
            self.once["step"] = self.step

    def fresh_sample(self) -> Sample:
        """A block that was never drawn before."""
        self.seed += 1
        return self.task.sample(self.length, self.count, self.seed, split="train")

    def draw(self):
        """A block to be encoded."""
        self.sample = self.fresh_sample()

    def encode(self):
        """The block as tokens, batch by batch."""
        for start in range(0, len(self.sample), BATCH):
            self.batch = self.problem.encode(self.sample[start : start + BATCH])

    def draw_plainly(self):
        """As many examples with a few lines of NumPy."""
        PEERS[self.task.name](self.rng, self.count, self.length)

    def step(self):
        """Forward, backward, clipping and update on one batch."""
        self.model(**to_model_inputs(self.batch, shifted=self.problem.head == "token")).loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def timed(self) -> dict[str, float]:
        """CPU seconds of each part in one round."""
        seconds = {name: cpu_seconds(part) for name, part in self.once.items()}
        for name, part in self.behind_another.items():
            part()
            seconds[name] = cpu_seconds(part)
        return seconds


def cpu_seconds(part: Callable[[], object]) -> float:
    """How long a part takes."""
    begun = time.process_time()
    part()
    return time.process_time() - begun


def nearest_length(task: Task, wanted: int) -> int | None:
    """The greatest length up to the wanted one that can be trained on."""
    lengths = (length for length in range(wanted, 0, -1) if task.valid_length(length))
    return next((length for length in lengths if task.training_rows(length) != 0), None)


def row(measured: Measured, rounds: dict[str, list[float]]) -> list[str]:
    """What is printed of a task at a length."""
    per_second = {name: measured.count / statistics.median(times) for name, times in rounds.items() if name != "step"}
    encoded = [drawn + encoding for drawn, encoding in zip(rounds["first drawn"], rounds["encoded"], strict=True)]
    cells = [measured.task.name, str(measured.length), f"{per_second['drawn']:,.0f}"]
    cells.append(f"{measured.count / statistics.median(encoded):,.0f}")
    share = [BATCH / measured.count * data / step for data, step in zip(encoded, rounds.get("step", []), strict=False)]
    cells.append(f"{statistics.median(share):.1%}" if share else "")
    faster = [plain / ours for plain, ours in zip(rounds.get("peer", []), rounds["drawn"], strict=False)]
    cells.append(f"{per_second['peer']:,.0f}" if faster else "")
    cells.append(f"{statistics.median(faster):.2f} x" if faster else "")
    return cells


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list_tasks())
    parser.add_argument("--lengths", nargs="+", type=int, default=[20, 40, 500])
    parser.add_argument("--rounds", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    asked = [
        (get_task(key), nearest_length(get_task(key), n), n) for n in arguments.lengths for key in arguments.tasks
    ]
    every = [Measured(task, length, n <= TRAIN_LENGTH) for task, length, n in asked if length is not None]
    times: dict[Measured, dict[str, list[float]]] = {measured: defaultdict(list) for measured in every}
    for number in tqdm(range(arguments.rounds + WARM_UP), desc="rounds", leave=False):
        for measured in every:
            for name, seconds in measured.timed().items():
                if number >= WARM_UP:
                    times[measured][name].append(seconds)
    head = ["task", "length", "examples/s", "encoded too", "of a step", "plain NumPy", "ours to plain"]
    print("".join(f"{cell:>{30 if not column else 14}}" for column, cell in enumerate(head)))
    for measured in every:
        cells = row(measured, times[measured])
        print("".join(f"{cell:>{30 if not column else 14}}" for column, cell in enumerate(cells)))


if __name__ == "__main__":
    main()
