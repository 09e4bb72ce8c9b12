"""Named parts: how they are registered and found, what their options become, and what of them is recorded."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import yaml

from bitnet_sweep import parts
from bitnet_sweep.code import code
from bitnet_sweep.config import (
    ConfigError,
    ModelConfig,
    OptimizerConfig,
    OptimizerName,
    Reuse,
    RunConfig,
    SweepConfig,
    added_knobs,
    from_plain,
    plain,
)
from bitnet_sweep.doors import code_of_parts, settled
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.own_code import GROUP, in_a_line
from bitnet_sweep.parts import find, known, names, part, register
from bitnet_sweep.report.from_wandb import basic_keys
from bitnet_sweep.report.settings import setting_text
from bitnet_sweep.stages import resolve
from bitnet_sweep.sweep.grid import holds, read_exclusions
from bitnet_sweep.track import run_name
from bitnet_sweep.train.optimizer import make_optimizer
from bitnet_sweep.train.optimizer.any_torch import check_torch_class

MODULE = '''
"""Parts of a stranger."""

from dataclasses import dataclass

from bitnet_sweep.model.quantisers import AbsMean
from bitnet_sweep.parts import register


@dataclass
class Options:
    alpha: float = 0.5
    turns: int = 3


class Odd(AbsMean):
    """Odd.

    Not told.
    """


def register_parts():
    register("quantiser", "NAME", Odd, options=Options, version=2)


AT_ONCE
'''

pytestmark = pytest.mark.usefixtures("own_parts")

Write = Callable[..., str]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a module that registers quantiser NAME on import, and returns its own name."""
    monkeypatch.syspath_prepend(tmp_path)
    written: list[str] = []

    def write(name: str, at_once: str = "register_parts()") -> str:
        text = MODULE.replace("NAME", name).replace("AT_ONCE", at_once)
        (tmp_path / f"of_{name}.py").write_text(text)
        importlib.invalidate_caches()
        written.append(f"of_{name}")
        return f"of_{name}"

    yield write
    for made in written:
        sys.modules.pop(made, None)


def installed(folder: Path, *points: str) -> None:
    """What pip leaves of a package with these entry points."""
    info = folder / f"stranger_{len(list(folder.iterdir()))}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *points, ""]))
    parts.look_again()


