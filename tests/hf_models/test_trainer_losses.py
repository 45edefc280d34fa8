"""The losses that a plain Trainer trains with: over every model type, head, way to halt and encoding.

Under `label_smoothing_factor` and `compute_loss_func` the Trainer calls the model without labels and computes the loss
from its logits. Either that is the model's own loss, or the model refuses. With `smoothing` in the batch the model
computes the loss itself. Expected losses are loops over plain formulas.
"""

import copy

import pytest
import torch
from transformers import Trainer, TrainingArguments, default_data_collator
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

import hf_models
from hf_models.layer_looped import HALTING_RULES
from tests.hf_models.model_cases import ATTENTION, COMMON, HEADS, PONDERING, assert_same, labels_for, tokens
from tests.hf_models.plain_encodings import ENTRIES
from tests.hf_models.test_every_encoding import fits


SMOOTHING = 0.2
UNIVERSAL, SEQ2SEQ = hf_models.UniversalTransformerConfig, hf_models.UniversalTransformerSeq2SeqConfig
WRITES = "ForConditionalGeneration"


def heads_of(config_class) -> tuple[str, ...]:
    return (WRITES,) if "Seq2Seq" in config_class.__name__ else HEADS[1:]


def options_of(config_class) -> dict:
    return ATTENTION if "Transformer" in config_class.__name__ else COMMON


PLAIN = [
    pytest.param(config_class, head, options_of(config_class), id=f"{config_class.model_type}-{head}")
    for config_class in hf_models.MODEL_CLASSES
    for head in heads_of(config_class)
]
HALTING = [
    pytest.param(
        config_class,
        head,
        {**PONDERING, "halting": rule, "ponder_loss_weight": 0.5}
        | ({"encoder_halting": "act"} if config_class is SEQ2SEQ else {}),
        id=f"{config_class.model_type}-{rule}-{head}",
    )
    for rule in HALTING_RULES
    for config_class in (UNIVERSAL, SEQ2SEQ)
    for head in heads_of(config_class)
]
ENCODINGS = [name for name, entry in ENTRIES.items() if fits(entry, causal=True)]
every = pytest.mark.parametrize(("config_class", "head", "options"), PLAIN)
every_halting = pytest.mark.parametrize(("config_class", "head", "options"), HALTING)
every_loss = pytest.mark.parametrize(("config_class", "head", "options"), PLAIN + HALTING)


