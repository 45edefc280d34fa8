"""The pages that the manual makes from the code: complete for every registry, true to the code, with no dead link."""

import io
import re
import sys
import warnings
from functools import cache
from pathlib import Path

import pytest
import torch
from mkdocs.commands.build import build
from mkdocs.config import load_config
from PIL import Image

import hf_models
from docs.manual import pages, pictures
from docs.manual import tasks as task_pages
from docs.manual.choices import FACTS, HEADS, REGISTRIES, Choice, choices, overridden, reads_ids
from eval_harness.cli.tasks import by_skill
from eval_harness.tasks import SKILLS
from tests.hf_models import own_encoding
from tests.test_docs import files


ROOT = Path(__file__).parent.parent
ALL = [choice for kind in REGISTRIES for choice in choices(kind)]
PARTS = ("Formula", "Picture", "Forms, cache, kernels", "Cost", "Usage", "Paper", "Configuration")
every = pytest.mark.parametrize("choice", ALL, ids=lambda choice: choice.name)


@cache
def page_of(choice: Choice) -> str:
    return pages.page(choice)


def encoding(name: str) -> Choice:
    return Choice("position_encodings", name)


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_registered_name_has_facts_and_no_others_have(kind):
    assert FACTS[kind].keys() == REGISTRIES[kind].keys()


@every
def test_the_facts_are_whole(choice):
    known = {"title", "formula", "bidirectional", "cost", "when", "evidence", "symmetric", "hides", "picture"}
    needed = {"formula", "cost", "when", "evidence"}
    if choice.has_bidirectional_form:
        needed.add("bidirectional")
    else:
        assert "bidirectional" not in choice.facts
    assert needed <= choice.facts.keys() <= known
    assert all(choice.facts[part].strip() for part in needed)
    assert "https://arxiv.org/abs/" in choice.facts["evidence"]


@every
def test_a_page_has_all_its_parts(choice):
    page = page_of(choice)
    headings = re.findall(r"^## (.*)$", page, flags=re.MULTILINE)
    assert tuple(headings[: len(PARTS)]) == PARTS
    for heading, text in re.findall(r"^## (.*?)\n\n(.*?)(?=^## |\Z)", page, flags=re.DOTALL | re.MULTILINE):
        assert text.strip(), heading
    assert f"![{choice.title}: " in page
    assert f"({choice.name}.png)" in page
    for row in ("causal form", "bidirectional form", "cache", "implementations"):
        if row != "cache" or choice.kind != "normalizers":
            assert f"\n| {row} | " in page
    address = re.search(r"https://arxiv\.org/abs/[\d.]+\d", choice.paper)
    assert address is not None
    assert f"]({address[0]})" in page


@every
def test_no_formula_is_left_as_latex(choice):
    page = page_of(choice)
    assert "<math" in page
    assert "$" not in page
    for formula in re.findall(r"<math.*?</math>", page, flags=re.DOTALL):
        assert "\\" not in formula


@every
def test_every_argument_is_explained(choice):
    page = page_of(choice)
    for name, (default, meaning) in choice.arguments.items():
        assert meaning, f"{name} stands in no Args of {choice.choice.__name__} or its bases"
        assert f"| `{name}` | `{default!r}` | " in page


@every
def test_the_configuration_of_a_page_is_one(choice):
    (snippet,) = re.findall(r"```python\n(.*?)```", page_of(choice), flags=re.DOTALL)
    config = eval(snippet, vars(hf_models))
    chosen = {"position_encodings": "position_encoding", "normalizers": "attention_normalizer"}
    assert getattr(config, chosen.get(choice.kind, choice.kind)) == choice.name


def test_an_encoding_that_does_not_read_ids_says_so():
    found = {choice.name for choice in choices("position_encodings") if not reads_ids(choice)}
    assert found == {"none", "cope", "fox", "path"}
    assert "| position ids | not used; it depends on the order of the tokens |" in page_of(encoding("fox"))
    assert "| position ids | only their differences matter" in page_of(encoding("t5"))
    assert "| position ids | their values matter; less than `max_position_embeddings` |" in page_of(
        encoding("learned")
    )


