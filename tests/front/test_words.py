"""Values of Python reach a run as they are, whatever Hydra's grammar would make of their text."""

from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from bitnet_sweep.api.words import words_of
from bitnet_sweep.config import ConfigError, Precision


def _read(word):
    return OverridesParser.create().parse_override(word).value()


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs", "Cc"])),
)


@given(st.one_of(SCALARS, st.lists(SCALARS, max_size=3)))
def test_a_setting_is_read_as_the_value_it_was(value):
    try:
        (word,) = words_of({}, {"data.path": value})
    except ConfigError:
        assert "${" in str(value)
        return
    read = _read(word)
    assert type(read) is type(value)
    assert read == value


@pytest.mark.parametrize(
    "text",
    [
        "1e3",
        "007",
        "null",
        "true",
        "a,b",
        "a b",
        "it's",
        'say "x"',
        "[a]",
        "{a:1}",
        "~/x",
        "2026_11_28",
        "",
        "a=b",
        "glob(*)",
        "range(1,3)",
        "back\\slash",
        "ends\\",
        '\\"',
        "größe",
        "# no",
        "$x",
        "a:b",
        " blank ",
    ],
)
def test_text_stays_text(text):
    (word,) = words_of({}, {"sweep.name": text})
    assert _read(word) == text
    (word,) = words_of({"data.path": [text, "other"]}, {})
    parsed = OverridesParser.create().parse_override(word)
    assert [getattr(value, "text", value) for value in parsed.sweep_iterator()] == [text, "other"]


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([0.0, 0.05], "wd2=0.0,0.05"),
        ((0.0,), "wd2=0.0"),
        (0.05, "wd2=0.05"),
        (range(3), "wd2=0,1,2"),
        (np.array([1e-5, 0.1]), "wd2=1e-05,0.1"),
        (np.float64(0.1), "wd2=0.1"),
        (np.int64(3), "wd2=3"),
        ([[1, 2], [3]], "wd2=[1,2],[3]"),
        (Precision.fp32, "wd2=fp32"),
        (Path("a/b"), "wd2=a/b"),
    ],
)
def test_an_axis(values, word):
    assert words_of({"wd2": values}, {}) == [word]


@pytest.mark.parametrize(
    ("grid", "settings", "told"),
    [
        ({"wd2": []}, {}, "wd2=[]: has no values"),
        ({"wd2": [0.0]}, {"wd2": 0.1}, "is in the grid and among the settings"),
        ({"--config-dir": "x"}, {}, "is no key"),
        ({"wd2=0.1 seed": 1}, {}, "is no key"),
        ({1: 2}, {}, "is no key"),
        ({"~track": 1}, {}, "is no key"),
        ({"sweep.name": "${oc.env:HOME}"}, {}, "cannot be written"),
        ({"sweep.name": object()}, {}, "cannot be written"),
        ({"sweep.name": b"x"}, {}, "cannot be written"),
    ],
)
def test_what_cannot_be_said_is_refused(grid, settings, told):
    with pytest.raises(ConfigError, match=told.replace("[", r"\[").replace("$", r"\$")):
        words_of(grid, settings)


def test_numbers_keep_every_digit():
    values = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, 2**63 - 1, -0.0]
    (word,) = words_of({"lr": values}, {})
    read = list(OverridesParser.create().parse_override(word).sweep_iterator())
    assert read == values
    assert repr(read[-1]) == "-0.0"
