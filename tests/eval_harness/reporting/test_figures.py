"""What the figures show of a study."""

import numpy as np
import pytest
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.colors import to_hex

from eval_harness.errors import HarnessError
from eval_harness.reporting.drawing import palette
from eval_harness.reporting.figures import accuracy_figure, compute_figure, one_group, reach_figure, tokens_say_more
from eval_harness.results.folders import load_run, load_study
from tests.eval_harness.fake_study import MODELS, TASKS, TRAIN_LENGTH, FakeModel, write_run, write_study


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def first_point(line):
    return tuple(np.asarray(line.get_xydata())[0].tolist())


def bands(axes):
    return [c for c in axes.collections if isinstance(c, FillBetweenPolyCollection)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures") / "study"
    return load_study(write_study(folder, tasks=TASKS[:1], examples=64))


@pytest.fixture(scope="module")
def group(results):
    return one_group(results)


@pytest.fixture(scope="module")
def marks(group):
    return palette(arm.label for arm in group.arms)


def test_one_run_has_its_wilson_interval_as_a_band(tmp_path):
    result = load_run(write_run(tmp_path / "study", MODELS[1]))
    (axes,) = accuracy_figure([result]).axes
    (band,) = bands(axes)
    heights = {tuple(point) for point in band.get_paths()[0].vertices}
    for row in result.lengths:
        assert (row["length"], 100 * row["exact_low"]) in heights
        assert (row["length"], 100 * row["exact_high"]) in heights


def test_a_few_seeds_show_points_and_range(results):
    alone = [r for r in results if r.training["model"] == "transformer-none"]
    (axes,) = accuracy_figure(alone).axes
    (band,) = bands(axes)
    values = 100 * np.array([[row["exact"] for row in r.lengths] for r in alone])
    vertices = {tuple(point) for point in band.get_paths()[0].vertices}
    lengths = [row["length"] for row in alone[0].lengths]
    assert set(zip(lengths, values.max(axis=0), strict=True)) <= vertices
    points = [line for line in axes.lines if line.get_marker() == "."]
    assert sorted(np.asarray(line.get_ydata()).tolist() for line in points) == sorted(values.tolist())


def test_five_seeds_show_their_median_and_every_seed_without_a_band(tmp_path):
    study = write_study(tmp_path / "study", models=MODELS[1:2], tasks=TASKS[:1], seeds=range(5), examples=64)
    found = load_study(study)
    (axes,) = accuracy_figure(found).axes
    assert bands(axes) == []
    values = 100 * np.array([[row["exact"] for row in r.lengths] for r in found])
    drawn = [np.asarray(line.get_ydata()) for line in axes.lines]
    for wanted in [*values, np.median(values, axis=0)]:
        assert any(len(y) == len(wanted) and np.allclose(y, wanted) for y in drawn)


def test_enumerable_lengths_are_hollow(results):
    (axes,) = accuracy_figure(results).axes
    hollow = [
        line
        for line in axes.lines
        if line.get_linestyle() == "None" and to_hex(line.get_markerfacecolor()) == "#ffffff"
    ]
    assert len(hollow) == len(MODELS)
    assert {x for line in hollow for x in np.asarray(line.get_xdata())} == {5}


def test_curves_models_and_baselines_are_named_beside_them(results):
    said = " ".join(texts(accuracy_figure(results))).replace("\n", " ")
    for name in [model.name for model in MODELS]:
        assert name in said
    assert "baseline: input-blind, random, last symbol, most frequent symbol" in said
    assert "needed to pass" in said


def test_baselines_that_differ_have_lines_of_their_own(tmp_path):
    result = load_run(write_run(tmp_path / "study"))
    for row in result.lengths:
        row["last_symbol_exact"] = 0.2
        row["most_frequent_exact"] = None
    said = [text.replace("\n", " ") for text in texts(accuracy_figure([result]))]
    assert "baseline: input-blind, random" in said
    assert "baseline: last symbol" in said


def test_token_accuracy_has_a_panel_where_answers_are_longer_than_one_symbol(tmp_path, results):
    longer = [load_run(write_run(tmp_path / "study", MODELS[1], TASKS[1]))]
    assert not tokens_say_more(results)
    assert tokens_say_more(longer)
    assert len(accuracy_figure(results).axes) == 1
    assert [axes.get_title(loc="left") for axes in accuracy_figure(longer).axes] == [
        "Exact match, %",
        "Token accuracy, %",
    ]


def test_a_figure_never_mixes_settings(tmp_path, results):
    other = load_run(write_run(tmp_path / "study", MODELS[0], TASKS[1]))
    with pytest.raises(HarnessError, match="exactly one setting"):
        accuracy_figure([*results, other])
    with pytest.raises(HarnessError, match="none"):
        accuracy_figure([])


def test_reach_says_in_words_who_did_not_learn_and_where_the_grid_ended(group, marks):
    figure = reach_figure(group, marks)
    (axes,) = figure.axes
    rows = [label.get_text() for label in axes.get_yticklabels()]
    said = dict(zip(rows, texts(figure)[-len(rows) :], strict=True))
    assert said["lstm"] == "≥ 99 (4.9 L), 3 of 3 seeds fit"
    assert said["transformer-sinusoidal"] == "did not learn"
    assert not said["transformer-none"].startswith("≥")


def test_reach_has_a_mark_for_every_seed_that_fits_and_a_bar_from_the_training_length(group, marks):
    (axes,) = reach_figure(group, marks).axes
    seeds = [line for line in axes.lines if line.get_marker() in {m.marker for m in marks.values()} | {">"}]
    drawn = sorted(first_point(line)[0] for line in seeds)
    assert drawn == sorted(s["reach"] for arm in group.arms for s in arm.summaries if s["fits"])
    bars = [bar for container in axes.containers for bar in container]
    assert {bar.get_x() for bar in bars} == {TRAIN_LENGTH}
    ends = sorted(bar.get_x() + bar.get_width() for bar in bars)
    assert ends == sorted(arm.seeds.reach.value for arm in group.arms if arm.seeds.reach)


def test_a_single_run_has_no_count_of_seeds(tmp_path):
    group = one_group([load_run(write_run(tmp_path / "study", FakeModel("tireless", 4000.0)))])
    assert "≥ 99 (4.9 L)" in texts(reach_figure(group, palette(["tireless"])))


def test_a_run_that_does_not_fit_is_hollow_in_the_cost_of_its_accuracy(group, marks):
    (axes,) = compute_figure(group, marks).axes
    points = {
        first_point(line): to_hex(line.get_markerfacecolor()) for line in axes.lines if line.get_linestyle() == "None"
    }
    for arm in group.arms:
        for summary in arm.summaries:
            face = points[summary["training_flops"], 100 * summary["extrapolation_exact"]]
            assert (face == "#ffffff") == (summary["fits"] is False)
