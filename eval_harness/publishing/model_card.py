"""The card of a published run. Its content comes from the run's results: equal results give equal bytes.

The prose is in `model_cards/template.md`; this file turns results into what the template shows, and into the
`model-index` that the Hub reads.
"""

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from eval_harness.errors import HarnessError
from eval_harness.reporting.numbers import MISSING, duration, length, percent, quantity, words
from eval_harness.results.folders import RunResult
from eval_harness.results.statistics import AtLeast
from eval_harness.results.summary import summarise
from eval_harness.tasks import Task, get_task
from eval_harness.tokenization.formats import get_format
from eval_harness.tokenization.problem import Problem
from eval_harness.tokenization.vocabulary import NOT_SCORED


PARTS = {"within": "trained", "beyond": "beyond", "reach": "beyond, reach only"}
HEADER = [
    "length",
    "part",
    "exact, %",
    "interval",
    "needed",
    "blind exact, %",
    "tokens, %",
    "blind tokens, %",
    "FLOP/token",
]

EXAMPLE_LENGTH = 8


def template() -> str:
    """The card's Jinja2 template, from the installed package or from the repository's own folder."""
    package = Path(__file__).parents[1]
    for root in (package, package.parent):
        path = root / "model_cards" / "template.md"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise HarnessError("The card template model_cards/template.md is missing; install Longreach again.")


def figure_path(result: RunResult) -> str:
    """Where a cell's figure lies in the repository."""
    return f"figures/{result.cell['cell_id']}.png"


def model_card(results: list[RunResult], repo_id: str, config: dict[str, Any]) -> ModelCard:
    """The card of one run.

    Args:
        results: the run's evaluation cells, at least one; the card lists them in this order.
        repo_id: the repository it is written for.
        config: the model's `config.json`.
    """
    run = results[0].run
    summaries = [summarise(result) for result in results]
    task = get_task(run["training"]["task"])
    return ModelCard.from_template(
        _card_data(results, summaries, repo_id),
        template_str=template(),
        repo_id=repo_id,
        run=run,
        parameters=f"{run['model']['parameters']['total']:,}",
        task=_task(task),
        evaluations=[_evaluation(*pair) for pair in zip(results, summaries, strict=True)],
        auto_class=auto_class(config),
        remote_code="auto_map" in config,
        tested_with=_tested_with(config.get("tested_with", {})),
        example=_example(task, run["training"]),
        symbols=len({*task.input_alphabet, *task.output_alphabet}),
        recipe=[[key, _cell(value)] for key, value in run["training"].items()],
        compute=_compute(run),
        environment=_environment(run["environment"]),
        longest=max(result.lengths[-1]["length"] for result in results),
        fits=all(summary["fits"] for summary in summaries),
    )


def auto_class(config: dict[str, Any]) -> str:
    """The Auto class that loads the model, by the ending of its architecture's name.

    Names without such an ending (`GPT2LMHeadModel`) are older causal language models.
    """
    _, _, head = config["architectures"][0].partition("For")
    return f"AutoModelFor{head.replace('ConditionalGeneration', 'Seq2SeqLM') or 'CausalLM'}"


def _card_data(results: list[RunResult], summaries: list[dict], repo_id: str) -> ModelCardData:
    training = results[0].run["training"]
    scores = [score for pair in zip(results, summaries, strict=True) for score in _eval_results(*pair)]
    tags = ["longreach", "length-extrapolation", training["task"].partition(":")[0], training["model"]]
    return ModelCardData(
        license="apache-2.0",
        library_name="transformers",
        tags=tags,
        metrics=list(dict.fromkeys(score.metric_type for score in scores)),
        model_name=repo_id.split("/")[-1],
        eval_results=scores,
    )


