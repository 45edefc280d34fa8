"""The report of a study, as files."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from eval_harness.errors import HarnessError
from eval_harness.reporting import make_report, print_summary
from eval_harness.reporting.groups import group_results
from eval_harness.reporting.page import headline
from eval_harness.results.files import read_json, read_table, write_json, write_table
from eval_harness.results.folders import load_study
from eval_harness.results.schemas import LENGTHS, SUMMARY
from tests.eval_harness.fake_study import MODELS, TASKS, FakeModel, write_run, write_study


VOID = {"meta", "br", "img", "hr", "link", "input"}


class Elements(HTMLParser):
    """Names, attributes and text of a page; complains where tags do not nest."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.identifiers, self.said = [], [], [], []
        self.feed(page)
        self.text = " ".join(" ".join(self.said).split())

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        self.identifiers += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        self.identifiers += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.said.append(data)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("page") / "fake", models=MODELS[2:], seeds=(1, 2), examples=64)


@pytest.fixture(scope="module")
def report(study):
    return make_report(study)


@pytest.fixture(scope="module")
def page(report):
    return Elements(report.read_text(encoding="utf-8"))


def test_the_report_lies_in_the_study_with_figures_and_data(study, report):
    assert report == study / "report" / "report.html"
    names = {path.relative_to(report.parent).as_posix() for path in report.parent.rglob("*.*")}
    figures = {
        f"figures/{task.name}_{task.format}_L20_to99_{kind}.{suffix}"
        for task in TASKS
        for kind in ("reach", "accuracy", "compute")
        for suffix in ("svg", "png")
    }
    assert names == {"report.html", "summary.json", "summary.parquet"} | figures


def test_the_page_asks_nothing_of_anyone(report, page):
    assert page.open == []
    tags = {tag for tag, _ in page.seen}
    assert tags.isdisjoint({"script", "link", "img", "iframe", "object", "image"})
    for _, attributes in page.seen:
        for name in ("src", "href", "xlink:href", "srcset"):
            assert (attributes.get(name) or "#").startswith("#")
    text = report.read_text(encoding="utf-8")
    assert "@import" not in text
    assert set(re.findall(r"url\((.)", text)) <= {"#"}


def test_identifiers_are_unique_and_links_lead_somewhere(page):
    assert len(page.identifiers) == len(set(page.identifiers))
    targets = {attributes["href"][1:] for tag, attributes in page.seen if tag == "a"}
    assert targets
    assert targets <= set(page.identifiers)


def test_the_page_says_what_it_has_to(page):
    for sentence in (
        "Does anything made up reach far?",
        "2 seeds per model, where there are fewest: an illustration, not a claim",
        "Wilson intervals speak of one checkpoint",
        "Did not learn: transformer-sinusoidal.",
        "longreach run fake",
        "Not finished majority-lstm-interrupted",
        "0123456789abcdef0123456789abcdef01234567, with uncommitted changes",
        "01" * 32,
        "majority, parallel format, with <bos>, greedy decoding, L = 20, tested up to 5 L, 64 examples a length",
    ):
        assert sentence in page.text
    assert sum(tag == "svg" for tag, _ in page.seen) == 6


def test_the_summary_has_a_row_per_run(study, report):
    table = pq.read_table(report.parent / "summary.parquet")
    assert table.schema.equals(SUMMARY)
    assert table.num_rows == len(load_study(study)) == 12
    data = json.loads((report.parent / "summary.json").read_text())
    assert data["runs"] == table.to_pylist()
    assert {model["model"]: model["seeds"]["fitted"] for model in data["models"] if model["task"] == "majority"} == {
        "transformer-alibi": 2,
        "transformer-sinusoidal": 0,
        "universal_transformer": 2,
    }


def test_the_same_results_make_the_same_report(study, report, tmp_path):
    again = make_report(study, tmp_path / "elsewhere")
    assert again == tmp_path / "elsewhere" / "report.html"
    for path in again.parent.rglob("*.*"):
        assert path.read_bytes() == (report.parent / path.relative_to(again.parent)).read_bytes()


def test_a_study_without_a_finished_run_has_nothing_to_report(tmp_path):
    (tmp_path / "study" / "begun").mkdir(parents=True)
    with pytest.raises(HarnessError, match=r"No run of the study .* is finished"):
        make_report(tmp_path / "study")
    with pytest.raises(HarnessError, match=r"No run of the study .* is finished"):
        print_summary(tmp_path / "study")


def test_a_results_file_cut_in_half_is_named(tmp_path):
    path = write_run(tmp_path / "study", examples=32) / "evaluations" / "cell-1" / "lengths.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(HarnessError, match=r"cell-1/lengths\.parquet is not a complete Parquet file"):
        make_report(tmp_path / "study")


def test_one_run_scored_at_lengths_of_the_users_choice_is_reported_without_strata(tmp_path):
    path = write_run(tmp_path / "study", examples=32) / "evaluations" / "cell-1" / "lengths.parquet"
    rows = [row | {"split": "reach"} if row["length"] > 20 else row for row in read_table(path)]
    write_table(path, rows, LENGTHS)
    page = Elements(make_report(tmp_path / "study").read_text(encoding="utf-8"))
    assert sum(tag == "svg" for tag, _ in page.seen) == 2


def test_names_are_text_and_never_markup(tmp_path):
    write_run(tmp_path / "study", FakeModel("<b>&lstm", 400.0), examples=32)
    write_json(tmp_path / "study" / "study.json", {"name": "<i>", "question": "<script>alert(1)</script>"})
    page = Elements(make_report(tmp_path / "study").read_text(encoding="utf-8"))
    assert {tag for tag, _ in page.seen}.isdisjoint({"b", "i", "script"})
    assert "<b>&lstm" in page.text


def test_runs_that_the_study_still_plans_are_counted(tmp_path):
    write_run(tmp_path / "study", examples=32)
    write_json(tmp_path / "study" / "study.json", {"name": "study", "question": "?", "runs": [{}, {}, {}]})
    page = Elements(make_report(tmp_path / "study").read_text(encoding="utf-8"))
    assert "Not begun: 2." in page.text


def test_two_evaluations_of_a_run_that_look_alike_keep_their_figures_apart(tmp_path):
    first = write_run(tmp_path / "study", examples=32) / "evaluations" / "cell-1"
    second = first.with_name("cell-2")
    second.mkdir()
    for path in first.iterdir():
        (second / path.name).write_bytes(path.read_bytes())
    write_json(second / "cell.json", read_json(first / "cell.json") | {"cell_id": "cell-2", "bos": False})
    page = make_report(tmp_path / "study")
    assert len(list((page.parent / "figures").glob("*_reach.svg"))) == 2


def test_the_headline_names_all_that_reach_furthest_and_how_many_fit(tmp_path):
    models = (FakeModel("one", 4000.0), FakeModel("other", 4000.0), FakeModel("short", 30.0))
    study = write_study(tmp_path / "study", models=models, tasks=TASKS[:1], seeds=(1, 2), examples=64)
    (group,) = group_results(load_study(study))
    assert headline(group) == "one (2 of 2 seeds fit), other (2 of 2 seeds fit) reach furthest: ≥ 99 (4.9 L)."


def test_the_terminal_summary_is_printed(study, capsys):
    print_summary(Path(study))
    assert "did not learn" in capsys.readouterr().out
