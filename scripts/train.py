"""Trains one model on one task, by itself or under `accelerate launch`; every flag of `TrainingArguments` works.

python scripts/train.py --task parity --model lstm --output_dir runs/parity_lstm
python scripts/train.py recipe.yaml --learning_rate 3e-4
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser

from eval_harness.cli.arguments import find_own_files, parse_quantity
from eval_harness.errors import HarnessError, unknown
from eval_harness.specification import TrainingRun
from eval_harness.training.arguments import RunTrainingArguments, weight_changing
from eval_harness.training.train import train


@dataclass
class RunArguments:
    """The run; the training itself takes the flags of the Trainer."""

    task: str | None = field(default=None, metadata={"help": "task, with options: parity, majority:letters=5"})
    model: str | None = field(
        default=None, metadata={"help": "name of `longreach models` or transformers, or checkpoint"}
    )
    format: str | None = field(default=None, metadata={"help": "autoregressive, parallel or in_place"})
    bos: bool = field(default=True, metadata={"help": "begin sequences with <bos>"})
    budget: str = field(default="100k", metadata={"help": "parameters without embeddings, head, position tables"})
    config_overrides: list[str] = field(default_factory=list, metadata={"help": "key=value of the configuration"})
    train_length: int = field(default=40, metadata={"help": "greatest training length"})
    table_factor: float = field(default=12.5, metadata={"help": "position tables hold this times train_length"})
    batch_size: int = field(default=64, metadata={"help": "examples of a step, over all processes"})
    train_examples: int | None = field(default=None, metadata={"help": "different examples; fresh ones by default"})
    curriculum: float = field(default=0.0, metadata={"help": "share of the steps over which lengths grow"})


def main(argv: Sequence[str] | None = None) -> int:
    """Trains; returns 0, or 2 on invalid input."""
    find_own_files()
    try:
        chosen, arguments = parse(list(sys.argv[1:] if argv is None else argv))
        run = specify(chosen, arguments)
        folder = train(run, str(arguments.output_dir), arguments)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.process_index == 0:
        print(f"Trained {run.model} on {run.task}: {folder}")
    return 0


def parse(argv: list[str]) -> tuple[RunArguments, RunTrainingArguments]:
    """Arguments from a recipe, if the first word names one, and from flags, which override it."""
    holders: Any = (RunArguments, RunTrainingArguments)
    parser = HfArgumentParser(holders, description=__doc__)
    parser.set_defaults(output_dir="")  # named after the run, not as the library would
    if argv and Path(argv[0]).suffix in (".yaml", ".yml", ".json"):
        parser.set_defaults(**read_recipe(Path(argv.pop(0))))
    try:
        parsed: Any = parser.parse_args_into_dataclasses(args=argv, return_remaining_strings=True)
    except ValueError as error:  # a value that the library refuses
        raise HarnessError(str(error)) from error
    chosen, arguments, odd = parsed
    if odd:
        raise unknown("flag", odd[0], [f"--{name}" for name in known_names()])
    return chosen, arguments


def read_recipe(path: Path) -> dict:
    """The keys of a YAML or JSON file, each the name of a flag."""
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HarnessError(f"There is no recipe {path}.") from None
    except yaml.YAMLError as error:
        raise HarnessError(f"Recipe {path} is no YAML or JSON: {str(error).splitlines()[0]}") from error
    if not isinstance(recipe, dict):
        raise HarnessError(f"Recipe {path} holds no keys with values.")
    for key in recipe:
        if key not in known_names():
            raise unknown(f"key in {path}:", key, known_names())
    return recipe


def known_names() -> list[str]:
    """Every flag, which is every key of a recipe."""
    return [each.name for holder in (RunArguments, RunTrainingArguments) for each in fields(holder)]


def specify(chosen: RunArguments, arguments: RunTrainingArguments) -> TrainingRun:
    """The specification that the arguments say; fills in the output folder where none is given."""
    for name in ("task", "model"):
        if getattr(chosen, name) is None:
            raise HarnessError(f"Say which {name} with --{name}; `longreach {name}s` lists them.")
    given = asdict(chosen)
    given["budget"] = parse_quantity(str(chosen.budget))
    overrides = dict(read_override(text) for text in given.pop("config_overrides"))
    run = TrainingRun(
        **given,
        config=overrides,
        steps=arguments.max_steps,
        learning_rate=arguments.learning_rate,
        seed=arguments.seed,
        trainer=weight_changing(arguments),
    )
    if not arguments.output_dir:
        arguments.output_dir = str(Path("runs") / run.folder_name())
    return run


def read_override(text: str) -> tuple[str, object]:
    """Reads key=value, the value as YAML."""
    key, equals, value = text.partition("=")
    if not equals:
        raise HarnessError(f"Cannot read the override {text!r}; write key=value.")
    read = yaml.safe_load(value)
    with suppress(ValueError):
        read = float(read) if isinstance(read, str) else read  # YAML takes 1e-3 for text
    return key, read


if __name__ == "__main__":
    sys.exit(main())
