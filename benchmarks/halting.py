"""What halting saves: time of the Universal Transformer that halts beside the one with a fixed number of steps.

    python benchmarks/halting.py --hidden_size 64 256 --length 40 200

The halting unit of an untrained model is moved until positions halt, on average, after a third of the steps; the ideal
is then a third of the time. A batch has as many tokens as one of the scorer's. Models take turns in one process, so
that whatever else the machine does slows both alike; printed is the median over the rounds of the ratio of CPU times.
The last line of each shape is one shared step beside a layer of the position transformer with weights of its own.
"""

import argparse
import statistics
import time

import torch
from tqdm.auto import tqdm

from hf_models import (
    PositionTransformerConfig,
    PositionTransformerForCausalLM,
    UniversalTransformerConfig,
    UniversalTransformerForCausalLM,
)


VOCABULARY = 32


def shape_of(width: int) -> dict:
    """What all models of a width share."""
    return {"vocab_size": VOCABULARY, "hidden_size": width, "num_attention_heads": max(1, width // 32)}


def universal(width: int, steps: int, halting: str, encoding: str):
    """A model with a given way to halt, the same weights at every call."""
    torch.manual_seed(0)
    config = UniversalTransformerConfig(
        **shape_of(width), num_steps=steps, halting=halting, position_encoding=encoding
    )
    return UniversalTransformerForCausalLM(config)


@torch.no_grad()
def aim(model, tokens, mean: float) -> float:
    """Moves the halting bias until the mean number of steps is about `mean`; returns what it is."""
    unit = model.model.stack.halting.unit
    unit.weight *= 1.5  # positions of an untrained model differ little
    low, high, found = -8.0, 8.0, 0.0
    for _ in range(18):
        middle = (low + high) / 2
        unit.bias.fill_(middle)
        found = model(tokens, use_cache=False).ponder_steps.mean().item()
        low, high = (middle, high) if found > mean else (low, middle)
    return found


def forward_time(model, tokens) -> float:
    """CPU seconds of a forward pass without gradients."""
    with torch.inference_mode():
        begun = time.process_time()
        model(tokens, use_cache=False)
        return time.process_time() - begun


def training_time(model, tokens) -> float:
    """CPU seconds of forward and backward pass."""
    begun = time.process_time()
    model(tokens, labels=tokens).loss.backward()
    model.zero_grad()
    return time.process_time() - begun


def ratio(measure, ours, other, tokens, rounds: int) -> float:
    """Median over the rounds of the first model's time divided by the second's."""
    ratios = []
    for round_ in tqdm(range(rounds + 2), desc="rounds", leave=False):
        own, peer = measure(ours, tokens), measure(other, tokens)
        if round_ >= 2:  # the first rounds warm up
            ratios.append(own / peer)
    return statistics.median(ratios)


def measure_shape(width: int, length: int, arguments):
    """Measures and prints one shape."""
    steps, rounds = arguments.steps, arguments.rounds
    tokens = torch.randint(VOCABULARY, (max(1, arguments.tokens // length), length))
    fixed, halting = (universal(width, steps, rule, arguments.encoding) for rule in ("none", "act"))
    share = aim(halting.eval(), tokens, steps / 3) / steps
    print(f"width {width}, length {length}, {len(tokens)} sequences: {share:.3f} of the steps")
    for name, measure, training in (("inference", forward_time, False), ("training", training_time, True)):
        found = ratio(measure, halting.train(training), fixed.train(training), tokens, rounds)
        print(f"  {name:9} {found:.3f} x fixed steps, {found / share:.2f} x the ideal share")
    layers = PositionTransformerConfig(
        **shape_of(width), num_hidden_layers=steps, position_encoding=arguments.encoding
    )
    found = ratio(forward_time, fixed.eval(), PositionTransformerForCausalLM(layers).eval(), tokens, rounds)
    print(f"  a shared step {found:.3f} x a layer of its own")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden_size", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--length", type=int, nargs="+", default=[40, 200])
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=8192, help="tokens of a batch")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--encoding", default="rope")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for width in arguments.hidden_size:
        for length in arguments.length:
            measure_shape(width, length, arguments)


if __name__ == "__main__":
    main()
