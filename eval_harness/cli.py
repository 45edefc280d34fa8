"""The command line: `longreach tasks | models | run | evaluate | report | publish`.

What a command needs is imported inside it, so that `--help` answers at once.
"""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from eval_harness.errors import HarnessError
from eval_harness.terminal import make_console


app = typer.Typer(
    help="How far past its training length does a sequence model still work, at the same size and compute?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

INTERRUPTED = 130  # the exit code of a command that was stopped from the keyboard
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code, which is 2 when the input has to be mended."""
    if "" not in sys.path:
        sys.path.append("")  # the working folder, for encodings in files of the user's own
    try:
        app(args=None if argv is None else list(argv), standalone_mode=True)
    except HarnessError as error:
        typer.echo(f"longreach: {error}", err=True)
        return 2
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def script() -> None:
    """The console script."""
    sys.exit(main())


@app.command()
def tasks(
    name: Annotated[str | None, typer.Argument(help="One task, with options: majority:letters=5.")] = None,
    length: Annotated[int, typer.Option(help="Length of the examples drawn for one task.")] = 8,
    as_json: Json = False,
) -> None:
    """Lists what there is to solve; with a name, shows that task with drawn examples."""
    from eval_harness.tasks import get_task, list_tasks

    if name is not None:
        _show_task(get_task(name), length, as_json)
        return
    rows = [_task_row(get_task(name)) for name in list_tasks()]
    if as_json:
        _print_json(rows)
        return
    columns = ("task", "skill", "formats", "example")
    shown = ([row["task"], row["skill"], ", ".join(row["formats"]), " → ".join(row["examples"][0])] for row in rows)
    _print_table(columns, shown)


def _task_row(task) -> dict:
    question = (type(task).__doc__ or "").strip().splitlines()[0]
    return {
        "task": task.key(),
        "version": task.version,
        "skill": task.skill,
        "question": question,
        "length": task.length_meaning,
        "formats": list(task.formats),
        "options": {option.name: getattr(task, option.name) for option in fields(task)},
        "source": task.source,
        "examples": [list(pair) for pair in task.examples],
    }


def _show_task(task, length: int, as_json: bool) -> None:
    sample = task.sample(length, 4, seed=0)
    drawn = []
    for row in range(len(sample)):
        inputs = sample.inputs[row, : sample.input_lengths[row]]
        targets = sample.targets[row, : sample.target_lengths[row]]
        asked = " ".join(task.input_alphabet[symbol] for symbol in inputs)
        drawn.append([asked, " ".join(task.output_alphabet[symbol] for symbol in targets)])
    described = _task_row(task) | {"drawn": drawn}
    if as_json:
        _print_json(described)
        return
    described |= {name: [" → ".join(pair) for pair in described[name]] for name in ("examples", "drawn")}
    for key, value in described.items():
        lines = value if isinstance(value, list) else [str(value)]
        typer.echo(f"{key:>9}  " + f"\n{'':11}".join(map(str, lines)))


@app.command()
def models(
    budget: Annotated[str, typer.Option(help="Parameters without embeddings, head and position tables.")] = "100k",
    as_json: Json = False,
) -> None:
    """Lists what there is to train, with the sizes that meet a budget."""
    from eval_harness.models import ARCHITECTURES, size_model

    wanted = parse_quantity(budget)
    rows = []
    for name in ARCHITECTURES:
        sized = size_model(name, wanted)
        rows.append({"model": name, "chosen": sized.chosen, "parameters": sized.parameters})
    if as_json:
        _print_json(rows)
        return
    columns = ("model", "hidden", "heads", "feed-forward", "counted", "off by", "total")
    _print_table(columns, (_model_row(row, wanted) for row in rows))


def _model_row(row: dict, budget: int) -> list[str]:
    counted, total = row["parameters"]["counted"], row["parameters"]["total"]
    sizes = [str(row["chosen"].get(n, "")) for n in ("hidden_size", "num_attention_heads", "intermediate_size")]
    return [row["model"], *sizes, f"{counted:,}", f"{counted / budget - 1:+.2%}", f"{total:,}"]


@app.command()
def run(
    study: Annotated[str, typer.Argument(help="Name of the study; the first one to run is quickstart.")],
    output: Annotated[Path, typer.Option(help="Folder that the study's folder goes into.")] = Path("runs"),
    processes: Annotated[int | None, typer.Option(help="Runs at a time; by default one per core.", min=1)] = None,
) -> None:
    """Trains, scores and reports a study; the same command goes on where it stopped."""
    from eval_harness.reporting import make_report, print_summary
    from eval_harness.study import get_study, run_study

    try:
        folder = run_study(get_study(study), output, processes, announce=typer.echo)
    except KeyboardInterrupt:
        typer.echo("Stopped; the same command goes on.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    page = make_report(folder)
    print_summary(folder)
    typer.echo(f"Report: {page}")


@app.command()
def evaluate(
    source: Annotated[str, typer.Argument(help="Folder of a run, of any model, or a Hub id.")],
    task: Annotated[str | None, typer.Option(help="Task; by default the one the run was trained on.")] = None,
    format: Annotated[str | None, typer.Option(help="Format; by default the run's.")] = None,
    lengths: Annotated[str | None, typer.Option(help="Lengths such as 41,97,203; by default the protocol's.")] = None,
    factor: Annotated[float, typer.Option(help="The protocol's lengths go to this times the training length.")] = 5.0,
    examples: Annotated[int, typer.Option(help="Test examples of each length.")] = 512,
    trust_remote_code: Annotated[bool, typer.Option(help="Run the model's own code from the Hub.")] = False,
    as_json: Json = False,
) -> None:
    """Scores a model past its training length; a run's scores are kept in its folder."""
    from tqdm.auto import tqdm
    from transformers.utils import logging as transformers_logging

    from eval_harness.evaluation import RUN, evaluate_run, load_model, score, setting_of
    from eval_harness.results import read_table
    from eval_harness.specification import Evaluation

    transformers_logging.disable_progress_bar()
    chosen = None if lengths is None else parse_lengths(lengths)
    evaluation = Evaluation(factor=factor, examples=examples, lengths=chosen)
    with tqdm(unit="length", desc="scoring", leave=False, disable=None) as bar:  # no bar where nobody looks on
        if (Path(source) / RUN).exists():
            cell = evaluate_run(source, evaluation, task, format, progress=lambda length: bar.update())
            rows = read_table(cell / "lengths.parquet")
        else:
            setting = setting_of(source, task, format)
            loaded = load_model(source, trust_remote_code)
            rows = score(*loaded, setting, evaluation, progress=lambda length: bar.update()).outcomes.lengths
    if as_json:
        _print_json(rows)
        return
    columns = ("length", "part", "exact match", "95 % interval", "tokens", "input-blind exact", "input-blind tokens")
    _print_table(columns, (_length_row(row) for row in rows))


def _length_row(row: dict) -> list[str]:
    interval = f"{row['exact_low']:.3f} to {row['exact_high']:.3f}"
    shares = [f"{row[name]:.3f}" for name in ("tokens", "baseline_exact", "baseline_tokens")]
    part = "enumerable" if row["enumerable"] else row["split"]
    return [str(row["length"]), part, f"{row['exact']:.3f}", interval, *shares]


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a study.")],
    output: Annotated[Path | None, typer.Option(help="Where to; by default `report` in the study's folder.")] = None,
) -> None:
    """Makes tables, figures and one HTML page of a study's results."""
    from eval_harness.reporting import make_report, print_summary

    page = make_report(folder, output)
    print_summary(folder)
    typer.echo(f"Report: {page}")


