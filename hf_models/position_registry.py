"""The registry that configurations name position encodings by, and the encodings of a model.

SPDX-License-Identifier: Apache-2.0
"""

from typing import Any

from torch import Tensor, nn

from .position_added import Coordinate, Learned, Sinusoidal
from .position_bias_distance import KERPLE, NAPE, ALiBi, HardALiBi, Sandwich
from .position_bias_learned import FIRE, T5
from .position_composed import Composed
from .position_content import DAPE, CoPE, Shaw, ShawValues, TransformerXL
from .position_encoding import PositionEncoding, Positions
from .position_files import import_encoding
from .position_forgetting import FoX, PaTH
from .position_rotary import PoPE, RoPE, XPos
from .registry import parse_entry


POSITION_ENCODINGS: dict[str, type[PositionEncoding]] = {
    "none": PositionEncoding,
    "learned": Learned,
    "sinusoidal": Sinusoidal,
    "coordinate": Coordinate,
    "rope": RoPE,
    "xpos": XPos,
    "pope": PoPE,
    "alibi": ALiBi,
    "hard_alibi": HardALiBi,
    "nape": NAPE,
    "kerple": KERPLE,
    "sandwich": Sandwich,
    "t5": T5,
    "fire": FIRE,
    "shaw": Shaw,
    "shaw_values": ShawValues,
    "transformer_xl": TransformerXL,
    "cope": CoPE,
    "fox": FoX,
    "dape": DAPE,
    "path": PaTH,
}


def parse_position_encoding(entry: str | dict) -> tuple[type[PositionEncoding], dict]:
    """Class and arguments of a configuration's entry; ValueError names what is wrong.

    An entry is a name, a dict of a name and arguments, or names joined by "+"; "file.Class" names the user's own.
    """
    name = entry if isinstance(entry, str) else entry.get("name")
    if isinstance(name, str) and "+" in name:
        if not isinstance(entry, str) and len(entry) > 1:
            raise ValueError(f"{name!r} takes no arguments; give them as {{'name': 'composed', 'parts': [...]}}.")
        entry = {"name": "composed", "parts": [part.strip() for part in name.split("+")]}
    if isinstance(entry, dict) and entry.get("name") == "composed":
        arguments = {key: value for key, value in entry.items() if key != "name"}
        arguments["parts"] = [parse_position_encoding(part) for part in arguments.get("parts", [])]
        return Composed, arguments
    own = {name: import_encoding(name)} if isinstance(name, str) and "." in name else {}
    return parse_entry(entry, POSITION_ENCODINGS | own, "position encoding")


def own_files(entries: list) -> list[str]:
    """The names "file.Class" among these entries and their parts."""
    names = []
    for entry in entries:
        name = entry if isinstance(entry, str) else entry.get("name", "")
        parts = entry.get("parts", []) if isinstance(entry, dict) else []
        names += [part.strip() for part in name.split("+") if "." in part] + own_files(parts)
    return list(dict.fromkeys(names))


def entry_name(entry: str | dict) -> str:
    """The name of an entry, as it may stand in the name of a weight."""
    name = entry if isinstance(entry, str) else entry["name"]
    return name.replace(".", "_").replace(" ", "")


class LayerEncodings(nn.Module):
    """The encodings of a model: one instance per distinct entry of the configuration, and which layer uses which.

    Weights are named after the encoding, so that a model loaded with another one takes none of them by mistake.
    """

    def __init__(self, config):
        super().__init__()
        entries = config.position_encoding_per_layer()
        distinct = [entry for index, entry in enumerate(entries) if entry not in entries[:index]]
        names = [entry_name(entry) for entry in distinct]
        keys = [
            name if name not in names[:index] else f"{name}_{names[:index].count(name) + 1}"
            for index, name in enumerate(names)
        ]
        self.of_layer = [keys[distinct.index(entry)] for entry in entries]
        parsed = [parse_position_encoding(entry) for entry in distinct]
        self.distinct: Any = nn.ModuleDict(
            {key: encoding(config, **arguments) for key, (encoding, arguments) in zip(keys, parsed, strict=True)}
        )

    def __getitem__(self, layer: int) -> PositionEncoding:
        return self.distinct[self.of_layer[layer]]

    def __iter__(self):
        return iter(self.distinct.values())

    @property
    def has_table(self) -> bool:
        """Whether any encoding ends with a table."""
        return any(encoding.has_table for encoding in self)

    def enters(self, layer: int) -> bool:
        """Whether the layer is the first one that uses its encoding: there `embed` acts."""
        return self.of_layer[layer] not in self.of_layer[:layer]

    def rotated(self, layers: list[int], positions: Positions) -> dict[int, Positions]:
        """The positions of each of these layers with its encoding's turns; one encoding's layers share them."""
        rotated = {
            key: positions.with_rotation(self.distinct[key]) for key in {self.of_layer[layer] for layer in layers}
        }
        return {layer: rotated[self.of_layer[layer]] for layer in layers}

    def pair_biases(self, layers: list[int], positions: Positions) -> dict[int, Tensor | None]:
        """The pair bias of each of these layers `[B, H, Tq, Tk]`; layers with the same encoding share one tensor."""
        biases = {
            key: self.distinct[key].pair_bias(positions.pairs()) for key in {self.of_layer[layer] for layer in layers}
        }
        return {layer: biases[self.of_layer[layer]] for layer in layers}
