"""What was run, in words."""

import pytest

from eval_harness.reporting.groups import group_results
from eval_harness.reporting.provenance import environments, fewest_seeds, protocols, run_list
from eval_harness.results.folders import load_study
from tests.eval_harness.fake_study import MODELS, TASKS, write_study


@pytest.fixture
def results(tmp_path):
    return load_study(write_study(tmp_path / "study", models=MODELS[:2], seeds=(1, 2), examples=32))


def test_a_fact_that_differs_names_the_models_that_have_it(results):
    for result in results:
        if result.training["model"] == "lstm":
            result.training["learning_rate"] = 0.003
            result.training["train_examples"] = 10_000
    facts = dict(protocols(group_results(results))[0][1])
    assert facts["peak learning rate"] == "0.003 (lstm); 0.001 (transformer-none)"
    assert facts["training data"] == "10000 different examples (lstm); fresh examples without end (transformer-none)"
    assert facts["steps"] == "2000 steps of 64 examples"
    assert facts["seeds"] == "1, 2"
    assert facts["training lengths"] == "uniform, 1 to 20"
    assert "6 up to L; 12 beyond it" in facts["tested lengths"]


def test_settings_with_the_same_protocol_share_an_entry(results):
    for result in results:
        result.cell["format"] = "parallel"
    ((headings, facts),) = protocols(group_results(results))
    assert [heading.split(",")[0] for heading in headings] == [task.name for task in TASKS]
    assert "the number of masks shows" in dict(facts)["format"]


def test_every_environment_is_told_once_with_its_revision(results):
    results[0].run["environment"] = results[0].run["environment"] | {"git": None, "accelerator": "a GPU"}
    (one, first), (others, second) = environments(results)
    assert (one, others) == ("1 run", f"{len(results) - 1} runs")
    assert dict(first)["git revision"] == "-"
    assert dict(first)["accelerator"] == "a GPU"
    assert dict(second)["git revision"].endswith("abcdef01234567, with uncommitted changes")
    assert "torch 2.11.0" in dict(second)["packages"]


def test_every_run_is_listed_once_with_its_digest(results):
    rows = run_list(group_results([*results, results[0]]))
    assert len(rows) == len(results)
    assert {row[-1] for row in rows} == {result.run["weights_digest"] for result in results}


def test_the_fewest_seeds_decide_what_may_be_claimed(results):
    assert fewest_seeds(group_results(results)) == 2
    assert fewest_seeds(group_results(results[1:])) == 1
