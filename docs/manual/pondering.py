"""Steps by position of trained models: the pictures of docs/universal_transformer.md.

    python -m docs.manual.pondering

trains a Universal Transformer with adaptive computation time and one with PonderNet to sort (some minutes each on one
core; a finished run is not trained again), draws the steps that they take at every position of test examples, at the
training length and at three times that, and the mean steps by length.

T tokens
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from eval_harness import TrainingRun, train
from eval_harness.scoring.evaluate import load_model
from eval_harness.tokenization.vocabulary import Encoded

from .pictures import GREY, LINES, png


LENGTH, BEYOND = 12, 36
LENGTHS = (4, 8, 12, 16, 20, 24, 30, 36)
EXAMPLES = 128  # of each length
HALTING = {
    "act": {"halting": "act", "num_steps": 8, "ponder_loss_weight": 0.003, "input_injection": "add"},
    "ponder_net": {"halting": "ponder_net", "num_steps": 6, "ponder_loss_weight": 0.01, "halting_prior": 0.3},
}
TITLES = {"act": "ACT", "ponder_net": "PonderNet"}
SHOWN = {"<bos>": "^", "<sep>": "→", "<eos>": "$"}  # special tokens in a cell


def run_of(rule: str) -> TrainingRun:
    """The training run of a way to halt."""
    return TrainingRun(
        task="bucket_sort",
        model="universal_transformer-rope",
        budget=50_000,
        config={"halting_bias": -1, **HALTING[rule]},
        train_length=LENGTH,
        steps=2000,
        learning_rate=3e-3,
    )


@torch.inference_mode()
def ponder(model, run: TrainingRun, length: int, count: int) -> tuple[Encoded, np.ndarray, np.ndarray]:
    """Test examples, the steps taken at each of their tokens `[count, T]`, and whether each is completely right."""
    problem = run.problem
    encoded = problem.encode(problem.task.sample(length, count, run.seed, "test"))
    output = model(torch.from_numpy(encoded.input_ids), use_cache=False)
    guesses = output.logits.argmax(-1).numpy()
    right = ((guesses == encoded.labels) | (encoded.labels == -100)).all(-1)
    return encoded, output.ponder_steps.numpy(), right


def positions_picture(model, run: TrainingRun) -> bytes:
    """A PNG of the steps at each position of some examples, with the symbols in their cells."""
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    axes = figure.subplots(2, 1, height_ratios=[6, 4])
    images = [
        draw_examples(axis, model, run, length, count)
        for axis, length, count in zip(axes, (LENGTH, BEYOND), (6, 4), strict=True)
    ]
    axes[-1].set_xlabel("position", fontsize=9)
    bar = figure.colorbar(images[0], ax=axes, pad=0.01, ticks=range(1, model.config.num_steps + 1))
    bar.set_label("steps", fontsize=9)
    return png(figure)


def draw_examples(axis, model, run: TrainingRun, length: int, count: int):
    """A row for each of the first test examples of a length; returns the image."""
    encoded, steps, right = ponder(model, run, length, count)
    most, tokens = model.config.num_steps, run.problem.vocabulary.tokens
    image = axis.imshow(steps, vmin=0.5, vmax=most + 0.5, cmap=shades(model), aspect="auto")
    for (row, column), token in np.ndenumerate(encoded.input_ids):
        symbol, dark = SHOWN.get(tokens[token], tokens[token]), steps[row, column] > 0.55 * most
        axis.text(column, row, symbol, ha="center", va="center", fontsize=9, color="white" if dark else "black")
    axis.set_xticks(range(0, steps.shape[1], 5))
    axis.set_yticks(range(count), ["right" if each else "wrong" for each in right])
    axis.tick_params(labelsize=8, length=0)
    axis.set_title(f"{length} symbols to sort ({'training length' if length == LENGTH else 'beyond'})", fontsize=10)
    return image


def shades(model) -> ListedColormap:
    """As many blues as there are steps, from pale to dark."""
    return ListedColormap(colormaps["Blues"](np.linspace(0.08, 0.95, model.config.num_steps)))


def lengths_picture(models: dict, runs: dict) -> bytes:
    """A PNG of the mean steps of input and of answer by length, and of how many examples are right."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    means, correct = figure.subplots(1, 2)
    for colour, (rule, model) in zip(LINES, models.items(), strict=False):
        found = [ponder(model, runs[rule], length, EXAMPLES) for length in LENGTHS]
        for part, style in ((True, "-"), (False, "--")):
            values = [steps[(encoded.labels != -100) == part].mean() for encoded, steps, _ in found]
            where = "where the answer is due" if part else "on the input"
            means.plot(LENGTHS, values, style, color=colour, marker="o", ms=3, label=f"{TITLES[rule]}, {where}")
        correct.plot(
            LENGTHS, [right.mean() for *_, right in found], color=colour, marker="o", ms=3, label=TITLES[rule]
        )
    means.set(ylabel="mean steps", ylim=(0, 8.3))  # ACT takes up to 8, PonderNet up to 6
    correct.set(ylabel="exact match", ylim=(-0.03, 1.03))
    for axis in (means, correct):
        axis.axvline(LENGTH, color=GREY, linewidth=0.8, linestyle=":")
        axis.set_xlabel("symbols to sort (trained up to 12)")
        axis.legend(fontsize=7, frameon=False)
    return png(figure)


def main() -> None:
    """Train the models that are not trained yet, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/pondering"), help="where the trained models go")
    parser.add_argument("--images", type=Path, default=Path("docs/images"), help="where the pictures go")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runs = {rule: run_of(rule) for rule in HALTING}
    models = {rule: load_model(train(run, arguments.runs / rule))[0].eval() for rule, run in runs.items()}
    for rule, model in models.items():
        (arguments.images / f"ponder_{rule}.png").write_bytes(positions_picture(model, runs[rule]))
    (arguments.images / "ponder_lengths.png").write_bytes(lengths_picture(models, runs))


if __name__ == "__main__":
    main()
