"""Time and memory of LSH attention beside transformers' Reformer and full attention, interleaved, as ratios.

    python benchmarks/attention_lsh.py --lengths 1024 4096 16384 --num_rounds 2

One causal layer of each kind, with projections. Every round takes one forward and one backward pass of each, so that
whatever else the machine does slows all of them alike. Printed for each length is the median over the rounds of each
layer's time divided by the Reformer's in the same round, its peak memory likewise, and its time per token divided by
that at the first length.
"""

import argparse
import statistics
import time

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from tqdm.auto import tqdm
from transformers import ReformerConfig
from transformers.models.reformer.modeling_reformer import LSHSelfAttention

from hf_models import PositionTransformerConfig
from hf_models.attention_registry import parse_attention_type
from hf_models.position_encoding import PositionEncoding, Positions


REFORMER = "Reformer (transformers)"


class Reformer(nn.Module):
    """transformers' LSH attention with an output projection."""

    def __init__(self, arguments, buckets):
        super().__init__()
        config = ReformerConfig(
            hidden_size=arguments.hidden_size,
            num_attention_heads=arguments.heads,
            attention_head_size=arguments.hidden_size // arguments.heads,
            lsh_attn_chunk_length=arguments.chunk_length,
            lsh_attention_probs_dropout_prob=0.0,
            num_hashes=arguments.num_rounds,
            num_buckets=buckets,
            is_decoder=True,
        )
        self.attention = LSHSelfAttention(config, layer_idx=0)
        self.o_proj = nn.Linear(arguments.hidden_size, arguments.hidden_size, bias=False)

    def forward(self, states):
        """Outputs `[B, T, D]`."""
        return self.o_proj(self.attention(states).hidden_states)


class Ours(nn.Module):
    """An attention layer of a type that configurations can name."""

    def __init__(self, arguments, attention_type):
        super().__init__()
        config = PositionTransformerConfig(
            hidden_size=arguments.hidden_size,
            num_attention_heads=arguments.heads,
            position_encoding="none",
            attn_implementation="sdpa",
        )
        self.encoding = PositionEncoding(config)
        attention, given = parse_attention_type(attention_type)
        self.attention = attention(config, **given)
        self.heads, self.scaling = arguments.heads, config.head_dim**-0.5

    def forward(self, states):
        """Outputs `[B, T, D]`."""
        ids = torch.arange(states.shape[1])[None]
        at = Positions(ids, ids, num_heads=self.heads, scaling=self.scaling)
        return self.attention(states, None, None, at, self.encoding)[0]


def layers(arguments, length: int) -> dict[str, nn.Module]:
    """All layers, with equal weights where they have equal ones."""
    half = length // arguments.chunk_length
    buckets = 2 * half if half <= arguments.chunk_length else [half // 8, 16]
    lsh = {"name": "lsh", "chunk_length": arguments.chunk_length, "num_rounds": arguments.num_rounds}
    found = {
        REFORMER: Reformer(arguments, buckets),
        "lsh, as the Reformer": Ours(
            arguments, {**lsh, "num_buckets": buckets, "deduplicate": False, "wrap_around": True}
        ),
        "lsh": Ours(arguments, lsh),
        "full": Ours(arguments, "full"),
    }
    for layer in found.values():
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=arguments.hidden_size**-0.5)
    return found


def step(layer, states) -> tuple[float, float]:
    """CPU seconds of the forward pass, and of the forward and the backward pass."""
    begun = time.process_time()
    output = layer(states)
    forward = time.process_time() - begun
    output.sum().backward()
    return forward, time.process_time() - begun


def peak_memory(layer, states) -> int:
    """Most bytes held at once, beyond weights and states, in a forward and a backward pass."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        layer(states).sum().backward()
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def measure(arguments, length: int) -> dict[str, tuple[float, float, float, float]]:
    """Of each layer: forward, step and memory as ratios to the Reformer's, and seconds per token."""
    measured = layers(arguments, length)
    states = torch.randn(arguments.batch_size, length, arguments.hidden_size, requires_grad=True)
    times = {name: [] for name in measured}
    for round_ in tqdm(range(arguments.rounds + 1), desc=f"{length} tokens", leave=False):
        for name, layer in measured.items():
            seconds = step(layer, states)
            if round_ >= 1:  # the first round warms up
                times[name].append(seconds)
    memory = {name: peak_memory(layer, states) for name, layer in measured.items()}
    found = {}
    for name, own in times.items():
        pairs = list(zip(own, times[REFORMER], strict=True))
        forward, whole = (statistics.median(one[part] / other[part] for one, other in pairs) for part in (0, 1))
        per_token = statistics.median(seconds for _, seconds in own) / length
        found[name] = forward, whole, memory[name] / memory[REFORMER], per_token
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("hidden_size", 256), ("heads", 4), ("batch_size", 1), ("chunk_length", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--num_rounds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048, 4096, 8192, 16384])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    first = {}
    print(f"{'tokens':>6}  {'':24} forward   step  memory  time per token")
    for length in arguments.lengths:
        for name, (forward, whole, memory, per_token) in measure(arguments, length).items():
            growth = per_token / first.setdefault(name, per_token)
            print(f"{length:6}  {name:24} {forward:7.2f} {whole:6.2f} {memory:7.2f}  {growth:.2f}")


if __name__ == "__main__":
    main()
