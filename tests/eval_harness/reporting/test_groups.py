"""What may stand in one table, and what is one model."""

from dataclasses import replace

from eval_harness.reporting.groups import group_results
from eval_harness.results.folders import load_run, load_study
from tests.eval_harness.fake_study import MODELS, TASKS, write_run, write_study


def run_of(tmp_path, name, model=MODELS[0], seed=1, cell=None, model_record=None, **training):
    result = load_run(write_run(tmp_path / name, model, seed=seed, examples=32))
    result.training.update(training)
    result.run["model"].update(model_record or {})
    result.cell.update(cell or {})
    return result


def test_seeds_of_a_model_are_one_arm_and_tasks_are_apart(tmp_path):
    study = write_study(tmp_path / "study", models=MODELS[:2], seeds=(3, 1), examples=32)
    groups = group_results(load_study(study))
    assert [group.setting.task for group in groups] == [task.name for task in TASKS]
    for group in groups:
        assert sorted(arm.label for arm in group.arms) == ["lstm", "transformer-none"]
        assert all([s["seed"] for s in arm.summaries] == [1, 3] for arm in group.arms)
        assert len(group.results) == 4


def test_what_the_protocol_keeps_apart_is_never_in_one_group(tmp_path):
    cells = [
        {},
        {"format": "autoregressive"},
        {"bos": False},
        {"decoding": "free"},
        {"factor": 10.0},
        {"examples": 64},
    ]
    results = [run_of(tmp_path, str(i), cell=cell) for i, cell in enumerate(cells)]
    results.append(run_of(tmp_path, "other L", train_length=25))
    groups = group_results(results)
    assert len(groups) == len(results)
    headings = {group.setting.heading for group in groups}
    assert len(headings) == len(groups)


def test_other_test_lengths_are_another_group(tmp_path):
    whole, part = run_of(tmp_path, "a"), run_of(tmp_path, "b", seed=2)
    part.lengths = part.lengths[:-1]
    assert len(group_results([whole, part])) == 2


def test_a_model_trained_in_two_ways_is_two_arms_named_by_what_differs(tmp_path):
    results = [
        run_of(tmp_path, "a", seed=1),
        run_of(tmp_path, "b", seed=2),
        run_of(tmp_path, "c", learning_rate=0.003, config={"num_layers": 2}),
        run_of(tmp_path, "d", MODELS[1]),
    ]
    (group,) = group_results(results)
    assert {arm.label: arm.seeds.runs for arm in group.arms} == {
        "lstm, num layers None, learning rate 0.001": 2,
        "lstm, num layers 2, learning rate 0.003": 1,
        "transformer-none": 1,
    }


def test_the_shortest_drawn_length_does_not_tell_models_apart(tmp_path):
    (group,) = group_results([run_of(tmp_path, "a"), run_of(tmp_path, "b", seed=2, min_length=2)])
    assert [arm.label for arm in group.arms] == ["lstm"]


def test_arms_are_ordered_by_reach_and_those_that_did_not_learn_come_last(tmp_path):
    study = write_study(tmp_path / "study", tasks=TASKS[:1])
    (group,) = group_results(load_study(study))
    assert [arm.label for arm in group.arms] == [
        "lstm",
        "universal_transformer",
        "transformer-none",
        "transformer-alibi",
        "transformer-sinusoidal",
    ]
    assert group.arms[-1].seeds.reach is None


def test_masks_and_position_ids_stand_under_headings_of_their_own(tmp_path):
    randomized = {"position_ids": ["randomized", None]}
    results = [
        run_of(tmp_path, "a", MODELS[0]),
        run_of(tmp_path, "b", MODELS[1]),
        run_of(tmp_path, "c", replace(MODELS[2], causal=False)),
        run_of(tmp_path, "d", MODELS[4], model_record=randomized),
    ]
    (group,) = group_results(results)
    assert {condition: len(arms) for condition, arms in group.by_condition.items()} == {
        "causal mask": 2,
        "bidirectional mask": 1,
        "causal mask, randomized position ids in training, consecutive in the test": 1,
    }
