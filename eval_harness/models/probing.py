"""Capabilities of library models, found by running them.

T tokens
"""

from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from eval_harness.errors import HarnessError
from eval_harness.models.compute import uncached
from eval_harness.tokenization.vocabulary import Vocabulary


TOLERANCE = 1e-4  # of the greatest logit: rounding, and the order of sums
NEW_TOKENS = 8
PROMPT = 12


@dataclass(frozen=True)
class Probe:
    """The capabilities that decoding depends on.

    Attributes:
        prefix_stable: whether the logits at a token stay the same when more tokens follow.
        cached: whether `generate()` gives the same logits with and without its cache.
    """

    prefix_stable: bool
    cached: bool


def probe_model(model: Any, sizes: dict[str, int], decodes: bool) -> Probe:
    """Runs a model on one random sequence, on the CPU whatever its device is.

    There a position beyond a table raises an error; an accelerator would be unusable afterwards.

    Args:
        model: the model, in evaluation.
        sizes: the length of the longest sequences that it will be given, by the argument that carries them.
        decodes: whether it will generate tokens after the last of these.

    Raises:
        HarnessError: the model cannot take so many tokens.
    """
    with _on_the_cpu(model), torch.inference_mode():
        inputs = {name: random_sequence(model, size) for name, size in sizes.items()}
        logits = _first_logits(model, inputs)
        if not decodes:
            return Probe(prefix_stable=False, cached=False)
        last = list(sizes)[-1]
        complete = inputs[last]
        stable = True
        for size in {min(PROMPT, sizes[last]), (sizes[last] + 1) // 2, max(1, sizes[last] - 1)}:
            shorter = model(**inputs | {last: complete[:, :size]}, **uncached(model)).logits
            stable &= _alike(shorter, logits[:, :size])
        return Probe(prefix_stable=stable, cached=_cache_agrees(model, inputs | {last: complete[:, :PROMPT]}))


@contextmanager
def _on_the_cpu(model: Any) -> Generator[None]:
    device = model.device
    model.to("cpu")
    try:
        yield
    finally:
        model.to(device)


def _first_logits(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    try:
        return model(**inputs, **uncached(model)).logits
    except (IndexError, RuntimeError, ValueError) as error:
        tokens, cause = max(each.shape[1] for each in inputs.values()), str(error).strip().splitlines()[0]
        raise HarnessError(f"{type(model).__name__} cannot process {tokens} tokens: {cause}") from error


def attends_ahead(model: PreTrainedModel, tokens: int) -> bool:
    """Whether the logits at a token depend on later tokens, so that the model would read the answer.

    Sorting tokens into buckets, as a Reformer does, changes outputs without passing on later tokens, so the
    gradient decides, not a change of the output.

    Args:
        model: the model.
        tokens: the length of the sequence that it is tried on.
    """
    read, place, mode = [], tokens // 2, model.training
    hook = model.get_input_embeddings().register_forward_hook(lambda module, arguments, output: read.append(output))
    model.train()  # without dropout it is no different, and a Reformer has gradients only there
    try:
        answer = model(input_ids=random_sequence(model, tokens)).logits[0, place]
        gradient = torch.autograd.grad(answer.square().sum(), read[0])[0].flatten(0, -2).abs()  # [T, D]
    finally:
        hook.remove()
        model.zero_grad()  # a Reformer's backward pass leaves some
        model.train(mode)
    return bool(gradient[place + 1 : tokens].max() > TOLERANCE * gradient.max())


def calls_embedding(model: Any, sizes: dict[str, int]) -> bool:
    """Whether a model calls its input embedding, where the Trainer adds noise, and not a second one of equal weights.

    Args:
        model: the model, in evaluation.
        sizes: as in `probe_model`.
    """
    called = []
    hook = model.get_input_embeddings().register_forward_hook(lambda *_: called.append(True))
    try:
        probe_model(model, sizes, decodes=False)
    finally:
        hook.remove()
    return bool(called)


def random_sequence(model: PreTrainedModel, tokens: int) -> torch.Tensor:
    """A sequence of symbols of the task after <bos> [1, T], the same each time."""
    drawn = torch.randint(
        Vocabulary.mask_id + 1, model.config.vocab_size, (1, tokens), generator=torch.Generator().manual_seed(0)
    )
    drawn[:, 0] = Vocabulary.bos_id
    return drawn.to(model.device)


def _alike(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max())


def decode(model: Any, new_tokens: int, **inputs) -> Any:
    """Greedy decoding after prompts of equal length, prompts included; further arguments go to `generate()`."""
    start = {"decoder_start_token_id": Vocabulary.bos_id} if "decoder_input_ids" in inputs else {}
    with redirect_stdout(None):  # a Reformer prints at every token
        return model.generate(
            **start | inputs,
            max_new_tokens=new_tokens,
            do_sample=False,
            num_beams=1,
            pad_token_id=Vocabulary.pad_id,
        )


def _cache_agrees(model: Any, prompts: dict[str, torch.Tensor]) -> bool:
    inputs = prompts | {"attention_mask": torch.ones_like(prompts["input_ids"])}
    options = {"eos_token_id": None, "output_logits": True, "return_dict_in_generate": True}
    plain = decode(model, NEW_TOKENS, **inputs, **options, use_cache=False)
    try:
        cached = decode(model, NEW_TOKENS, **inputs, **options, use_cache=True)
    except Exception:  # some types make a cache that does not fit them
        return False
    return _alike(torch.stack(cached.logits), torch.stack(plain.logits))
