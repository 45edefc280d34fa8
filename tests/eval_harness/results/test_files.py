"""Result files are complete, or refused by name."""

import pyarrow.parquet as pq
import pytest

from eval_harness.errors import HarnessError
from eval_harness.results.files import read_json, read_table, replacing, write_json, write_table
from eval_harness.results.schemas import EXAMPLES, POSITIONS


pytestmark = pytest.mark.versions
POSITION = {"length": 3, "position": 0, "right": 5, "total": 8, "loss": 0.25}


def test_json_comes_back_as_it_was_and_what_is_not_finite_as_null(tmp_path):
    path = tmp_path / "deep" / "value.json"
    write_json(path, {"a": [1, 2.5, float("nan")], "b": {"c": float("inf"), "d": "≥"}, "e": (1, None)})
    assert read_json(path) == {"a": [1, 2.5, None], "b": {"c": None, "d": "≥"}, "e": [1, None]}
    assert path.read_text().endswith("\n")


def test_a_table_comes_back_as_it_was(tmp_path):
    path = tmp_path / "positions.parquet"
    write_table(path, [POSITION], POSITIONS)
    assert read_table(path) == [POSITION]
    assert pq.read_schema(path).equals(POSITIONS)


@pytest.mark.parametrize("row", [POSITION | {"typo": 1}, {"length": 3, "position": 0, "right": 5}])
def test_columns_that_the_schema_does_not_know_or_misses_are_refused(tmp_path, row):
    with pytest.raises(ValueError, match=r"positions\.parquet: columns .*(typo|total)"):
        write_table(tmp_path / "positions.parquet", [row], POSITIONS)
    assert list(tmp_path.iterdir()) == []


def test_a_nullable_column_may_be_left_out(tmp_path):
    row = {name: 0 for name in EXAMPLES.names if name != "ponder_steps"} | {"exact": False}
    write_table(tmp_path / "examples.parquet", [row], EXAMPLES)
    assert read_table(tmp_path / "examples.parquet")[0]["ponder_steps"] is None


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, 1)

    def cut_off():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_off()
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]
    assert read_json(path) == 1


def test_new_files_have_the_usual_permissions(tmp_path):
    write_json(tmp_path / "value.json", 1)
    (tmp_path / "plain").touch()
    assert (tmp_path / "value.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(HarnessError, match=r"There is no file .*gone\.json"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(HarnessError, match=r"There is no file .*gone\.parquet"):
        read_table(tmp_path / "gone.parquet")
