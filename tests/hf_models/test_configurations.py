"""Configurations: what is refused and in which words, and what goes through and comes back."""

import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from hf_models import MODEL_CLASSES, LSTMConfig, PositionTransformerConfig, UniversalTransformerConfig
from hf_models.position_registry import POSITION_ENCODINGS
from tests.hf_models.model_cases import ATTENTION, CASES, RECURRENT, build, class_of, config_of


pytestmark = pytest.mark.versions
CONFIGS = tuple(MODEL_CLASSES)
BY_NAME = pytest.mark.parametrize("config_class", CONFIGS, ids=lambda cls: cls.__name__)


def refused(config_class, text, **options):
    with pytest.raises((ValueError, StrictDataclassError)) as caught:
        config_class(**options)
    told = str(caught.value) + str(caught.value.__cause__ or "")
    assert text in told, told


# Misspelt and derived keys.


@pytest.mark.parametrize(
    ("config_class", "misspelt", "meant"),
    [
        (LSTMConfig, "hiden_size", "hidden_size"),
        (LSTMConfig, "num_hidden_layer", "num_hidden_layers"),
        (LSTMConfig, "bidirectionnal", "bidirectional"),
        (PositionTransformerConfig, "position_encodings", "position_encoding"),
        (PositionTransformerConfig, "num_attention_head", "num_attention_heads"),
        (PositionTransformerConfig, "intermediate_sizes", "intermediate_size"),
        (PositionTransformerConfig, "is_casual", "is_causal"),
        (PositionTransformerConfig, "position_id_scheme", "position_ids_scheme"),
        (UniversalTransformerConfig, "num_step", "num_steps"),
        (UniversalTransformerConfig, "halting_treshold", "halting_threshold"),
        (UniversalTransformerConfig, "ponder_los_weight", "ponder_loss_weight"),
        (UniversalTransformerConfig, "num_shared_layer", "num_shared_layers"),
    ],
)
def test_a_misspelt_key_is_refused_with_the_nearest_name(config_class, misspelt, meant):
    refused(config_class, f"{config_class.__name__} has no key {misspelt!r}. Did you mean {meant!r}?", **{misspelt: 3})


@pytest.mark.parametrize(
    ("config_class", "name", "value"),
    [
        (LSTMConfig, "is_causal", False),
        (LSTMConfig, "layer_types", ["lstm_state"]),
        (PositionTransformerConfig, "layer_types", ["full_attention"] * 2),
        (PositionTransformerConfig, "head_dim", 8),
        (UniversalTransformerConfig, "num_hidden_layers", 3),
        (UniversalTransformerConfig, "layer_types", []),
        (UniversalTransformerConfig, "head_dim", 8),
    ],
)
def test_a_derived_name_cannot_be_set(config_class, name, value):
    refused(config_class, f"{config_class.__name__} derives {name!r}; it cannot be set", **{name: value})


@BY_NAME
def test_a_misspelt_key_is_refused_when_loading_too(config_class, tmp_path):
    config_class().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="Did you mean 'hidden_size'"):
        AutoConfig.from_pretrained(tmp_path, hiden_size=8)
    with pytest.raises(ValueError, match="derives 'layer_types'; it cannot be set"):
        AutoConfig.from_pretrained(tmp_path, layer_types=[])


@BY_NAME
def test_a_saved_key_that_is_nearly_ours_is_kept_with_a_warning(config_class, tmp_path, caplog):
    config_class().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "vocab_sizes": 9}))
    loaded, unused = AutoConfig.from_pretrained(tmp_path, return_unused_kwargs=True, vocab_size=19, other=1)
    assert "does not use the saved key 'vocab_sizes'; nearest known: 'vocab_size'" in caplog.text
    assert (loaded.vocab_sizes, loaded.vocab_size, unused) == (9, 19, {"other": 1})
    loaded.save_pretrained(tmp_path)
    assert json.loads(file.read_text())["vocab_sizes"] == 9


# What goes through.


@BY_NAME
def test_keys_of_transformers_go_through(config_class):
    config = config_class(
        num_labels=5,
        attn_implementation="eager",
        dtype="bfloat16",
        output_hidden_states=True,
        problem_type="regression",
        architectures=["Some"],
        finetuning_task="parity",
        task_specific_params={},
    )
    assert config.num_labels == 5
    assert len(config.id2label) == 5
    assert config._attn_implementation == "eager"
    assert config.dtype == torch.bfloat16
    assert config.output_hidden_states
    assert config.finetuning_task == "parity"
    labelled = config_class(id2label={0: "even", 1: "odd"}, label2id={"even": 0, "odd": 1})
    assert labelled.num_labels == 2


