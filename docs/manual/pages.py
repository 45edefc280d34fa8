"""The pages of the manual that are made from the code and `facts.toml`, and the tables that other pages ask for."""

import re
from functools import cache
from itertools import combinations

from latex2mathml.converter import convert

from hf_models import PositionTransformerConfig
from hf_models.attention_registry import ATTENTION_TYPES
from hf_models.position_registry import POSITION_ENCODINGS
from hf_models.position_rotary import RoPE

from .choices import (
    FACTS,
    FIELDS,
    FUSED,
    HEAD_DIM,
    HEADS,
    Choice,
    attention_of,
    choices,
    hooks,
    implementations,
    key_width,
    overridden,
    reads_ids,
)
from .pictures import attention_picture, encoding_picture, normalizer_picture
from .tasks import overview, sections
from .text import listed, prose, table


FOLDERS = {"position_encodings": "encodings", "normalizers": "normalizers", "attention_types": "attention"}
YES, NO = "✓", "✗"


def page_of(choice: Choice) -> str:
    """The address of a choice's page, in the folder of the manual."""
    return f"{FOLDERS[choice.kind]}/{choice.name}.md"


def picture_of(choice: Choice) -> str:
    """The address of its picture."""
    return f"{FOLDERS[choice.kind]}/{choice.name}.png"


# Text.


def formulas(text: str) -> str:
    """Markdown whose $…$ have become formulas."""
    return re.sub(r"\$([^$]+)\$", lambda found: f'<span class="formula">{convert(found[1])}</span>', text)


def displayed(latex: str) -> str:
    """Formulas, each on a line of its own, which may be scrolled."""
    lines = latex.strip().splitlines()
    return "\n\n".join(f'<div class="formula">{convert(line, display="block")}</div>' for line in lines)


# The page of a choice.


def page(choice: Choice, randomized_distances: bool = False) -> str:
    """The page of a choice; `randomized_distances` says that its picture needed a draw of parameters."""
    special = {"position_encodings": encoding_rows, "normalizers": normalizer_rows, "attention_types": attention_rows}
    details = [prose(paragraph) for paragraph in choice.paragraphs[1:-1]]
    facts = choice.facts
    sections = [
        f"# {choice.title}",
        prose(choice.paragraphs[0]),
        *details,
        "## Formula",
        displayed(facts["formula"]),
        formulas(FACTS["legend"]),
        "## Picture",
        f"![{choice.title}: {alternative(choice)}]({choice.name}.png)",
        caption(choice, randomized_distances),
        "## Forms, cache, kernels",
        table(["", choice.title], special[choice.kind](choice)),
        "## Cost",
        formulas(facts["cost"]),
        "## When to use it",
        formulas(facts["when"]),
        formulas(facts["evidence"]),
        "## Paper",
        prose(choice.paper),
        "## In a configuration",
        snippet(choice),
        arguments(choice),
    ]
    refusals = refused(choice)
    if refusals:
        sections += ["## What it does not go with", listed([prose(refusal) for refusal in refusals])]
    return "\n\n".join(section for section in sections if section) + "\n"


def bidirectional(choice: Choice) -> str:
    """The bidirectional form in words."""
    if not choice.has_bidirectional_form:
        return "None; it is refused."
    return " ".join(formulas(choice.facts["bidirectional"]).split()).replace("|", "&#124;")


def encoding_rows(choice: Choice) -> list[list[str]]:
    """Where an encoding acts, its forms, what it leaves in the cache, and what computes it."""
    model = choice.model()
    encoding = model.encodings[0]
    acts = [f"`{name}`: {hooks()[name]}" for name in overridden(choice.choice)] or ["nowhere"]
    return [
        ["acts through", "<br>".join(acts)],
        ["causal form", "that of the formula"],
        ["bidirectional form", bidirectional(choice)],
        ["tells left from right", direction(choice)],
        ["position ids", ids_of(choice)],
        ["cache", cached(choice)],
        ["later tokens leave earlier outputs as they are", YES if encoding.prefix_stable else NO],
        ["computed by", kernels(choice)],
        ["parameters", f"{parameters(choice):,} in a model of {HEADS} heads, {HEAD_DIM} wide, with 2,048 positions"],
    ]


def direction(choice: Choice) -> str:
    """Whether a bidirectional model sees the order with it."""
    if not choice.has_bidirectional_form:
        return "by the mask"
    model = choice.model(is_causal=False)
    return YES if model.encodings[0].sees_direction else f"{NO} (bidirectional), by the mask (causal)"