def test_refusals_are_on_the_page():
    page = page_of(encoding("path"))
    assert "PaTH has no bidirectional form; it needs is\\_causal=True." in page
    assert "'sdpa' cannot compute it." in page
    assert "PoPE widens the queries that PaTH reads: they cannot be composed." in page
    assert "Unsupported combinations" not in page_of(encoding("t5"))


# Tables.


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("encodings", "position_encodings"),
        ("combinations", "position_encodings"),
        ("normalizers", "normalizers"),
        ("attention types", "attention_types"),
    ],
)
def test_a_table_has_a_row_for_every_name(name, kind):
    lines = pages.fill(f"<!-- table: {name} -->").splitlines()
    assert len({line.count(" | ") for line in lines}) == 1
    assert [line.partition("]")[0] for line in lines[2:]] == [f"| [`{choice}`" for choice in REGISTRIES[kind]]


def test_the_tables_say_what_the_code_does():
    rows = {line.split("`")[1]: line for line in pages.combinations_table().splitlines()[2:]}
    ticks = {name: [cell.split()[0] for cell in row.split(" | ")[1:]] for name, row in rows.items()}
    assert ticks["alibi"] == ["✓"] * 7
    assert ticks["rope"] == ["✓"] * 6 + ["✗"]
    assert ticks["fox"] == ["✓", "✓", "✓", "✗", "✓", "✓", "✓"]
    assert ticks["xpos"] == ["✗", "✓", "✓", "✗", "✗", "✗", "✗"]
    assert "form='symmetric'" in rows["hard_alibi"]
    (path,) = [line for line in pages.encodings_table().splitlines() if line.startswith("| [`path`]")]
    assert "| `key_features`, `scores` | no such form | +17 |" in path
    assert "| `dynamic` | `factor` | ✗ |" in pages.scalings_table()
    assert "`rope+xpos`: RoPE and XPos each turn queries and keys and cannot be composed." in pages.compositions_list()
    assert overridden(encoding("fox").choice) == ["key_features", "bias"]


def test_every_task_has_a_row_and_a_section():
    rows = pages.fill("<!-- table: tasks -->").splitlines()[2:]
    assert [re.search(r"\[`(\w+)`\]\(#(\w+)\)", row).groups() for row in rows] == [
        (task.name, task.name) for task in by_skill()
    ]
    sections = re.split(r"^#### ", pages.fill("<!-- table: task sections -->"), flags=re.MULTILINE)[1:]
    for task, section in zip(by_skill(), sections, strict=True):
        assert section.startswith(f"`{task.name}` {{: #{task.name} }}\n\n{task_pages.prose(task.question)}")
        assert re.search(r"https://[^)]+\)\.$|https://\S+$", section.partition("\n### ")[0].strip())
        assert "Attributes" not in section
        for asked, answer in task.examples:
            assert f"- `{asked}` → `{answer}`\n" in section
        for name, default, meaning in task_pages.options_of(task):
            assert meaning, f"{task.name}: {name} stands in no Attributes of its class or its bases"
            assert f"| `{name}={default}` | " in section


def test_skills_come_in_their_order():
    headings = re.findall(r"^### (.*)$", pages.fill("<!-- table: task sections -->"), flags=re.MULTILINE)
    assert [heading.lower() for heading in headings] == [
        skill for skill in SKILLS if skill in {task.skill for task in by_skill()}
    ]


def test_an_unknown_table_is_an_error():
    with pytest.raises(KeyError, match="encoding of mine"):
        pages.fill("<!-- table: encoding of mine -->")


# Pictures.


