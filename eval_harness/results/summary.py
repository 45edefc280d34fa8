"""The one row that sums up a run."""

from statistics import fmean
from typing import Any

from eval_harness.results import statistics
from eval_harness.results.folders import RunResult


def summarise(result: RunResult) -> dict[str, Any]:
    """One row per run, with the columns of `SUMMARY`.

    Reach is None where the run does not fit. Extrapolation is the plain mean over the strata of (L, kL]; lengths
    seen in training have no part in it. Loss and BLEU are means over lengths in [L/2, L], and over those strata.
    FLOPs and tokens per second are those at the greatest tested length up to L;
    `flops_per_token_longest` is that at the longest of all.
    """
    training, model, compute = result.training, result.run["model"], result.run["compute"]
    return {
        "study": result.run["study"],
        "run_id": result.run["run_id"],
        "cell_id": result.cell["cell_id"],
        "model": training["model"],
        "task": result.cell["task"],
        "task_version": training["task_version"],
        "skill": result.skill,
        "format": result.cell["format"],
        "bos": result.cell["bos"],
        "causal": model["causal"],
        "decoding": result.cell["decoding"],
        "seed": training["seed"],
        "train_length": training["train_length"],
        "factor": result.cell["factor"],
        "examples": result.cell["examples"],
        **_reach_columns(result),
        **_extrapolation_columns(result),
        **_quality_columns(result),
        "parameters": model["parameters"]["counted"],
        "parameters_total": model["parameters"]["total"],
        "training_flops": compute["training_flops"],
        "training_seconds": compute["training_seconds"],
        "training_tokens": compute["training_tokens"],
        "peak_memory_bytes": compute["peak_memory_bytes"],
        **_cost_columns(result),
        "final_loss": result.run["final_loss"],
        "weights_digest": result.run["weights_digest"],
    }


def _reach_columns(result: RunResult) -> dict[str, Any]:
    rows, train_length = result.lengths, result.training["train_length"]
    deciding = statistics.fit_rows(rows, train_length)
    fits = statistics.fits(rows, train_length)
    exact = statistics.reach(rows, train_length) if fits else None
    tokens = statistics.reach(rows, train_length, "tokens") if statistics.fits(rows, train_length, "tokens") else None
    return {
        "fits": fits,
        "fit_exact": _mean(row["exact"] for row in deciding),
        "fit_threshold": _mean(statistics.threshold(row["baseline_exact"]) for row in deciding),
        "reach": exact.reach if exact else None,
        "at_grid_end": exact.at_grid_end if exact else None,
        "next_tested": exact.next_tested if exact else None,
        "recovers": exact.recovers if exact else None,
        "certified_reach": exact.certified if exact else None,
        "certified_at_grid_end": exact.certified_at_grid_end if exact else None,
        "token_reach": tokens.reach if tokens else None,
        "token_at_grid_end": tokens.at_grid_end if tokens else None,
    }


def _quality_columns(result: RunResult) -> dict[str, float | None]:
    near = statistics.fit_rows(result.lengths, result.training["train_length"])
    beyond = [row for row in result.lengths if row["split"] == "beyond"]
    columns: dict[str, float | None] = {}
    for name in ("loss", "bleu"):
        for suffix, rows in (("", near), ("_beyond", beyond)):
            known = [row[name] for row in rows if row.get(name) is not None]
            columns[name + suffix] = _mean(known) if len(known) == len(rows) else None
    return columns


def _extrapolation_columns(result: RunResult) -> dict[str, Any]:
    beyond = [row for row in result.lengths if row["split"] == "beyond"]
    columns: dict[str, Any] = {}
    for metric in ("exact", "tokens"):
        accuracy = _mean(row[metric] for row in beyond)
        baseline = _mean(row[f"baseline_{metric}"] for row in beyond)
        known = accuracy is not None and baseline is not None
        columns[f"extrapolation_{metric}"] = accuracy
        columns[f"normalised_{metric}"] = statistics.normalised(accuracy, baseline) if known else None
    return columns


def _cost_columns(result: RunResult) -> dict[str, Any]:
    trained = [row for row in result.lengths if row["length"] <= result.training["train_length"]]
    return {
        "flops_per_token": trained[-1]["flops_per_token"] if trained else None,
        "flops_per_token_longest": result.lengths[-1]["flops_per_token"],
        "tokens_per_second": trained[-1]["tokens_per_second"] if trained else None,
        "ponder_steps": _mean(row["ponder_steps"] for row in result.lengths if row["split"] == "within"),
        "ponder_steps_beyond": _mean(row["ponder_steps"] for row in result.lengths if row["split"] == "beyond"),
    }


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