def refusal(act: Callable[[], Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def quantised(name: str, **changes: Any) -> RunConfig:
    model = {key: value for key, value in changes.items() if key.startswith("quantiser")}
    rest = {key: value for key, value in changes.items() if key not in model}
    return resolve(RunConfig(model=ModelConfig(quantiser=name, **model), **rest))


def ids(config: RunConfig) -> list[str]:
    return stage_ids(config, "corpus")


class TestFinding:
    def test_a_built_in_part(self) -> None:
        found = find("quantiser", "absmean")
        assert found.is_built_in
        assert found.code() == {}
        assert found.load().__name__ == "AbsMean"

    @pytest.mark.parametrize("name", ["no_such", "no_such.module", "of_found.below", "os.path.x", "a..b", ""])
    def test_a_plugin_that_is_not_there_is_refused_whether_it_is_needed_or_not(
        self, module: Write, name: str
    ) -> None:
        plugin = module("found")
        settled(RunConfig(plugins=[plugin, "os.path", "importlib.metadata"]))
        assert plugin not in sys.modules, "nothing is imported for it"
        said = refusal(lambda: settled(RunConfig(plugins=[plugin, name])))
        assert said.startswith(f"plugins={name}: there is no such module; allowed: ")

    def test_by_plugin(self, module: Write) -> None:
        found = find("quantiser", "odd", [module("odd")])
        assert (found.version, found.doc, found.load().__name__) == ("2", "Odd.", "Odd")

    @pytest.mark.parametrize(
        ("point", "at_once"),
        [
            ("{name} = of_{name}", "register_parts()"),
            ("{name} = of_{name}:register_parts", ""),
            ("quantiser.{name} = of_{name}:register_parts", ""),
            ("{name} = of_{name}:Odd", "register_parts()"),
        ],
        ids=["a module", "a function", "with its kind", "the part itself"],
    )
    def test_by_entry_point(self, module: Write, tmp_path: Path, point: str, at_once: str) -> None:
        name = f"odd{len(point)}{len(at_once)}"
        module(name, at_once)
        installed(tmp_path, point.format(name=name))
        assert name in names("quantiser")
        assert known("quantiser", name) is None
        assert find("quantiser", name).version == "2"

    def test_another_kind_is_another_part(self, module: Write) -> None:
        plugin = module("apart")
        said = refusal(lambda: find("optimizer", "apart", [plugin]))
        assert said.startswith("optimizer=apart: no such optimizer; allowed: ")
        assert find("quantiser", "apart")

    def test_nothing_is_imported_for_what_is_built_in(self, module: Write) -> None:
        plugin = module("idle")
        find("quantiser", "absmean", [plugin])
        assert plugin not in sys.modules

    @pytest.mark.parametrize(
        ("plugin", "said"),
        [
            (None, "model.quantiser=mnie: no such quantiser; allowed: absmean"),
            ("no_such_module", "plugins=no_such_module: there is no such module; allowed: "),
            ("fails", "plugins=of_fails: its import fails: ZeroDivisionError: division by zero"),
            (
                "lacks",
                "plugins=of_lacks: its import fails: ModuleNotFoundError: No module named 'nothing_at_all'",
            ),
        ],
    )
    def test_what_is_not_there(self, module: Write, plugin: str | None, said: str) -> None:
        bad = {"fails": "1 / 0", "lacks": "import nothing_at_all"}
        plugins = [module(plugin, bad[plugin]) if plugin in bad else plugin] if plugin else []
        assert refusal(lambda: find("quantiser", "mnie", plugins, "model.quantiser")).startswith(said)

    @pytest.mark.parametrize(
        ("point", "said"),
        [
            ("hollow = of_hollow:Odd.__doc__", "model.quantiser=hollow: no such quantiser; allowed: "),
            (
                "hollow = of_hollow:gone",
                "quantiser=hollow: its package (of_hollow:gone) fails: AttributeError: ",
            ),
        ],
    )
    def test_an_entry_point_that_leads_nowhere(
        self, module: Write, tmp_path: Path, point: str, said: str
    ) -> None:
        module("hollow", "")
        installed(tmp_path, point)
        assert refusal(lambda: find("quantiser", "hollow", key="model.quantiser")).startswith(said)


class TestRegistering:
    def test_again_and_another(self, module: Write) -> None:
        again = importlib.import_module(module("twice"))
        again.register_parts()
        said = refusal(lambda: register("quantiser", "twice", str, version=1))
        assert said == "quantiser=twice: is registered twice: of_twice:Odd and builtins:str"

    def test_a_built_in_name_is_taken(self) -> None:
        assert "is registered twice" in refusal(lambda: register("quantiser", "absmean", str, version=1))

    def test_as_a_decorator(self) -> None:
        @part("task", "decorated", version="1b")
        def make() -> int:
            """Makes something.

            And more.
            """
            return 3

        found = find("task", "decorated")
        assert (found.version, found.doc, found.load()()) == ("1b", "Makes something.", 3)

    @pytest.mark.parametrize(
        ("kind", "name", "version", "options"),
        [
            ("colour", "red", 1, None),
            ("task", "not a name", 1, None),
            ("task", "unversioned", None, None),
            ("task", "no_dataclass", 1, int),
        ],
    )
    def test_what_is_no_part(self, kind: Any, name: str, version: Any, options: Any) -> None:
        with pytest.raises(TypeError):
            register(kind, name, str, version=version, options=options)

    def test_a_type_that_no_config_can_hold(self) -> None:
        with pytest.raises(TypeError, match="the option where of Bad must be of bool, int"):
            register("task", "bad", str, version=1, options=Bad)


@dataclass
class Bad:
    where: Path


class Colour(Enum):
    red = 1
    blue = 2


@dataclass
class Options:
    needed: int
    alpha: float = 0.5
    colour: Colour = Colour.red
    form: Literal["round", "square"] = "round"
    sizes: list[int] | None = None
    on: bool = False

    def __post_init__(self) -> None:
        if self.alpha < 0:
            raise ValueError("alpha must be 0 or more")


class TestOptions:
    @pytest.fixture(autouse=True)
    def registered(self, own_parts: None) -> None:
        register("task", "choosy", str, options=Options, version=1)

    def test_they_become_the_dataclass(self) -> None:
        given = {"needed": 2.0, "alpha": 1, "colour": "blue", "form": "square", "sizes": [1, 2], "on": True}
        made = find("task", "choosy").options_of(given, "task_options")
        assert made == Options(2, 1.0, Colour.blue, "square", [1, 2], True)
        assert (type(made.needed), type(made.alpha)) == (int, float)
        assert plain(made) == given

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({}, "o.needed=?: task choosy needs a value for it"),
            (
                {"alhpa": 1},
                "o.alhpa=1: task choosy has no such option; did you mean alpha? allowed: needed, alpha",
            ),
            ({"needed": 1.5}, "o.needed=1.5: must be a whole number"),
            ({"needed": True}, "o.needed=True: must be a whole number"),
            ({"needed": 1, "alpha": "x"}, "o.alpha=x: must be a number"),
            ({"needed": 1, "alpha": 2**53 + 1}, "o.alpha=9007199254740993: has more digits than"),
            (
                {"needed": 1, "alpha": -1},
                "o={'needed': 1, 'alpha': -1}: task choosy refuses it: alpha must be 0",
            ),
            ({"needed": 1, "colour": "green"}, "o.colour=green: must be one of red, blue"),
            ({"needed": 1, "form": "oval"}, "o.form=oval: must be one of round, square"),
            ({"needed": 1, "sizes": [1, "x"]}, "o.sizes=[1, 'x']: must be a list or null"),
            ({"needed": 1, "on": 1}, "o.on=1: must be true or false"),
        ],
    )
    def test_what_is_refused(self, given: dict[str, Any], said: str) -> None:
        assert refusal(lambda: find("task", "choosy").options_of(given, "o")).startswith(said)

    def test_a_part_without_options(self) -> None:
        absmean = find("quantiser", "absmean")
        assert absmean.options_of({}, "o") is None
        assert refusal(lambda: absmean.options_of({"a": 1}, "o")) == "o.a=1: quantiser absmean has no options"


