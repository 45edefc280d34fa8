"""The command line: `longreach tasks | models | run | evaluate | report | publish`.

What a command needs is imported inside it, so that `--help` answers at once.
"""

import sys
from collections.abc import Sequence
from math import exp
from pathlib import Path
from typing import Annotated

import typer

from eval_harness.cli.arguments import find_own_files, parse_lengths, parse_quantity
from eval_harness.cli.tasks import Json
from eval_harness.cli.tasks import app as task_commands
from eval_harness.errors import HarnessError
from eval_harness.terminal import print_json, print_table


app = typer.Typer(
    help="How far past its training length does a sequence model still work, at the same size and compute?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(task_commands, name="tasks")

INTERRUPTED = 130  # the exit code of a command that was stopped from the keyboard


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code, which is 2 on invalid input."""
    find_own_files()
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
def models(
    name: Annotated[
        str | None, typer.Argument(help="One model: ours, a model type of transformers, a checkpoint.")
    ] = None,
    budget: Annotated[str, typer.Option(help="Parameters without embeddings, head and position tables.")] = "100k",
    as_json: Json = False,
) -> None:
    """Lists what there is to train, with the sizes that meet a budget; with a name, shows that model."""
    from eval_harness.models import ARCHITECTURES, describe_model, size_model

    parameters = parse_quantity(budget)
    if name is not None:
        _show_model(describe_model(name, parameters), as_json)
        return
    rows = []
    for name in ARCHITECTURES:
        sized = size_model(name, parameters)
        rows.append({"model": name, "chosen": sized.chosen, "parameters": sized.parameters})
    if as_json:
        print_json(rows)
        return
    columns = ("model", "hidden", "heads", "feed-forward", "counted", "off by", "total")
    print_table(columns, (_model_row(row, parameters) for row in rows))


def _show_model(described: dict, as_json: bool) -> None:
    if as_json:
        print_json(described)
        return
    shown = {key: described[key] for key in ("model", "class", "kind")} | described["chosen"]
    for key, value in (shown | described["parameters"]).items():
        text = f"{value:,}" if isinstance(value, int) else value
        typer.echo(f"{key:>24}  {text}")


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
    from eval_harness.studies.study import get_study, run_study

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

    from eval_harness.results.folders import CellFolder, RunFolder
    from eval_harness.scoring.evaluate import evaluate_run, load_model, problem_of, score
    from eval_harness.specification import Evaluation

    transformers_logging.disable_progress_bar()
    chosen = None if lengths is None else parse_lengths(lengths)
    evaluation = Evaluation(factor=factor, examples=examples, lengths=chosen)
    with tqdm(unit="length", desc="scoring", leave=False, disable=None) as bar:  # no bar where nobody looks on
        if RunFolder(Path(source)).is_trained:
            cell = evaluate_run(source, evaluation, task, format, progress=lambda length: bar.update())
            rows = CellFolder(cell).read_lengths()
        else:
            problem = problem_of(source, task, format)
            loaded = load_model(source, trust_remote_code)
            rows = score(*loaded, problem, evaluation, progress=lambda length: bar.update()).outcomes.lengths
    if as_json:
        print_json(rows)
        return
    columns = ["length", "part", "exact match", "95 % interval", "tokens", "input-blind exact", "input-blind tokens"]
    columns += ["perplexity", "BLEU"] if any(row.get("bleu") is not None for row in rows) else ["perplexity"]
    print_table(columns, (_length_row(row)[: len(columns)] for row in rows))


def _length_row(row: dict) -> list[str]:
    interval = f"{row['exact_low']:.3f} to {row['exact_high']:.3f}"
    shares = [f"{row[name]:.3f}" for name in ("tokens", "baseline_exact", "baseline_tokens")]
    part = "enumerable" if row["enumerable"] else row["split"]
    loss, bleu = row.get("loss"), row.get("bleu")
    qualities = ["" if loss is None else f"{exp(loss):.3g}", "" if bleu is None else f"{bleu:.1f}"]
    return [str(row["length"]), part, f"{row['exact']:.3f}", interval, *shares, *qualities]


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
    to: Annotated[str, typer.Option(help="User or organisation; for a run also a complete repository id.")],
    push: Annotated[bool, typer.Option("--push/--dry-run", help="Upload, or show what would be uploaded.")] = False,
    private: Annotated[bool, typer.Option(help="Make new repositories private.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Where to prepare; by default `hub` in the run's folder.")
    ] = None,
) -> None:
    """Turns trained runs into model repositories; a dry run unless --push is given."""
    from eval_harness.publishing.model_repository import describe
    from eval_harness.publishing.model_repository import publish as prepare_and_push

    typer.echo(describe(prepare_and_push(source, to, push=push, private=private, output=output)))
