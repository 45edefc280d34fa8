"""Encodings that accumulate over the tokens between a key and its query: forget gates, reflections.

B batch   T positions   Tq query positions   Tk key positions   H heads   K head width   C chunk   D model width

SPDX-License-Identifier: Apache-2.0
"""

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .position_encoding import PositionEncoding, Positions
from .precision import at_least_float32


TRACED_CHUNKS = 8  # chunks of a graph for all lengths, which are as long as they need be


class FoX(PositionEncoding):
    """Forget gates: the score of a key falls by the log of the gate of every token after it, the query included.

    A bidirectional model has a second gate for the keys to come, taken from the query up to the token before the key:
    what the first one would be, were the sequence reversed.

    Lin et al. 2025, https://arxiv.org/abs/2503.02130.
    """

    def __init__(self, config):
        super().__init__(config)
        self.key_features_width = 1 if config.is_causal else 2
        self.gate = nn.Linear(config.hidden_size, self.key_features_width * config.num_attention_heads)

    def key_features(self, states):
        """The logs of the gates."""
        logits = self.gate(states).unflatten(-1, (-1, self.key_features_width))
        return nn.functional.logsigmoid(at_least_float32(logits)).transpose(1, 2)

    def bias(self, query, key, positions):
        """The sum of the logs between key and query."""
        logs = at_least_float32(positions.key_features)
        if positions.token_mask is not None:
            logs = logs * positions.token_mask[:, None, :, None]
        own = positions.query_indices()[:, None, :, None]  # [B, 1, Tq, 1]
        sums = logs.cumsum(dim=-2)  # [B, H, Tk, E]
        rows = own.expand(*sums.shape[:2], -1, self.key_features_width)
        past = sums.gather(2, rows)[..., :1] - sums[:, :, None, :, 0]  # [B, H, Tq, Tk]
        if positions.is_causal:
            return past
        sums = sums - logs  # of the tokens before
        future = sums[:, :, None, :, 1] - sums.gather(2, rows)[..., 1:]
        return torch.where(own >= torch.arange(key.shape[2], device=key.device), past, future)


