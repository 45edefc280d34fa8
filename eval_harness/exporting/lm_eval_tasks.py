"""Tasks of lm-evaluation-harness that read an exported folder: a group, and in it a task for each length.

The prompt is only the symbols: the tokenizer of a run adds <bos> and <sep>. The answer is generated greedily and
compared in full, as in exact match here; there is room for one token more than the longest answer, so that a model
that does not end in time is wrong.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from eval_harness.errors import HarnessError
from eval_harness.tasks import Task
from eval_harness.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary


FORMAT = "autoregressive"  # the one in which a model generates the answer


def group_name(task: Task) -> str:
    """The name of the group: `longreach_majority_letters_5`."""
    return "longreach_" + re.sub(r"\W+", "_", task.key())


def check_generates(task: Task, splits: Sequence[str]) -> None:
    """Refuses what lm-evaluation-harness could not score.

    Raises:
        HarnessError: the task is not answered by generating, or its test rows are not exported.
    """
    if FORMAT not in task.formats:
        raise HarnessError(
            f"lm-evaluation-harness generates answers, but task {task.name!r} has no {FORMAT} format; "
            f"it has: {', '.join(task.formats)}."
        )
    if "test" not in splits:
        raise HarnessError("Tasks of lm-evaluation-harness read the split 'test'; export that too.")


def write_tasks(task: Task, lengths: Sequence[int], folder: Path, dataset: Path) -> None:
    """Writes the group and its tasks as YAML.

    Args:
        task: the task.
        lengths: the lengths that the data set has.
        folder: where to.
        dataset: what `load_dataset` is to be given.
    """
    group = group_name(task)
    names = {length: f"{group}_length_{length}" for length in lengths}
    described = {group: {"group": group, "task": list(names.values()), "metadata": {"version": task.version}}}
    described |= {name: _task(task, name, length, dataset) for length, name in names.items()}
    folder.mkdir()
    for name, content in described.items():
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def _task(task: Task, name: str, length: int, dataset: Path) -> dict:
    # Prompt and answer are given by their columns' names: a template would read an answer such as "[ 1 ]" as a list.
    return {
        "task": name,
        "dataset_path": str(dataset),
        "dataset_name": f"length_{length}",
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "input",
        "doc_to_target": "target",
        "num_fewshot": 0,
        "generation_kwargs": {
            "until": [SPECIAL_TOKENS[Vocabulary.eos_id]],
            "do_sample": False,
            "max_gen_toks": task.output_length(length) + 1,
        },
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": task.version},
    }