class TestIdentity:
    def test_the_default_is_as_before(self) -> None:
        assert settled(resolve(RunConfig())) == resolve(RunConfig())

    def test_options_are_filled_in_and_the_version_noted(self, module: Write) -> None:
        config = settled(quantised("sure", plugins=[module("sure")]))
        assert config.model.quantiser_options == {"alpha": 0.5, "turns": 3}
        assert config.model.quantiser_version == "2"
        assert settled(config) == config

    def test_name_options_and_version_are_in_the_id_and_in_the_name(self, module: Write) -> None:
        plugin = module("told")
        one = settled(quantised("told", plugins=[plugin]))
        said = settled(quantised("told", plugins=[plugin], quantiser_options={"alpha": 0.5}))
        other = settled(quantised("told", plugins=[plugin], quantiser_options={"alpha": 0.25}))
        newer = resolve(RunConfig(model=ModelConfig(**vars(one.model) | {"quantiser_version": "3"})))
        assert ids(one) == ids(said)
        assert len({ids(config)[0] for config in (resolve(RunConfig()), one, other, newer)}) == 4
        assert run_name(other).endswith("told alpha=0.25 turns=3 v2")

    def test_a_config_of_a_store_says_it_all_and_imports_nothing(self, module: Write, tmp_path: Path) -> None:
        plugin = module("kept")
        with parts.apart():
            config = settled(quantised("kept", plugins=[plugin]))
        document = yaml.safe_dump(plain(config))
        del sys.modules[plugin]
        read = resolve(from_plain(yaml.safe_load(document)))
        assert read == config
        assert ids(read) == ids(config)
        assert run_name(read) == run_name(config)
        assert plugin not in sys.modules

    def test_another_version_than_asked_for(self, module: Write) -> None:
        plugin = module("aged")
        said = refusal(lambda: settled(quantised("aged", plugins=[plugin], quantiser_version="1")))
        assert said == "model.quantiser_version=1: quantiser aged is version 2 here"

    def test_the_source_is_recorded_and_counts_where_asked_for(self, module: Write, tmp_path: Path) -> None:
        def same_code() -> RunConfig:
            sweep = SweepConfig(reuse=Reuse.same_code)
            return settled(quantised("seen", plugins=["of_seen"], sweep=sweep))

        module("seen")
        before, recorded = ids(same_code()), code_of_parts(same_code())
        assert list(recorded) == ["quantiser seen: of_seen.py"]
        assert not recorded.keys() & code().keys()
        path = tmp_path / "of_seen.py"
        path.write_text(f"# only a comment\n{path.read_text()}")
        parts.look_again()
        assert (code_of_parts(same_code()), ids(same_code())) == (recorded, before)
        path.write_text(f"{path.read_text()}\nSPEED = 2\n")
        parts.look_again()
        assert code_of_parts(same_code()) != recorded
        assert ids(same_code()) != before

    def test_of_a_package_every_file_counts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        package = tmp_path / "whole_package"
        (package / "inner").mkdir(parents=True)
        for name in ("__init__.py", "helper.py", "inner/__init__.py"):
            (package / name).write_text("")
        (package / "inner" / "own.py").write_text(
            MODULE.replace("NAME", "whole").replace("AT_ONCE", "register_parts()")
        )
        monkeypatch.syspath_prepend(tmp_path)
        found = find("quantiser", "whole", ["whole_package.inner.own"]).code()
        files = ("__init__.py", "helper.py", "inner/__init__.py", "inner/own.py")
        assert list(found) == [f"quantiser whole: whole_package/{name}" for name in files]

    def test_points_are_left_out_by_an_option(self) -> None:
        (exclusion,) = read_exclusions([{"model.quantiser_options.alpha": 0.5}])
        points = [quantised("mine", quantiser_options={"alpha": alpha}) for alpha in (0.5, 0.25)]
        assert [holds(exclusion, each) for each in (*points, RunConfig())] == [True, False, False]

    def test_what_reports_say_of_options(self) -> None:
        config = {"model.quantiser_options": {"alpha": 0.5, "turns": 3}}
        assert setting_text(config, "model.quantiser_options") == "alpha=0.5, turns=3"
        assert setting_text({"model.quantiser_options": {}}, "model.quantiser_options") == "none"


