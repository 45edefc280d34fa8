"""The plain form of every encoding and normalizer of the registries, by name."""

from tests.hf_models.plain_biases import (
    PlainALiBi,
    PlainFIRE,
    PlainHardALiBi,
    PlainKERPLE,
    PlainNAPE,
    PlainSandwich,
    PlainT5,
)
from tests.hf_models.plain_content import (
    PlainCoPE,
    PlainDAPE,
    PlainFoX,
    PlainPaTH,
    PlainShaw,
    PlainShawValues,
    PlainTransformerXL,
)
from tests.hf_models.plain_embeddings import PlainCoordinate, PlainLearned, PlainSinusoidal
from tests.hf_models.plain_encoding import PlainEncoding, PlainNormalizer
from tests.hf_models.plain_normalizers import (
    PlainASEntmax,
    PlainEntmax,
    PlainLogN,
    PlainSSMax,
    PlainStickBreaking,
)
from tests.hf_models.plain_rotary import PlainPoPE, PlainRoPE, PlainXPos


PLAIN_ENCODINGS: dict[str, type[PlainEncoding]] = {
    "none": PlainEncoding,
    "learned": PlainLearned,
    "sinusoidal": PlainSinusoidal,
    "coordinate": PlainCoordinate,
    "rope": PlainRoPE,
    "xpos": PlainXPos,
    "pope": PlainPoPE,
    "alibi": PlainALiBi,
    "hard_alibi": PlainHardALiBi,
    "nape": PlainNAPE,
    "kerple": PlainKERPLE,
    "sandwich": PlainSandwich,
    "t5": PlainT5,
    "fire": PlainFIRE,
    "shaw": PlainShaw,
    "shaw_values": PlainShawValues,
    "transformer_xl": PlainTransformerXL,
    "cope": PlainCoPE,
    "fox": PlainFoX,
    "dape": PlainDAPE,
    "path": PlainPaTH,
}

PLAIN_NORMALIZERS: dict[str, type[PlainNormalizer]] = {
    "softmax": PlainNormalizer,
    "log_n": PlainLogN,
    "ssmax": PlainSSMax,
    "stick_breaking": PlainStickBreaking,
    "entmax": PlainEntmax,
    "as_entmax": PlainASEntmax,
}

# What the suite runs over: every encoding as it is by default, and forms of them.
ENTRIES: dict[str, str | dict] = {
    **{name: name for name in PLAIN_ENCODINGS},
    "alibi-symmetric": {"name": "alibi", "form": "symmetric"},
    "alibi-learned": {"name": "alibi", "learned_slopes": True},
    "hard_alibi-symmetric": {"name": "hard_alibi", "masked_heads": 2, "form": "symmetric"},
    "kerple-power": {"name": "kerple", "kernel": "power"},
    "kerple-symmetric": {"name": "kerple", "form": "symmetric"},
    "sandwich-symmetric": {"name": "sandwich", "form": "symmetric"},
    "pope-uniform": {"name": "pope", "phase": "uniform"},
    "fire-near": {"name": "fire", "threshold": 4},
    "rope+alibi": "rope+alibi",
    "shaw-near": {"name": "shaw_values", "max_distance": 2},
    "cope-few": {"name": "cope", "positions": 3},
    "dape-fire": {"name": "dape", "base": {"name": "fire", "threshold": 4}, "width": 5},
    "path-plain": {"name": "path", "convolution": 1},
    "rope+fox": "rope+fox",
    "path+fox": "path+fox",
}
