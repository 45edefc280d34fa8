"""A small made-up study in the layout of a real one. No model was trained: the curves are drawn from a formula."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval_harness.results.files import write_json, write_table
from eval_harness.results.schemas import EXAMPLES, LENGTHS, POSITIONS
from eval_harness.results.statistics import threshold, wilson


TRAIN_LENGTH = 20
FACTOR = 5.0
WITHIN = (5, 10, 13, 15, 18, 20)
REACH_ONLY = (21, 22, 25, 31)
BEYOND = (24, 27, 39, 46, 48, 58, 61, 71, 78, 81, 92, 99)


@dataclass(frozen=True)
class FakeModel:
    """A model whose accuracy falls from one around a length of its own."""

    name: str
    half: float
    """The length at which half of the way down to the baseline is gone."""
    parameters: int = 98_900
    flops: float = 1.2e12
    ponders: bool = False
    ceiling: float = 1.0
    causal: bool = True


MODELS = (
    FakeModel("lstm", 400.0, 99_600, 0.9e12),
    FakeModel("transformer-none", 62.0),
    FakeModel("transformer-alibi", 47.0),
    FakeModel("transformer-sinusoidal", 20.0, ceiling=0.7),
    FakeModel("universal_transformer", 88.0, 97_300, 3.1e12, ponders=True),
)


@dataclass(frozen=True)
class FakeTask:
    """A task whose answers have `answer` symbols of `symbols` different ones."""

    name: str
    format: str
    answer: int
    symbols: int
    skill: str | None = None


TASKS = (FakeTask("majority", "parallel", 1, 2), FakeTask("reverse_string", "autoregressive", 12, 2))


def write_study(folder, models=MODELS, tasks=TASKS, seeds=(1, 2, 3), examples=128) -> Path:
    """Writes every model × task × seed, and one run that was interrupted before it was scored."""
    folder = Path(folder)
    write_json(folder / "study.json", {"name": folder.name, "question": "Does anything made up reach far?"})
    for task in tasks:
        for model in models:
            for seed in seeds:
                write_run(folder, model, task, seed, examples)
    (folder / f"{tasks[0].name}-lstm-interrupted" / "checkpoint-100").mkdir(parents=True)
    return folder


def write_run(study, model=MODELS[0], task=TASKS[0], seed=1, examples=128) -> Path:
    """Writes one run with its evaluation; returns the run's folder."""
    folder = Path(study) / f"{task.name}-{model.name}-{seed}"
    cell = folder / "evaluations" / "cell-1"
    run_id = folder.name
    write_json(folder / "run.json", run_record(model, task, seed, Path(study).name, run_id))
    lengths = sorted({*WITHIN, *REACH_ONLY, *BEYOND})
    write_json(
        cell / "cell.json",
        {
            "cell_id": "cell-1",
            "run_id": run_id,
            "task": task.name,
            "format": task.format,
            "bos": True,
            "examples": examples,
            "lengths": lengths,
            "factor": FACTOR,
            "decoding": "greedy",
            "seconds": 4.2,
            **({"skill": task.skill} if task.skill else {}),  # early results do not say
        },
    )
    rng = np.random.default_rng([seed, len(model.name), len(task.name)])
    drawn = {length: _examples(model, task, length, examples, rng) for length in lengths}
    write_table(cell / "positions.parquet", _positions(drawn), POSITIONS)
    write_table(cell / "examples.parquet", [row for rows in drawn.values() for row in rows], EXAMPLES)
    write_table(cell / "lengths.parquet", [length_row(model, task, n, rows) for n, rows in drawn.items()], LENGTHS)
    return folder