def test_the_picture_of_an_encoding_is_what_it_adds_to_the_scores():
    added, drawn = pictures.added_to_scores(encoding("alibi"), is_causal=True)
    slopes = 2.0 ** -torch.tensor([2.0, 4.0, 6.0, 8.0])
    place = torch.arange(pictures.LENGTH)
    distances = (place[:, None] - place).float()
    seen = distances >= 0
    assert not drawn
    assert added.shape == (HEADS, pictures.LENGTH, pictures.LENGTH)
    assert added[:, ~seen].isnan().all()
    torch.testing.assert_close(added[:, seen], -slopes[:, None] * distances[seen], atol=1e-4, rtol=1e-4)


def test_no_encoding_adds_nothing_and_one_that_begins_empty_is_drawn():
    added, drawn = pictures.added_to_scores(encoding("none"), is_causal=False)
    assert not added.any()
    assert not drawn
    added, drawn = pictures.added_to_scores(encoding("cope"), is_causal=False)
    assert added.any()
    assert drawn
    assert "uses normally distributed parameters" in pages.page(encoding("cope"), drawn)


@pytest.mark.parametrize("name", ["rope", "sinusoidal", "coordinate", "xpos", "path", "fox"])
def test_an_encoding_acts_on_equal_tokens_in_its_picture(name):
    added, drawn = pictures.added_to_scores(encoding(name), is_causal=True)
    assert added.nan_to_num().abs().max() > 0.1
    assert not drawn


def test_the_picture_of_an_attention_type_shows_its_weights():
    sliding = pictures.weights_seen(Choice("attention_types", "sliding"), is_causal=True)
    place = torch.arange(pictures.LENGTH)
    distances = place[:, None] - place
    assert torch.equal(sliding[0] > 0, (distances >= 0) & (distances < 8))
    lsh = pictures.weights_seen(Choice("attention_types", "lsh"), is_causal=False)
    torch.testing.assert_close(lsh.sum(-1), torch.ones(lsh.shape[:-1]))
    assert 0 < (lsh > 0).float().mean() < 0.5


def test_the_picture_of_a_normalizer_shows_its_weights():
    scores = pictures.needle_scores(20)
    assert torch.equal(scores[-8:], pictures.needle_scores(8))
    torch.testing.assert_close(pictures.weights_of(Choice("normalizers", "softmax"), 20), scores.softmax(-1))
    log_n = pictures.weights_of(Choice("normalizers", "log_n"), 20)
    factor = torch.log(torch.tensor(20.0)) / torch.log(torch.tensor(512.0))
    torch.testing.assert_close(log_n, (factor * scores).softmax(-1))


@pytest.mark.slow
@pytest.mark.parametrize(
    "choice", [encoding("hard_alibi"), *(choices(kind)[-1] for kind in ("normalizers", "attention_types"))]
)
def test_a_picture_is_small(choice):
    picture, _ = pages.draw(choice)
    image = Image.open(io.BytesIO(picture))
    assert image.width > 900
    assert len(picture) < 60_000


# The whole.


def test_the_manual_shows_the_file_that_is_tested():
    shown = files(ROOT / "docs" / "own_encoding.md")["recency.py"]
    tested = Path(own_encoding.__file__).read_text(encoding="utf-8")
    assert shown.split("\n", 1)[1] == tested.split("\n", 1)[1]


@pytest.mark.slow
def test_the_manual_builds_without_a_dead_link(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mkdocs and its theme
        from manual import pages as built

        monkeypatch.setattr(built, "draw", lambda choice: (b"", False))
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    for choice in ALL:
        page = (tmp_path / pages.page_of(choice).removesuffix(".md") / "index.html").read_text(encoding="utf-8")
        assert f"{choice.name}.png" in page
        assert "<!-- table" not in page
    overview = (tmp_path / "encodings" / "index.html").read_text(encoding="utf-8")
    assert overview.count("<td>") > 7 * len(REGISTRIES["position_encodings"])
    for name in [name for name in sys.modules if name.split(".")[0] == "manual"]:
        monkeypatch.delitem(sys.modules, name)
