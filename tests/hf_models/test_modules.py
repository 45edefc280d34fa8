"""Modules of torch keep their meaning: they are called, so that adapters, hooks, quantised maps and FSDP take part."""

import importlib
import pkgutil

import pytest
import torch
from torch import nn

import hf_models
from hf_models.layer_looped import HALTING_RULES
from hf_models.modeling_base import TokenEmbedding
from tests.hf_models.model_cases import ATTENTION, main_output
from tests.hf_models.registered_models import (
    CASES,
    GENERATING,
    TRANSFORMER,
    batch,
    build,
    linears_and_embeddings,
)
from tests.hf_models.test_every_encoding import uncompiled


CONTAINERS = (nn.Module, nn.ModuleList, nn.ModuleDict)
# Subclasses of a torch module whose forward is another one, and why.
OTHER_FORWARD = {
    TokenEmbedding: "multiplies by `embed_scale`, which PEFT and transformers know by this name",
}


def test_the_cases_cover_every_model_type_and_every_way_to_halt():
    assert {config_class for config_class, _ in CASES.values()} == set(hf_models.MODEL_CLASSES)
    assert {options.get("halting", "none") for _, options in CASES.values()} == {"none", *HALTING_RULES}


def own_modules() -> list[type[nn.Module]]:
    """Every module class that the package defines."""
    names = [module.name for module in pkgutil.iter_modules(hf_models.__path__, "hf_models.")]
    classes = [value for name in names for value in vars(importlib.import_module(name)).values()]
    return [
        value
        for value in dict.fromkeys(kind for kind in classes if isinstance(kind, type))
        if issubclass(value, nn.Module) and value.__module__.startswith("hf_models")
    ]


def test_no_subclass_of_a_torch_module_has_another_forward():
    differing = set()
    for module in own_modules():
        parents = [parent for parent in module.__mro__ if parent.__module__.startswith("torch.nn.modules")]
        if parents[0] not in CONTAINERS and module.forward is not parents[0].forward:
            differing.add(module)
    assert differing == set(OTHER_FORWARD)


class WeightRead(Exception):
    """A weight was read outside of the forward pass of its module."""


def guard(module: nn.Module):
    """Makes reading a parameter of a module raise, except in its own forward pass."""
    kind, running = type(module), []

    def forward(self, *args, **kwargs):
        running.append(True)
        try:
            return kind.forward(self, *args, **kwargs)
        finally:
            running.pop()

    def read(name):
        def parameter(self):
            if not running:
                raise WeightRead(f"{kind.__name__}.{name}")
            return self._parameters[name]

        return property(parameter)

    module.__class__ = type(
        kind.__name__, (kind,), {"forward": forward, **{name: read(name) for name in dict(module._parameters)}}
    )


def guarded(model):
    for module in linears_and_embeddings(model).values():
        guard(module)
    return model


def test_the_guard_sees_a_weight_that_is_read():
    module = nn.Linear(2, 2)
    expected = module(torch.ones(1, 2))
    guard(module)
    torch.testing.assert_close(module(torch.ones(1, 2)), expected)
    for name in ("weight", "bias"):
        with pytest.raises(WeightRead, match=name):
            getattr(module, name)


@pytest.mark.parametrize("case", CASES)
def test_every_linear_map_and_every_embedding_is_called_and_never_read(case):
    head = "ForCausalLM" if case in GENERATING else "ForMaskedLM"
    expected = main_output(build(case)(**batch(head)))
    model = guarded(build(case))
    torch.testing.assert_close(main_output(model(**batch(head))), expected)
    model.train()(**batch(head)).loss.backward()
    if case in GENERATING:
        inputs = {name: value for name, value in batch(head).items() if name != "labels"}
        model.eval().generate(**inputs, max_new_tokens=2, do_sample=False)


@pytest.mark.parametrize("case", CASES)
def test_a_forward_hook_of_every_linear_map_and_every_embedding_is_called(case):
    model, called = build(case), set()
    modules = linears_and_embeddings(model)
    for name, module in modules.items():
        module.register_forward_hook(lambda *_, name=name: called.add(name))
    model(**batch("ForCausalLM" if case in GENERATING else "ForMaskedLM"))
    assert called == set(modules)


@pytest.mark.filterwarnings("ignore")  # uncompiled FlexAttention says that it is slow
def test_flex_attention_calls_the_modules_of_a_bias_that_it_inlines():
    options = {**ATTENTION, "position_encoding": "t5+alibi"}
    models = [
        hf_models.PositionTransformerModel(TRANSFORMER(**options, attn_implementation=implementation)).eval()
        for implementation in ("eager", "flex_attention")
    ]
    models[1].load_state_dict(models[0].state_dict())
    models[1].requires_grad_(False)  # FlexAttention has no backward on a CPU
    inputs = {name: value for name, value in batch().items() if name != "labels"}
    with uncompiled():
        first, second = (guarded(model)(**inputs).last_hidden_state for model in models)
    token_mask = inputs["attention_mask"].bool()
    torch.testing.assert_close(second[token_mask], first[token_mask], rtol=1e-4, atol=1e-5)