def _eval_results(result: RunResult, summary: dict[str, Any]) -> list[EvalResult]:
    """The scores of one cell: lengths seen in training and lengths beyond them are two results, never averaged."""
    key = result.cell["task"]
    within, beyond = _ranges(result)
    reach = "Reach: the last tested length before the first that fails"
    if summary["at_grid_end"]:
        reach = "Reach, at least: no tested length failed"
    scores = [
        (within, "exact_match", "Mean exact match", summary["fit_exact"]),
        (beyond, "exact_match", "Mean exact match", summary["extrapolation_exact"]),
        (beyond, "accuracy", "Mean token accuracy", summary["extrapolation_tokens"]),
        (beyond, "reach", reach, summary["reach"]),
    ]
    return [
        EvalResult(
            task_type="text-generation",
            task_name=f"{key}, trained at lengths up to {result.training['train_length']}",
            dataset_type=f"longreach-{key.partition(':')[0]}",
            dataset_name=f"Longreach {key}",
            dataset_config=_setting(result),
            dataset_split=f"test, {lengths}",
            metric_type=metric,
            metric_name=name,
            metric_value=round(value, 6),
        )
        for lengths, metric, name, value in scores
        if value is not None
    ]


def _ranges(result: RunResult) -> tuple[str, str]:
    """The lengths that decide about the fit and those beyond training, in words."""
    train_length = result.training["train_length"]
    longest = max(train_length, result.lengths[-1]["length"])
    return f"lengths {-(-train_length // 2)} to {train_length}", f"lengths {train_length + 1} to {longest}"


def _setting(result: RunResult) -> str:
    """The format and <bos> of a cell, in words."""
    return f"{words(result.cell['format'])} format{'' if result.cell['bos'] else ', without `<bos>`'}"


def _evaluation(result: RunResult, summary: dict[str, Any]) -> dict[str, Any]:
    cell = result.cell
    header, lines = _length_table(result.lengths)
    return {
        "title": f"{cell['task']}, {_setting(result)}",
        "verdict": _verdict(summary, result.training["train_length"]),
        "figure": figure_path(result),
        "folder": f"results/evaluations/{cell['cell_id']}",
        "examples": cell["examples"],
        "lengths": cell["lengths"],
        "decoding": words(cell["decoding"]),
        "measures": _measures(result, summary),
        "header": header,
        "rows": lines,
        "enumerable": any(row["enumerable"] for row in result.lengths),
    }


def _verdict(summary: dict[str, Any], train_length: int) -> str:
    """The headline of a cell in one or two sentences."""
    if summary["fits"] is None:
        return "**Whether it fits is not known**: no trained length was tested that could show it."
    if not summary["fits"]:
        return f"**It did not learn the task** at lengths up to {train_length}, so reach is not defined."
    if summary["reach"] is None:
        return "**It has learnt the task** at its training lengths; no length beyond them was tested."
    if summary["at_grid_end"]:
        return f"**Reach ≥ {summary['reach']}**: no tested length up to {summary['reach']} failed."
    sentence = f"**Reach {summary['reach']}**; the next tested length, {summary['next_tested']}, fails."
    return f"{sentence} A later length passes again." if summary["recovers"] else sentence


def _measures(result: RunResult, summary: dict[str, Any]) -> list[list[str]]:
    """Label and value of the summary's figures; shares in per cent."""
    within, beyond = _ranges(result)
    return [
        [f"mean exact match, {within}, %", percent(summary["fit_exact"])],
        [f"mean exact match, {beyond}, %", percent(summary["extrapolation_exact"])],
        ["normalised: 0 is input-blind, 100 perfect", percent(summary["normalised_exact"])],
        [f"mean token accuracy, {beyond}, %", percent(summary["extrapolation_tokens"])],
        ["normalised: 0 is input-blind, 100 perfect", percent(summary["normalised_tokens"])],
        ["certified reach: every length up to it passes", _reach(summary, "certified_reach", "certified_at_grid_end")],
        ["token reach: the same as reach, on token accuracy", _reach(summary, "token_reach", "token_at_grid_end")],
    ]


def _reach(summary: dict[str, Any], value: str, censored: str) -> str:
    return MISSING if summary[value] is None else length(AtLeast(summary[value], summary[censored]))


