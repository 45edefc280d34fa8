"""lm-evaluation-harness, run on an exported folder, finds the exact match that we find."""

import pytest

from eval_harness import Evaluation, evaluate_run, export_task
from eval_harness.results.files import read_table
from tests.tiny_runs import tiny, train_quietly


LENGTHS = (3, 5, 8, 9)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["lstm", "transformer-alibi"])
@pytest.mark.filterwarnings("ignore")  # of the library and of what it imports
def test_lm_eval_finds_the_same_exact_match(model, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.tasks import TaskManager

    run = train_quietly(tiny(model, task="binary_addition", steps=120, budget=10_000), tmp_path / "run")
    cell = evaluate_run(run, Evaluation(examples=100, lengths=LENGTHS))
    ours = {row["length"]: row["exact"] for row in read_table(cell / "lengths.parquet")}
    assert len(set(ours.values())) > 1
    assert any(0 < exact < 1 for exact in ours.values())
    folder = export_task("binary_addition", tmp_path / "rows", LENGTHS, examples=100, lm_eval=True)
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(run), "trust_remote_code": True},
        tasks=["longreach_binary_addition"],
        task_manager=TaskManager(include_path=str(folder / "lm_eval"), include_defaults=False),
        device="cpu",
        batch_size=32,
    )
    theirs = {
        length: found["results"][f"longreach_binary_addition_length_{length}"]["exact_match,none"]
        for length in LENGTHS
    }
    assert theirs == pytest.approx(ours, abs=1e-9)
