"""Lines of JSON as a store has them: whole, cut off, or broken."""

import pytest

from bitnet_sweep import files
from bitnet_sweep.store import codec


def test_no_file_is_no_lines(tmp_path):
    assert codec.read_json_lines(tmp_path / "a.jsonl") == []


@pytest.mark.parametrize("cut", range(1, 9))
def test_unfinished_last_line_is_left_out(tmp_path, cut):
    """However many bytes of the last line are missing; a line is complete when its newline is."""
    path = tmp_path / "a.jsonl"
    files.append_line(path, '{"a": 1}')
    files.append_line(path, '{"b": 2}')
    path.write_bytes(path.read_bytes()[:-cut])
    rows = codec.read_json_lines(path)
    assert rows == ([{"a": 1}, {"b": 2}] if cut == 1 else [{"a": 1}])


@pytest.mark.parametrize("line", ["{", "[1]", "1"])
def test_a_broken_line_in_the_middle_is_an_error(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"a": 1}}\n{line}\n{{"b": 2}}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:2"):
        codec.read_json_lines(path)


@pytest.mark.parametrize("block", [1, 7, 8192], ids=lambda block: f"block {block}")
@pytest.mark.parametrize(
    "text", ["", '{"a": 1}', '{"a": 1}\n', '{"a": 1}\n{"b": 2}\n', '{"a": 1}\n\n', '{"a": 1}\n{"b": 2}\n{"c"']
)
def test_the_last_line_alone_is_the_last_of_all(tmp_path, text, block):
    """Against reading everything; a line without its newline may be cut off and does not count."""
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    rows = codec.read_json_lines(path) if text.endswith("\n") else codec.read_json_lines(path)[:2]
    expected = rows[-1] if text.count("\n") and rows else None
    assert codec.read_last_json_line(path, block) == expected


def test_the_last_line_of_no_file_and_of_no_object(tmp_path):
    assert codec.read_last_json_line(tmp_path / "a.jsonl") is None
    (tmp_path / "b.jsonl").write_text('{"a": 1}\n[1]\n')
    with pytest.raises(ValueError, match="last line"):
        codec.read_last_json_line(tmp_path / "b.jsonl")
