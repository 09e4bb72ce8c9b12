"""Files that are whole or not there."""

import pytest

from bitnet_sweep import files


def test_replacing_keeps_the_old_file_after_an_error(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def half():
        with files.replacing(path) as temporary:
            temporary.write_text("ne")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_text_is_written_as_it_is(tmp_path):
    files.write_text(tmp_path / "x" / "a.txt", "é\r\n\n")
    assert (tmp_path / "x" / "a.txt").read_bytes() == "é\r\n\n".encode()


def test_json_refuses_what_is_not_finite(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_missing_files(tmp_path):
    assert files.read_json(tmp_path / "a.json") is None
    assert files.read_json_lines(tmp_path / "a.jsonl") == []


@pytest.mark.parametrize("cut", range(1, 9))
def test_unfinished_last_line_is_left_out(tmp_path, cut):
    """However many bytes of the last line are missing; a line is complete when its newline is."""
    path = tmp_path / "a.jsonl"
    files.append_line(path, '{"a": 1}')
    files.append_line(path, '{"b": 2}')
    path.write_bytes(path.read_bytes()[:-cut])
    rows = files.read_json_lines(path)
    assert rows == ([{"a": 1}, {"b": 2}] if cut == 1 else [{"a": 1}])


@pytest.mark.parametrize("line", ["{", "[1]", "1"])
def test_a_broken_line_in_the_middle_is_an_error(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"a": 1}}\n{line}\n{{"b": 2}}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:2"):
        files.read_json_lines(path)


@pytest.mark.parametrize("block", [1, 7, 8192], ids=lambda block: f"block {block}")
@pytest.mark.parametrize(
    "text", ["", '{"a": 1}', '{"a": 1}\n', '{"a": 1}\n{"b": 2}\n', '{"a": 1}\n\n', '{"a": 1}\n{"b": 2}\n{"c"']
)
def test_the_last_line_alone_is_the_last_of_all(tmp_path, text, block):
    """Against reading everything; a line without its newline may be cut off and does not count."""
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    rows = files.read_json_lines(path) if text.endswith("\n") else files.read_json_lines(path)[:2]
    expected = rows[-1] if text.count("\n") and rows else None
    assert files.read_last_json_line(path, block) == expected


def test_the_last_line_of_no_file_and_of_no_object(tmp_path):
    assert files.read_last_json_line(tmp_path / "a.jsonl") is None
    (tmp_path / "b.jsonl").write_text('{"a": 1}\n[1]\n')
    with pytest.raises(ValueError, match="last line"):
        files.read_last_json_line(tmp_path / "b.jsonl")
