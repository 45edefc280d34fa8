"""What all figures share: the look, the colours, labels that keep out of each other's way, and the files."""

import io
import re
import textwrap
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from eval_harness.results.files import replacing


INK = "#222222"
GREY = "#6b6b6b"
SHADE = "#eef1f4"
WIDTH = 7.6  # inches: ten points of type are 13 pixels on a page 700 pixels wide
LABEL_SIZE = 9.5

# Text stays text in the SVG (a page may give it its own font); the salt makes the identifiers the same every time.
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "longreach",
}

# Okabe and Ito's colours but yellow, then three of Paul Tol's; no two that follow each other are alike to a
# colour-blind reader. There is one marker fewer, so that a model past the tenth has its own pair again.
_COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#882255",
    "#332288",
    "#999933",
    "#000000",
)
_MARKERS = "osD^vPXph"


@dataclass(frozen=True)
class Mark:
    """How one model looks in every figure."""

    colour: str
    marker: str


def palette(labels: Iterable[str]) -> dict[str, Mark]:
    """A colour and a marker for every model, the same whatever the order of the labels."""
    names = sorted(set(labels))
    return {name: Mark(_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)]) for i, name in enumerate(names)}


def style() -> AbstractContextManager[None]:
    """The look of all figures, for the time of drawing or saving one; matplotlib's own settings stay as they are."""
    return mpl.rc_context(STYLE)


def spread(wanted: Sequence[float], heights: Sequence[float], low: float, high: float) -> list[float]:
    """Centres for labels, as near as can be to where they are wanted, so that no two overlap.

    The least squares under "each at least half its height from its neighbours" is an isotonic regression.

    Args:
        wanted: the wanted centres, in any order.
        heights: the labels' heights, in the same unit.
        low: the lower end of the room there is.
        high: its upper end.
    """
    if not wanted:
        return []
    order = np.argsort(wanted, kind="stable")
    size = np.asarray(heights, dtype=float)[order]
    offsets = np.concatenate([[0.0], np.cumsum((size[1:] + size[:-1]) / 2)])
    fitted = isotonic_regression(np.asarray(wanted, dtype=float)[order] - offsets).x
    bottom = low + size[0] / 2
    fitted = np.clip(fitted, bottom, max(bottom, high - size[-1] / 2 - offsets[-1]))
    centres = np.empty(len(order))
    centres[order] = fitted + offsets
    return centres.tolist()


@dataclass(frozen=True)
class EndLabel:
    """A label in the right margin for something that ends at a height of the axes."""

    text: str
    at: float
    mark: Mark | None = None
    """How the thing is drawn; None for a grey line without marks."""
    x: float | None = None
    """Where it ends on the x axis; None for the right edge."""


def label_ends(axes: Axes, labels: Sequence[EndLabel]) -> None:
    """Writes labels into the right margin, each joined by a fine line to what it names."""
    inches = axes.get_window_extent().height / axes.figure.dpi
    low, high = axes.get_ylim()
    line = LABEL_SIZE * 1.25 / 72 * (high - low) / inches
    texts = [textwrap.fill(label.text, 27, break_on_hyphens=False) for label in labels]
    heights = [line * (1 + text.count("\n")) for text in texts]
    room = 0.08 * (high - low)
    centres = spread([label.at for label in labels], heights, low, high + room)
    edge = axes.get_yaxis_transform()
    for label, text, y in zip(labels, texts, centres, strict=True):
        colour = label.mark.colour if label.mark else GREY
        if label.x is None:
            axes.plot([1, 1.03], [label.at, y], transform=edge, color=colour, linewidth=0.7, clip_on=False)
        if label.mark:
            axes.plot(1.03, y, transform=edge, color=colour, marker=label.mark.marker, markersize=5, clip_on=False)
        axes.text(
            1.055 if label.mark else 1.04,
            y,
            text,
            transform=edge,
            fontsize=LABEL_SIZE,
            color=INK if label.mark else GREY,
            verticalalignment="center",
            linespacing=1.1,
        )


def to_svg(figure: Figure, description: str, prefix: str) -> str:
    """The figure as an SVG element for a page.

    Args:
        figure: the figure.
        description: what it shows, for readers who hear the page.
        prefix: begins every identifier, since those of one page must differ between its figures.
    """
    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(description, quote=True)}"', 1)


def save(figure: Figure, folder: Path, name: str) -> None:
    """Writes `name.svg` and `name.png` into the folder."""
    for kind in ("svg", "png"):
        with replacing(folder / f"{name}.{kind}") as temporary, style():
            metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
            figure.savefig(temporary, format=kind, dpi=160, metadata=metadata)
