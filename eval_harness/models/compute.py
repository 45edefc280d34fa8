"""The cost of a model: parameters, floating-point operations, memory.

Operations are those of matrix products, a multiplication and an addition each. Attention is counted in full, also
where a causal mask makes half of it idle, because kernels compute it in full. So are stacks and tapes: every
cell that there is at a token costs one product for each move, although most may be empty.

Of model types that are not ours the same is counted, as torch sees it in plain PyTorch: what is done element by
element is not, such as the scan of a state-space model (Mamba, RWKV, RG-LRU), and neither are Fourier transforms.
"""

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from inspect import signature

import psutil
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.flop_counter import FlopCounterMode

from hf_models.position_encoding import PositionEncoding


# What the model types of transformers call their tables of positions, absolute or of every distance.
POSITION_TABLE = re.compile(
    r"(^|\.)(wpe|embed_positions|positions_embed|rel_embeddings|(\w+_)?position(al)?_(embedding|encoding)s?)$"
)


def count_parameters(model) -> dict[str, int]:
    """Parameters of a model with a token head, by kind; each tensor once.

    Returns:
        `counted` (what the budget counts), `embedding`, `head` (0 where it is tied), `position_tables` and `total`.
    """
    kinds = parameters_by_kind(model)
    counts = {name: sum(parameter.numel() for parameter in parameters) for name, parameters in kinds.items()}
    total = sum(parameter.numel() for parameter in model.parameters())
    return {"counted": total - sum(counts.values()), **counts, "total": total}


def parameters_by_kind(model) -> dict[str, set[torch.Tensor]]:
    """The parameters that no budget counts: `embedding`, `head` and `position_tables`."""
    embedding: set[torch.Tensor] = set(model.get_input_embeddings().parameters())
    output = model.get_output_embeddings()
    if output is None:  # a classifier's
        output = getattr(model, "score", getattr(model, "classifier", None))
    head: set[torch.Tensor] = (set() if output is None else set(output.parameters())) - embedding
    head |= {bias for name, bias in model.named_parameters() if name.endswith("lm_head.bias")}  # a Reformer's
    tables: set[torch.Tensor] = set(_position_tables(model))
    embedding |= set(_further_vocabularies(model)) - tables - head
    return {"embedding": embedding, "head": head, "position_tables": tables}


def _position_tables(model) -> Iterator[nn.Parameter]:
    """Tables that grow with the longest sequence, and nothing else does: ours, and by their names those of others."""
    for name, module in model.named_modules():
        if isinstance(module, PositionEncoding):
            if type(module).has_table:  # the parts of a composed one, not all of it
                yield from module.parameters()
        elif POSITION_TABLE.search(name) and not isinstance(module, nn.Linear):
            yield from module.parameters()


def _further_vocabularies(model) -> Iterator[nn.Parameter]:
    """Embeddings of tokens and of their types beside the first, as an encoder-decoder or BERT has them."""
    first = model.get_input_embeddings()
    for name, module in model.named_modules():
        alike = isinstance(module, nn.Embedding) and module.embedding_dim == first.embedding_dim
        if alike and (module.num_embeddings == first.num_embeddings or "token_type" in name):
            yield from module.parameters()


def uncached(model) -> dict[str, bool]:
    """The argument that keeps a model from making a cache; one that makes none takes none."""
    return {"use_cache": False} if "use_cache" in signature(model.forward).parameters else {}


@torch.no_grad()
def forward_flops(model, training: bool = False, **inputs) -> int:
    """Operations of one forward pass, in evaluation as executed: positions that halt early take no further step.

    In training where they halt changes from step to step, so all steps are counted: an upper bound.
    """
    counter = FlopCounterMode(display=False)
    missed, before = 0, 0

    def begin_recurrent(module, arguments):
        nonlocal before
        before = counter.get_total_flops()

    def end_recurrent(module, arguments, output):
        # Which kernel runs decides whether torch's counter sees it: packed on a CPU it does, most others it does not.
        nonlocal missed
        missed += _recurrent_flops(module, arguments[0]) - (counter.get_total_flops() - before)

    recurrent = [module for module in model.modules() if isinstance(module, nn.RNNBase)]
    hooks = [module.register_forward_pre_hook(begin_recurrent) for module in recurrent]
    hooks += [module.register_forward_hook(end_recurrent) for module in recurrent]
    halts = getattr(model.config, "halting", "none") != "none"
    every_step = {"output_hidden_states": True} if training and halts else {}
    try:
        with _countable(model, training), counter:
            model(**inputs, **uncached(model), **every_step)
    finally:
        for hook in hooks:
            hook.remove()
    return counter.get_total_flops() + missed


@contextmanager
def _countable(model, training: bool) -> Generator[None]:
    """Has a model run in operations that torch's counter sees: of a fused kernel it sees nothing on a CPU."""
    mode, attention, experts = model.training, model.config._attn_implementation, model.config._experts_implementation
    model.train(training)
    if attention != "eager":
        model.set_attn_implementation("eager")
    model.set_experts_implementation("eager")
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)  # the counter looks for a history where there is none without gradients
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
        model.train(mode)
        if attention != "eager":
            model.set_attn_implementation(attention)
        model.set_experts_implementation(experts)


def _recurrent_flops(module: nn.RNNBase, states) -> int:
    """The input and the recurrent products of `nn.LSTM` or `nn.RNN`, for every token."""
    tokens = states.data.shape[0] if isinstance(states, PackedSequence) else states.shape[0] * states.shape[1]
    matrices = (parameter for name, parameter in module.named_parameters() if name.startswith("weight"))
    return 2 * tokens * sum(matrix.numel() for matrix in matrices)


def training_flops(model, sequences: list[tuple[dict[str, int], int]]) -> int:
    """Operations of a training run: those of three forward passes a step, since the backward pass takes two.

    Args:
        model: the model.
        sequences: numbers of tokens by the argument that carries them, each with how many sequences of these the model
            was trained on.
    """
    total = 0
    for sizes, count in sequences:
        tokens = {name: torch.zeros((1, size), dtype=torch.long, device=model.device) for name, size in sizes.items()}
        if getattr(model.config, "position_ids_scheme", None) == "supplied":
            tokens["position_ids"] = torch.arange(sizes["input_ids"], device=model.device)[None]
        total += 3 * count * forward_flops(model, training=True, **tokens)
    return total


def resident_memory() -> int:
    """Bytes that this process holds: on the accelerator at its peak where there is one, else in main memory now."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return psutil.Process().memory_info().rss
