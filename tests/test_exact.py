"""Numbers as they were given."""

import pytest

from bitnet_sweep.exact import number_text, read_number, scientific

SEED = 1764331200123456789


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (SEED, SEED),
        (str(SEED), SEED),
        (2**70 + 1, 2**70 + 1),
        ("1e-3", 0.001),
        (1.0, 1),
        ("-0.0", 0),
        (True, None),
        (None, None),
        ("adamw", None),
        ("nan", None),
        (float("inf"), None),
        ([1], None),
    ],
    ids=str,
)
def test_read(value, number):
    assert read_number(value) == number


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((1, 1.0, 1e0), "1"),
        ((0, 0.0, -0.0), "0"),
        ((1e-3, 0.001), "0.001"),
        ((0.1 + 0.2,), "0.30000000000000004"),
        ((10**16, 1e16), "10000000000000000"),
        ((SEED,), str(SEED)),
        ((1e-9,), "1e-09"),
    ],
    ids=str,
)
def test_text(values, text):
    assert {number_text(value) for value in values} == {text}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.5e-3, "1.5e-3"),
        (1e-5, "1e-5"),
        (12345.5, "1.23455e4"),
        (-2e-3, "-2e-3"),
        (1 / 300, "3.3333333333333335e-3"),
    ],
)
def test_scientific(value, text):
    assert scientific(value) == text
    assert float(text) == value
