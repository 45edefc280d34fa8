"""`longreach tasks`: lists, shows, checks and exports tasks."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from eval_harness.cli.arguments import parse_lengths
from eval_harness.terminal import print_json, print_table


class TaskGroup(TyperGroup):
    """Takes a word that is no command for the name of a task to show."""

    def resolve_command(self, ctx, args: list[str]):
        """`longreach tasks parity` is `longreach tasks show parity`."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["show", *args])


app = typer.Typer(
    cls=TaskGroup,
    invoke_without_command=True,
    subcommand_metavar="[NAME | COMMAND] [OPTIONS]",
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="A task, with options: majority:letters=5.")]


@app.callback()
def list_all(context: typer.Context, as_json: Json = False) -> None:
    """Lists what there is to solve, by skill; `longreach tasks NAME` shows one task."""
    if context.invoked_subcommand:
        return
    rows = [_described(task) for task in by_skill()]
    if as_json:
        print_json(rows)
        return
    columns = ("skill", "task", "question", "formats")
    print_table(columns, [[row["skill"], row["task"], row["question"], ", ".join(row["formats"])] for row in rows])


@app.command()
def show(
    name: Name,
    length: Annotated[int, typer.Option(help="Length of the examples that are drawn.")] = 8,
    as_json: Json = False,
) -> None:
    """Shows a task with drawn examples; the word `show` may be left out."""
    from eval_harness.tasks import get_task

    task = get_task(name)
    described = _described(task) | {"drawn": [list(pair) for pair in task.spell(task.sample(length, 4, seed=0))]}
    if as_json:
        print_json(described)
        return
    described |= {key: [" → ".join(pair) for pair in described[key]] for key in ("examples", "drawn")}
    for key, value in described.items():
        lines = value if isinstance(value, list) else [str(value)]
        typer.echo(f"{key:>9}  " + f"\n{'':11}".join(map(str, lines)))


@app.command()
def check(
    source: Annotated[str, typer.Argument(help="A Python file with tasks of your own, or a task's name.")],
    as_json: Json = False,
) -> None:
    """Tests tasks: same data everywhere, right answers in every format, no leak. Exit code 1 where a check fails."""
    from eval_harness.scoring.task_check import FAILED, check_tasks

    findings = check_tasks(source)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        columns = ("task", "check", "", "found")
        print_table(columns, [[found.task, found.check, found.verdict, found.text] for found in findings])
    if any(finding.verdict == FAILED for finding in findings):
        raise typer.Exit(1)


@app.command()
def export(
    name: Name,
    lengths: Annotated[str, typer.Option(help="Lengths such as 5,10,20.")],
    output: Annotated[Path, typer.Option(help="Folder to make.")],
    examples: Annotated[int, typer.Option(help="Rows of each length and split.")] = 512,
    splits: Annotated[str, typer.Option(help="Streams: test, train, tune.")] = "test",
    lm_eval: Annotated[bool, typer.Option("--lm-eval", help="Add tasks of lm-evaluation-harness.")] = False,
) -> None:
    """Writes a task's examples as Parquet files with a data card, for `datasets.load_dataset` and the Hub."""
    from eval_harness.exporting import export_task

    folder = export_task(name, output, parse_lengths(lengths), examples, splits.split(","), lm_eval)
    typer.echo(f"Data set: {folder}")


def by_skill() -> list:
    """Every task, in the order of the skills, then by name."""
    from eval_harness.tasks import SKILLS, get_task, list_tasks

    return sorted(map(get_task, list_tasks()), key=lambda task: (SKILLS.index(task.skill), task.name))


def _described(task) -> dict:
    return {
        "task": task.key(),
        "version": task.version,
        "skill": task.skill,
        "question": task.question,
        "length": task.length_meaning,
        "formats": list(task.formats),
        "options": {option.name: getattr(task, option.name) for option in fields(task)},
        "source": task.source,
        "examples": [list(pair) for pair in task.examples],
    }
