"""Whatever is wrong with a command: one line, the key, what is allowed."""

import re

import pytest
from hydra import compose, initialize_config_dir

from bitnet_sweep.app import config_folder, to_run_config
from bitnet_sweep.config import ConfigError, DataName, OptimizerName, TokenizerName, Weights, plain
from bitnet_sweep.explain import as_config_error


def composed(*overrides):
    """What the command line makes of these overrides."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return to_run_config(compose("config", overrides=list(overrides)))


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("hiden=3", r"hiden=\?: no such key; allowed: task, task_options, task_version, scale, model, lr,"),
        ("model.hiden=3", r"model.hiden=\?: no such key; did you mean model.hidden\? allowed: hidden,"),
        ("+model.hiden=3", r"model.hiden=\?: no such key; did you mean model.hidden\? "),
        ("model.hidden=abc", r"model.hidden=abc: must be a whole number"),
        ("model.hidden=2.5", r"model.hidden=2.5: must be a whole number"),
        ("wd2=abc", r"wd2=abc: must be a number"),
        ("optimizer.clip=abc", r"optimizer.clip=abc: must be a number or null"),
        ("model.tied=7x", r"model.tied=7x: must be true or false"),
        (
            "optimizer.name=nadam",
            r"optimizer.name=nadam: must be one of adam_l2, adamw, sgd, lion, muon, torch",
        ),
        (
            "optimizer=nadam",
            r"optimizer=nadam: no such choice; did you mean adamw\? allowed: .*, torch; one of your own",
        ),
        ("optimizer.momentum=0.5", r"optimizer.momentum=0.5: optimizer=adam_l2 does not use it; .*: 0.95$"),
        ("optimizer=torch", r"optimizer.torch_class=None: optimizer=torch needs the name of a class"),
        (
            "optimizer.options.beta=3",
            r"optimizer.options.beta=\?: beside optimizer=torch .*: 'optimizer.options=\{beta:VALUE\}'$",
        ),
        (
            "optimizer.limit=3",
            r"optimizer.limit=\?: no such key; an option of a part is optimizer.options.limit; allowed",
        ),
        (
            "model.cut=3",
            r"model.cut=\?: .*part is model.quantiser_options.cut or model.options.cut; allowed: hidden,",
        ),
        ("metrics=margin", r"metrics=\?: must be a list, in brackets: 'metrics=\[ONE,OTHER\]'$"),
        ("plugins=mine", r"plugins=\?: must be a list, in brackets: 'plugins=\[ONE,OTHER\]'$"),
        ("plugins=[no_such.module]", r"plugins=no_such.module: there is no such module; allowed: "),
        ("optimizer.options=3", r"optimizer.options=3: optimizer=adam_l2 does not use it; .*: null$"),
        ("scale=huge", r"scale=huge: no such choice; allowed: notes, seed, small, smoke"),
        ("model.weights=binary", r"model.weights=binary: must be one of ternary, full"),
        ("steps=1", r"steps=1: must be a whole number, 2 or more"),
        ("lr=nan", r"lr=nan: must be a finite number"),
        ("lr=-1", r"lr=-1.0: must be a finite number, greater than 0"),
        ("boundary=1.5", r"boundary=1.5: must lie strictly between 0 and 1"),
        ("model.hidden=30", r"model.hidden=30: must be divisible by model.num_heads=4"),
        ("data=text", r"data.path=None: data=text needs a file"),
        ("tokenizer.vocab_size=100", r"tokenizer.vocab_size=100: must be 257 or more"),
        ("stages=[{steps:3}]", r"stages"),
        ("stages=3", r"stages=\?: must be a list"),
        ("stages=[3]", r"stages\[0\]=\?: must be a group with the keys steps, weight_decay, lr"),
        (
            "stages=[{stepz:3}]",
            r"stages\[\?\].stepz=\?: no such key; did you mean stages\[\?\].steps\? allowed: steps,",
        ),
        ("stages=[{steps:3,lr:3}]", r"stages\[\?\].lr=\?: must be a list"),
        ("stages=[{weight_decay:a}]", r"stages\[\?\].weight_decay=a: must be a number"),
        ("stages=[{lr:[5]}]", r"stages\[\?\].lr\[0\]=\?: must be a group with the keys step, lr"),
        ("stages=[{lr:[{step:x}]}]", r"stages\[\?\].lr\[\?\].step=x: must be a whole number"),
        ("lr=", r"lr=: must be a number"),
        ("lr", r"lr=\?: is written key=value$"),
        ("data.path=~/a", r"data.path=~/a: is no value by Hydra's grammar; .*'data.path=\"~/a\"'$"),
        ('track.project=<"b', r""".*'track.project="<\\"b"'$"""),
        ("sweep.tolerance=0.1", r"sweep.tolerance=0.1: needs sweep.bisect"),
        ("sweep.until=stuck", r"sweep.until=stuck: needs sweep.bisect"),
        ("sweep.name=" + 129 * "x", r"sweep.name=x*: 1 to 128 letters"),
        ("track.timeout_seconds=1e12", r"track.timeout_seconds=1000.*less than 86400"),
    ],
)
@pytest.mark.slow
@pytest.mark.few(10)
def test_one_line(override, line):
    with pytest.raises(Exception) as caught:  # noqa: PT011  (Hydra, OmegaConf and our own errors)
        composed(override)
    error = as_config_error(caught.value)
    assert isinstance(error, ConfigError)
    assert "\n" not in str(error)
    assert re.match(line, str(error)), str(error)


def test_defaults():
    config = composed()
    assert (config.scale, config.steps, config.model.hidden) == ("small", 2000, 256)
    assert (config.tokenizer.name, config.tokenizer.vocab_size) == (TokenizerName.bpe, 4096)
    assert (config.optimizer.name, config.data.name) == (OptimizerName.adam_l2, DataName.world_factbook)


def test_seed_scale_is_the_notes_setting():
    config = composed("scale=seed")
    assert (config.tokenizer.name, config.tokenizer.vocab_size) == (TokenizerName.gpt2, 50257)
    assert (config.steps, config.batch_size, config.sequence_length) == (10_000, 4, 32)
    assert (config.model.num_layers, config.model.num_heads, config.model.ffn) == (4, 4, 512)
    assert (config.optimizer.beta1, config.optimizer.beta2, config.optimizer.clip) == (0.9, 0.95, 1.0)
    assert (config.lr, config.wd1, config.wd2, config.optimizer.eps) == (1.5e-3, 0.1, 0.0, 1e-8)


def test_scale_gives_way_to_the_command_line():
    config = composed("scale=seed", "tokenizer=bpe", "tokenizer.vocab_size=300", "steps=300")
    assert (config.tokenizer.name, config.tokenizer.vocab_size) == (TokenizerName.bpe, 300)
    assert (config.steps, config.probe_every_steps) == (300, 15)


def test_groups():
    config = composed("model=full", "optimizer=adamw", "schedule=trilm", "steps=300", "track=none")
    assert (config.model.weights, config.optimizer.name) == (Weights.full, OptimizerName.adamw)
    assert [stage.steps for stage in config.stages] == [150, 50, 100]
    assert plain(config.track)["name"] == "none"


def test_written_stages():
    stages = "[{steps:10,weight_decay:0.1,lr:[{step:0,lr:0},{step:10,lr:1e-3}]},"
    stages += "{steps:10,weight_decay:0.0,lr:[{step:0,lr:1e-3},{step:10,lr:0}]}]"
    config = composed("steps=20", f"stages={stages}")
    assert [(stage.steps, stage.weight_decay) for stage in config.stages] == [(10, 0.1), (10, 0.0)]


@pytest.mark.parametrize("paths", ["a.txt", "[a.txt,b/*.jsonl]"])
def test_paths_may_be_one_or_many(paths):
    assert composed("data=text", f"data.path={paths}").data.paths == paths.strip("[]").split(",")
