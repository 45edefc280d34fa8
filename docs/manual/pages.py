"""Generates pages of the manual from the code and `facts.toml`, and tables for other pages."""

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
    """Return the path of a choice's page in the manual."""
    return f"{FOLDERS[choice.kind]}/{choice.name}.md"


def picture_of(choice: Choice) -> str:
    """Return the path of its picture."""
    return f"{FOLDERS[choice.kind]}/{choice.name}.png"


# Text.


def formulas(text: str) -> str:
    """Convert each $…$ in Markdown to MathML."""
    return re.sub(r"\$([^$]+)\$", lambda found: f'<span class="formula">{convert(found[1])}</span>', text)


def displayed(latex: str) -> str:
    """Convert lines of LaTeX to display formulas, which can scroll."""
    lines = latex.strip().splitlines()
    return "\n\n".join(f'<div class="formula">{convert(line, display="block")}</div>' for line in lines)


# The page of a choice.


def page(choice: Choice, drawn: bool = False) -> str:
    """Return the page of a choice; `drawn` if its picture uses random parameters."""
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
        caption(choice, drawn),
        "## Forms, cache, kernels",
        table(["", choice.title], special[choice.kind](choice)),
        "## Cost",
        formulas(facts["cost"]),
        "## Usage",
        formulas(facts["when"]),
        formulas(facts["evidence"]),
        "## Paper",
        prose(choice.paper),
        "## Configuration",
        snippet(choice),
        arguments(choice),
    ]
    refusals = refused(choice)
    if refusals:
        sections += ["## Unsupported combinations", listed([prose(refusal) for refusal in refusals])]
    return "\n\n".join(section for section in sections if section) + "\n"


def bidirectional(choice: Choice) -> str:
    """Describe the bidirectional form."""
    if not choice.has_bidirectional_form:
        return "None; it raises an error."
    return " ".join(formulas(choice.facts["bidirectional"]).split()).replace("|", "&#124;")


def encoding_rows(choice: Choice) -> list[list[str]]:
    """Return the table rows of an encoding: hooks, forms, cache, implementations."""
    model = choice.model()
    encoding = model.encodings[0]
    acts = [f"`{name}`: {hooks()[name]}" for name in overridden(choice.choice)] or ["nowhere"]
    return [
        ["acts through", "<br>".join(acts)],
        ["causal form", "that of the formula"],
        ["bidirectional form", bidirectional(choice)],
        ["distinguishes left from right", direction(choice)],
        ["position ids", ids_of(choice)],
        ["cache", cached(choice)],
        ["[prefix-stable](../protocol.md#terms)", YES if encoding.prefix_stable else NO],
        ["implementations", kernels(choice)],
        ["parameters", f"{parameters(choice):,} in a model of {HEADS} heads, {HEAD_DIM} wide, with 2,048 positions"],
    ]


def direction(choice: Choice) -> str:
    """Describe whether a bidirectional model with it has an order."""
    if not choice.has_bidirectional_form:
        return "by the mask"
    model = choice.model(is_causal=False)
    return YES if model.encodings[0].sees_direction else f"{NO} (bidirectional), by the mask (causal)"


def ids_of(choice: Choice) -> str:
    """Describe how an encoding uses position ids."""
    if not reads_ids(choice):
        return "not used; it depends on the order of the tokens" if overridden(choice.choice) else "not used"
    encoding = choice.model().encodings[0]
    text = ["only their differences matter" if encoding.relative else "their values matter"]
    if encoding.has_table:
        text.append("less than `max_position_embeddings`")
    if choice.refusal(position_ids_scheme="randomized_distances") is None:
        text.append("distances can be random")
    return "; ".join(text)


def cached(choice: Choice) -> str:
    """Describe the KV cache of a model with an encoding."""
    rotated = "rotated keys" if "rotate" in overridden(choice.choice) else "as without it"
    more = key_width(choice) - HEAD_DIM
    wider = f", and {more} extra channel{'s' * (more > 1)} per key of width {HEAD_DIM}" if more else ""
    return f"{rotated}{wider}"


def kernels(choice: Choice) -> str:
    """List the attention implementations that support an encoding, and where they keep the bias."""
    names = implementations(choice)
    if FUSED["flex_attention"] not in names:
        return ", ".join(names)
    encoding = choice.model().encodings[0]
    if encoding.scalar:
        return ", ".join(names) + " (bias inside the kernel, not in memory)"
    biased = {"pair_bias", "bias"} & set(overridden(choice.choice))
    return ", ".join(names) + (" (bias of all pairs in memory)" if biased else "")