def ids_of(choice: Choice) -> str:
    """How an encoding reads position ids."""
    if not reads_ids(choice):
        return "not read: it goes by the order of the tokens" if overridden(choice.choice) else "not read"
    encoding = choice.model().encodings[0]
    text = ["only their differences count" if encoding.relative else "their values count"]
    if encoding.has_table:
        text.append("below `max_position_embeddings`")
    if choice.refusal(position_ids_scheme="randomized_distances") is None:
        text.append("distances may be drawn at random")
    return "; ".join(text)


def cached(choice: Choice) -> str:
    """What an encoding leaves in the cache of keys and values."""
    rotated = "rotated" if "rotate" in overridden(choice.choice) else "as without it"
    more = key_width(choice) - HEAD_DIM
    wider = f", with {more} channel{'s' * (more > 1)} more where K is {HEAD_DIM}" if more else ""
    return f"keys {rotated}{wider}"


def kernels(choice: Choice) -> str:
    """What computes attention with an encoding, and how it takes the bias."""
    names = implementations(choice)
    if FUSED["flex_attention"] not in names:
        return ", ".join(names)
    encoding = choice.model().encodings[0]
    if encoding.scalar:
        return ", ".join(names) + " (inside the kernel, without holding the bias in memory)"
    biased = {"pair_bias", "bias"} & set(overridden(choice.choice))
    return ", ".join(names) + (" (a bias for every pair in memory)" if biased else "")


def parameters(choice: Choice) -> int:
    """Parameters of an encoding in a small model."""
    return count(choice.model().encodings)


