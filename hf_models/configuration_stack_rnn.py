"""Configuration of the recurrent network with stacks.

SPDX-License-Identifier: Apache-2.0
"""

from huggingface_hub.dataclasses import strict

from .configuration_recurrent import MemoryConfig


@strict
class StackRNNConfig(MemoryConfig):
    """Configuration of a vanilla recurrent network with differentiable stacks.

    Args:
        num_stacks: number of stacks of each layer.
        stack_cell_size: width of a stack's cell.
        stack_size: number of cells. None: one for every token read, so that nothing is ever lost. A number: what is
            pushed below the last cell is lost, and pops bring zeros from there, as in the code of Delétang et al.,
            where it is 30.
    """

    model_type = "stack_rnn"

    num_stacks: int = 1
    stack_cell_size: int = 8
    stack_size: int | None = None

    def validate_architecture(self):
        """A stack has cells."""
        self.check_at_least(1, "stack_cell_size", "stack_size")
