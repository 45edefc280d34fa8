import ast
import shutil
from pathlib import Path

import evaluate
import numpy as np
import pytest
from scipy.stats import binomtest

import eval_harness.metrics
from eval_harness.metrics import load_length_generalization


@pytest.fixture(scope="module")
def metric():
    return load_length_generalization()


def test_it_scores_tokens_and_whole_sequences(metric):
    result = metric.compute(
        predictions=[[5, 6, 7], [5, 5], [9]],
        references=[[-100, 6, 7], [5, 6], [9]],
    )
    assert result == {"exact_match": pytest.approx(2 / 3), "token_accuracy": pytest.approx(4 / 5)}


def test_it_reports_exact_match_by_length_with_wilson_intervals(metric):
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 6, size=300)
    references = [generator.integers(5, 8, size=length).tolist() for length in lengths]
    predictions = [generator.integers(5, 8, size=length).tolist() for length in lengths]
    predictions[:100] = references[:100]
    result = metric.compute(predictions=predictions, references=references, lengths=lengths.tolist())
    assert [row["length"] for row in result["by_length"]] == [1, 2, 3, 4, 5]
    for row in result["by_length"]:
        exact = [
            prediction == reference
            for prediction, reference in zip(predictions, references, strict=True)
            if len(reference) == row["length"]
        ]
        interval = binomtest(sum(exact), len(exact)).proportion_ci(method="wilson")
        assert row["examples"] == len(exact)
        assert row["exact_match"] == pytest.approx(sum(exact) / len(exact))
        assert (row["exact_match_low"], row["exact_match_high"]) == pytest.approx((interval.low, interval.high))
    overall = sum(row["exact_match"] * row["examples"] for row in result["by_length"]) / 300
    assert result["exact_match"] == pytest.approx(overall)


def test_an_interval_does_not_vanish_at_all_wrong(metric):
    result = metric.compute(predictions=[[1]] * 25, references=[[2]] * 25, lengths=[3] * 25)
    assert result["by_length"][0]["exact_match_low"] == 0
    assert result["by_length"][0]["exact_match_high"] == pytest.approx(0.133, abs=0.001)


def test_batches_add_up(metric):
    metric.add_batch(predictions=[[1, 2], [3]], references=[[1, 2], [4]])
    metric.add_batch(predictions=np.array([[1, 2]]), references=np.array([[1, -100]]))
    result = metric.compute(lengths=[2, 1, 2])
    assert result["exact_match"] == pytest.approx(2 / 3)
    assert [(row["length"], row["examples"], row["exact_match"]) for row in result["by_length"]] == [
        (1, 1, 0),
        (2, 2, 1),
    ]


def test_its_file_works_alone(tmp_path):
    source = Path(eval_harness.metrics.__file__).parent / "length_generalization" / "length_generalization.py"
    imports = [
        node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert all(isinstance(node, ast.Import) and len(node.names) == 1 for node in imports)
    assert {node.names[0].name for node in imports} == {"datasets", "evaluate", "numpy", "scipy.stats"}
    shutil.copy(source, tmp_path / "alone.py")
    alone = evaluate.load(str(tmp_path / "alone.py"))
    assert alone.compute(predictions=[[1]], references=[[1]])["exact_match"] == 1


def test_its_documented_example_is_true(metric):
    assert "{'exact_match': 0.5, 'token_accuracy': 0.6666666666666666}" in metric.inputs_description
    result = metric.compute(predictions=[[5, 6], [5, 5]], references=[[-100, 6], [5, 6]])
    assert result == {"exact_match": 0.5, "token_accuracy": 0.6666666666666666}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"predictions": [[1, 2]], "references": [[1]]}, "2 tokens and its reference 1"),
        ({"predictions": [[1]], "references": [[-100]]}, "No reference has a token to score"),
        ({"predictions": [[1]], "references": [[1]], "lengths": [1, 2]}, "1 examples and 2 lengths"),
    ],
)
def test_what_cannot_be_scored_is_refused(metric, arguments, message):
    with pytest.raises(ValueError, match=message):
        metric.compute(**arguments)