@pytest.mark.parametrize("case", CASES)
def test_a_configuration_comes_back_from_a_dict_and_from_a_folder(case, tmp_path):
    config = config_of(case, num_labels=4, attn_implementation="eager" if case not in RECURRENT else None)
    assert type(config).from_dict(config.to_dict()).to_dict() == config.to_dict()
    config.save_pretrained(tmp_path)
    for loaded in (type(config).from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(loaded) is type(config)
        assert loaded.to_dict() | {"_name_or_path": ""} == config.to_dict() | {"_name_or_path": ""}
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["model_type"] == config.model_type
    assert not set(saved) & {"layer_types", "head_dim"}


def test_overrides_at_loading_reach_the_configuration(tmp_path):
    model = build("transformer-rope", "ForMaskedLM")
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(
        tmp_path, is_causal=False, eval_position_ids_scheme="randomized", output_hidden_states=True
    )
    assert not loaded.config.is_causal
    assert loaded.config.eval_position_ids_scheme == "randomized"
    assert loaded.config.output_hidden_states


def test_overrides_at_loading_are_checked_like_the_rest(tmp_path):
    PositionTransformerConfig(**ATTENTION).save_pretrained(tmp_path)
    with pytest.raises(StrictDataclassError, match="Unknown position encoding 'alibbi'"):
        AutoConfig.from_pretrained(tmp_path, position_encoding="alibbi")
    config, unused = AutoConfig.from_pretrained(
        tmp_path, num_hidden_layers=5, dtype="auto", colour="red", return_unused_kwargs=True
    )
    assert config.num_hidden_layers == 5
    assert unused == {"colour": "red"}
    assert PositionTransformerConfig.from_pretrained(tmp_path).num_hidden_layers == 2


def test_a_new_number_of_labels_makes_a_new_head(tmp_path):
    build("transformer-rope", "ForSequenceClassification").save_pretrained(tmp_path)
    head = class_of(config_of("transformer-rope"), "ForSequenceClassification")
    loaded = head.from_pretrained(tmp_path, num_labels=6, ignore_mismatched_sizes=True)
    assert loaded.score.out_features == 6
    assert loaded.score.weight.isfinite().all()


@BY_NAME
def test_the_defaults_are_valid_and_unlike_in_type(config_class):
    config = config_class()
    assert config.is_causal
    assert not config.tie_word_embeddings
    assert config.layer_types == [config.layer_types[0]] * config.num_hidden_layers
    assert config == config_class()


def test_derived_sizes_follow_their_sources():
    config = PositionTransformerConfig(hidden_size=48, num_attention_heads=3, num_hidden_layers=5)
    assert (config.head_dim, config.intermediate_size, len(config.layer_types)) == (16, 192, 5)
    deep = UniversalTransformerConfig(num_shared_layers=2, num_steps=3)
    assert (deep.num_hidden_layers, len(deep.layer_types)) == (6, 6)
    deep.num_steps = 5
    assert (deep.num_hidden_layers, len(deep.layer_types)) == (10, 10)


# Sizes and probabilities.


@pytest.mark.parametrize("name", ["vocab_size", "hidden_size", "num_hidden_layers"])
@pytest.mark.parametrize("value", [0, -3])
def test_a_size_below_one_is_refused(name, value):
    refused(LSTMConfig, f"{name} must be at least 1, not {value}", **{name: value})


@pytest.mark.parametrize(
    "name", ["intermediate_size", "num_attention_heads", "max_position_embeddings", "num_shared_layers", "num_steps"]
)
def test_a_size_of_a_transformer_below_one_is_refused(name):
    refused(UniversalTransformerConfig, f"{name} must be at least 1, not 0", **{name: 0})


@pytest.mark.parametrize(
    ("config_class", "name"),
    [
        (LSTMConfig, "dropout"),
        (LSTMConfig, "classifier_dropout"),
        (PositionTransformerConfig, "hidden_dropout"),
        (PositionTransformerConfig, "attention_dropout"),
    ],
)
@pytest.mark.parametrize("value", [-0.1, 1.0, 2])
def test_a_dropout_outside_of_zero_to_one_is_refused(config_class, name, value):
    refused(config_class, f"{name} must be at least 0 and below 1, not {value}", **{name: value})
    assert getattr(config_class(**{name: 0}), name) == 0


@pytest.mark.parametrize(
    ("config_class", "options"),
    [
        (LSTMConfig, {"hidden_size": "64"}),
        (LSTMConfig, {"bidirectional": "yes"}),
        (PositionTransformerConfig, {"norm_position": "middle"}),
        (PositionTransformerConfig, {"position_ids_scheme": "shuffled"}),
        (PositionTransformerConfig, {"eval_position_ids_scheme": "random"}),
        (UniversalTransformerConfig, {"halting": "sometimes"}),
    ],
    ids=str,
)
def test_a_value_of_the_wrong_kind_is_refused(config_class, options):
    refused(config_class, next(iter(options)), **options)


def test_heads_divide_the_width():
    refused(
        PositionTransformerConfig,
        "hidden_size (16) must be a multiple of num_attention_heads (3)",
        hidden_size=16,
        num_attention_heads=3,
    )


def test_an_odd_width_cannot_be_shared_by_two_directions():
    refused(LSTMConfig, "hidden_size must be even when bidirectional, not 15", hidden_size=15, bidirectional=True)
    assert LSTMConfig(hidden_size=15).hidden_size == 15


@pytest.mark.parametrize("value", [0.0, -0.5, 1.01])
def test_a_halting_threshold_outside_of_zero_to_one_is_refused(value):
    refused(UniversalTransformerConfig, f"must lie in (0, 1], not {value}", halting_threshold=value)


def test_a_negative_ponder_weight_is_refused():
    refused(UniversalTransformerConfig, "ponder_loss_weight must not be negative", ponder_loss_weight=-1)


def test_an_unknown_activation_is_refused():
    with pytest.raises(KeyError, match="gelu_typo"):
        build("transformer-rope", hidden_act="gelu_typo")


# Position encodings.


def encoding_refused(text, encoding, config_class=PositionTransformerConfig, **options):
    refused(config_class, text, **{**ATTENTION, "position_encoding": encoding, **options})


@pytest.mark.parametrize("name", POSITION_ENCODINGS)
def test_every_registered_name_is_accepted_by_the_universal_transformer(name):
    assert UniversalTransformerConfig(**ATTENTION, position_encoding=name).position_encoding == name


@pytest.mark.parametrize("encoding", ["alibbi", {"name": "alibbi"}, ["alibi", "alibbi"]], ids=str)
def test_an_unknown_encoding_is_refused_with_the_nearest_name(encoding):
    encoding_refused("Unknown position encoding 'alibbi'. Did you mean 'alibi'? Allowed: none, learned,", encoding)


def test_an_entry_without_a_name_is_refused():
    encoding_refused("Unknown position encoding None", {"form": "causal"})


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ({"name": "t5", "bucket": 8}, "T5 has no argument 'bucket'. Did you mean 'buckets'? Allowed: buckets, max"),
        ({"name": "rope", "base": 8}, "RoPE has no argument 'base'. Allowed: it takes none."),
        ({"name": "fire", "widths": 8}, "FIRE has no argument 'widths'. Did you mean 'width'?"),
        ({"name": "none", "form": "causal"}, "PositionEncoding has no argument 'form'"),
        ({"name": "alibi", "form": "symetric"}, "ALiBi has no form 'symetric'. Did you mean 'symmetric'? Allowed"),
    ],
    ids=str,
)
def test_an_unknown_argument_or_form_is_refused(encoding, text):
    encoding_refused(text, encoding)


