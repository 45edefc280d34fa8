"""Evaluates a saved model: a run's folder, any other folder, or a Hub id; writes what it finds beside the run."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer, PreTrainedModel

import hf_models  # noqa: F401  (registers the classes that the Auto classes are asked for)
from eval_harness.encoding import Vocabulary, get_format
from eval_harness.errors import HarnessError
from eval_harness.protocol import TestLengths, test_lengths
from eval_harness.results import EXAMPLES, LENGTHS, POSITIONS, read_json, write_json, write_table
from eval_harness.scoring import Outcomes, Scorer
from eval_harness.specification import Evaluation
from eval_harness.tasks import Task, get_task


RUN = "run.json"


@dataclass(frozen=True)
class Setting:
    """What a model is evaluated on.

    Attributes:
        task: the task.
        format: name of the format.
        bos: whether sequences begin with <bos>.
        train_length: L, or None where it is not known.
    """

    task: Task
    format: str
    bos: bool
    train_length: int | None


def load_model(source: str | Path, trust_remote_code: bool = False) -> tuple[PreTrainedModel, object]:
    """Model with a token head and tokenizer of a folder or Hub id.

    Raises:
        HarnessError: there is nothing that loads.
    """
    if Path(source).is_dir() and not (Path(source) / "config.json").exists():
        raise HarnessError(f"{source} holds no model: there is no config.json in it.")
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
        masked = any(name.endswith("ForMaskedLM") for name in config.architectures or ())
        auto_class = AutoModelForMaskedLM if masked else AutoModelForCausalLM
        model = auto_class.from_pretrained(source, trust_remote_code=trust_remote_code)
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise HarnessError(
            f"Cannot load a model from {str(source)!r}: {str(error).strip().splitlines()[0]}"
        ) from error
    return model, tokenizer


def check_vocabulary(tokenizer, task: Task) -> None:
    """Refuses a model whose tokens are not the task's.

    Raises:
        HarnessError: naming the first token that differs.
    """
    wanted = {token: number for number, token in enumerate(Vocabulary(task).tokens)}
    given = tokenizer.get_vocab()
    for token, number in wanted.items():
        if given.get(token) != number:
            found = "is not in it" if token not in given else f"is number {given[token]} there, not {number}"
            raise HarnessError(f"The model has another vocabulary than task {task.name!r}: token {token!r} {found}.")
    if len(given) != len(wanted):
        raise HarnessError(
            f"The model has another vocabulary than task {task.name!r}: {len(given)} tokens, not {len(wanted)}."
        )


def evaluate_run(folder: Path | str, evaluation: Evaluation, progress=lambda length: None) -> Path:
    """Evaluates a finished training run on its own task; what is there already is not done again.

    Args:
        folder: the run's folder.
        evaluation: lengths and examples.
        progress: called with each length when it is scored.

    Returns:
        The folder of the evaluation.
    """
    folder = Path(folder)
    setting = setting_of(folder)
    run = read_json(folder / RUN)
    cell_id = evaluation.identity(run["run_id"], setting.task, setting.format, setting.bos)
    cell_folder = folder / "evaluations" / cell_id
    if (cell_folder / "lengths.parquet").exists():
        return cell_folder
    model, tokenizer = load_model(folder)
    begun = time.perf_counter()
    lengths, scorer, outcomes = evaluate(model, tokenizer, setting, evaluation, progress)
    cell = {
        "cell_id": cell_id,
        "run_id": run["run_id"],
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "task": setting.task.key(),
        "format": setting.format,
        "bos": setting.bos,
        "examples": evaluation.examples,
        "lengths": list(lengths.all),
        "factor": lengths.factor,
        "decoding": scorer.decoding,
        "seconds": time.perf_counter() - begun,
    }
    write_table(cell_folder / "examples.parquet", outcomes.examples, EXAMPLES)
    write_table(cell_folder / "positions.parquet", outcomes.positions, POSITIONS)
    write_json(cell_folder / "cell.json", cell)
    # Last: its presence says that the evaluation is whole.
    write_table(cell_folder / "lengths.parquet", outcomes.lengths, LENGTHS)
    return cell_folder


def setting_of(source: str | Path, task: str | None = None, format: str | None = None) -> Setting:
    """What a run was trained on, or the named task for any other model.

    Raises:
        HarnessError: nothing says which task is meant.
    """
    path = Path(source) / RUN
    training = read_json(path)["training"] if path.exists() else {}
    if task is None and not training:
        raise HarnessError(f"{source} is no finished run; name the task to evaluate it on.")
    chosen = get_task(task or training["task"])
    own = training.get("format") if training.get("format") in chosen.formats else None
    return Setting(
        task=chosen,
        format=get_format(format).name if format else own or chosen.formats[0],
        bos=training.get("bos", True),
        train_length=training.get("train_length"),
    )


def choose_lengths(setting: Setting, evaluation: Evaluation) -> TestLengths:
    """The protocol's lengths, or those that the evaluation names, sorted into those up to L and those beyond.

    Raises:
        HarnessError: neither lengths nor the training length are known.
    """
    if evaluation.lengths is None:
        if setting.train_length is None:
            raise HarnessError("The training length of this model is not known; name the lengths to test.")
        return test_lengths(setting.task, setting.train_length, evaluation.factor)
    for length in evaluation.lengths:
        setting.task.check_length(length)
    longest_trained = setting.train_length or 0
    lengths = sorted(set(evaluation.lengths))
    return TestLengths(
        within=tuple(length for length in lengths if length <= longest_trained),
        beyond=(),
        reach_only=tuple(length for length in lengths if length > longest_trained),
        train_length=longest_trained,
        factor=lengths[-1] / longest_trained if longest_trained else 0.0,
    )


def evaluate(
    model, tokenizer, setting: Setting, evaluation: Evaluation, progress=lambda length: None
) -> tuple[TestLengths, Scorer, Outcomes]:
    """Scores a loaded model; raises HarnessError before any work where model, task and lengths do not fit."""
    check_vocabulary(tokenizer, setting.task)
    lengths = choose_lengths(setting, evaluation)
    scorer = Scorer(model, setting.task, setting.format, setting.bos, evaluation.examples)
    return lengths, scorer, scorer.score(lengths, progress)
