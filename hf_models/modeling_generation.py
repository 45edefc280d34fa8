"""`generate()` with both names of the cache, and without a cache where none is exact.

SPDX-License-Identifier: Apache-2.0
"""

from transformers.generation import GenerationMixin
from transformers.utils import ModelOutput

from .modeling_arguments import CACHE_NAME, OTHER_CACHE_NAME, rename_cache
from .modeling_base import ModelMixin


LOSS_ARGUMENTS = ("labels", "shift_labels", "smoothing", "num_items_in_batch")


class LongreachGenerationMixin(GenerationMixin, ModelMixin):
    """`generate()` that takes and returns the cache under both names.

    A model that is not prefix-stable generates without a cache: later tokens change the states of earlier ones.
    """

    def generate(self, inputs=None, generation_config=None, **kwargs):  # ty: ignore[incompatible-method-override]
        """As in transformers.

        Raises:
            ValueError: a cache is asked for, and the model has none.
        """
        rename_cache(kwargs, CACHE_NAME)
        for name in LOSS_ARGUMENTS:  # a batch of the Trainer may hold them
            kwargs.pop(name, None)
        if not self.prefix_stable:
            asked = [name for name in ("use_cache", CACHE_NAME, "cache_implementation") if kwargs.get(name)]
            if asked or getattr(generation_config, "cache_implementation", None):
                raise ValueError(self.no_cache_reason())
            kwargs["use_cache"] = False
        output = super().generate(inputs, generation_config=generation_config, **kwargs)  # ty: ignore[invalid-argument-type]
        if isinstance(output, ModelOutput) and hasattr(output, CACHE_NAME):
            setattr(output, OTHER_CACHE_NAME, getattr(output, CACHE_NAME))
        return output

    def prepare_inputs_for_generation(self, input_ids, *args, inputs_embeds=None, **kwargs):
        """As in transformers, with the cache as `past_key_values`: PEFT looks for a prefix under this name."""
        model_inputs = super().prepare_inputs_for_generation(input_ids, *args, inputs_embeds=inputs_embeds, **kwargs)  # ty: ignore[invalid-argument-type]
        rename_cache(model_inputs, "past_key_values")
        model_inputs.pop("position_ids", None)  # of the library; models that read ids set their own
        return model_inputs
