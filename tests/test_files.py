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
