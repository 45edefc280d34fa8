"""The manual's pictures: contributions of encodings to the scores, weights of normalizers, visible pairs.

T positions   H heads
"""

import io

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from hf_models.attention_normalizers import Softmax
from hf_models.position_encoding import Positions

from .choices import HEADS, SIZES, Choice, attention_of


LENGTH = 64
HIDDEN = -1000.0  # a score below this means that the key is not visible
LINES = ["#1b6ca8", "#d1495b", "#3a7d44", "#8f5fbf"]
GREY = "#b8b8b8"


class Recorder(Softmax):
    """Softmax that stores its scores."""

    def weights(self, scores, visible_mask):
        """As softmax."""
        self.scores = scores.masked_fill(~visible_mask, -torch.inf)[0]
        return super().weights(scores, visible_mask)


def scores_of(model) -> Tensor:
    """The scores of a layer whose tokens are all the same `[H, T, T]`, minus infinity where a key is hidden."""
    recorder = Recorder(model.config)
    attention_of(model).normalizer = recorder
    with torch.no_grad():
        model(torch.zeros(1, LENGTH, dtype=torch.long), use_cache=False)
    return recorder.scores


def added_to_scores(encoding: Choice, is_causal: bool) -> tuple[Tensor, bool]:
    """What the encoding adds to the scores of equal tokens `[H, T, T]`, and whether that took a draw of parameters.

    The scores with the encoding minus those without it, with the same weights. Where the encoding begins without any
    effect, its parameters are drawn from a normal distribution.
    """
    options = {"attn_implementation": "eager", "num_hidden_layers": 1}
    if getattr(encoding.choice, "recurrent_only", False):
        options = {"attn_implementation": "eager"}
    model = encoding.model(is_causal, **options)
    plain = encoding.model(is_causal, **options, position_encoding="none")
    plain.load_state_dict(model.state_dict(), strict=False)
    without = scores_of(plain)
    added = scores_of(model) - without
    seen = without.isfinite()
    begins_empty = encoding.name != "none" and not added[seen].any()
    if begins_empty:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.encodings.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        added = scores_of(model) - without
    return added.masked_fill(~seen, torch.nan), begins_empty


def encoding_picture(encoding: Choice) -> tuple[bytes, bool]:
    """A PNG of what the encoding adds, and whether its parameters were drawn for it."""
    forms = [True, False] if encoding.has_bidirectional_form else [True]
    figure = Figure(figsize=(9, 2.2 * len(forms)), layout="constrained")
    axes = figure.subplots(len(forms), HEADS + 1, squeeze=False, width_ratios=[1] * HEADS + [1.5])
    drawn = False
    for row, is_causal in zip(axes, forms, strict=True):
        added, drawn = added_to_scores(encoding, is_causal)
        label = "causal" if is_causal else "bidirectional"
        draw_row(figure, row, added.numpy(), label)
    return png(figure), drawn


