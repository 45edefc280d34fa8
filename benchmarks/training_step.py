"""Time of a training step beside peers of the same shape, interleaved in one process, as ratios.

    python benchmarks/training_step.py --hidden_size 64 --layers 2 --batch_size 32

Each round takes one step of every model, so that whatever else the machine does slows all of them alike. Printed is
the median over the rounds of each model's time divided by its peer's in the same round.
"""

import argparse
import statistics
import time

import torch
from torch import nn
from tqdm.auto import tqdm
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import hf_models


class BareLSTM(nn.Module):
    """`nn.LSTM` between an embedding and a head."""

    def __init__(self, vocabulary: int, width: int, layers: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, input_ids, labels):
        """Next-token loss."""
        states, _ = self.lstm(self.embedding(input_ids))
        return next_token_loss(self.head(states), labels)


class BareTransformer(nn.Module):
    """`nn.TransformerEncoder`, pre-norm and causal, between an embedding and a head."""

    def __init__(self, vocabulary: int, width: int, layers: int, heads: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, input_ids, labels):
        """Next-token loss."""
        mask = nn.Transformer.generate_square_subsequent_mask(input_ids.shape[1])
        states = self.encoder(self.embedding(input_ids), mask=mask, is_causal=True)
        return next_token_loss(self.head(states), labels)


def next_token_loss(logits, labels):
    """Cross-entropy of each token given those before it."""
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


def models(arguments) -> dict[str, nn.Module]:
    """Our models and their peers, all of one shape."""
    width, layers, heads, vocabulary = arguments.hidden_size, arguments.layers, arguments.heads, arguments.vocabulary
    shape = {"vocab_size": vocabulary, "hidden_size": width, "num_attention_heads": heads}
    ours = {
        f"transformer-{encoding}": hf_models.PositionTransformerForCausalLM(
            hf_models.PositionTransformerConfig(**shape, num_hidden_layers=layers, position_encoding=encoding)
        )
        for encoding in arguments.encodings
    }
    universal = hf_models.UniversalTransformerConfig(**shape, num_steps=layers, position_encoding="none")
    ours["universal_transformer-none"] = hf_models.UniversalTransformerForCausalLM(universal)
    lstm = hf_models.LSTMConfig(vocab_size=vocabulary, hidden_size=width, num_hidden_layers=layers)
    ours["lstm"] = hf_models.LSTMForCausalLM(lstm)
    llama = LlamaConfig(**shape, num_hidden_layers=layers, intermediate_size=8 * width // 3)  # gated: equal parameters
    gpt2 = GPT2Config(vocab_size=vocabulary, n_embd=width, n_layer=layers, n_head=heads, n_positions=1024)
    peers = {
        "Llama (transformers)": LlamaForCausalLM(llama),
        "GPT-2 (transformers)": GPT2LMHeadModel(gpt2),
        "nn.TransformerEncoder": BareTransformer(vocabulary, width, layers, heads),
        "nn.LSTM": BareLSTM(vocabulary, width, layers),
    }
    return ours | peers


def step_time(model, optimizer, tokens) -> float:
    """CPU seconds of forward, backward, clipping and update."""
    begun = time.process_time()
    output = model(input_ids=tokens, labels=tokens)
    loss = output.loss if hasattr(output, "loss") else output
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return time.process_time() - begun


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("hidden_size", 64), ("layers", 2), ("heads", 2), ("batch_size", 32), ("length", 40)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--vocabulary", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--encodings", nargs="+", default=["none", "sinusoidal", "rope", "alibi", "t5", "fire"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokens = torch.randint(arguments.vocabulary, (arguments.batch_size, arguments.length))
    measured = {name: model.train() for name, model in models(arguments).items()}
    optimizers = {name: torch.optim.AdamW(model.parameters(), fused=True) for name, model in measured.items()}
    times = {name: [] for name in measured}
    for round_ in tqdm(range(arguments.rounds + 3), desc="rounds", leave=False):
        for name, model in measured.items():
            seconds = step_time(model, optimizers[name], tokens)
            if round_ >= 3:  # the first rounds warm up
                times[name].append(seconds)
    libraries = ("Llama (transformers)", "GPT-2 (transformers)", "nn.TransformerEncoder")
    fastest = min(libraries, key=lambda name: statistics.median(times[name]))
    for name, seconds in times.items():
        peer = "nn.LSTM" if "lstm" in name.lower() else fastest
        ratio = statistics.median(own / other for own, other in zip(seconds, times[peer], strict=True))
        print(f"{name:28} {ratio:5.2f} x {peer}")


if __name__ == "__main__":
    main()
