"""The loss of a run: smoothed where a flag asks for it, of ours and of transformers' own types; noise; refusals."""

import pytest
import torch
from transformers import TrainerCallback, set_seed

from eval_harness.errors import HarnessError
from eval_harness.models import adapter_of
from eval_harness.results.files import read_json
from eval_harness.tokenization.vocabulary import NOT_SCORED
from eval_harness.training.arguments import default_arguments, refuse_other_losses
from eval_harness.training.batches import TrainingBatches
from eval_harness.training.setup import data_options, first_model, size_for
from tests.tiny_runs import tiny, train_quietly, weights


SMOOTHING = 0.2
PONDERING = {"num_steps": 3, "halting_bias": -0.5, "ponder_loss_weight": 0.5}
ONE_STEP = {"lr_scheduler_type": "constant", "warmup_steps": 0, "optim": "sgd"}
RUNS = {
    "causal": {"model": "lstm"},
    "masked": {"model": "transformer-t5", "task": "flip_flop", "config": {"is_causal": False}},
    "classifier": {"model": "transformer-rope", "task": "parity", "format": "classification"},
    "act": {"model": "universal_transformer", "config": {**PONDERING, "halting": "act"}},
    "ponder_net": {
        "model": "universal_transformer",
        "task": "parity",
        "format": "parallel",
        "config": {**PONDERING, "halting": "ponder_net"},
    },
    "pondering classifier": {
        "model": "universal_transformer",
        "task": "parity",
        "format": "classification",
        "config": {**PONDERING, "halting": "published"},
    },
    "encoder-decoder": {"model": "transformer-rope", "format": "sequence_to_sequence"},
    "pondering encoder-decoder": {
        "model": "universal_transformer",
        "format": "sequence_to_sequence",
        "config": {**PONDERING, "halting": "act"},
    },
    "gpt2": {"model": "gpt2"},
    "bert": {"model": "bert", "task": "flip_flop"},
    "bert classifier": {"model": "bert", "task": "parity", "format": "classification"},
    "t5": {"model": "t5", "format": "sequence_to_sequence"},
}


def specify(case, **changes):
    return tiny(**{"steps": 1, "learning_rate": 0.5, **RUNS[case], **changes})


def expected_loss(run):
    """The smoothed loss of the first batch; of a library model by the formula, at the labels' own places."""
    sized = size_for(run)
    set_seed(run.seed)
    model, _ = first_model(run, sized)
    batch = TrainingBatches(run, **data_options(run, sized.config))[0]
    if adapter_of(model.config).computes_loss:
        return model.train()(**batch, smoothing=SMOOTHING).loss.item()
    labels = batch.pop("labels")
    chances = model.train()(**batch).logits.double().log_softmax(-1)
    if chances.dim() == 2:
        chances = chances[:, None]  # [B, U, V]
    losses = [
        -(1 - SMOOTHING) * chances[row, place, label] - SMOOTHING * chances[row, place].mean()
        for row, place in (labels != NOT_SCORED).nonzero().tolist()
        for label in (labels[row, place],)
    ]
    return (sum(losses) / len(losses)).item()


def farthest(first, second):
    """The greatest difference between weights."""
    return max((first[name].double() - second[name].double()).abs().max().item() for name in first)


@pytest.mark.parametrize("case", RUNS)
def test_smoothed_labels_give_the_smoothed_loss_and_other_weights(case, tmp_path):
    run = specify(case)
    plain = train_quietly(run, tmp_path / "plain", **ONE_STEP)
    smoothed = train_quietly(run, tmp_path / "smoothed", label_smoothing_factor=SMOOTHING, **ONE_STEP)
    found, unsmoothed = (read_json(folder / "run.json")["final_loss"] for folder in (smoothed, plain))
    assert found == pytest.approx(expected_loss(run), rel=1e-4)
    assert abs(found - unsmoothed) > 1e-4
    assert farthest(weights(smoothed), weights(plain)) > 1e-4


@pytest.mark.parametrize("case", ["act", "ponder_net", "gpt2"])
def test_smoothed_losses_are_the_same_in_four_parts(case, tmp_path):
    options = {"label_smoothing_factor": SMOOTHING, **ONE_STEP}
    one = train_quietly(specify(case), tmp_path / "one", **options)
    four = train_quietly(specify(case), tmp_path / "four", gradient_accumulation_steps=4, **options)
    assert farthest(weights(one), weights(four)) < 1e-4


@pytest.mark.parametrize("case", ["act", "gpt2"])
def test_noise_on_the_embeddings_reaches_the_weights(case, tmp_path):
    plain, noisy = (
        train_quietly(specify(case), tmp_path / str(alpha), neftune_noise_alpha=alpha, **ONE_STEP)
        for alpha in (None, 10.0)
    )
    assert farthest(weights(plain), weights(noisy)) > 1e-4


def test_noise_that_would_not_reach_the_model_is_refused(tmp_path):
    # The parts of a T5 have embeddings of their own, with the weights of the one that it names.
    with pytest.raises(HarnessError, match="neftune_noise_alpha is refused: t5 does not call its input embedding"):
        train_quietly(specify("t5"), tmp_path / "run", neftune_noise_alpha=10.0)


class _Count(TrainerCallback):
    """Notes how many tokens the Trainer has seen."""

    def on_step_end(self, args, state, control, **kwargs):
        self.seen = state.num_input_tokens_seen


def test_the_tokens_that_were_seen_are_counted(tmp_path):
    count = _Count()
    folder = train_quietly(specify("causal"), tmp_path, [count], include_num_input_tokens_seen="all")
    assert count.seen == read_json(folder / "run.json")["compute"]["training_tokens"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"use_liger_kernel": True}, "use_liger_kernel is refused: Liger has no kernels for our models"),
        ({"average_tokens_across_devices": False}, "would depend on the number of processes"),
        (
            {"accelerator_config": {"gradient_accumulation_kwargs": {"num_steps": 2}}},
            "gradient_accumulation_kwargs is refused: give gradient_accumulation_steps",
        ),
    ],
)
def test_what_would_change_the_loss_unseen_is_refused_before_anything_is_written(arguments, words, tmp_path):
    with pytest.raises(HarnessError, match=words) as refusal:
        train_quietly(specify("causal"), tmp_path / "run", **arguments)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "run").exists()


def test_one_process_with_several_gpus_is_refused(tmp_path):
    # The Trainer would draw as many micro-batches at once and train on the first of them.
    arguments = default_arguments(specify("causal"), tmp_path)
    assert torch.cuda.device_count() > 1 or refuse_other_losses(arguments) is None
    arguments._n_gpu = 2
    with pytest.raises(HarnessError, match="One process sees 2 GPUs; start with `accelerate launch`"):
        refuse_other_losses(arguments)