def test_alibis_causal_form_needs_a_causal_model():
    encoding_refused("ALiBi's causal form needs a causal model", {"name": "alibi", "form": "causal"}, is_causal=False)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"buckets": 2}, "T5 cannot lay 2 buckets over distances up to 128"),
        ({"buckets": 32, "max_distance": 8}, "T5 cannot lay 32 buckets over distances up to 8"),
    ],
    ids=str,
)
def test_t5_needs_room_for_its_buckets(options, text):
    encoding_refused(text, {"name": "t5", **options}, is_causal=False)


@pytest.mark.parametrize("name", ["sinusoidal", "coordinate"])
def test_sinusoids_need_an_even_width(name):
    text = "needs an even hidden_size, not 15"
    encoding_refused(text, name, UniversalTransformerConfig, hidden_size=15, num_attention_heads=3)


def test_rope_needs_an_even_head():
    encoding_refused("RoPE needs an even head width, not 3", "rope", hidden_size=6)


@pytest.mark.parametrize("parameters", [None, {"rope_theta": 100.0}, {"rope_type": "linear", "factor": 2.0}], ids=str)
def test_rope_parameters_are_completed_and_come_back(parameters, tmp_path):
    config = PositionTransformerConfig(**ATTENTION, rope_parameters=parameters)
    assert config.rope_parameters["rope_theta"] == (parameters or {}).get("rope_theta", 10000.0)
    assert config.rope_parameters["rope_type"] == (parameters or {}).get("rope_type", "default")
    config.save_pretrained(tmp_path)
    assert PositionTransformerConfig.from_pretrained(tmp_path).rope_parameters == config.rope_parameters
    model = class_of(config, "Model")(config)
    assert model(torch.arange(5)[None]).last_hidden_state.isfinite().all()


@pytest.mark.parametrize(
    ("config_class", "options", "text"),
    [
        (PositionTransformerConfig, {}, "position_encoding lists 3 layers; the model has 2"),
        (PositionTransformerConfig, {"num_hidden_layers": 4}, "position_encoding lists 3 layers; the model has 4"),
        (UniversalTransformerConfig, {"num_steps": 3}, "position_encoding lists 3 layers; the model has 1"),
    ],
    ids=str,
)
def test_a_list_has_one_entry_for_each_layer_with_weights(config_class, options, text):
    encoding_refused(text, ["rope", "alibi", "rope"], config_class, **options)


def test_coordinates_need_a_model_that_is_recurrent_in_depth():
    encoding_refused("Coordinate needs a model that is recurrent in depth, not 'position_transformer'", "coordinate")


@pytest.mark.parametrize("case", [case for case in CASES if "bidirectional" in case])
def test_the_causal_head_refuses_a_bidirectional_configuration(case):
    config = config_of(case)
    name = class_of(config, "ForCausalLM").__name__
    with pytest.raises(ValueError, match=f"{name} needs a causal model; the configuration is bidirectional"):
        class_of(config, "ForCausalLM")(config)
