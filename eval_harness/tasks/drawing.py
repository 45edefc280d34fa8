"""Draws that several tasks share."""

import numpy as np


def draw_bits(length: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws fair bits [count, length], 64 from every number that the generator makes."""
    words = rng.bit_generator.random_raw(-(-count * length // 64)).astype("<u8", copy=False)
    bits = np.unpackbits(words.view(np.uint8), count=count * length)
    return bits.reshape(count, length).astype(np.int64)


def draw_distinct(symbols: int, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws `length` different ones of `symbols` symbols in each of `count` rows, all orders equally likely."""
    decks = np.tile(np.arange(symbols, dtype=np.int32), (count, 1))  # [count, symbols]
    rows = np.arange(count)
    for place in range(length):  # the first steps of Fisher and Yates' shuffle, all rows at once
        other = rng.integers(place, symbols, size=count)
        decks[rows, place], decks[rows, other] = decks[rows, other], decks[rows, place]
    return decks[:, :length].astype(np.int64)


def draw_bits_by_count(ones: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """Draws rows of bits [count, length] with as many ones as given [count], all orders equally likely."""
    return rng.permuted((np.arange(length) < ones[:, None]).astype(np.int64), axis=1)