def run_record(model, task, seed, study, run_id) -> dict:
    """The content of `run.json`."""
    return {
        "schema": 1,
        "run_id": run_id,
        "study": study,
        "created": "2026-01-02T03:04:05+00:00",
        "training": {
            "task": task.name,
            "task_version": 1,
            "format": task.format,
            "bos": True,
            "model": model.name,
            "config": {},
            "budget": 100_000,
            "train_length": TRAIN_LENGTH,
            "min_length": 1,
            "steps": 2000,
            "batch_size": 64,
            "learning_rate": 1e-3,
            "train_examples": None,
            "seed": seed,
        },
        "model": {
            "architecture": model.name.partition("-")[0],
            "position_encoding": model.name.partition("-")[2] or None,
            "position_ids": [None, None] if model.name == "lstm" else ["consecutive", "consecutive"],
            "causal": model.causal,
            "chosen": "hidden_size 64, intermediate_size 256",
            "parameters": {
                "counted": model.parameters,
                "total": model.parameters + 1_100,
                "embedding": 700,
                "head": 400,
                "position_tables": 0,
            },
        },
        "compute": {
            "training_flops": model.flops * (1 + 0.02 * seed),
            "training_seconds": 61.0 + seed,
            "training_tokens": 1_500_000,
            "peak_memory_bytes": 400_000_000,
        },
        "final_loss": 0.01,
        "environment": {
            "python": "3.12.0",
            "platform": "Linux-6.1-x86_64",
            "processor": "x86_64",
            "accelerator": None,
            "cpu_count": 2,
            "packages": {"torch": "2.11.0", "transformers": "5.17.0"},
            "git": {"revision": "0123456789abcdef0123456789abcdef01234567", "dirty": True},
            "threads": 1,
        },
        "weights_digest": f"{seed:02d}" * 32,
    }


def _examples(model, task, length, count, rng) -> list[dict]:
    steady = model.ceiling / (1 + np.exp((length - model.half * rng.uniform(0.9, 1.1)) / 4))
    solved = rng.random(count) < steady
    guessed = rng.random((count, task.answer)) < 1 / task.symbols
    right = guessed | solved[:, None]  # [count, answer]
    return [
        {
            "length": length,
            "index": index,
            "exact": bool(row.all()),
            "tokens": task.answer,
            "right_tokens": int(row.sum()),
            "teacher_forced_tokens": int(row.sum()),
            "first_wrong": -1 if row.all() else int(row.argmin()),
            "ponder_steps": 2 + length / 25 if model.ponders else None,
            "_right": row,
        }
        for index, row in enumerate(right)
    ]


def _positions(drawn) -> list[dict]:
    rows = []
    for length, examples in drawn.items():
        right = np.stack([example.pop("_right") for example in examples]).sum(axis=0)
        rows += [
            {"length": length, "position": position, "right": int(count), "total": len(examples)}
            for position, count in enumerate(right)
        ]
    return rows


def length_row(model, task, length, examples) -> dict:
    """One row of `lengths.parquet`, aggregated from the examples of that length."""
    count = len(examples)
    exact = sum(example["exact"] for example in examples)
    low, high = wilson(exact, count)
    tokens = sum(example["right_tokens"] for example in examples) / (count * task.answer)
    blind = (1 / task.symbols) ** task.answer
    guesses = {
        f"{name}_{metric}": value
        for name in ("baseline", "random", "last_symbol", "most_frequent")
        for metric, value in (("exact", blind), ("tokens", 1 / task.symbols))
    }
    return {
        "length": length,
        "token_length": length + 2 + task.answer,
        "split": "within" if length in WITHIN else "beyond" if length in BEYOND else "reach",
        "enumerable": length < 8,
        "examples": count,
        "exact": exact / count,
        "exact_low": low,
        "exact_high": high,
        "tokens": tokens,
        "teacher_forced": tokens,
        **guesses,
        "baseline_teacher_forced": 1 / task.symbols,
        "threshold": threshold(blind),
        "ponder_steps": examples[0]["ponder_steps"],
        "flops_per_token": 2.0 * model.parameters + 300.0 * length,
        "tokens_per_second": 52_000.0,
    }
