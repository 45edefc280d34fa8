"""The figures of a report: how far each model reaches, its accuracy at every length, and what that cost."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from eval_harness.errors import HarnessError
from eval_harness.reporting.drawing import (
    GREY,
    INK,
    LABEL_SIZE,
    SHADE,
    WIDTH,
    EndLabel,
    Mark,
    label_ends,
    palette,
    style,
)
from eval_harness.reporting.groups import Arm, Group, group_results
from eval_harness.reporting.numbers import plural, quantity, reach_in_words
from eval_harness.results.folders import RunResult
from eval_harness.results.statistics import Metric, interval, threshold


Palette = dict[str, Mark]

PANEL_TITLES: dict[Metric, str] = {"exact": "Exact match, %", "tokens": "Token accuracy, %"}

_BASELINES = {
    "baseline": "input-blind",
    "random": "random",
    "last_symbol": "last symbol",
    "most_frequent": "most frequent symbol",
}


def accuracy_figure(results: Sequence[RunResult], marks: Palette | None = None) -> Figure:
    """Accuracy against length for every model: exact match and, where it adds something, token accuracy below.

    Of one run the line has its Wilson interval around it; of two to four seeds the line has the range and a point
    per seed; of five or more it is the median, with every seed as a fine line. Enumerable lengths are hollow.

    Args:
        results: runs under one setting; one run is enough.
        marks: how each model is drawn, by label; made here where None.

    Raises:
        HarnessError: the runs differ in task, format or lengths, so that one figure would mix them.
    """
    group = one_group(results)
    marks = marks or palette(arm.label for arm in group.arms)
    metrics: list[Metric] = ["exact", "tokens"] if tokens_say_more(results) else ["exact"]
    with style():
        height = max(2.9, 0.24 * (len(group.arms) + 4))
        figure, panels = _canvas(len(metrics), height)
        for axes, metric in zip(panels, metrics, strict=True):
            _frame(axes, group)
            axes.set_title(PANEL_TITLES[metric], pad=20)
            axes.set_ylim(-3, 103)
            ends = [_draw_arm(axes, arm, metric, marks[arm.label]) for arm in group.arms]
            label_ends(axes, ends + _draw_baselines(axes, group, metric))
    return figure


def reach_figure(group: Group, marks: Palette) -> Figure:
    """How far each model reaches: a bar from L to the median over the seeds that fit, and a mark for each of them."""
    rows = len(group.arms)
    with style():
        figure, (axes,) = _canvas(1, 0.36 * rows + 0.1, left=_name_margin(group), right=2.3, top=0.25)
        _frame(axes, group)
        axes.set_ylim(rows - 0.4, -0.6)
        axes.set_yticks(range(rows), [arm.label for arm in group.arms])
        axes.tick_params(axis="y", length=0)
        for row, arm in enumerate(group.arms):
            _draw_reach(axes, arm, row, marks[arm.label], group.setting.train_length)
    return figure


def compute_figure(group: Group, marks: Palette) -> Figure:
    """Exact match beyond L against training FLOPs: a mark for each run, hollow where it does not fit."""
    with style():
        figure, (axes,) = _canvas(1, max(2.6, 0.19 * (len(group.arms) + 3)), top=0.35)
        axes.set_ylim(-3, 103)
        axes.set_title(f"Mean exact match beyond L ({group.setting.tested}), %")
        axes.set_xlabel("training compute")
        axes.grid(axis="y", color=SHADE)
        for arm in group.arms:
            _draw_cost(axes, arm, marks[arm.label])
        _cost_axis(axes, group)
        known = [arm for arm in group.arms if arm.seeds.extrapolation_exact is not None]
        label_ends(
            axes,
            [EndLabel(arm.label, 100 * (arm.seeds.extrapolation_exact or 0), marks[arm.label], 0.0) for arm in known],
        )
    return figure


def one_group(results: Sequence[RunResult]) -> Group:
    """The group that all of these runs belong to.

    Raises:
        HarnessError: there is none, or more than one.
    """
    groups = group_results(results)
    if len(groups) != 1:
        found = "; ".join(group.setting.heading for group in groups) or "none"
        raise HarnessError(f"A figure shows the runs of exactly one setting, but these have: {found}.")
    return groups[0]


def tokens_say_more(results: Sequence[RunResult]) -> bool:
    """Whether token accuracy differs from exact match: for answers of one symbol they are equal."""
    rows = [row for result in results for row in result.lengths]
    return any(abs(row["tokens"] - row["exact"]) > 0.005 for row in rows)


def _canvas(
    panels: int, height: float, left: float = 0.6, right: float = 2.2, top: float = 0.55
) -> tuple[Figure, list[Axes]]:
    """Panels below each other, of a height in inches and with margins in inches for the labels."""
    bottom, between = 0.68, 1.15
    total = top + bottom + panels * height + (panels - 1) * between
    figure = Figure(figsize=(WIDTH, total))
    axes = []
    for panel in range(panels):
        base = bottom + (panels - 1 - panel) * (height + between)
        axes.append(figure.add_axes((left / WIDTH, base / total, (WIDTH - left - right) / WIDTH, height / total)))
    return figure, axes


def _name_margin(group: Group) -> float:
    return 0.35 + 0.078 * max(len(arm.label) for arm in group.arms)


def _frame(axes: Axes, group: Group) -> None:
    """The length axis: in multiples of L, the trained range shaded, L marked."""
    setting = group.setting
    train_length = setting.train_length
    longest = max(setting.lengths[-1], train_length * (setting.factor or 1))
    step = next((s for s in (1, 2, 5, 10, 20, 50) if longest / train_length / s <= 7), 100)
    ticks = sorted({1, *range(step, int(longest / train_length) + 1, step)})
    names = [f"{tick * train_length}\n{'L' if tick == 1 else f'{tick} L'}" for tick in ticks]
    axes.set_xlim(0, longest * 1.02)
    axes.set_xticks([tick * train_length for tick in ticks], names)
    axes.set_xlabel("length")
    axes.axvspan(0, train_length, color=SHADE, linewidth=0, zorder=0)
    axes.axvline(train_length, color=INK, linewidth=1, zorder=1)
    for side, text, shift in (("right", "trained", -4), ("left", "longer than any in training", 4)):
        axes.annotate(
            text,
            (train_length, 1),
            (shift, 3),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            horizontalalignment=side,
            fontsize=LABEL_SIZE,
            color=GREY,
        )


def _values(arm: Arm, metric: Metric) -> np.ndarray:
    return 100 * np.array([[row[metric] for row in result.lengths] for result in arm.results])  # [seeds, lengths]


def _draw_arm(axes: Axes, arm: Arm, metric: Metric, mark: Mark) -> EndLabel:
    rows = arm.results[0].lengths
    lengths = [row["length"] for row in rows]
    values = _values(arm, metric)
    seeds = len(values)
    middle = np.median(values, axis=0) if seeds >= 3 else values.mean(axis=0)
    if seeds == 1:
        low, high = 100 * np.array([interval(row, metric) for row in rows]).T
        axes.fill_between(lengths, low, high, color=mark.colour, alpha=0.18, linewidth=0)
    elif seeds < 5:
        axes.fill_between(lengths, values.min(axis=0), values.max(axis=0), color=mark.colour, alpha=0.1, linewidth=0)
        for seed in values:
            axes.plot(lengths, seed, ".", color=mark.colour, markersize=3, alpha=0.7)
    else:
        for seed in values:
            axes.plot(lengths, seed, color=mark.colour, linewidth=0.6, alpha=0.4)
    axes.plot(lengths, middle, color=mark.colour, linewidth=1.6, zorder=3)
    hollow = np.array([row["enumerable"] for row in rows])
    for chosen, face in ((hollow, "white"), (~hollow, mark.colour)):
        axes.plot(
            np.array(lengths)[chosen],
            middle[chosen],
            linestyle="none",
            marker=mark.marker,
            markersize=4,
            color=mark.colour,
            markerfacecolor=face,
            zorder=4,
        )
    return EndLabel(arm.label, float(middle[-1]), mark)


def _draw_baselines(axes: Axes, group: Group, metric: Metric) -> list[EndLabel]:
    """The baselines, one line for those that lie together, and the threshold of reach."""
    rows = group.arms[0].results[0].lengths
    lengths = [row["length"] for row in rows]
    ends = []
    for number, (names, values) in enumerate(_baselines(rows, metric)):
        axes.plot(lengths, values, linestyle=":" if number else "--", color=GREY, linewidth=1.2, zorder=2)
        ends.append(EndLabel("baseline: " + ", ".join(names), float(values[-1])))
    needed = [100 * threshold(row[f"baseline_{metric}"]) for row in rows]
    axes.plot(lengths, needed, linestyle=(0, (1, 3)), color=INK, linewidth=0.9, zorder=2)
    return [*ends, EndLabel("needed to pass", needed[-1])]


def _baselines(rows: Sequence[dict[str, Any]], metric: Metric) -> list[tuple[list[str], np.ndarray]]:
    drawn: list[tuple[list[str], np.ndarray]] = []
    for column, name in _BASELINES.items():
        shares = [row[f"{column}_{metric}"] for row in rows]
        if None in shares:
            continue
        values = 100 * np.array(shares)
        alike = [names for names, others in drawn if fmean(abs(values - others)) < 3]
        if alike:
            alike[0].append(name)
        else:
            drawn.append(([name], values))
    return drawn


def _draw_reach(axes: Axes, arm: Arm, row: int, mark: Mark, train_length: int) -> None:
    seeds = arm.seeds
    axes.annotate(
        _reach_text(arm, train_length),
        (1, row),
        (10, 0),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        verticalalignment="center",
        fontsize=LABEL_SIZE,
        color=INK if seeds.reach else GREY,
    )
    if seeds.reach is None:
        return
    axes.barh(row, seeds.reach.value - train_length, left=train_length, height=0.34, color=mark.colour, alpha=0.35)
    fitted = [summary for summary in arm.summaries if summary["reach"] is not None]
    offsets = (np.arange(len(fitted)) - (len(fitted) - 1) / 2) * min(0.2, 0.6 / len(fitted))
    for summary, offset in zip(fitted, offsets, strict=True):
        axes.plot(
            summary["reach"],
            row + offset,
            marker=">" if summary["at_grid_end"] else mark.marker,
            markersize=6,
            color=mark.colour,
            markeredgecolor="white",
            markeredgewidth=0.5,
            clip_on=False,
            zorder=4,
        )
    if seeds.certified_reach is not None:
        at = seeds.certified_reach.value
        axes.plot([at, at], [row - 0.3, row + 0.3], color=INK, linewidth=1.2, zorder=3)


def _reach_text(arm: Arm, train_length: int) -> str:
    seeds = arm.seeds
    if all(summary["fits"] is None for summary in arm.summaries):
        return "no length to judge the fit by"
    if seeds.reach is None:
        return "did not learn" if seeds.fitted == 0 else f"{seeds.fitted} of {seeds.runs} fit, nothing beyond L tested"
    words = reach_in_words(seeds.reach, train_length)
    return words if seeds.runs == 1 else f"{words}, {seeds.fitted} of {plural(seeds.runs, 'seed')} fit"


def _draw_cost(axes: Axes, arm: Arm, mark: Mark) -> None:
    for summary in arm.summaries:
        if summary["extrapolation_exact"] is None or summary["training_flops"] is None:
            continue
        axes.plot(
            summary["training_flops"],
            100 * summary["extrapolation_exact"],
            marker=mark.marker,
            markersize=7,
            color=mark.colour,
            markerfacecolor=mark.colour if summary["fits"] else "white",
            alpha=0.85,
            linestyle="none",
        )


def _cost_axis(axes: Axes, group: Group) -> None:
    """A log axis with at least a factor of four on it, so that models of equal cost do not look far apart."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5), numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda flops, _: quantity(flops, "FLOP")))
    axes.xaxis.set_minor_locator(NullLocator())
    costs = [s["training_flops"] for arm in group.arms for s in arm.summaries if s["training_flops"]]
    if costs:
        axes.set_xlim(min(costs) / 2, max(costs) * 2)