@app.command()
def publish(
    source: Annotated[Path, typer.Argument(help="Folder of a run or of a study.")],
    to: Annotated[str, typer.Option(help="User or organisation; for a run also a whole repository id.")],
    push: Annotated[bool, typer.Option("--push/--dry-run", help="Upload, or show what would be uploaded.")] = False,
    private: Annotated[bool, typer.Option(help="Make new repositories private.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Where to prepare; by default `hub` in the run's folder.")
    ] = None,
) -> None:
    """Turns trained runs into model repositories; a dry run unless --push is given."""
    from eval_harness.publishing import describe
    from eval_harness.publishing import publish as prepare_and_push

    typer.echo(describe(prepare_and_push(source, to, push=push, private=private, output=output)))


def parse_quantity(text: str) -> int:
    """Reads 100000, 100k or 1.5M.

    Raises:
        HarnessError: it is none of these, or not above 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM]?)", text.strip())
    value = round(float(match[1]) * {"": 1, "k": 1_000, "m": 1_000_000}[match[2].lower()]) if match else 0
    if value < 1:
        raise HarnessError(f"Cannot read {text!r} as a number of parameters; write 100000, 100k or 1.5M.")
    return value


def parse_lengths(text: str) -> tuple[int, ...]:
    """Reads 41,97,203.

    Raises:
        HarnessError: a part is no whole number.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise HarnessError(f"Cannot read {text!r} as lengths; write whole numbers with commas: 41,97,203.") from None


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _print_table(columns: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*row)
    make_console().print(table)
