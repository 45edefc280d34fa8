"""Names that runs and evaluations keep: results that exist are found again under them."""

import pytest

from eval_harness.specification import Evaluation, TrainingRun


# Fields of a run, then its identity, the name of its folder, and the identity of an evaluation of it.
KEPT = [
    ({"task": "parity", "model": "lstm"}, "a32ed7d5a48f", "parity_lstm_seed0_a32ed7d5", "c2c339c3e5fb"),
    (
        {"task": "duplicate", "model": "transformer-rope", "seed": 3, "train_length": 20},
        "fd6195dfbdc8",
        "duplicate_transformer-rope_seed3_fd6195df",
        "8988581999ee",
    ),
    (
        {"task": "majority:letters=5", "model": "universal_transformer", "steps": 500}
        | {"config": {"halting": "act", "num_steps": 4}},
        "c3d59d0ee996",
        "majority-letters5_universal_transformer_seed0_c3d59d0e",
        "adc248410f0f",
    ),
    (
        {"task": "reverse", "model": "transformer-alibi", "format": "parallel", "bos": False, "curriculum": 0.5},
        "cdf3e9c26b10",
        "reverse_transformer-alibi_seed0_cdf3e9c2",
        "523fbb6d77cb",
    ),
    (
        {"task": "ut_addition", "model": "gpt2", "train_examples": 1000, "learning_rate": 3e-4},
        "5e166390bcbe",
        "ut_addition_gpt2_seed0_5e166390",
        "23e633d54014",
    ),
    (
        {"task": "duplicate", "model": "t5", "format": "sequence_to_sequence"}
        | {"trainer": {"weight_decay": 0.1, "lr_scheduler_type": "cosine"}},
        "8a9b0a31f1a2",
        "duplicate_t5_seed0_8a9b0a31",
        "6cf48720bba0",
    ),
]


@pytest.mark.parametrize(("given", "run_id", "folder", "cell_id"), KEPT, ids=lambda value: None)
def test_runs_and_evaluations_keep_their_names(given, run_id, folder, cell_id):
    run = TrainingRun(**given)
    assert (run.identity(), run.folder_name()) == (run_id, folder)
    evaluation = Evaluation(factor=3.0, examples=200)
    assert evaluation.identity(run_id, run.make_task(), run.format, run.bos) == cell_id