def draw_row(figure: Figure, row, added: np.ndarray, label: str):
    """A map for each head, and one query's line through them."""
    unseen = added < HIDDEN
    added = np.where(unseen, np.nan, added)
    limit = float(np.nanmax(np.abs(added))) or 1.0
    image = None
    for head, axis in enumerate(row[:HEADS]):
        axis.set_facecolor("white")
        axis.imshow(np.where(unseen[head], 1.0, np.nan), cmap="Greys", vmin=0, vmax=2)
        image = axis.imshow(added[head], cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set_title(f"head {head + 1}", fontsize=9)
        axis.set_xlabel("key", fontsize=8)
        axis.tick_params(labelsize=7, labelleft=head == 0)
        axis.set_xticks([0, LENGTH // 2, LENGTH])
        axis.set_yticks([0, LENGTH // 2, LENGTH])
    row[0].set_ylabel(f"{label}\nquery", fontsize=8)
    figure.colorbar(image, ax=row[:HEADS], shrink=0.8, pad=0.01).ax.tick_params(labelsize=7)
    query = LENGTH - 1 if label == "causal" else LENGTH // 2
    for head in range(HEADS):
        row[-1].plot(added[head, query], color=LINES[head], linewidth=1.3, label=f"head {head + 1}")
    row[-1].axhline(0, color=GREY, linewidth=0.6, zorder=0)
    row[-1].axvline(query, color=GREY, linewidth=0.6, linestyle=":", zorder=0)
    row[-1].set_title(f"query {query}", fontsize=9)
    row[-1].set_xlabel("key", fontsize=8)
    row[-1].tick_params(labelsize=7)
    row[-1].legend(fontsize=6, framealpha=0.7, edgecolor="none")


# Normalizers.

NEEDLE = 4  # how many keys back, from the query, the one with the high score stands
SHORT, LONG = 16, 128


def needle_scores(length: int) -> Tensor:
    """Normal scores of so many keys, and a needle at 4 `[T]`; more keys leave the nearest ones as they are."""
    scores = torch.randn(4096, generator=torch.Generator().manual_seed(3))[:length].flip(-1)
    scores[-1 - NEEDLE] = 4.0
    return scores


def weights_of(normalizer: Choice, length: int, noise: int = 1) -> Tensor:
    """The weights that a query gives the keys of `needle_scores` `[T]`, in the first head."""
    layer = attention_of(normalizer.model(attn_implementation="eager")).normalizer
    visible_mask = torch.ones(1, 1, 1, length, dtype=torch.bool)
    ids = torch.arange(length)[None]
    positions = Positions(ids[:, -1:], ids, HEADS, 1.0, first_query=length - 1, visible_mask=visible_mask)
    states = torch.randn(1, 1, SIZES["hidden_size"], generator=torch.Generator().manual_seed(noise))
    with torch.no_grad():
        temperature = layer.temperature(states, positions)
        scores = needle_scores(length)[None, None, None].expand(1, HEADS, 1, -1)
        scores = scores if temperature is None else scores * temperature
        return layer.weights(scores, visible_mask)[0, 0, 0]


def normalizer_picture(normalizer: Choice) -> bytes:
    """A PNG: the weights at two lengths, and what is left for the needle as keys are added, against softmax."""
    softmax = Choice(normalizer.kind, "softmax")
    compared = {softmax.title: (softmax, GREY), normalizer.title: (normalizer, LINES[0])}
    figure = Figure(figsize=(9, 2.4), layout="constrained")
    *maps, curve = figure.subplots(1, 3)
    for axis, length in zip(maps, (SHORT, LONG), strict=True):
        for index, (label, (choice, colour)) in enumerate(compared.items()):
            shown = weights_of(choice, length)[-SHORT:].numpy()
            axis.bar(np.arange(SHORT) + (0.4 * index - 0.2), shown, width=0.4, color=colour, label=label)
        axis.set_title(f"last {SHORT} of {length} keys", fontsize=9)
        axis.set_xticks(range(0, SHORT, 3), [str(SHORT - 1 - back) for back in range(0, SHORT, 3)])
        axis.set_xlabel("distance", fontsize=8)
        axis.set_ylim(0, 1)
    lengths = [2**power for power in range(3, 13)]
    for label, (choice, colour) in compared.items():
        curve.plot(lengths, [weights_of(choice, n)[-1 - NEEDLE].item() for n in lengths], color=colour, label=label)
    curve.set_xscale("log", base=2)
    curve.set_ylim(0, 1.02)
    curve.set_title("weight of the key with score 4", fontsize=9)
    curve.set_xlabel("number of keys", fontsize=8)
    for axis in (*maps, curve):
        axis.tick_params(labelsize=7)
    curve.legend(fontsize=7, frameon=False)
    return png(figure)


# Attention types.


def weights_seen(attention: Choice, is_causal: bool) -> Tensor:
    """The weights of a layer over random tokens `[H, T, T]`: its outputs where the values are unit vectors."""
    entry = {"name": attention.name, **attention.facts.get("picture", {})}
    model = attention.model(is_causal, attn_implementation="eager", attention_types=entry)
    layer = attention_of(model)
    project = layer.project

    def with_unit_values(states):
        query, key, _ = project(states)
        return query, key, torch.eye(LENGTH).expand(1, HEADS, -1, -1)

    layer.project, layer.o_proj = with_unit_values, nn.Identity()
    states = torch.randn(1, LENGTH, SIZES["hidden_size"], generator=torch.Generator().manual_seed(0))
    context = model.contexts(model.encodings, states, None, None, None)[0]
    with torch.no_grad():
        output, _ = layer(states, context.mask, context.bias, context.positions, model.encodings[0])
    return output.view(LENGTH, HEADS, LENGTH).transpose(0, 1)


def attention_picture(attention: Choice) -> bytes:
    """A PNG of which keys each query sees, and with which weight."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    axes = figure.subplots(1, 4)
    for axis, (is_causal, head) in zip(axes, [(True, 0), (True, 1), (False, 0), (False, 1)], strict=True):
        weights = weights_seen(attention, is_causal)[head].numpy()
        axis.imshow(np.where(weights > 0, weights**0.5 + 0.15, 0), cmap="Blues", vmin=0, vmax=1)
        axis.set_title(f"{'causal' if is_causal else 'bidirectional'}, head {head + 1}", fontsize=9)
        axis.set_xlabel("key", fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0].set_ylabel("query", fontsize=8)
    return png(figure)


def png(figure: Figure) -> bytes:
    """The figure with 256 colours, a fraction of its size in full."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    Image.open(drawn).convert("RGB").quantize(256).save(small, format="png", optimize=True)
    return small.getvalue()
