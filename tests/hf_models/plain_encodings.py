"""The plain form of every encoding and normalizer of the registries, by name."""

from tests.hf_models.plain_biases import PlainALiBi, PlainFIRE, PlainT5
from tests.hf_models.plain_embeddings import PlainCoordinate, PlainLearned, PlainSinusoidal
from tests.hf_models.plain_encoding import PlainEncoding, PlainNormalizer
from tests.hf_models.plain_rotary import PlainRoPE


PLAIN_ENCODINGS: dict[str, type[PlainEncoding]] = {
    "none": PlainEncoding,
    "learned": PlainLearned,
    "sinusoidal": PlainSinusoidal,
    "coordinate": PlainCoordinate,
    "rope": PlainRoPE,
    "alibi": PlainALiBi,
    "t5": PlainT5,
    "fire": PlainFIRE,
}

PLAIN_NORMALIZERS: dict[str, type[PlainNormalizer]] = {"softmax": PlainNormalizer}

# What the suite runs over: every encoding as it is by default, and forms of them.
ENTRIES: dict[str, str | dict] = {
    **{name: name for name in PLAIN_ENCODINGS},
    "alibi-symmetric": {"name": "alibi", "form": "symmetric"},
    "fire-near": {"name": "fire", "threshold": 4},
    "rope+alibi": "rope+alibi",
}
