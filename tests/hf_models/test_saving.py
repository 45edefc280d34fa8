"""Saving and loading: in this process, from incomplete checkpoints, and in a process without Longreach."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from hf_models import MODEL_CLASSES
from tests.hf_models import fresh_process
from tests.hf_models.model_cases import (
    CASES,
    CLOSE,
    ENCODINGS,
    REPRESENTATIVES,
    assert_same,
    build,
    class_of,
    config_of,
    heads_of,
    main_output,
    tokens,
)


pytestmark = pytest.mark.versions
CODE = Path(fresh_process.__file__).parents[2] / "hf_models"


def tensors(model) -> dict:
    """All parameters and buffers."""
    return {name: tensor.detach() for name, tensor in [*model.named_parameters(), *model.named_buffers()]}


@pytest.mark.parametrize("case", CASES)
def test_a_saved_model_comes_back_whole(case, tmp_path):
    head = heads_of(case)[1]
    model = build(case, head)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert not again.training
    assert_same(tensors(again), tensors(model), rtol=0, atol=0)
    torch.testing.assert_close(main_output(again(tokens())), main_output(model(tokens())), **CLOSE)
    assert again.config.to_diff_dict() | {"dtype": None} == model.config.to_diff_dict() | {"dtype": None}


@pytest.mark.parametrize("case", REPRESENTATIVES)
def test_every_auto_class_loads_the_folder_of_any_head(case, tmp_path):
    build(case, "ForMaskedLM").save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is type(config_of(case))
    for auto_class, model_class in MODEL_CLASSES[type(config)].items():
        if model_class.__name__.removeprefix(type(config).__name__.removesuffix("Config")) in heads_of(case):
            assert type(auto_class.from_pretrained(tmp_path)) is model_class


@pytest.mark.parametrize("case", [case for case in CASES if "-post" not in case])
def test_what_a_checkpoint_lacks_begins_as_in_a_new_model(case, tmp_path):
    # from_pretrained builds on the meta device, so a parameter that _init_weights forgets comes back as garbage.
    model = build(case, "Model")
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    kept = "embed_tokens.weight"
    save_file({kept: load_file(file)[kept]}, file, metadata={"format": "pt"})
    again = type(model).from_pretrained(tmp_path)
    torch.testing.assert_close(again.embed_tokens.weight, model.embed_tokens.weight, rtol=0, atol=0)
    for name, fresh in tensors(build(case, "Model", noise=0.0)).items():
        loaded = tensors(again)[name]
        assert loaded.isfinite().all(), name
        if name == kept:
            continue
        if fresh.numel() < 2 or fresh.std() == 0 or name.endswith("bias"):
            torch.testing.assert_close(loaded, fresh, msg=name)
        elif fresh.numel() >= 256:
            torch.testing.assert_close(loaded.std(), fresh.std(), rtol=0.2, atol=0, msg=name)


@pytest.mark.parametrize(
    "case", ["lstm-2", "lstm-bidirectional", "rnn-tanh", "stack_rnn-fixed", "transformer-fire", "universal-act"]
)
def test_what_a_checkpoint_has_is_kept_where_it_lacks_another_part(case, tmp_path):
    model = build(case, "Model")
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    for name in state:
        save_file({other: tensor for other, tensor in state.items() if other != name}, file, metadata={"format": "pt"})
        loaded = tensors(type(model).from_pretrained(tmp_path))
        expected = {other: tensor for other, tensor in tensors(model).items() if other != name}
        assert_same({other: loaded[other] for other in expected}, expected, rtol=0, atol=0)


@pytest.mark.parametrize("head", ["ForCausalLM", "ForMaskedLM"])
@pytest.mark.parametrize("case", ["lstm-2", "tape_rnn", "transformer-learned", "universal-act"])
def test_tied_embeddings_are_one_tensor_before_and_after_loading(case, head, tmp_path):
    model = build(case, head, tie_word_embeddings=True)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    again = type(model).from_pretrained(tmp_path)
    assert again.lm_head.weight is again.model.embed_tokens.weight
    torch.testing.assert_close(again(tokens()).logits, model(tokens()).logits, **CLOSE)
    untied = build(case, head)
    assert untied.lm_head.weight is not untied.model.embed_tokens.weight


@pytest.mark.parametrize("case", REPRESENTATIVES)
def test_a_model_loads_in_bfloat16_on_request(case, tmp_path):
    model = build(case, "ForMaskedLM")
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path, dtype="bfloat16")
    assert {parameter.dtype for parameter in again.parameters()} == {torch.bfloat16}
    assert again(tokens()).logits.dtype == torch.bfloat16


@pytest.mark.parametrize("case", ["transformer-t5", "universal-act"])
def test_the_attention_implementation_is_chosen_at_loading(case, tmp_path):
    build(case).save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
    assert model.config._attn_implementation == "eager"
    assert len(model(tokens(), output_attentions=True).attentions) == model.config.num_hidden_layers


# One child process for everything, since importing torch and transformers takes seconds.


def jobs() -> list[tuple[str, str, str]]:
    """Case, head saved, head loaded."""
    chosen = [
        (case, head, head) for case in ("lstm-2", "transformer-mixed", "universal-act") for head in heads_of(case)
    ]
    chosen += [(f"transformer-{encoding}", "ForCausalLM", "ForCausalLM") for encoding in ENCODINGS]
    chosen += [(case, "ForCausalLM", "Model") for case in ("lstm", "transformer-rope-post", "universal-group")]
    recurrent = ("lstm-learned", "rnn-tanh", "stack_rnn-fixed", "tape_rnn", "tape_rnn-jumps")
    chosen += [(case, "ForCausalLM", "ForCausalLM") for case in recurrent]
    chosen += [(case, "ForMaskedLM", "ForMaskedLM") for case in CASES if "bidirectional" in case]
    return chosen


@pytest.fixture(scope="module")
def child(tmp_path_factory):
    """Folder, what the parent saw, and what the child found."""
    folder = tmp_path_factory.mktemp("fresh")
    listed, expected = [], {}
    for case, saved_head, loaded_head in jobs():
        name = f"{case}-{saved_head}-{loaded_head}"
        model = build(case, saved_head, eos_token_id=None)
        model.save_pretrained(folder / name)
        seen = model if saved_head == loaded_head else model.model
        expected[name] = fresh_process.look_at(seen, tokens())
        auto_class = "AutoModel" + loaded_head.removeprefix("Model")
        listed.append({"name": name, "saved": name, "auto_class": auto_class, "input_ids": tokens().tolist()})
    return folder, expected, fresh_process.run(folder, listed)


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"{case}-{saved}-{loaded}" for case, saved, loaded in jobs()])
def test_a_process_without_longreach_loads_every_model_whole(child, name):
    _, expected, found = child
    assert found[name]["module"].startswith("transformers_modules.")
    assert found[name]["digest"] == expected[name]["digest"]
    torch.testing.assert_close(found[name]["output"], expected[name]["output"], **CLOSE)
    assert found[name]["listed_as_causal"] == name.endswith("ForCausalLM")
    assert ("tokens" in found[name]) == ("tokens" in expected[name])
    if "tokens" in expected[name]:
        assert torch.equal(found[name]["tokens"], expected[name]["tokens"])
        assert torch.equal(found[name]["tokens"], found[name]["uncached_tokens"])


@pytest.mark.slow
def test_what_that_process_saves_again_ships_the_same_code(child):
    folder, _, found = child
    for name in found:
        first = {file.name: file.read_text() for file in (folder / name).glob("*.py")}
        again = {file.name: file.read_text() for file in (folder / "again" / name).glob("*.py")}
        assert again == first
        assert first
        assert all(text == (CODE / file).read_text() for file, text in first.items())
        configs = [
            json.loads((folder / positions / "config.json").read_text()) for positions in (name, f"again/{name}")
        ]
        assert configs[0]["auto_map"] == configs[1]["auto_map"]


@pytest.mark.parametrize("case", REPRESENTATIVES)
def test_a_loaded_model_ships_its_code_when_saved_again(case, tmp_path):
    build(case, "Model").save_pretrained(tmp_path / "first")
    config = config_of(case)
    class_of(config, "Model").from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    names = [{file.name for file in (tmp_path / folder).glob("*.py")} for folder in ("first", "second")]
    assert names[0] == names[1]
    assert f"modeling_{config.model_type}.py" in names[0]
