"""A grid of 10,000 finished runs: planned and skipped in seconds, at a cost per run that does not grow."""

import json
import time

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import open_dict

from bitnet_sweep.app import config_folder
from bitnet_sweep.compose import Composer, sweep_settings
from bitnet_sweep.store import FINISHED, Status
from bitnet_sweep.sweep.drive import drive, plan_runs
from bitnet_sweep.sweep.grid import make_grid, overrides_of, read_axes

TARGET_SECONDS = 10.0
"""DESIGN's for 10,000 runs, on one core that does nothing else; hence measured in processor time."""


def never(plan, name):
    raise AssertionError("there is nothing to launch")


def planned(words):
    """What the sweeper does up to the plan."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def load(overrides):
            config = loader.load_configuration("config", list(overrides), run_mode=RunMode.RUN)
            with open_dict(config):
                del config["hydra"]
            return config

        parser = OverridesParser.create(config_loader=loader)
        axes = read_axes(parser.parse_overrides(words), parser)
        compose = Composer(load, lambda key: bool(loader.get_group_options(key)))
        grid = make_grid(axes, sweep_settings(axes, load), compose)
    return plan_runs([(overrides_of(point), config) for point, config in grid.points])


def skipped(words):
    """Processor seconds of the whole command."""
    started = time.process_time()
    store, runs = planned(words)
    drive(store, runs, words, never)
    return time.process_time() - started


@pytest.mark.slow
def test_ten_thousand_finished_runs(corpus_file, tmp_path, capsys):
    words = [
        "model=ternary,full",
        "model.hidden=16,32",
        "wd2=range(0.0,0.045,0.01)",
        "model.num_heads=2",
        "steps=20",
        "data=text",
        f"data.path={corpus_file}",
        "tokenizer.vocab_size=300",
        f"store={tmp_path}",
    ]
    few, many = [*words, "seed=range(25)"], [*words, "seed=range(500)"]
    store, runs = planned(many)
    assert len(runs) == 10_000
    record = json.dumps({f"some/field{i}": i / 7 for i in range(40)} | {"step": 20, "val/loss": 5.0})
    for run in runs:
        status = Status(FINISHED, list(run.stage_ids), run.run_id, outcome="stuck").__dict__
        folder = store.run(run.run_id)
        folder.path.mkdir(parents=True)
        (folder.path / "status.json").write_text(json.dumps(status))  # not flushed to disk one by one
        folder.records_path.write_text(f"{record}\n" * 20)
    per_run_of_few = skipped(few) / 500
    seconds = skipped(many)
    assert "0 to train in 0 jobs" in capsys.readouterr().out
    assert seconds < TARGET_SECONDS
    assert seconds / len(runs) < 1.5 * per_run_of_few
