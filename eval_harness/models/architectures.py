"""Our architectures by name. Model types of transformers are in `library_types`."""

from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any

from transformers import PreTrainedConfig

import hf_models
from eval_harness.errors import HarnessError, unknown
from eval_harness.models.library_types import LibraryArchitecture, get_library_type, list_library_types
from hf_models.position_registry import POSITION_ENCODINGS, parse_position_encoding


FAMILIES = {
    "transformer": hf_models.PositionTransformerConfig,
    "universal_transformer": hf_models.UniversalTransformerConfig,
}


@dataclass(frozen=True)
class Architecture:
    """A model class with the fields that its name implies.

    Attributes:
        name: the name that users type.
        config_class: configuration class of the model.
        fields: configuration fields that the name implies.
        head: its head, as formats name it.
    """

    name: str
    config_class: Any
    fields: dict = field(default_factory=dict)
    head: str = "token"

    @property
    def is_recurrent(self) -> bool:
        """Whether only the width sets the size."""
        return not hasattr(self.config_class, "intermediate_size")


def _architectures() -> dict[str, Architecture]:
    recurrent = (hf_models.LSTMConfig, hf_models.RNNConfig, hf_models.StackRNNConfig, hf_models.TapeRNNConfig)
    named = [Architecture(config_class.model_type, config_class) for config_class in recurrent]
    for family, config_class in FAMILIES.items():
        for encoding, encoding_class in POSITION_ENCODINGS.items():
            if not encoding_class.recurrent_only:
                named.append(Architecture(f"{family}-{encoding}", config_class, {"position_encoding": encoding}))
    named.append(Architecture("universal_transformer", hf_models.UniversalTransformerConfig))
    return {architecture.name: architecture for architecture in sorted(named, key=lambda named: named.name)}


ARCHITECTURES = _architectures()
ENCODER_DECODERS = {
    hf_models.LSTMConfig: hf_models.LSTMSeq2SeqConfig,
    hf_models.PositionTransformerConfig: hf_models.PositionTransformerSeq2SeqConfig,
    hf_models.UniversalTransformerConfig: hf_models.UniversalTransformerSeq2SeqConfig,
}


def get_architecture(name: str, head: str = "token") -> Architecture | LibraryArchitecture:
    """The architecture of that name; with the head "sequence_to_sequence" its encoder-decoder.

    Other names are model types of transformers ("gpt2", "t5").

    After `transformer-` and `universal_transformer-` any position encoding of a configuration may follow:
    several at once ("transformer-rope+fox"), or one of the user's own file ("transformer-recency.Recency").

    Raises:
        HarnessError: there is none.
    """
    architecture = _architecture(name)
    if architecture is None:
        return get_library_type(name, head)
    if head != "sequence_to_sequence":
        return architecture
    if architecture.config_class not in ENCODER_DECODERS:
        names = ", ".join(config_class.model_type for config_class in ENCODER_DECODERS)
        raise HarnessError(f"Model {name!r} has no encoder-decoder; these model types have: {names}.")
    return replace(architecture, config_class=ENCODER_DECODERS[architecture.config_class])


def _architecture(name: str) -> Architecture | None:
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    family, _, encoding = name.partition("-")
    if family in FAMILIES and ("+" in encoding or "." in encoding):
        try:
            parse_position_encoding(encoding)
        except ValueError as error:
            raise HarnessError(f"{name}: {error}") from error
        return Architecture(name, FAMILIES[family], {"position_encoding": encoding})
    if name in list_library_types():
        return None
    near = get_close_matches(name, [*ARCHITECTURES, *list_library_types()], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise HarnessError(
        f"Unknown model {name!r}.{hint} Allowed: {', '.join(ARCHITECTURES)}, a model type of transformers such as "
        "gpt2, or a checkpoint: ./folder or user/model of the Hub."
    )


def make_config(architecture: Architecture, values: dict):
    """Builds a configuration; the user has to fix unknown keys and values that the class refuses."""
    try:
        config = architecture.config_class(**values)
    except Exception as error:  # the library wraps ours in its own errors
        cause = error.__cause__ or error
        raise HarnessError(f"{architecture.name}: {cause}") from error
    known = {each.name for each in fields(config)}
    common = {each.name for each in fields(PreTrainedConfig)}
    for key in values:
        if key not in known:
            raise unknown(f"configuration key of {architecture.name}:", key, known - common)
    return config