class TestOptimizer:
    """One of a user's own goes by the adapter for any class of torch."""

    @pytest.fixture(autouse=True)
    def registered(self, own_parts: None) -> None:
        register("optimizer", "sign", "torch.optim:SGD", options=SignOptions, version=4)

    def config(self, name: str, **changes: Any) -> RunConfig:
        return resolve(RunConfig(optimizer=OptimizerConfig(OptimizerName.torch, torch_class=name, **changes)))

    def test_its_options_and_version_are_recorded(self) -> None:
        own = settled(self.config("sign", options={"momentum": 0.5})).optimizer
        assert (own.options, own.version) == ({"momentum": 0.5, "nesterov": False}, "4")
        check_torch_class(own)

    def test_a_class_of_torch_has_none(self) -> None:
        config = self.config("NAdam")
        assert settled(config) == config

    def test_it_is_made_with_its_options(self) -> None:
        own = settled(self.config("sign")).optimizer
        model = torch.nn.Linear(3, 2)
        torch.nn.init.zeros_(model.weight)
        optimizer = make_optimizer(model, own)
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step(0.5, 0.0)
        assert model.weight.tolist() == [[-0.5] * 3] * 2
        assert optimizer.state(model.weight)["momentum_buffer"].tolist() == [[1.0] * 3] * 2

    def test_what_is_refused(self) -> None:
        said = refusal(lambda: settled(self.config("sign", options={"momentun": 1})))
        assert said.startswith(
            "optimizer.options.momentun=1: optimizer sign has no such option; did you mean momentum?"
        )
        assert refusal(lambda: check_torch_class(self.config("nine").optimizer)).endswith("of your own")
        newer = self.config("sign", version="5")
        assert refusal(lambda: settled(newer)) == "optimizer.version=5: optimizer sign is version 4 here"


@dataclass
class SignOptions:
    momentum: float = 0.9
    nesterov: bool = False


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": "full"}, "model.quantiser=mine: needs model.weights=ternary"),
        ({"straight_through": "detached"}, "model.quantiser=mine: needs model.straight_through=exact"),
    ],
)
def test_where_it_means_nothing(changes: dict[str, str], said: str) -> None:
    document = {"precision": "fp32", "model": {"quantiser": "mine", **changes}}
    assert refusal(lambda: from_plain(document)) == said


def test_start_up_imports_neither_torch_nor_a_package() -> None:
    program = (
        "import sys; from bitnet_sweep.config import RunConfig; from bitnet_sweep.doors import settled\n"
        "settled(RunConfig()); print('torch' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "False"


def test_what_the_config_of_a_run_must_say_follows_from_its_task_and_its_model() -> None:
    assert {"model.hidden", "model.weights", "lr"} <= set(basic_keys({}))
    for own in ({"task": "mine"}, {"model.name": "mine"}):
        assert "lr" in basic_keys(own)
        assert not any(key.startswith("model.") for key in basic_keys(own))
    assert "model.quantiser" in added_knobs({"lr": 1})
    assert "model.quantiser" not in added_knobs({"model.name": "mine"}), "it has none that could be known"


def test_what_code_of_a_users_own_raises_names_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The innermost line of it, and not the one of torch or Python that it called."""
    (tmp_path / "of_mine.py").write_text(
        "import json, torch\n\ndef one():\n    return json.loads('{')\n\n"
        "def other():\n    return torch.ones(2) @ torch.ones(3)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    mine = importlib.import_module("of_mine")
    for function, line in ((mine.one, 4), (mine.other, 7)):
        with pytest.raises(Exception) as raised:  # noqa: PT011 - of any kind
            function()
        assert in_a_line(raised.value).endswith(f"({tmp_path / 'of_mine.py'}, line {line})")
    with pytest.raises(ConfigError) as refused:
        find("quantiser", "ternry")
    assert "ConfigError: quantiser=ternry: no such quantiser" in in_a_line(refused.value)


def test_a_name_that_is_nearly_one_is_guessed() -> None:
    with pytest.raises(ConfigError, match=r"no such quantiser; did you mean absmean\? allowed: absmean, "):
        find("quantiser", "absmeen")