def _length_table(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of the table by length; ponder steps only where the model has them."""
    ponders = any(row["ponder_steps"] is not None for row in rows)
    header = [*HEADER, *(["ponder steps"] if ponders else [])]
    return header, [_length_line(row, ponders) for row in rows]


def _length_line(row: dict[str, Any], ponders: bool) -> list[str]:
    shares = [row[name] for name in ("threshold", "baseline_exact", "tokens", "baseline_tokens")]
    line = [
        f"{row['length']}{' *' if row['enumerable'] else ''}",
        PARTS[row["split"]],
        percent(row["exact"]),
        f"{percent(row['exact_low'])} to {percent(row['exact_high'])}",
        *(percent(share) for share in shares),
        quantity(row["flops_per_token"]),
    ]
    if ponders:
        line.append(MISSING if row["ponder_steps"] is None else f"{row['ponder_steps']:.2f}")
    return line


def _task(task: Task) -> dict[str, str]:
    return {
        "skill": task.skill,
        "summary": (inspect.getdoc(type(task)) or "").partition("\n\n")[0].replace("\n", " "),
        "length_meaning": task.length_meaning,
        "source": task.source,
    }


def _example(task: Task, training: dict[str, Any]) -> dict[str, Any]:
    """A test example at a training length, to try the model on: the text, and where its answer is read."""
    longest = training["train_length"]
    problem = Problem(task, get_format(training["format"]), training["bos"])
    length = next(size for size in range(min(EXAMPLE_LENGTH, longest), longest + 1) if task.valid_length(size))
    sample, vocabulary = task.sample(length, 1, seed=0), problem.vocabulary
    encoded = problem.encode(sample)
    positions = np.flatnonzero(encoded.labels[0] != NOT_SCORED).tolist()
    prompt = encoded.input_ids[0, int(problem.bos) :].tolist()
    ends = [prompt.index(token) for token in (vocabulary.sep_id, vocabulary.eos_id) if token in prompt]
    answer = sample.targets[0, : sample.target_lengths[0]]
    return {
        # The tokenizer adds what the prompt ends with, as it adds <bos>.
        "text": " ".join(vocabulary.tokens[token] for token in prompt[: min(ends, default=None)]),
        "positions": positions,
        "answer": " ".join(task.output_alphabet[symbol] for symbol in answer),
    }


def _compute(run: dict[str, Any]) -> list[list[str]]:
    compute, parameters = run["compute"], run["model"]["parameters"]
    return [
        ["parameters in the budget", f"{parameters['counted']:,}"],
        ["parameters in all", f"{parameters['total']:,}"],
        ["size chosen", _cell(run["model"]["chosen"])],
        ["training FLOP", quantity(compute["training_flops"])],
        ["training tokens", quantity(compute["training_tokens"])],
        ["training time", duration(compute["training_seconds"])],
        ["peak memory", quantity(compute["peak_memory_bytes"], "B")],
        ["final loss", MISSING if run["final_loss"] is None else f"{run['final_loss']:.4g}"],
    ]


def _tested_with(versions: dict[str, list[str]]) -> str:
    """The tested releases of each library as one phrase; empty for models that state none."""
    return "; ".join(f"{name} {', '.join(releases)}" for name, releases in sorted(versions.items()))


def _environment(environment: dict[str, Any]) -> list[list[str]]:
    git = environment["git"]  # None where the code did not run from a checkout
    revision = f"{git['revision']}{' with uncommitted changes' if git['dirty'] else ''}" if git else MISSING
    packages = [f"{name} {version}" for name, version in environment["packages"].items() if version]
    return [
        ["Python", environment["python"]],
        ["packages", ", ".join(packages)],
        ["Longreach revision", revision],
        ["platform", environment["platform"]],
        ["processor", environment["processor"]],
        ["accelerator", _cell(environment.get("accelerator"))],
    ]


def _cell(value: object) -> str:
    """A value as one cell of a Markdown table."""
    if value is None or value in ({}, [], ""):
        return MISSING
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text.replace("|", "\\|")
