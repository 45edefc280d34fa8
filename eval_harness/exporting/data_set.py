"""A task's examples as text: rows in memory, or a folder of Parquet files with a card that `load_dataset` reads.

```
README.md                            the card; its header names the configurations
data/length_10/test.parquet          one configuration for each length, and one of them all
lm_eval/*.yaml                       on request: a task of lm-evaluation-harness for each length
```
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, Features, NamedSplit

from eval_harness.errors import HarnessError
from eval_harness.exporting.card import Export, data_card
from eval_harness.exporting.lm_eval_tasks import check_generates, write_tasks
from eval_harness.results.files import new_folder
from eval_harness.tasks import Sample, Task, get_task
from eval_harness.tasks.sample import length_mask


SEED = 0  # that of the scorer's test examples: the same rows


def to_dataset(task: str | Task, length: int, count: int = 512, split: str = "test", seed: int = SEED) -> Dataset:
    """The first examples of a stream as a data set.

    Args:
        task: the task or its key.
        length: the task length.
        count: how many rows.
        split: "test", "train", "tune" or "baseline". With seed 0, "test" has the rows that models are scored on.
        seed: of the stream.

    Returns:
        The columns `length`, `index` (the row's place in the stream), `input` and `target` (symbols with spaces
        between them); `positions`, the place in the input at which each symbol is due, where the task is
        answered in place; `scored`, which symbols of the target count, where not all of them do.

    Raises:
        HarnessError: for a task, length or split that there is not.
    """
    task = get_task(task) if isinstance(task, str) else task
    sample = task.sample(length, count, seed, split)
    table = _table(task, sample, scored=_partly_scored(sample))
    return Dataset.from_dict(table.to_pydict(), Features.from_arrow_schema(table.schema), split=NamedSplit(split))


def export_task(
    task: str | Task,
    output: str | Path,
    lengths: Sequence[int],
    examples: int = 512,
    splits: Sequence[str] = ("test",),
    lm_eval: bool = False,
) -> Path:
    """Writes a task's examples as Parquet files with a data card. The folder appears complete or not at all.

    Args:
        task: the task or its key.
        output: the folder to make.
        lengths: the task lengths, a configuration each.
        examples: rows of each length and split.
        splits: which streams, with seed 0.
        lm_eval: also describe the test rows as tasks of lm-evaluation-harness.

    Returns:
        The folder, absolute.

    Raises:
        HarnessError: for a task, length or split that there is not, no examples, a folder that exists, or a task that
            lm-evaluation-harness cannot pose.
    """
    task = get_task(task) if isinstance(task, str) else task
    output = Path(output).resolve()
    export = Export(
        task, output.name, tuple(sorted(set(lengths))), examples, tuple(dict.fromkeys(splits)), SEED, lm_eval
    )
    if examples < 1 or not export.lengths or not export.splits:
        raise HarnessError("An export needs at least one length, one split and one example.")
    if lm_eval:
        check_generates(task, export.splits)
    samples = {
        (length, split): task.sample(length, examples, SEED, split) for length in export.lengths for split in splits
    }
    scored = any(_partly_scored(sample) for sample in samples.values())
    with new_folder(output) as folder:
        for (length, split), sample in samples.items():
            path = folder / export.file(length, split)
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(_table(task, sample, scored), path)
        data_card(export, samples).save(folder / "README.md")
        if lm_eval:
            write_tasks(task, export.lengths, folder / "lm_eval", dataset=output)
    return output


def _partly_scored(sample: Sample) -> bool:
    return not np.array_equal(sample.scored, length_mask(sample.target_lengths, sample.scored.shape[1]))


def _table(task: Task, sample: Sample, scored: bool) -> pa.Table:
    """The rows of one length as text."""
    texts = task.spell(sample)
    columns = {
        "length": pa.array(sample.lengths, pa.int32()),
        "index": pa.array(range(len(sample)), pa.int32()),
        "input": pa.array([prompt for prompt, _ in texts], pa.string()),
        "target": pa.array([answer for _, answer in texts], pa.string()),
    }
    if sample.positions is not None:
        columns["positions"] = pa.array(_cut(sample.positions, sample), pa.list_(pa.int32()))
    if scored:
        columns["scored"] = pa.array(_cut(sample.scored, sample), pa.list_(pa.bool_()))
    return pa.table(columns)


def _cut(rows: np.ndarray, sample: Sample) -> list[np.ndarray]:
    """A column over the symbols of the targets, without the padding."""
    return [row[:length] for row, length in zip(rows, sample.target_lengths, strict=True)]
