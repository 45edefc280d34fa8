"""The tokenizer of a task: one token per symbol."""

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from eval_harness.tasks.task import Task
from eval_harness.tokenization.formats import get_format
from eval_harness.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary


def build_tokenizer(task: Task, format: str, bos: bool = True) -> PreTrainedTokenizerFast:
    """The tokenizer of a task: one token per symbol between spaces, prompts as the format makes them.

    It pads on the left, as generation wants. A symbol that the task does not have is an error: there is no token for
    the unknown.
    """
    posed = get_format(format)
    posed.check(task)
    ids = {token: number for number, token in enumerate(Vocabulary(task).tokens)}
    tokenizer = Tokenizer(WordLevel(ids))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single=posed.prompt_template(bos), special_tokens=[(token, ids[token]) for token in SPECIAL_TOKENS]
    )
    roles = ("pad_token", "bos_token", "sep_token", "eos_token", "mask_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,  # would glue "?" to the symbol before it
        **dict(zip(roles, SPECIAL_TOKENS, strict=True)),
    )
