"""PEFT on every registered model: LoRA, trained tokens, and prompts that are learned tokens or keys and values.

PEFT's own warnings are not ours: it reads a deprecated attribute of transformers, and drops position ids with prompts.
"""

import pytest
import torch
from peft import (
    LoraConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    TrainableTokensConfig,
    get_peft_model,
)
from torch import Tensor

from tests.hf_models.model_cases import main_output
from tests.hf_models.registered_models import (
    CASES,
    GENERATING,
    batch,
    build,
    is_recurrent,
    is_seq2seq,
    linears_and_embeddings,
)


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]
VIRTUAL = 3
PROMPTS = {"prompt": PromptTuningConfig, "p_tuning": PromptEncoderConfig, "prefix": PrefixTuningConfig}
# One model of each kind of embedding and head.
ONE_OF_EACH = ("lstm", "stack_rnn", "rope-causal", "universal-act", "seq2seq-transformer-rope")
WITH_LINEARS = ONE_OF_EACH[1:]  # an LSTM's weights are no `nn.Linear`


def task_of(case: str) -> str:
    return "SEQ_2_SEQ_LM" if is_seq2seq(case) else "CAUSAL_LM"


def outputs(model, head: str = "ForCausalLM") -> Tensor:
    """Logits on real positions."""
    inputs = batch(head)
    logits = main_output(model.eval()(**inputs))
    return logits[inputs["attention_mask"].bool()] if logits.shape[:2] == inputs["input_ids"].shape else logits


def check_same(first: Tensor, second: Tensor):
    """The same up to rounding, relative to the greatest."""
    scale = max(1.0, second.abs().max().item())
    torch.testing.assert_close(first / scale, second / scale, rtol=0, atol=1e-5)


def differ(first: Tensor, second: Tensor) -> bool:
    """Whether they differ by much more than rounding."""
    return (first - second).abs().max().item() > 1e-3 * max(1.0, second.abs().max().item())


def check_gradients(model, head: str = "ForCausalLM"):
    """Whatever is trained has a gradient."""
    model.train()(**batch(head)).loss.backward()
    trained = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained
    assert [name for name, grad in trained.items() if grad is None or not grad.abs().sum() > 0] == []


def lora(model, **options) -> PeftModel:
    """LoRA with random weights on every linear map and every embedding, the head included."""
    torch.manual_seed(1)
    targets = list(linears_and_embeddings(model))
    options = {"target_modules": targets, "r": 2, "lora_alpha": 1, "init_lora_weights": False, **options}
    return get_peft_model(model, LoraConfig(**options))


def check_lora(make, folder, head):
    """Adapters are trained, and merged, unloaded, unmerged and loaded ones compute the same."""
    plain = outputs(make(), head)
    adapted = lora(make())
    check_gradients(adapted, head)
    expected = outputs(adapted, head)
    assert differ(expected, plain)
    adapted.save_pretrained(folder)
    adapted.merge_adapter()
    check_same(outputs(adapted, head), expected)
    adapted.unmerge_adapter()
    check_same(outputs(adapted, head), expected)
    with adapted.disable_adapter():
        check_same(outputs(adapted, head), plain)
    check_same(outputs(PeftModel.from_pretrained(make(), folder), head), expected)
    check_same(outputs(adapted.merge_and_unload(), head), expected)


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`:UserWarning")
@pytest.mark.parametrize("case", CASES)
def test_lora_trains_merges_and_loads_on_every_linear_map_and_embedding(case, tmp_path):
    head = "ForCausalLM" if case in GENERATING else "ForMaskedLM"
    # The last step before a halt has the remainder as its weight, and with it the unit no gradient: take some steps.
    options = {"halting_bias": -2.0} if "halting" in CASES[case][1] else {}
    check_lora(lambda: build(case, **options), tmp_path, head)


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`:UserWarning")
@pytest.mark.parametrize("head", ["ForMaskedLM", "ForSequenceClassification", "ForTokenClassification"])
@pytest.mark.parametrize("case", ONE_OF_EACH[:-1])
def test_lora_works_with_every_head(case, head, tmp_path):
    check_lora(lambda: build(case, head), tmp_path, head)


