"""Training through the Trainer and Accelerate."""

import pytest
import torch
from accelerate import Accelerator
from transformers import Trainer, TrainingArguments

from tests.hf_models.model_cases import REPRESENTATIVES, assert_same, build, labels_for, pairs, tokens


pytestmark = pytest.mark.versions
EVERY_HEAD = pairs(["universal-act"])[1:]
TRAINED = [
    *EVERY_HEAD,
    ("lstm-2", "ForCausalLM"),
    ("rnn-tanh", "ForCausalLM"),
    ("stack_rnn", "ForCausalLM"),
    ("tape_rnn-jumps", "ForTokenClassification"),
    ("transformer-fire", "ForCausalLM"),
    ("transformer-rope-bidirectional", "ForMaskedLM"),
    ("transformer-fire", "ForSequenceClassification"),
]


def examples(head: str, count: int = 4) -> list[dict]:
    """Examples with unequal numbers of labels, so that a mean of means is not the mean."""
    labels = labels_for(head, count)
    return [{"input_ids": row, "labels": label} for row, label in zip(tokens(count), labels, strict=True)]


def train(model, data, folder, **options):
    arguments = TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **options,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=data)
    return trainer.train()


@pytest.mark.parametrize(("case", "head"), TRAINED)
def test_the_trainer_lowers_the_loss_and_moves_every_parameter(case, head, tmp_path):
    # Where few steps are taken at first, the last ones' gradients vanish; noise makes all parameters take part.
    model, data = build(case, head), examples(head)
    batch = {key: torch.stack([example[key] for example in data]) for key in data[0]}
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    loss = model(**batch).loss.item()
    result = train(model, data, tmp_path, max_steps=5, learning_rate=1e-2, per_device_train_batch_size=4)
    assert torch.isfinite(torch.tensor(result.training_loss))
    assert model.eval()(**batch).loss.item() < loss
    for name, parameter in model.named_parameters():
        assert parameter.isfinite().all(), name
        assert not torch.equal(parameter, before[name]), name


@pytest.mark.parametrize(
    ("case", "head"), [*EVERY_HEAD, ("lstm-2", "ForSequenceClassification"), ("stack_rnn", "ForCausalLM")]
)
def test_four_batches_of_one_train_as_one_batch_of_four(case, head, tmp_path):
    results = []
    for size in (1, 4):
        model = build(case, head, **({"ponder_loss_weight": 1.0} if case == "universal-act" else {}))
        train(
            model,
            examples(head),
            tmp_path,
            max_steps=1,
            optim="sgd",
            learning_rate=0.5,
            lr_scheduler_type="constant",
            max_grad_norm=0.0,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=4 // size,
        )
        results.append({name: parameter.detach() for name, parameter in model.named_parameters()})
    assert_same(*results, rtol=1e-3, atol=1e-5)
    start = dict(build(case, head).named_parameters())
    assert any((results[0][name] - start[name]).abs().max() > 1e-3 for name in start)


@pytest.mark.parametrize("case", ["lstm-2", "tape_rnn", "transformer-fire", "universal-act"])
def test_the_trainer_evaluates_without_caches_and_halting_statistics(case, tmp_path):
    model = build(case)
    arguments = TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, report_to="none", disable_tqdm=True, dataloader_pin_memory=False
    )
    predictions = Trainer(model=model, args=arguments).predict(examples("ForCausalLM"))
    assert predictions.predictions.shape == (4, 7, model.config.vocab_size)


@pytest.mark.parametrize("case", REPRESENTATIVES)
def test_accelerate_prepares_a_model_that_trains(case):
    model = build(case, "ForTokenClassification").train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    accelerator = Accelerator(cpu=True)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    losses = []
    for _ in range(3):
        loss = prepared(input_ids=tokens(), labels=labels_for("ForTokenClassification")).loss
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert accelerator.unwrap_model(prepared) is model