def count(module) -> int:
    """The parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def normalizer_rows(choice: Choice) -> list[list[str]]:
    """Forms of a normalizer, and what computes it."""
    scales = choice.choice.temperature is not Choice("normalizers", "softmax").choice.temperature
    own = choice.choice.weights is not Choice("normalizers", "softmax").choice.weights
    acts = ["a factor on the products of query and key"] * scales + ["the weights themselves"] * own
    layer = attention_of(choice.model()).normalizer
    return [
        ["acts through", "<br>".join(acts) or "softmax itself"],
        ["causal form", "that of the formula"],
        ["bidirectional form", bidirectional(choice)],
        ["cache", "keys and values as without it"],
        ["computed by", ", ".join(implementations(choice))],
        ["attention types", ", ".join(f"`{name}`" for name in ATTENTION_TYPES if goes_with_type(choice, name))],
        ["parameters", f"{count(layer)} per layer of {HEADS} heads, {HEAD_DIM} wide"],
    ]


def goes_with_type(choice: Choice, attention: str) -> bool:
    """Whether a choice may stand beside an attention type."""
    return choice.refusal(attn_implementation="eager", attention_types=attention) is None


def attention_rows(choice: Choice) -> list[list[str]]:
    """Forms of an attention type, and what computes it."""
    layer = attention_of(choice.model(attn_implementation="eager"))
    stable = getattr(layer, "prefix_stable", True)
    encodings = sum(goes_with_type(encoding, choice.name) for encoding in choices("position_encodings"))
    return [
        ["causal form", "that of the formula"],
        ["bidirectional form", bidirectional(choice)],
        ["cache", f"transformers' `{layer.cache_layer_type}`"],
        ["later tokens leave earlier outputs as they are", YES if stable else NO],
        ["computed by", computed_by(choice)],
        [
            "position encodings",
            f"{encodings} of {len(POSITION_ENCODINGS)}: see [what goes with what](../combinations.md)",
        ],
    ]


def computed_by(choice: Choice) -> str:
    """The implementations that an attention type may run under."""
    dense = choice.choice.dense_bias
    return ", ".join(implementations(choice)) if dense else "its own code, under any `attn_implementation`"


def alternative(choice: Choice) -> str:
    """What the picture shows, for those who cannot see it."""
    shown = {
        "position_encodings": "what it adds to the scores, by query and key, in four heads",
        "normalizers": "the weights of 16 keys, and the weight of the best key by the number of keys",
        "attention_types": "which keys each query sees",
    }
    return shown[choice.kind]


def caption(choice: Choice, randomized_distances: bool) -> str:
    """What the picture shows, and how it was made."""
    if choice.kind == "normalizers":
        return (
            "Normal scores, and one of 4 at distance 4. Left and middle: the weights of the nearest keys, where there "
            "are few and where there are many. Right: what is left for the key of score 4 as farther keys are added. "
            "Parameters are as they begin; the first head is shown."
        )
    if choice.kind == "attention_types":
        options = "".join(f", `{name}={value}`" for name, value in choice.facts.get("picture", {}).items())
        options = ", `sliding_window=8`" if choice.name == "sliding" else options
        return f"Random tokens, weights as they begin{options}. White: not seen; the darker, the greater the weight."
    text = (
        "The scores of one layer over tokens that are all the same, less those without the encoding: what position "
        "alone adds. Left: four heads. Right: one query's row through each of them. "
    )
    if randomized_distances:
        return text + "The encoding begins without effect: its parameters are drawn from a normal distribution here."
    if choice.facts.get("hides"):
        text += "Grey: not seen. "
    return text + "Weights are as they begin, with a fixed seed."


def snippet(choice: Choice) -> str:
    """How to choose it, as Python."""
    options = ", sliding_window=8" if choice.name == "sliding" else ""
    if getattr(choice.choice, "recurrent_only", False):
        return f'```python\nUniversalTransformerConfig({FIELDS[choice.kind]}="{choice.name}")\n```'
    return f'```python\nPositionTransformerConfig({FIELDS[choice.kind]}="{choice.name}"{options})\n```'


def arguments(choice: Choice) -> str:
    """The table of arguments, if there are any."""
    given = choice.arguments
    if not given:
        return "It takes no arguments."
    rows = [[f"`{name}`", f"`{default!r}`", prose(meaning)] for name, (default, meaning) in given.items()]
    example = {"name": choice.name, next(iter(given)): "…"}
    return f"Arguments stand beside the name, `{example}`:\n\n" + table(["argument", "default", "meaning"], rows)


def refused(choice: Choice) -> list[str]:
    """What an encoding or a normalizer is refused with, in the words of the error."""
    if choice.kind == "attention_types":
        return []
    tried = [choice.refusal(is_causal=False)]
    tried += [choice.refusal(attn_implementation=name) for name in FUSED]
    tried += [choice.refusal(attn_implementation="eager", attention_types=name) for name in ATTENTION_TYPES]
    tried += [choice.refusal(position_ids_scheme="randomized_distances", attn_implementation="eager")]
    if choice.kind == "position_encodings":
        tried += composition_refusals(choice.name)
    return list(dict.fromkeys(reason for reason in tried if reason))


# Tables over all.


def link(choice: Choice) -> str:
    """The registry name, linked to the page."""
    return f"[`{choice.name}`]({page_of(choice)})"


def paper_link(choice: Choice) -> str:
    """Authors and year of the paper, linked."""
    found = re.search(r"\[[^\]]+\]\([^)]+\)", prose(choice.paper))
    return found[0] if found else ""


def encodings_table() -> str:
    """All position encodings."""
    rows = []
    for choice in choices("position_encodings"):
        acts = ", ".join(f"`{name}`" for name in overridden(choice.choice)) or NO
        more = key_width(choice) - HEAD_DIM
        form = direction(choice) if choice.has_bidirectional_form else "no such form"
        rows.append(
            [
                link(choice),
                acts,
                form.partition(" (")[0],
                f"+{more}" if more else "",
                f"{parameters(choice):,}",
                ", ".join(implementations(choice)[1:]) or NO,
                paper_link(choice),
            ]
        )
    head = ["name", "acts through", "left ≠ right", "cache", "parameters", "kernels", "paper"]
    return table(head, rows)


def normalizers_table() -> str:
    """All normalizers."""
    rows = []
    for choice in choices("normalizers"):
        kernels = ", ".join(implementations(choice)[1:]) or NO
        form = YES if choice.has_bidirectional_form else NO
        types = ", ".join(f"`{name}`" for name in ATTENTION_TYPES if goes_with_type(choice, name))
        rows.append([link(choice), prose(choice.paragraphs[0]), form, kernels, types, paper_link(choice)])
    return table(["name", "", "bidirectional", "kernels", "attention types", "paper"], rows)


def attention_table() -> str:
    """All attention types."""
    rows = [
        [link(choice), prose(choice.paragraphs[0]), computed_by(choice), paper_link(choice)]
        for choice in choices("attention_types")
    ]
    return table(["name", "", "computed by", "paper"], rows)


def hooks_table() -> str:
    """The hooks of a position encoding, and who uses them."""
    rows = []
    for name, text in hooks().items():
        users = [link(choice) for choice in choices("position_encodings") if name in overridden(choice.choice)]
        rows.append([f"`{name}`", text, ", ".join(users)])
    return table(["hook", "what it does", "used by"], rows)


def combinations_table() -> str:
    """What each position encoding goes with, as the configuration and the model decide."""
    eager = {"attn_implementation": "eager"}
    columns = {
        "bidirectional": {"is_causal": False},
        **{f"`{name}`": {**eager, "attention_types": name} for name in ATTENTION_TYPES if name != "full"},
        **{label: {"attn_implementation": name} for name, label in FUSED.items()},
        "random distances": {**eager, "position_ids_scheme": "randomized_distances"},
    }
    rows = [
        [link(choice), *(goes_with(choice, options) for options in columns.values())]
        for choice in choices("position_encodings")
    ]
    return table(["", *columns], rows)


def goes_with(choice: Choice, options: dict) -> str:
    """Whether an encoding is taken with these options, and by which argument."""
    if choice.refusal(**options):
        return NO
    given = {} if options.get("is_causal", True) else choice.facts.get("symmetric", {})
    return " ".join([YES, *(f"`{name}={value!r}`" for name, value in given.items())])


@cache
def compositions() -> dict[tuple[str, str], str]:
    """The refusal of each pair of encodings that cannot be composed."""
    names = [name for name in POSITION_ENCODINGS if name not in ("none", "coordinate")]
    found = {}
    for pair in combinations(names, 2):
        try:
            PositionTransformerConfig(position_encoding="+".join(pair), num_attention_heads=HEADS)
        except Exception as error:  # the library wraps ours in errors of its own
            found[pair] = str(error.__cause__ or error)
    return found


def composition_refusals(name: str) -> list[str]:
    """Why an encoding cannot be composed with others."""
    return [reason for pair, reason in compositions().items() if name in pair]


def compositions_list() -> str:
    """All refusals of compositions."""
    return listed([f"`{'+'.join(pair)}`: {prose(reason)}" for pair, reason in compositions().items()])


SCALINGS = {
    "default": {},
    "linear": {"factor": 4.0},
    "llama3": {
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 512,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 512},
    "proportional": {"partial_rotary_factor": 0.25},
    "dynamic": {"factor": 4.0},
    "longrope": {
        "factor": 4.0,
        "original_max_position_embeddings": 512,
        "short_factor": [1.0] * (HEAD_DIM // 2),
        "long_factor": [4.0] * (HEAD_DIM // 2),
    },
}


def scalings_table() -> str:
    """The scalings of RoPE, and whether they go with a cache."""
    rows = []
    for rope_type in RoPE.rope_types:
        given = ", ".join(f"`{name}`" for name in SCALINGS[rope_type])
        rows.append([f"`{rope_type}`", given, NO if rope_type in RoPE.length_dependent else YES])
    return table(["`rope_type`", "asks for", "KV cache"], rows)


TABLES = {
    "encodings": encodings_table,
    "normalizers": normalizers_table,
    "attention types": attention_table,
    "hooks": hooks_table,
    "combinations": combinations_table,
    "compositions": compositions_list,
    "scalings": scalings_table,
    "tasks": overview,
    "task sections": sections,
}


def fill(markdown: str) -> str:
    """A page with its `<!-- table: … -->` filled in."""
    return re.sub(r"<!-- table: ([\w ]+) -->", lambda found: TABLES[found[1]](), markdown)


# All of it.


def draw(choice: Choice) -> tuple[bytes, bool]:
    """The picture of a choice, and whether its parameters were drawn for it."""
    if choice.kind == "position_encodings":
        return encoding_picture(choice)
    return (normalizer_picture if choice.kind == "normalizers" else attention_picture)(choice), False


@cache
def made(choice: Choice) -> dict[str, str | bytes]:
    """The files of a choice, by address: its page and its picture."""
    picture, randomized_distances = draw(choice)
    return {page_of(choice): page(choice, randomized_distances), picture_of(choice): picture}


def navigation(kind: str) -> list[dict[str, str]]:
    """The pages of a registry, for the table of contents."""
    return [{choice.title: page_of(choice)} for choice in choices(kind)]
