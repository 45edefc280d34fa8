"""Evaluates a saved model: a run's folder, any other folder, or a Hub id; a run's results go into its folder."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

import hf_models  # noqa: F401  (registers our classes with the Auto classes)
from eval_harness.errors import HarnessError
from eval_harness.models import adapter_of
from eval_harness.results.folders import CellFolder, RunFolder
from eval_harness.scoring.protocol import TestLengths, test_lengths
from eval_harness.scoring.scorer import Outcomes, Scorer
from eval_harness.specification import Evaluation
from eval_harness.tasks import Task, get_task
from eval_harness.tokenization.problem import Problem, get_problem


@dataclass(frozen=True)
class Scored:
    """A finished evaluation.

    Attributes:
        problem: the problem.
        evaluation: lengths and examples.
        lengths: the lengths.
        decoding: as `Scorer.decoding`.
        bleu_signature: how the BLEU of translations was computed, or None.
        seconds: its duration.
        outcomes: the results.
    """

    problem: Problem
    evaluation: Evaluation
    lengths: TestLengths
    decoding: str
    bleu_signature: str | None
    seconds: float
    outcomes: Outcomes


AUTO_CLASSES = {  # by the end of the name of the class that was saved; else a model with a token head
    "ForMaskedLM": AutoModelForMaskedLM,
    "ForConditionalGeneration": AutoModelForSeq2SeqLM,
    "ForSequenceClassification": AutoModelForSequenceClassification,
}


def load_model(source: str | Path, trust_remote_code: bool = False) -> tuple[PreTrainedModel, object]:
    """Model with a token head and tokenizer of a folder or Hub id.

    Raises:
        HarnessError: nothing can be loaded.
    """
    if Path(source).is_dir() and not (Path(source) / "config.json").exists():
        raise HarnessError(f"{source} holds no model: there is no config.json in it.")
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
        saved = (config.architectures or [""])[0]
        head = "sequence_to_sequence" if config.is_encoder_decoder else "token"
        adapter = adapter_of(config)
        chosen = next((each for end, each in AUTO_CLASSES.items() if saved.endswith(end)), adapter.auto_class(head))
        model = chosen.from_pretrained(source, trust_remote_code=trust_remote_code)
        tokenizer = adapter.tokenizer_class.from_pretrained(source, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise HarnessError(
            f"Cannot load a model from {str(source)!r}: {str(error).strip().splitlines()[0]}"
        ) from error
    return model, tokenizer


def check_vocabulary(tokenizer: Any, problem: Problem) -> None:
    """Refuses a model with another vocabulary than the problem's.

    Raises:
        HarnessError: naming the first token that differs.
    """
    name = problem.task.name
    expected = {token: number for number, token in enumerate(problem.vocabulary.tokens)}
    given = tokenizer.get_vocab()
    for token, number in expected.items():
        if given.get(token) != number:
            found = "is not in it" if token not in given else f"is number {given[token]} there, not {number}"
            raise HarnessError(f"The model has another vocabulary than task {name!r}: token {token!r} {found}.")
    if len(given) != len(expected):
        raise HarnessError(
            f"The model has another vocabulary than task {name!r}: {len(given)} tokens, not {len(expected)}."
        )


def evaluate_run(
    folder: Path | str,
    evaluation: Evaluation,
    task: str | None = None,
    format: str | None = None,
    progress: Callable[[int], None] = lambda length: None,
) -> Path:
    """Evaluates a finished training run, by default on its own task; a finished evaluation is not repeated.

    Args:
        folder: the run's folder.
        evaluation: lengths and examples.
        task: another task than the run's.
        format: another format than the run's.
        progress: called with each length when it is scored.

    Returns:
        The folder of the evaluation.
    """
    run = RunFolder(Path(folder))
    problem = problem_of(run.path, task, format)
    run_id = run.read_record()["run_id"]
    cell_id = evaluation.identity(run_id, problem.task, problem.format.name, problem.bos)
    cell = run.cell(cell_id)
    if not cell.is_complete:
        scored = score(*load_model(run.path), problem, evaluation, train_length_of(run.path), progress)
        save(scored, cell, run_id)
    return cell.path


def save(scored: Scored, folder: CellFolder, run_id: str) -> None:
    """Writes an evaluation's files."""
    problem = scored.problem
    settings = {
        "cell_id": folder.cell_id,
        "run_id": run_id,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "task": problem.task.key(),
        "skill": problem.task.skill,
        "format": problem.format.name,
        "bos": problem.bos,
        "examples": scored.evaluation.examples,
        "lengths": list(scored.lengths.all),
        "factor": scored.lengths.factor,
        "decoding": scored.decoding,
        "bleu_signature": scored.bleu_signature,
        "seconds": scored.seconds,
    }
    outcomes = scored.outcomes
    folder.write(settings, outcomes.examples, outcomes.positions, outcomes.lengths)


def problem_of(source: str | Path, task: str | None = None, format: str | None = None) -> Problem:
    """The problem that a run was trained on, or the named one for any other model.

    A task without a named format is posed in the run's format if it has that one.

    Raises:
        HarnessError: no task is named, and the folder is not a finished run.
    """
    training = _training_of(source)
    if task is None and not training:
        raise HarnessError(f"{source} is no finished run; name the task to evaluate it on.")
    chosen = get_task(task or training["task"]).pinned()
    own = training.get("format") if training.get("format") in chosen.formats else None
    return get_problem(chosen, format or own or "", training.get("bos", True))


def train_length_of(source: str | Path) -> int | None:
    """The greatest training length of a run; None of any other model."""
    return _training_of(source).get("train_length")


def _training_of(source: str | Path) -> dict:
    run = RunFolder(Path(source))
    return run.read_record()["training"] if run.is_trained else {}


def choose_lengths(task: Task, evaluation: Evaluation, train_length: int | None = None) -> TestLengths:
    """The protocol's lengths, or those that the evaluation names, sorted into those up to L and those beyond.

    Raises:
        HarnessError: neither lengths nor the training length L are known.
    """
    if evaluation.lengths is None:
        if train_length is None:
            raise HarnessError("The training length of this model is not known; name the lengths to test.")
        return test_lengths(task, train_length, evaluation.factor)
    for length in evaluation.lengths:
        task.check_length(length)
    longest_trained = train_length or 0
    lengths = sorted(set(evaluation.lengths))
    return TestLengths(
        within=tuple(length for length in lengths if length <= longest_trained),
        beyond=(),
        reach_only=tuple(length for length in lengths if length > longest_trained),
        train_length=longest_trained,
        factor=lengths[-1] / longest_trained if longest_trained else 0.0,
    )


def score(
    model: PreTrainedModel,
    tokenizer: Any,
    problem: Problem,
    evaluation: Evaluation,
    train_length: int | None = None,
    progress: Callable[[int], None] = lambda length: None,
) -> Scored:
    """Scores a loaded model.

    Args:
        model: the model.
        tokenizer: its tokenizer, whose tokens must be the task's.
        problem: the problem.
        evaluation: lengths and examples.
        train_length: the greatest length that the model was trained at, or None where it is not known.
        progress: called with each length when it is scored.

    Raises:
        HarnessError: model, problem and lengths do not fit each other; before any work is done.
    """
    check_vocabulary(tokenizer, problem)
    lengths = choose_lengths(problem.task, evaluation, train_length)
    scorer = Scorer(model, problem, evaluation.examples)
    begun = time.perf_counter()
    outcomes = scorer.score(lengths, progress)
    seconds = time.perf_counter() - begun
    return Scored(problem, evaluation, lengths, scorer.decoding, scorer.bleu_signature, seconds, outcomes)