@pytest.mark.parametrize("case", WITH_LINEARS)
def test_all_linear_names_every_linear_map_but_the_head(case):
    model = build(case)
    linears = {name for name, module in linears_and_embeddings(model).items() if isinstance(module, torch.nn.Linear)}
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    assert set(adapted.targeted_module_names) == linears - {"lm_head"}
    check_gradients(adapted)


# The embedding and its scale.


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("case", ONE_OF_EACH)
def test_trained_tokens_are_the_same_once_merged(case, tied, tmp_path):
    make = lambda: build(case, tie_word_embeddings=tied)  # noqa: E731, called four times
    plain = outputs(make())
    tokens = batch()["input_ids"].unique()[-5:].tolist()
    adapted = get_peft_model(make(), TrainableTokensConfig(target_modules=["embed_tokens"], token_indices=tokens))
    check_same(outputs(adapted), plain)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter += torch.randn_like(parameter)
    check_gradients(adapted)
    expected = outputs(adapted)
    assert differ(expected, plain)
    adapted.save_pretrained(tmp_path)
    check_same(outputs(PeftModel.from_pretrained(make(), tmp_path)), expected)
    check_same(outputs(adapted.merge_and_unload()), expected)


@pytest.mark.parametrize("case", WITH_LINEARS)
def test_an_embedding_trained_as_a_copy_is_the_same_once_merged(case):
    model = build(case)
    adapted = get_peft_model(
        model, LoraConfig(target_modules="all-linear", modules_to_save=["embed_tokens", "lm_head"])
    )
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if parameter.requires_grad and "modules_to_save" in name:
                parameter += torch.randn_like(parameter)
    expected = outputs(adapted)
    assert differ(expected, outputs(build(case)))
    check_same(outputs(adapted.merge_and_unload()), expected)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("case", ONE_OF_EACH)
def test_more_tokens_keep_the_scale_of_the_embedding(case, tied):
    model = build(case, tie_word_embeddings=tied)
    expected, size = outputs(model), model.config.vocab_size
    embedding = model.resize_token_embeddings(size + 3)
    assert embedding.embed_scale == model.config.hidden_size**0.5
    assert embedding is model.get_input_embeddings()
    check_same(outputs(model)[..., :size], expected)


# Prompts.


def check_prompt(case: str, kind: str):
    """It trains, and generates with a cache what it generates or predicts without."""
    options = {"num_attention_heads": 1} if is_recurrent(case) else {}
    torch.manual_seed(1)
    config = PROMPTS[kind](task_type=task_of(case), num_virtual_tokens=VIRTUAL, **options)
    model = get_peft_model(build(case), config)
    check_gradients(model)
    model.eval()
    inputs = {name: value for name, value in batch().items() if name != "labels"}
    settings = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    settings |= {"output_logits": True, "return_dict_in_generate": True}
    cached = model.generate(**inputs, **settings)
    logits = torch.stack(cached.logits, dim=1)
    if is_seq2seq(case):  # without a cache PEFT's prefix is there for the first token only
        expected = model(**inputs, decoder_input_ids=cached.sequences[:, :-1]).logits
    else:
        expected = torch.stack(model.generate(**inputs, **settings, use_cache=False).logits, dim=1)
    check_same(logits, expected)


def refused(case: str, kind: str) -> str | None:
    """Why a model takes no such prompt."""
    if case == "tape_rnn-input":
        return "a token ends the input" if kind != "prefix" else "has no KV cache"
    if kind == "prefix" and is_recurrent(case):
        return "A recurrent model caches its state, and DynamicLayer holds keys and values"
    if kind == "prefix" and "pope" in case:
        return "The KV cache holds keys of width 8; with this position encoding they have 16"
    if kind == "prefix" and not build(case).prefix_stable:
        return "has no KV cache"
    return None


@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("case", GENERATING)
def test_prompts_train_and_generate_or_are_refused(case, kind):
    if (reason := refused(case, kind)) is None:
        check_prompt(case, kind)
    else:
        with pytest.raises(ValueError, match=reason):
            check_prompt(case, kind)
