"""What the configurations of all Longreach models share.

SPDX-License-Identifier: Apache-2.0
"""

from dataclasses import fields
from difflib import get_close_matches

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.utils import logging

from .tested_versions import TESTED_WITH


logger = logging.get_logger(__name__)
# Keywords that transformers itself passes to a configuration and that are no fields of it.
PASSED_BY_TRANSFORMERS = frozenset(
    {"attn_implementation", "auto_map", "experts_implementation", "name_or_path", "num_labels", "output_attentions"}
    | {"per_layer_config", "rope_scaling", "rope_theta", "torch_dtype", "_commit_hash"}
)
HEADS = ("Model", "ForCausalLM", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification")


@strict
class LongreachConfig(PreTrainedConfig):
    """Base of the configurations: common fields, and refusal of misspelt keys.

    `tested_with` is saved too: the releases that the model's code was tested with.

    Args:
        vocab_size: number of tokens.
        hidden_size: width of the states, `D` in the shapes.
        tie_word_embeddings: whether the output head is the embedding matrix.
        classifier_dropout: dropout before the classification heads.
        use_cache: whether causal models return their cache.
    """

    zero_allowed = ()  # sizes that may be 0
    keys_to_ignore_at_inference = ["past_key_values", "cache", "ponder_steps", "remainders", "ponder_loss"]

    vocab_size: int = 32
    hidden_size: int = 64
    tie_word_embeddings: bool = False
    classifier_dropout: int | float = 0.0
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs):
        # Always that of this code, which is also the code that is saved, and not that of a file that was loaded.
        kwargs["tested_with"] = {name: list(versions) for name, versions in TESTED_WITH.items()}
        self._refuse_misspelt(kwargs)
        # All heads, not only the one that is saved, so that any Auto class loads the folder.
        kwargs.setdefault("auto_map", self._auto_map())
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """As in transformers, but keyword arguments are checked as those of the class are.

        A key of the dict that is nearly one of ours is kept, with a warning: other releases and tools save keys too.
        """
        names = {field.name for field in fields(cls)} - {"dtype"}  # which may be "auto" here
        overrides = {key: kwargs.pop(key) for key in names & kwargs.keys()}
        cls._refuse_misspelt(kwargs)
        foreign = {key: value for key, value in config_dict.items() if cls._nearest(key)}
        for key in foreign:
            logger.warning(f"{cls.__name__} does not use the saved key {key!r}; nearest known: {cls._nearest(key)!r}.")
        known = {key: value for key, value in config_dict.items() if key not in foreign}
        loaded = super().from_dict({**known, **overrides}, **kwargs)
        for key, value in foreign.items():
            setattr(loaded[0] if isinstance(loaded, tuple) else loaded, key, value)
        return loaded

    @classmethod
    def _refuse_misspelt(cls, kwargs):
        for key in kwargs:
            if key in cls._derived_names():
                raise ValueError(f"{cls.__name__} derives {key!r}; it cannot be set.")
            if near := cls._nearest(key):
                raise ValueError(f"{cls.__name__} has no key {key!r}. Did you mean {near!r}?")

    @classmethod
    def _nearest(cls, key: str) -> str | None:
        """The key of the configuration that an unknown key is nearly; None for any other key."""
        names = [field.name for field in fields(cls)] + cls._derived_names()
        if key in names or key in PASSED_BY_TRANSFORMERS or key.startswith("_"):
            return None
        return next(iter(get_close_matches(key, names, n=1, cutoff=0.8)), None)

    @classmethod
    def _derived_names(cls) -> list[str]:
        """Names that other models take as keys and this one derives."""
        return []

    def _auto_map(self) -> dict[str, str]:
        stem = type(self).__name__.removesuffix("Config")
        auto_map = {"AutoConfig": f"configuration_{self.model_type}.{stem}Config"}
        for head in HEADS:
            auto_map["AutoModel" + head.removeprefix("Model")] = f"modeling_{self.model_type}.{stem}{head}"
        return auto_map

    def validate_sizes(self):
        """Sizes are positive whole numbers, probabilities lie in [0, 1)."""
        for field in fields(self):
            value = getattr(self, field.name)
            least = int(field.name not in self.zero_allowed)
            sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_", "max_position")
            if field.name.startswith(sizes) and isinstance(value, int) and value < least:
                raise ValueError(f"{field.name} must be at least {least}, not {value}.")
            if field.name.endswith("dropout") and not 0 <= value < 1:
                raise ValueError(f"{field.name} must be at least 0 and below 1, not {value}.")
