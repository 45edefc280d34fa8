"""The tokenizer of a task: one token per symbol."""

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from eval_harness.tokenization.problem import Problem
from eval_harness.tokenization.vocabulary import SPECIAL_TOKENS


def build_tokenizer(problem: Problem) -> PreTrainedTokenizerFast:
    """The tokenizer of a problem: one token per symbol between spaces, prompts as the format defines them.

    It pads on the left, as generation expects. A symbol that the task does not have is an error: there is no token for
    unknown symbols.
    """
    ids = {token: number for number, token in enumerate(problem.vocabulary.tokens)}
    tokenizer = Tokenizer(WordLevel(ids))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single=problem.prompt_template, special_tokens=[(token, ids[token]) for token in SPECIAL_TOKENS]
    )
    roles = ("pad_token", "bos_token", "sep_token", "eos_token", "mask_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,  # would glue "?" to the symbol before it
        **dict(zip(roles, SPECIAL_TOKENS, strict=True)),
    )
