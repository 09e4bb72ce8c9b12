"""What was typed reaches the run as that, or is refused."""

import re

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from bitnet_sweep.config import ConfigError
from bitnet_sweep.sweep.typed import check_as_typed


def check(word):
    check_as_typed(OverridesParser.create().parse_overrides([word]))


@pytest.mark.parametrize(
    "word",
    [
        "sweep.name=2026_11_28",
        "sweep.name=1e3",
        "sweep.name=1234567890123e45",
        "sweep.name=true",
        "store=1e3",
        "store=1.50",
        "store=+5",
        "track.project=1_0",
        "track.entity=1e3",
        "track.tags=[a,1_0]",
        "data.path=2024_01",
        "data.path=[a.txt,2024_01]",
        "data.text_field=a,1_0",
        "wd2=1e-400",
        "wd2=0.0,1e-400",
        "sweep.exclude=[{wd2:1e-400}]",
        "wd2=9007199254740993",
        "++optimizer.clip=0,9007199254740993",
    ],
)
def test_another_value_than_typed_is_refused(word):
    with pytest.raises(
        ConfigError,
        match=f"^{re.escape(word.lstrip('+').partition('=')[0])}=.*: .*(quoted|too small|more digits)",
    ):
        check(word)


@pytest.mark.parametrize(
    "word",
    [
        "sweep.name=12",
        "sweep.name='2026_11_28'",
        "sweep.name=2026-11-28",
        "store=007",
        "track.tags=[a,5]",
        "track.entity=null",
        "seed=1_000",
        "seed=9007199254740993",
        "wd2=9007199254740992",
        "wd2=0,0.0,-0.0,0e5",
        "wd2=range(0,0.05,0.01)",
        "wd2=5e-324",
        "model.tied=true",
        "sweep.exclude=[{model.hidden:64,wd2:0.0}]",
        "optimizer.clip=null",
        "scale=smoke,small",
        "+new=1e3",
        "~track",
    ],
)
def test_what_arrives_as_typed(word):
    check(word)
