"""A W&B workspace and a W&B Report of a store, as code: ``python -m bitnet_sweep.dashboard``."""