def build(config_class, head, options, noise=0.1):
    """A model with noise on its weights, the same at every call."""
    config = config_class(**options)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(hf_models, config_class.__name__.removesuffix("Seq2SeqConfig").removesuffix("Config") + head)(
            config
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += noise * torch.randn_like(parameter)
    return model


def examples(head, count=4) -> list[dict]:
    """Examples with unequal numbers of labels; of a writer, with the tokens that its decoder reads."""
    labels = labels_for("ForMaskedLM" if head == WRITES else head, count)
    rows = [{"input_ids": row, "labels": label} for row, label in zip(tokens(count), labels, strict=True)]
    if head == WRITES:
        for row, read in zip(rows, tokens(count, seed=9), strict=True):
            row["decoder_input_ids"] = read
    return rows


def arguments(folder, **options) -> TrainingArguments:
    chosen = {
        "output_dir": str(folder),
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "max_steps": 1,
        "optim": "sgd",
        "learning_rate": 0.5,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "per_device_train_batch_size": 4,
    }
    return TrainingArguments(**{**chosen, **options})


def smoothed(rows):
    return {**default_data_collator(rows), "smoothing": SMOOTHING}


def one_step(model, data, folder, collator=default_data_collator, loss_function=None, **options):
    """The loss of a step and the weights after it."""
    trainer = Trainer(
        model=model,
        args=arguments(folder, **options),
        train_dataset=data,
        data_collator=collator,
        compute_loss_func=loss_function,
    )
    loss = trainer.train().training_loss
    return loss, {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def plain_smoothed(logits, label, smoothing=SMOOTHING):
    """The loss of one label `[V]`."""
    chances = logits.double().log_softmax(-1)
    return -(1 - smoothing) * chances[label] - smoothing * chances.mean()


def scored_positions(labels, head):
    """Row, position in the logits and label of all that is scored."""
    if labels.dim() == 1:
        return [(row, None, int(label)) for row, label in enumerate(labels)]
    shift = int(head == "ForCausalLM")
    return [
        (row, place - shift, int(labels[row, place]))
        for row in range(len(labels))
        for place in range(shift, labels.shape[1])
        if labels[row, place] != -100
    ]


def at(values, row, place):
    return values[row] if place is None else values[row, place]


def plain_ponder_loss(outputs, labels, head, sides):
    """Each row's mean cost over its real positions, as often as it has labels, over the number of labels."""
    scored = [row for row, _, _ in scored_positions(labels, head)]
    total = 0.0
    for cost, real in sides:
        means = [cost[row, real[row]].double().mean() for row in range(len(labels))]
        total = total + sum(means[row] for row in scored) / len(scored)
    return total


def plain_loss(model, head, data, smoothing=SMOOTHING):
    """Smoothed loss, or its mixture over the steps of PonderNet, plus the weighted ponder cost."""
    batch = default_data_collator(copy.deepcopy(data))
    labels = batch.pop("labels")
    config = model.config
    halting = getattr(config, "halting", "none")
    real = torch.ones_like(batch["input_ids"], dtype=torch.bool)
    if head == WRITES and halting != "none":  # behind the last label nothing ponders
        read = torch.tensor([[(row[place:] != -100).any() for place in range(len(row))] for row in labels])
        batch["decoder_attention_mask"] = read.long()
    outputs = model.train()(**batch)
    states = model.model(**batch)
    places = scored_positions(labels, head)
    if halting == "ponder_net":
        steps, chances = list(outputs.step_logits), list(states.halting_probabilities)
        if head == "ForSequenceClassification":  # read at the last token
            steps, chances = [step[:, -1] for step in steps], [chance[:, -1] for chance in chances]
    else:
        steps = [outputs.logits]
        chances = [torch.ones(outputs.logits.shape[:-1])]
    total = sum(
        at(chance, row, place) * plain_smoothed(at(logits, row, place), label, smoothing)
        for logits, chance in zip(steps, chances, strict=True)
        for row, place, label in places
    ) / len(places)
    if halting == "none":
        return total
    sides = [(states.ponder_cost, read if head == WRITES else real)]
    if head == WRITES:
        sides.append((states.encoder_ponder_cost, real))
    return total + config.ponder_loss_weight * plain_ponder_loss(outputs, labels, head, sides)


def assert_stepped_down(model, loss, weights_before, weights_after):
    """The weights moved by half the gradient of this loss."""
    model.zero_grad()
    loss.backward()
    for name, parameter in model.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        expected = weights_before[name] - 0.5 * gradient
        torch.testing.assert_close(
            weights_after[name], expected, rtol=1e-3, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


def trained_as_expected(config_class, head, options, folder, collator=default_data_collator, **trainer):
    data = examples(head)
    model = build(config_class, head, options)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    expected = plain_loss(model, head, data)
    assert abs(expected.item() - plain_loss(model, head, data, 0.0).item()) > 1e-4
    loss, after = one_step(build(config_class, head, options), data, folder, collator, **trainer)
    assert loss == pytest.approx(expected.item(), rel=1e-4)
    assert_stepped_down(model, expected, before, after)


# Without halting, the Trainer's own smoothing is right.


@every
def test_the_trainer_smooths_labels_where_the_model_scores_them(config_class, head, options, tmp_path):
    trained_as_expected(config_class, head, options, tmp_path, label_smoothing_factor=SMOOTHING)


@pytest.mark.parametrize("name", ENCODINGS)
def test_the_trainer_smooths_shifted_labels_under_every_encoding(name, tmp_path):
    recurrent = name == "coordinate"  # an encoding of depth
    config_class = UNIVERSAL if recurrent else hf_models.PositionTransformerConfig
    layers = {"num_steps": 2} if recurrent else {"num_hidden_layers": 1}
    model = build(config_class, "ForCausalLM", {**ATTENTION, **layers, "position_encoding": ENTRIES[name]})
    trainer = Trainer(model=model, args=arguments(tmp_path, label_smoothing_factor=SMOOTHING))
    data = examples("ForCausalLM")
    batch = default_data_collator(data)
    items = trainer._get_num_items_in_batch([batch], "cpu")
    loss = trainer.compute_loss(model.train(), batch, num_items_in_batch=items)
    torch.testing.assert_close(loss.double(), plain_loss(model, "ForCausalLM", data), rtol=1e-4, atol=0)


def test_a_loss_function_of_the_users_gets_the_logits_of_a_model_without_halting(tmp_path):
    def loss_function(outputs, labels, num_items_in_batch):
        return 2 * outputs.logits[:, 0, 0].sum() + 0 * labels.sum()

    model = build(hf_models.LSTMConfig, "ForCausalLM", COMMON)
    expected = 2 * model(tokens(4)).logits[:, 0, 0].sum().item()
    loss, _ = one_step(model, examples("ForCausalLM"), tmp_path, loss_function=loss_function)
    assert loss == pytest.approx(expected, rel=1e-4)


def test_every_causal_class_and_subclass_is_listed_as_causal():
    listed = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
    for classes in hf_models.MODEL_CLASSES.values():
        names = {model_class.__name__ for model_class in classes.values()}
        assert {name for name in names if name.endswith("ForCausalLM")} == names & listed
    type("FSDPLSTMForCausalLM", (hf_models.LSTMForCausalLM,), {})  # as FSDP makes its classes
    assert "FSDPLSTMForCausalLM" in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()


def test_a_subclass_under_any_name_is_trained_on_shifted_labels(tmp_path):
    class Mine(hf_models.LSTMForCausalLM):
        pass

    data, losses = examples("ForCausalLM"), []
    for model_class in (Mine, hf_models.LSTMForCausalLM):
        torch.manual_seed(0)
        model = model_class(hf_models.LSTMConfig(**COMMON))
        losses += [one_step(model, data, tmp_path, label_smoothing_factor=SMOOTHING)[0]]
        losses += [one_step(model, data, tmp_path)[0]]
    assert losses[:2] == losses[2:]


# With halting it is refused.


@every_halting
def test_a_loss_that_is_computed_without_the_ponder_cost_is_refused(config_class, head, options, tmp_path):
    model, data = build(config_class, head, options), examples(head)
    with pytest.raises(ValueError, match=r"contains what pondering costs\. Under label_smoothing_factor") as refusal:
        one_step(model, data, tmp_path, label_smoothing_factor=SMOOTHING)
    assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match="contains what pondering costs"):
        one_step(model, data, tmp_path, loss_function=lambda outputs, labels, num_items_in_batch: outputs.logits.sum())
    with pytest.raises(ValueError, match="contains what pondering costs"):
        Trainer(model=model, args=arguments(tmp_path, label_smoothing_factor=SMOOTHING), eval_dataset=data).evaluate()


@pytest.mark.parametrize(("halting", "encoder_halting"), [("act", "none"), ("none", "act"), ("ponder_net", "none")])
def test_halting_on_one_side_of_an_encoder_decoder_is_enough(halting, encoder_halting, tmp_path):
    options = {**PONDERING, "halting": halting, "encoder_halting": encoder_halting}
    with pytest.raises(ValueError, match="contains what pondering costs"):
        one_step(build(SEQ2SEQ, WRITES, options), examples(WRITES), tmp_path, label_smoothing_factor=SMOOTHING)


@pytest.mark.parametrize("config_class", [each for each in hf_models.MODEL_CLASSES if heads_of(each) == (WRITES,)])
def test_an_encoder_decoder_whose_decoder_reads_the_labels_is_refused(config_class, tmp_path):
    data = [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in examples(WRITES)]
    model = build(config_class, WRITES, options_of(config_class))
    with pytest.raises(ValueError, match="decoder reads the labels where a batch has no decoder_input_ids"):
        one_step(model, data, tmp_path, label_smoothing_factor=SMOOTHING)


def test_labels_that_are_shifted_already_are_refused(tmp_path):
    data = [{**row, "shift_labels": row["labels"]} for row in examples("ForCausalLM")]
    model = build(hf_models.LSTMConfig, "ForCausalLM", COMMON)
    with pytest.raises(ValueError, match="shift_labels take the place of labels"):
        one_step(model, data, tmp_path, label_smoothing_factor=SMOOTHING, remove_unused_columns=False)


def test_a_compiled_causal_model_is_refused_since_the_trainer_does_not_know_it(tmp_path):
    options = {"torch_compile": True, "torch_compile_backend": "eager"}
    model = build(hf_models.PositionTransformerConfig, "ForCausalLM", {**ATTENTION, "num_hidden_layers": 1})
    data = examples("ForCausalLM")
    with pytest.raises(ValueError, match=r"torch\.compile hides from the Trainer"):
        one_step(model, data, tmp_path, label_smoothing_factor=SMOOTHING, **options)
    torch.compiler.reset()
    expected = plain_loss(model, "ForCausalLM", data).item()
    loss, _ = one_step(model, data, tmp_path, smoothed, **options)
    assert loss == pytest.approx(expected, rel=1e-4)
    torch.compiler.reset()


def test_labels_that_are_no_classes_are_not_smoothed(tmp_path):
    data = [{"input_ids": row, "labels": torch.tensor(0.5)} for row in tokens(4)]
    model = build(hf_models.LSTMConfig, "ForSequenceClassification", {**COMMON, "num_labels": 1})
    with pytest.raises(RuntimeError, match="int64"):  # the Trainer's own
        one_step(model, data, tmp_path, label_smoothing_factor=SMOOTHING)
    with pytest.raises(ValueError, match="Labels of the problem_type 'regression' cannot be smoothed"):
        one_step(model, data, tmp_path, smoothed)


# The model smooths by itself, with the ponder cost.


@every_loss
def test_a_model_smooths_the_labels_of_batches_that_ask_for_it(config_class, head, options, tmp_path):
    parts = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
    trained_as_expected(config_class, head, options, tmp_path, smoothed, **parts)


@pytest.mark.parametrize(("labels", "num_labels"), [((4,), 1), ((4, 1), 1), ((4, 3), 3)])
@pytest.mark.parametrize("problem_type", ["regression", "multi_label_classification"])
def test_losses_of_numbers_and_of_several_classes_accumulate(labels, num_labels, problem_type, tmp_path):
    wanted = torch.rand(labels, generator=torch.Generator().manual_seed(0))
    wanted = wanted.round() if problem_type != "regression" else wanted
    data = [{"input_ids": row, "labels": label} for row, label in zip(tokens(4), wanted, strict=True)]
    options = {**COMMON, "num_labels": num_labels, "problem_type": problem_type}
    results = [
        one_step(
            build(hf_models.LSTMConfig, "ForSequenceClassification", options),
            data,
            tmp_path,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=4 // size,
        )
        for size in (1, 4)
    ]
    assert_same(results[0][1], results[1][1], rtol=1e-3, atol=1e-5)
    logits = build(hf_models.LSTMConfig, "ForSequenceClassification", options)(tokens(4)).logits.flatten()
    if problem_type == "regression":
        expected = ((logits - wanted.flatten()) ** 2).mean()
    else:
        chances = torch.where(wanted.flatten() == 1, logits.sigmoid(), 1 - logits.sigmoid())
        expected = -chances.log().mean()
    assert results[1][0] == pytest.approx(expected.item(), rel=1e-4)


# Whatever else touches the loss.


@pytest.mark.parametrize("config_class", hf_models.MODEL_CLASSES)
def test_noise_on_the_embeddings_reaches_the_weights(config_class, tmp_path):
    results, head = [], heads_of(config_class)[0]
    for alpha in (None, 5.0):
        model, data = build(config_class, head, options_of(config_class)), examples(head)
        results.append(one_step(model, data, tmp_path, neftune_noise_alpha=alpha)[1])
    assert max((results[0][name] - results[1][name]).abs().max() for name in results[0]) > 1e-4


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # which PEFT reads
def test_adapters_are_trained_on_shifted_labels_and_prefixes_refused(tmp_path):
    peft = pytest.importorskip("peft")
    options, data = {**ATTENTION, "num_hidden_layers": 1}, examples("ForCausalLM")
    base = build(hf_models.PositionTransformerConfig, "ForCausalLM", options)
    expected = plain_loss(base, "ForCausalLM", data).item()
    adapted = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    loss, _ = one_step(adapted, data, tmp_path, label_smoothing_factor=SMOOTHING)
    assert loss == pytest.approx(expected, rel=1e-4)
    sizes = {"num_layers": 1, "token_dim": 16, "num_attention_heads": 2}
    prefix = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2, **sizes)
    prefixed = peft.get_peft_model(build(hf_models.PositionTransformerConfig, "ForCausalLM", options), prefix)
    with pytest.raises(ValueError, match="a prefix of PEFT hides from the Trainer"):
        one_step(prefixed, data, tmp_path, label_smoothing_factor=SMOOTHING)
