"""Facts of the code about a named choice of a configuration: docstring, arguments, hooks, flags, error messages.

B batch   T positions   H heads   K head width   E key features
"""

import inspect
import re
import tomllib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch

from hf_models import (
    PositionTransformerConfig,
    PositionTransformerModel,
    UniversalTransformerConfig,
    UniversalTransformerModel,
    position_encoding,
)
from hf_models.attention import Attention
from hf_models.attention_normalizers import NORMALIZERS
from hf_models.attention_registry import ATTENTION_TYPES
from hf_models.position_encoding import PositionEncoding
from hf_models.position_registry import POSITION_ENCODINGS


REGISTRIES: dict[str, Any] = {
    "position_encodings": POSITION_ENCODINGS,
    "normalizers": NORMALIZERS,
    "attention_types": ATTENTION_TYPES,
}
FIELDS = {  # of the configuration
    "position_encodings": "position_encoding",
    "normalizers": "attention_normalizer",
    "attention_types": "attention_types",
}
FACTS = tomllib.loads((Path(__file__).parent / "facts.toml").read_text(encoding="utf-8"))
HEADS, HEAD_DIM = 4, 16
SIZES: dict[str, Any] = {"hidden_size": HEADS * HEAD_DIM, "num_attention_heads": HEADS, "sliding_window": 8}
FUSED = {"sdpa": "SDPA", "flex_attention": "FlexAttention"}


@dataclass(frozen=True)
class Choice:
    """An entry of a registry.

    Attributes:
        kind: the registry.
        name: the name in it.
    """

    kind: str
    name: str

    @property
    def choice(self) -> Any:
        """The class."""
        return REGISTRIES[self.kind][self.name]

    @property
    def facts(self) -> dict:
        """Its entry in `facts.toml`."""
        return FACTS[self.kind][self.name]

    @property
    def title(self) -> str:
        """The heading of its page."""
        return self.facts.get("title", self.choice.__name__)

    @cached_property
    def paragraphs(self) -> list[str]:
        """The docstring up to the arguments: the summary, details, and the paper last."""
        text = inspect.cleandoc(self.choice.__doc__).partition("\n\nArgs:\n")[0]
        return text.split("\n\n")

    @property
    def paper(self) -> str:
        """Authors, year and address."""
        return self.paragraphs[-1]

    @property
    def arguments(self) -> dict[str, tuple[Any, str]]:
        """The default and the meaning of each argument."""
        given_by_model = ("self", "config", "normalizer")
        parameters = inspect.signature(self.choice.__init__).parameters
        return {
            name: (parameter.default, meaning_of(self.choice, name))
            for name, parameter in parameters.items()
            if name not in given_by_model
        }

    def entry(self, is_causal: bool = True) -> str | dict:
        """Return its entry in a configuration."""
        arguments = {} if is_causal else self.facts.get("symmetric", {})
        return {"name": self.name, **arguments} if arguments else self.name

    def config(self, is_causal: bool = True, **options):
        """Return a small configuration with the choice; raise ValueError if it is rejected."""
        recurrent = getattr(self.choice, "recurrent_only", False)
        chosen = {"position_encoding": "none", FIELDS[self.kind]: self.entry(is_causal), "is_causal": is_causal}
        depth = {"num_steps": 1} if recurrent else {"num_hidden_layers": 1}
        config_class = UniversalTransformerConfig if recurrent else PositionTransformerConfig
        try:
            return config_class(**{**SIZES, **depth, **chosen, **options})
        except Exception as error:  # the library wraps ours in errors of its own
            raise ValueError(str(error.__cause__ or error)) from error

    def model(self, is_causal: bool = True, **options):
        """Return a model of one layer with the choice, equal at every call; raise ValueError if it is rejected."""
        config = self.config(is_causal, **options)
        universal = isinstance(config, UniversalTransformerConfig)
        model_class = UniversalTransformerModel if universal else PositionTransformerModel
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return model_class(config).eval()

    def refusal(self, is_causal: bool = True, **options) -> str | None:
        """Return the error message for the choice with these options, or None."""
        try:
            self.model(is_causal, **options)
        except ValueError as error:
            return str(error)
        return None

    @property
    def has_bidirectional_form(self) -> bool:
        """Whether it has a bidirectional form."""
        return not getattr(self.choice, "causal_only", False)


def choices(kind: str) -> list[Choice]:
    """Return all choices of a registry."""
    return [Choice(kind, name) for name in REGISTRIES[kind]]


def meaning_of(choice: type, argument: str) -> str:
    """Return the description of an argument in the docstring of a class or of the base that it refers to."""
    for base in choice.__mro__:
        arguments = inspect.cleandoc(base.__doc__ or "").partition("\n\nArgs:\n")[2]
        found = re.search(rf"^    {argument}: (.*?)(?=^    \w|\Z)", arguments + "\n", flags=re.DOTALL | re.MULTILINE)
        if found and not found[1].startswith(("see `", "as in ")):
            return " ".join(found[1].split())
    return ""


@cache
def hooks() -> dict[str, str]:
    """Return the hooks of a position encoding with their meaning, from the docstring of the module."""
    block = (position_encoding.__doc__ or "").split("\n\n")[1]
    found = re.findall(r"^    (\w+) +(.*)$", block, flags=re.MULTILINE)
    return {name: text for name, text in found if hasattr(PositionEncoding, name)}


def overridden(choice: type[PositionEncoding]) -> list[str]:
    """List the hooks that an encoding overrides."""
    return [name for name in hooks() if getattr(choice, name) is not getattr(PositionEncoding, name)]


def key_width(encoding: Choice) -> int:
    """Return the number of channels of a key in the cache."""
    output = encoding.model()(torch.zeros(1, 2, dtype=torch.long), use_cache=True)
    return output.past_key_values.layers[0].keys.shape[-1]


def attention_of(model) -> Attention:
    """Return the first attention layer of a model."""
    return next(module for module in model.modules() if isinstance(module, Attention))


def reads_ids(encoding: Choice) -> bool:
    """Whether position ids change the output for the same tokens."""
    model = encoding.model()
    tokens = torch.arange(8)[None]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for parameter in model.encodings.parameters():  # some begin without effect
            parameter += torch.randn_like(parameter)
        states = [model(tokens, position_ids=factor * tokens).last_hidden_state for factor in (1, 3)]
    return not torch.equal(*states)


def implementations(choice: Choice) -> list[str]:
    """List the attention implementations that support it."""
    fused = [label for name, label in FUSED.items() if choice.refusal(attn_implementation=name) is None]
    return ["eager", *fused]
