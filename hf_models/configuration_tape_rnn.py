"""Configuration of the recurrent network with tapes.

SPDX-License-Identifier: Apache-2.0
"""

from huggingface_hub.dataclasses import strict

from .configuration_recurrent import MemoryConfig


@strict
class TapeRNNConfig(MemoryConfig):
    """Configuration of a vanilla recurrent network with differentiable tapes.

    Args:
        num_tapes: number of tapes of each layer.
        memory_cell_size: width of a tape's cell.
        memory_size: number of cells of a circular tape. None: a tape without ends, which has no jumps.
        jump_length: None: a tape moves by one cell or not at all. A number: it may also jump by so many cells.
            `"input"`: by the length of the input, as in Delétang et al.; then the model is not prefix-stable.
        input_end_token_id: with `jump_length="input"`, the token or tokens that mark the end of the input.
        writer_sizes: widths of the hidden layers of the network that computes what is written.
    """

    model_type = "tape_rnn"

    num_tapes: int = 1
    memory_cell_size: int = 8
    memory_size: int | None = None
    jump_length: int | str | None = None
    input_end_token_id: int | list[int] | None = None
    writer_sizes: list[int] | tuple[int, ...] = (64, 64)

    def __post_init__(self, **kwargs):
        self.writer_sizes = list(self.writer_sizes)
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        """A tape has cells, and jumps have a length and a circle to go around."""
        self.check_at_least(1, "memory_cell_size", "jump_length")
        self.check_at_least(2, "memory_size")
        if min(self.writer_sizes, default=1) < 1:
            raise ValueError(f"writer_sizes must be at least 1 each, not {self.writer_sizes}.")
        if isinstance(self.jump_length, str) and self.jump_length != "input":
            raise ValueError(f"jump_length must be a number, 'input' or None, not {self.jump_length!r}.")
        if self.jump_length is not None and self.memory_size is None:
            raise ValueError(
                "jump_length needs a memory_size: with jumps, a tape without ends would grow by their length at every "
                "token."
            )
        if (self.jump_length == "input") != (self.input_end_token_id is not None):
            raise ValueError("jump_length='input' and input_end_token_id go together: give both or neither.")