class PaTH(PositionEncoding):
    """Every token between key and query reflects: q (I - b w w') ... (I - b w w') k, the query's own token first.

    The unit vector w comes from a low-rank projection and a convolution over the last `convolution` tokens with SiLU,
    as in the authors' code; b lies between 0 and 2. The cache keeps the vectors as they are before the convolution,
    so that a step with a cache is exact.

    Yang et al. 2025, https://arxiv.org/abs/2505.16381.

    Args:
        rank: of the projection to w.
        convolution: how many tokens the convolution sees, its own included. A sliding window allows 2.
    """

    reads_width = True
    causal_only = True
    eager_only = True

    chunk = 64  # C: keys whose reflections are solved for at once

    def __init__(self, config, rank: int = 32, convolution: int = 3):
        super().__init__(config)
        heads, width = config.num_attention_heads, config.head_dim
        self.key_features_width = width + 1
        self.project = nn.Sequential(
            nn.Linear(config.hidden_size, rank, bias=False), nn.Linear(rank, heads * width, bias=False)
        )
        self.strength = nn.Linear(config.hidden_size, heads)
        self.kernel = nn.Parameter(torch.empty(convolution, heads, width))  # the last for the token itself

    @classmethod
    def check(cls, config, rank=32, convolution=3, **arguments):
        """The sizes make sense, and the convolution stays within what a sliding window keeps."""
        super().check(config, **arguments)
        if rank < 1 or convolution < 1:
            raise ValueError(
                f"{cls.__name__} needs a rank and a convolution of at least 1, not {rank}, {convolution}."
            )
        if convolution > 2 and "sliding_attention" in config.layer_types:
            raise ValueError(
                f"{cls.__name__}'s convolution over {convolution} tokens reads what a sliding window has dropped; "
                "take convolution 1 or 2."
            )

    @torch.no_grad()
    def initialise(self):
        """The convolution begins as torch's do."""
        bound = len(self.kernel) ** -0.5
        init.uniform_(self.kernel, -bound, bound)

    def key_features(self, states):
        """The projection of each token `[B, H, T, K]`, and the strength of its reflection."""
        projected = self.project(states).unflatten(-1, (-1, self.key_features_width - 1))
        strength = 2 * self.strength(states)[..., None].sigmoid()
        return torch.cat([projected, strength], dim=-1).transpose(1, 2)

    def reflections(self, positions: Positions) -> tuple[Tensor, Tensor]:
        """Unit vectors `[B, H, Tk, K]` and strengths `[B, H, Tk, 1]`; zeros on padding."""
        assert positions.key_features is not None
        key_features = at_least_float32(positions.key_features)
        if positions.token_mask is not None:
            key_features = key_features * positions.token_mask[:, None, :, None]
        projected, strength = key_features.split([key_features.shape[-1] - 1, 1], dim=-1)
        keys = projected.shape[2]
        past = nn.functional.pad(projected, (0, 0, len(self.kernel) - 1, 0))
        kernel = self.kernel.to(key_features.dtype)
        parts = [past[:, :, n : n + keys] * weight[:, None] for n, weight in enumerate(kernel)]
        if positions.sequences is not None:  # the convolution begins anew with each sequence
            before = nn.functional.pad(positions.sequences, (len(kernel) - 1, 0), value=-1)
            own = [before[:, n : n + keys] == positions.sequences for n in range(len(kernel))]
            parts = [part * same[:, None, :, None] for part, same in zip(parts, own, strict=True)]
        mixed = torch.stack(parts).sum(0)
        return nn.functional.normalize(nn.functional.silu(mixed), dim=-1, eps=1e-6), strength

    def scores(self, query, key, bias, positions):
        """Products of each query, reflected back to each key, with that key."""
        with torch.autocast(query.device.type, enabled=False):  # errors of reflections add up
            vectors, strengths = self.reflections(positions)
            query, key = at_least_float32(query), at_least_float32(key)
            scores = self.products(query, key, vectors, strengths, positions.query_indices()) * positions.scaling
        return scores if bias is None else scores + bias

    def products(self, query: Tensor, key: Tensor, vectors: Tensor, strengths: Tensor, own: Tensor) -> Tensor:
        """q (I - b_i w_i w_i') ... (I - b_s w_s w_s') k over the tokens s after key j, up to query i `[B, H, Tq, Tk]`.

        From the last chunk of keys to the first: with the chunk's vectors as rows of W and strengths B, the product of
        all its reflections is I - W' M W, where M = (I + lower(B W W'))^-1 B. The columns of M that a query or a key
        may not use are masked away, since M is lower triangular. `own` is each query's index among the keys `[B, Tq]`.
        """
        index = torch.arange(key.shape[2], device=key.device)
        own = own[:, None, :, None]  # [B, 1, Tq, 1]
        if torch.compiler.is_compiling():
            chunks = traced_chunks(key, vectors, strengths)
        else:
            chunks = zip(
                *(part.split(self.chunk, dim=2) for part in (key, vectors, strengths)),
                index.split(self.chunk),
                strict=True,
            )
        products = []
        for keys, w, b, tokens in reversed(list(chunks)):
            met = (query @ w.mT) * (tokens <= own)  # [B, H, Tq, C]
            mixing = (b * (w @ w.mT)).tril(-1)
            met = torch.linalg.solve_triangular(mixing, met, upper=False, left=False, unitriangular=True) * b.mT
            products.append(query @ keys.mT - met @ (w @ keys.mT).tril(-1))
            query = query - met @ w
        products = torch.cat(products[::-1], dim=-1)
        return products.index_select(-1, index) if torch.compiler.is_compiling() else products


def traced_chunks(*parts: Tensor) -> list[tuple[Tensor, ...]]:
    """Chunks `[B, H, C, …]` of each part `[B, H, Tk, …]` and the index of their tokens `[C]`, for any length.

    The number of chunks is fixed, and their size is 2 at least, since torch takes sizes of 0 and 1 to be constants.
    The last chunks are filled up with the last token, at indices that no query reaches.
    """
    length, device = parts[0].shape[2], parts[0].device
    size = length // TRACED_CHUNKS + 2
    chunks = []
    for chunk in range(TRACED_CHUNKS):
        tokens = chunk * size + torch.arange(size, device=device)
        chunks.append((*(part.index_select(2, tokens.clamp(max=length - 1)) for part in parts), tokens))
    return chunks
