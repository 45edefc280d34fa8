"""The tables of a report, as text: a row per model over its seeds, a row per run, and the same for the terminal."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import exp
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.console import Group as Stack
from rich.markup import escape
from rich.table import Table as TerminalTable

from eval_harness.reporting.groups import Arm, Group
from eval_harness.reporting.numbers import MISSING, duration, length, percent, plural, quantity, reach_in_words
from eval_harness.results.statistics import AtLeast, known_median
from eval_harness.terminal import make_console


TERMINAL_WIDTH = 100


@dataclass(frozen=True)
class Table:
    """A table whose cells are text."""

    columns: list[str]
    parts: list[tuple[str, list[list[str]]]]
    """Rows under the heading that they share; the heading is empty where there is only one part."""


def reach_table(group: Group) -> Table:
    """A row per model: how many of its runs fit, and how far those reach."""
    return _table(
        group,
        {
            "model": lambda arm: arm.label,
            "fits": fits,
            "median reach": lambda arm: reach(arm, group.setting.train_length),
            "range": _reach_range,
            "certified reach": lambda arm: length(arm.seeds.certified_reach),
            "token reach": lambda arm: length(arm.seeds.token_reach),
            "passes again": lambda arm: plural(arm.seeds.recovers, "seed") if arm.seeds.recovers else MISSING,
        },
    )


def accuracy_table(group: Group) -> Table:
    """A row per model: mean accuracy beyond L, every seed listed; of a language model the perplexity, and BLEU."""
    columns: dict[str, Callable[[Arm], str]] = {
        "model": lambda arm: arm.label,
        "seeds": lambda arm: "  ".join(str(summary["seed"]) for summary in arm.summaries),
    }
    if group.setting.format == "language_modeling":
        columns["perplexity up to L"] = lambda arm: _perplexities(arm, "loss")
        columns["perplexity beyond"] = lambda arm: _perplexities(arm, "loss_beyond")
    else:
        columns["exact match, %"] = lambda arm: per_seed(arm, "extrapolation_exact")
        columns["normalised, %"] = lambda arm: per_seed(arm, "normalised_exact")
    columns["tokens, %"] = lambda arm: per_seed(arm, "extrapolation_tokens")
    if any(summary["bleu"] is not None for arm in group.arms for summary in arm.summaries):
        columns["BLEU up to L"] = lambda arm: _scores(arm, "bleu")
        columns["BLEU beyond"] = lambda arm: _scores(arm, "bleu_beyond")
    return _table(group, columns)


def cost_table(group: Group) -> Table:
    """A row per model: size, compute and time, the median over its seeds."""
    longest = group.setting.lengths[-1]
    columns: dict[str, Callable[[Arm], str]] = {
        "model": lambda arm: arm.label,
        "parameters": lambda arm: quantity(_middle(arm, "parameters")),
        "in total": lambda arm: quantity(_middle(arm, "parameters_total")),
        "training FLOPs": lambda arm: quantity(arm.seeds.training_flops, "FLOP"),
        "per token at L": lambda arm: quantity(_middle(arm, "flops_per_token"), "FLOP"),
        f"per token at {longest}": lambda arm: quantity(_middle(arm, "flops_per_token_longest"), "FLOP"),
        "training time": lambda arm: duration(arm.seeds.training_seconds),
        "tokens/s at L": lambda arm: quantity(_middle(arm, "tokens_per_second")),
    }
    if any(_middle(arm, "ponder_steps") is not None for arm in group.arms):
        columns["steps up to L, beyond"] = _ponder_steps
    return _table(group, columns)


def run_table(group: Group) -> Table:
    """A row per run: what its fit and its reach were decided by."""
    columns = ["model", "seed", "fit, %", "needed, %", "reach", "fails at", "certified", "exact beyond L, %", "run"]
    parts = [
        (heading, [_run_row(arm.label, s) for arm in arms for s in arm.summaries])
        for heading, arms in _headed(group).items()
    ]
    return Table(columns, parts)


def overview(groups: Sequence[Group]) -> Table:
    """Median reach of every model under every setting; a cell is empty where the model was not run."""
    cells = {
        (arm.condition, arm.label, group.setting): reach(arm, group.setting.train_length)
        for group in groups
        for arm in group.arms
    }
    settings = [group.setting for group in groups]
    labels = dict.fromkeys((condition, label) for condition, label, _ in cells)
    conditions = dict.fromkeys(condition for condition, _ in labels)
    parts = [
        (
            condition if len(conditions) > 1 else "",
            [
                [label, *(cells.get((of, label, setting), "") for setting in settings)]
                for of, label in labels
                if of == condition
            ],
        )
        for condition in conditions
    ]
    return Table(["model", *(setting.short for setting in settings)], parts)


def fits(arm: Arm) -> str:
    """Runs that fit out of all."""
    if all(summary["fits"] is None for summary in arm.summaries):
        return "not tested"
    return f"{arm.seeds.fitted} of {arm.seeds.runs}"


def reach(arm: Arm, train_length: int) -> str:
    """The median reach, or why there is none."""
    if arm.seeds.reach is not None:
        return reach_in_words(arm.seeds.reach, train_length)
    learnt = arm.seeds.fitted or all(summary["fits"] is None for summary in arm.summaries)
    return MISSING if learnt else "did not learn"


def per_seed(arm: Arm, key: str) -> str:
    """A share for every seed, in per cent."""
    return "  ".join(percent(summary[key]) for summary in arm.summaries)


def _perplexities(arm: Arm, key: str) -> str:
    """The exponential of a loss for every seed."""
    losses = (summary[key] for summary in arm.summaries)
    return "  ".join(MISSING if loss is None else f"{exp(loss):.2f}" for loss in losses)


def _scores(arm: Arm, key: str) -> str:
    """A score that is no share for every seed."""
    scores = (summary[key] for summary in arm.summaries)
    return "  ".join(MISSING if score is None else f"{score:.1f}" for score in scores)


def terminal_tables(groups: Iterable[Group]) -> RenderableType:
    """The summary for a terminal: a table per setting, under its heading."""
    return Stack(*(_terminal_table(group) for group in groups))


def print_tables(groups: Iterable[Group], console: Console | None = None) -> None:
    """Writes the summary to a terminal, at most a hundred columns wide."""
    console = console or make_console()
    console.print(terminal_tables(groups), width=min(console.width, TERMINAL_WIDTH))


def print_table(title: str, table: Table, console: Console | None = None) -> None:
    """Writes a table of the report to a terminal, each of its parts under the title and its own heading."""
    console = console or make_console()
    for heading, rows in table.parts:
        drawn = _empty_terminal_table(escape(f"{title}; {heading}"), table.columns)
        for row in rows:
            drawn.add_row(*row)
        console.print(drawn, width=min(console.width, TERMINAL_WIDTH))


def _empty_terminal_table(title: str, columns: Sequence[str]) -> TerminalTable:
    table = TerminalTable(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column(columns[0], overflow="fold")
    for heading in columns[1:]:
        table.add_column(heading, justify="right")
    return table


def _terminal_table(group: Group) -> TerminalTable:
    columns = ["model", "fits", "reach", "exact beyond L, %", "size", "training", "time"]
    table = _empty_terminal_table(group.setting.heading, columns)
    for heading, arms in _headed(group).items():
        if heading:
            table.add_section()
            table.add_row(f"[italic]{heading}[/italic]")
        for arm in arms:
            table.add_row(
                arm.label,
                fits(arm).replace(" of ", "/"),
                reach(arm, group.setting.train_length),
                " ".join(percent(summary["extrapolation_exact"]) for summary in arm.summaries),
                quantity(_middle(arm, "parameters")),
                quantity(arm.seeds.training_flops, "FLOP"),
                duration(arm.seeds.training_seconds),
            )
    return table


def _table(group: Group, columns: dict[str, Callable[[Arm], str]]) -> Table:
    parts = [
        (heading, [[cell(arm) for cell in columns.values()] for arm in arms])
        for heading, arms in _headed(group).items()
    ]
    return Table(list(columns), parts)


def _headed(group: Group) -> dict[str, list[Arm]]:
    parts = group.by_condition
    return parts if len(parts) > 1 else {"": group.arms}


def _run_row(label: str, summary: dict[str, Any]) -> list[str]:
    def censored(value: str, flag: str) -> str:
        return MISSING if summary[value] is None else length(AtLeast(summary[value], summary[flag]))

    return [
        label,
        str(summary["seed"]),
        percent(summary["fit_exact"]),
        percent(summary["fit_threshold"]),
        "did not learn" if summary["fits"] is False else censored("reach", "at_grid_end"),
        MISSING if summary["next_tested"] is None else str(summary["next_tested"]),
        censored("certified_reach", "certified_at_grid_end"),
        percent(summary["extrapolation_exact"]),
        summary["run_id"],
    ]


def _reach_range(arm: Arm) -> str:
    if arm.seeds.reach_range is None:
        return MISSING
    low, high = arm.seeds.reach_range
    return length(low) if low == high else f"{length(low)} to {length(high)}"


def _ponder_steps(arm: Arm) -> str:
    steps = [_middle(arm, key) for key in ("ponder_steps", "ponder_steps_beyond")]
    return MISSING if steps == [None, None] else ", ".join(MISSING if s is None else f"{s:.1f}" for s in steps)


def _middle(arm: Arm, key: str) -> float | None:
    return known_median(summary[key] for summary in arm.summaries)