def parameters(choice: Choice) -> int:
    """Count the parameters of an encoding in a small model."""
    return count(choice.model().encodings)


def count(module) -> int:
    """Count the parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def normalizer_rows(choice: Choice) -> list[list[str]]:
    """Return the table rows of a normalizer: forms and implementations."""
    scales = choice.choice.temperature is not Choice("normalizers", "softmax").choice.temperature
    own = choice.choice.weights is not Choice("normalizers", "softmax").choice.weights
    acts = ["a factor on the query-key products"] * scales + ["the weights"] * own
    layer = attention_of(choice.model()).normalizer
    return [
        ["acts through", "<br>".join(acts) or "softmax"],
        ["causal form", "that of the formula"],
        ["bidirectional form", bidirectional(choice)],
        ["cache", "as without it"],
        ["implementations", ", ".join(implementations(choice))],
        ["attention types", ", ".join(f"`{name}`" for name in ATTENTION_TYPES if goes_with_type(choice, name))],
        ["parameters", f"{count(layer)} per layer of {HEADS} heads, {HEAD_DIM} wide"],
    ]


def goes_with_type(choice: Choice, attention: str) -> bool:
    """Whether a choice works with an attention type."""
    return choice.refusal(attn_implementation="eager", attention_types=attention) is None


def attention_rows(choice: Choice) -> list[list[str]]:
    """Return the table rows of an attention type: forms and implementations."""
    layer = attention_of(choice.model(attn_implementation="eager"))
    stable = getattr(layer, "prefix_stable", True)
    encodings = sum(goes_with_type(encoding, choice.name) for encoding in choices("position_encodings"))
    return [
        ["causal form", "that of the formula"],
        ["bidirectional form", bidirectional(choice)],
        ["cache", f"transformers' `{layer.cache_layer_type}`"],
        ["[prefix-stable](../protocol.md#terms)", YES if stable else NO],
        ["implementations", computed_by(choice)],
        [
            "position encodings",
            f"{encodings} of {len(POSITION_ENCODINGS)}, see [Compatibility](../combinations.md)",
        ],
    ]


def computed_by(choice: Choice) -> str:
    """List the implementations that support an attention type."""
    dense = choice.choice.dense_bias
    return ", ".join(implementations(choice)) if dense else "own code, for every `attn_implementation`"


def alternative(choice: Choice) -> str:
    """Return the alternative text of the picture."""
    shown = {
        "position_encodings": "its contribution to the scores, by query and key, in four heads",
        "normalizers": "the weights of 16 keys, and the weight of the best key by the number of keys",
        "attention_types": "the keys that each query attends to",
    }
    return shown[choice.kind]


def caption(choice: Choice, drawn: bool) -> str:
    """Return the caption: content and origin of the picture."""
    if choice.kind == "normalizers":
        return (
            "Normally distributed scores, and one score of 4 at distance 4. Left and middle: weights of the nearest "
            "keys, with few and with many keys. Right: weight of the key with score 4 as distant keys are added. "
            "First head, initial parameters."
        )
    if choice.kind == "attention_types":
        options = "".join(f", `{name}={value}`" for name, value in choice.facts.get("picture", {}).items())
        options = ", `sliding_window=8`" if choice.name == "sliding" else options
        return f"Random tokens, initial weights{options}. White: not visible; darker: greater weight."
    text = (
        "The contribution of position to the scores: scores of one layer over identical tokens, minus those without "
        "the encoding. Left: four heads. Right: the row of one query in each head. "
    )
    if drawn:
        return (
            text + "The encoding has no effect at initialization, so the picture uses normally distributed parameters."
        )
    if choice.facts.get("hides"):
        text += "Grey: not visible. "
    return text + "Initial weights with a fixed seed."


def snippet(choice: Choice) -> str:
    """Return a configuration with the choice, as Python."""
    options = ", sliding_window=8" if choice.name == "sliding" else ""
    if getattr(choice.choice, "recurrent_only", False):
        return f'```python\nUniversalTransformerConfig({FIELDS[choice.kind]}="{choice.name}")\n```'
    return f'```python\nPositionTransformerConfig({FIELDS[choice.kind]}="{choice.name}"{options})\n```'


def arguments(choice: Choice) -> str:
    """Return the table of arguments, if there are any."""
    given = choice.arguments
    if not given:
        return "It has no arguments."
    rows = [[f"`{name}`", f"`{default!r}`", prose(meaning)] for name, (default, meaning) in given.items()]
    example = {"name": choice.name, next(iter(given)): "…"}
    return f"Pass arguments with the name, `{example}`:\n\n" + table(["argument", "default", "meaning"], rows)


def refused(choice: Choice) -> list[str]:
    """List the error messages for unsupported combinations of an encoding or a normalizer."""
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
    """Return the registry name, linked to the page."""
    return f"[`{choice.name}`]({page_of(choice)})"


def paper_link(choice: Choice) -> str:
    """Return authors and year of the paper, linked."""
    found = re.search(r"\[[^\]]+\]\([^)]+\)", prose(choice.paper))
    return found[0] if found else ""


def encodings_table() -> str:
    """Return the table of position encodings."""
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
    """Return the table of normalizers."""
    rows = []
    for choice in choices("normalizers"):
        kernels = ", ".join(implementations(choice)[1:]) or NO
        form = YES if choice.has_bidirectional_form else NO
        types = ", ".join(f"`{name}`" for name in ATTENTION_TYPES if goes_with_type(choice, name))
        rows.append([link(choice), prose(choice.paragraphs[0]), form, kernels, types, paper_link(choice)])
    return table(["name", "", "bidirectional", "kernels", "attention types", "paper"], rows)


def attention_table() -> str:
    """Return the table of attention types."""
    rows = [
        [link(choice), prose(choice.paragraphs[0]), computed_by(choice), paper_link(choice)]
        for choice in choices("attention_types")
    ]
    return table(["name", "", "implementations", "paper"], rows)


def hooks_table() -> str:
    """Return the table of hooks, with the encodings that implement each."""
    rows = []
    for name, text in hooks().items():
        users = [link(choice) for choice in choices("position_encodings") if name in overridden(choice.choice)]
        rows.append([f"`{name}`", text, ", ".join(users)])
    return table(["hook", "meaning", "implemented by"], rows)


def combinations_table() -> str:
    """Return the table of compatible options of each position encoding, from the checks of configuration and model."""
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
    """Return whether an encoding works with these options, and the arguments that this requires."""
    if choice.refusal(**options):
        return NO
    given = {} if options.get("is_causal", True) else choice.facts.get("symmetric", {})
    return " ".join([YES, *(f"`{name}={value!r}`" for name, value in given.items())])


@cache
def compositions() -> dict[tuple[str, str], str]:
    """Return the error message of each pair of encodings that cannot be composed."""
    names = [name for name in POSITION_ENCODINGS if name not in ("none", "coordinate")]
    found = {}
    for pair in combinations(names, 2):
        try:
            PositionTransformerConfig(position_encoding="+".join(pair), num_attention_heads=HEADS)
        except Exception as error:  # the library wraps ours in errors of its own
            found[pair] = str(error.__cause__ or error)
    return found


def composition_refusals(name: str) -> list[str]:
    """Return the error messages for compositions of an encoding with others."""
    return [reason for pair, reason in compositions().items() if name in pair]


def compositions_list() -> str:
    """List the error messages of all compositions."""
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
    """Return the table of RoPE scalings, with their fields and whether they support a KV cache."""
    rows = []
    for rope_type in RoPE.rope_types:
        given = ", ".join(f"`{name}`" for name in SCALINGS[rope_type])
        rows.append([f"`{rope_type}`", given, NO if rope_type in RoPE.length_dependent else YES])
    return table(["`rope_type`", "fields", "KV cache"], rows)


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
    """Replace each `<!-- table: … -->` of a page."""
    return re.sub(r"<!-- table: ([\w ]+) -->", lambda found: TABLES[found[1]](), markdown)


# All of it.


def draw(choice: Choice) -> tuple[bytes, bool]:
    """Return the picture of a choice, and whether it uses random parameters."""
    if choice.kind == "position_encodings":
        return encoding_picture(choice)
    return (normalizer_picture if choice.kind == "normalizers" else attention_picture)(choice), False


@cache
def made(choice: Choice) -> dict[str, str | bytes]:
    """Return the page and the picture of a choice, by path."""
    picture, drawn = draw(choice)
    return {page_of(choice): page(choice, drawn), picture_of(choice): picture}


def navigation(kind: str) -> list[dict[str, str]]:
    """Return the pages of a registry for the table of contents."""
    return [{choice.title: page_of(choice)} for choice in choices(kind)]
