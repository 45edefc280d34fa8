"""Locality-sensitive hashing of vectors: those with a small angle between them tend to share a bucket.

A round turns the vectors at random, and the bucket is the axis, with its sign, that a vector comes closest to
(Andoni et al. 2015, https://arxiv.org/abs/1509.02897). Many buckets are made of two factors, two hashes side by side.

B batch   S tokens   H heads   K width   R rounds

SPDX-License-Identifier: Apache-2.0
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .precision import at_least_float32


Factors = tuple[int, int]  # their product is the number of buckets; (n, 1) where there is but one hash


def exponent_for(length: int, chunk_length: int) -> int:
    """Log2 of the number of buckets for a length: the power of two at or below twice its number of whole chunks."""
    exponent = 0
    while 2 ** (exponent + 1) <= 2 * (length // chunk_length):
        exponent += 1
    return exponent


def factors_of(exponent: int, chunk_length: int) -> Factors:
    """Factors of 2 ** exponent buckets: two of about the same size beyond twice the chunk length, one up to there."""
    if 2**exponent <= 2 * chunk_length:
        return 2**exponent, 1
    return 2 ** (exponent // 2), 2 ** (exponent - exponent // 2)


def factors_per_row(lengths: Tensor, longest: int, chunk_length: int, fixed: Factors | None) -> Tensor:
    """Factors of each row of a batch `[B, 2]`, as they are for the row alone; one bucket up to the chunk length.

    Args:
        lengths: number of tokens of each row, padding not counted `[B]`.
        longest: the greatest that any of them may be.
        chunk_length: tokens per chunk.
        fixed: the factors of all longer rows; None where they follow the length.
    """
    choices = [fixed] * 2
    exponents = torch.ones_like(lengths)
    if fixed is None:
        last = exponent_for(longest, chunk_length)
        choices = [factors_of(exponent, chunk_length) for exponent in range(last + 1)]
        powers = torch.tensor([2**exponent for exponent in range(1, last + 1)], device=lengths.device)
        exponents = (2 * (lengths // chunk_length)[:, None] >= powers).sum(-1)
    factors = torch.tensor(choices, device=lengths.device)[exponents]
    return factors.masked_fill((lengths <= chunk_length)[:, None], 1)


def columns_for(longest: int, chunk_length: int) -> Factors:
    """How many axes each factor needs at most, for rows of all lengths up to the longest."""
    choices = [factors_of(exponent, chunk_length) for exponent in range(exponent_for(longest, chunk_length) + 1)]
    first, second = zip(*choices, strict=True)
    return max(first) // 2, max(second) // 2


@torch.compiler.assume_constant_result
def seeded_axes(seed: int, columns: int, heads: int, rounds: int, width: int) -> Tensor:
    """Random axes `[columns, H, R, K]` from a generator of their own; more columns begin with the same ones."""
    generator = torch.Generator().manual_seed(seed)
    blocks, randomized_distances = [], 0
    while randomized_distances < columns:
        size = max(randomized_distances, 1)
        blocks.append(torch.randn(size, heads, rounds, width, generator=generator))
        randomized_distances += size
    return torch.cat(blocks)[:columns]


def hash_vectors(vectors: Tensor, axes: Sequence[Tensor], factors: Tensor | Factors) -> Tensor:
    """Bucket of each vector in each round `[B, H, R, S]`.

    Args:
        vectors: `[B, H, S, K]`.
        axes: of each factor, `[columns, H, R, K]`; half the factor at least.
        factors: the same for all rows, or of each row `[B, 2]`.
    """
    buckets, below = torch.zeros((), dtype=torch.long, device=vectors.device), 1
    vectors = at_least_float32(vectors)
    for index, own in enumerate(axes):
        own = own.to(vectors.dtype)
        columns, _, rounds, _ = own.shape
        factor = factors[index] if isinstance(factors, tuple) else factors[:, index, None, None, None]
        rotated = vectors @ own.permute(1, 3, 2, 0).flatten(2)  # [B, H, S, R * columns]
        rotated = rotated.unflatten(-1, (rounds, columns))
        if isinstance(factor, Tensor):  # rows with fewer buckets have fewer axes
            rotated = rotated * (torch.arange(columns, device=rotated.device) < factor[..., None] // 2)
        nearest = rotated.abs().argmax(-1, keepdim=True)
        negative = rotated.gather(-1, nearest) < 0
        buckets = buckets + below * (nearest[..., 0] + factor // 2 * negative[..., 0])
        below = below * factor
    return buckets.transpose(2, 3)
