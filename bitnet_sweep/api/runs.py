"""One run of a store: what it was asked to do, what became of it, and its model to write text with."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bitnet_sweep.config import ConfigError, RunConfig, TokenizerName, check_whole
from bitnet_sweep.find import find_run, run_names
from bitnet_sweep.identity import stage_ids
from bitnet_sweep.paths import expanded
from bitnet_sweep.records import LOG_FIELDS
from bitnet_sweep.stages import resolve
from bitnet_sweep.store import Folder, Status, Store
from bitnet_sweep.store.evaluations import Score
from bitnet_sweep.store.liveness import standing
from bitnet_sweep.store.outcome import outcome_text

if TYPE_CHECKING:
    import pandas as pd
    from tokenizers import Tokenizer
    from torch import Tensor

    from bitnet_sweep.model.interface import Model

DEFAULT_TOKENS = 40


def open_run(store: str | Path, run: str) -> OpenRun:
    """Open a run; its files are read when they are asked for.

    Args:
        store: the folder that holds ``runs/``.
        run: its id, the beginning of its id, its name, or words of its name that no other run has all of.

    Raises:
        ConfigError: there is no such store, or not exactly one such run.
    """
    root = expanded(store)
    run_id = find_run(root, run)
    return OpenRun(root, run_id, run_names(Store(root))[run_id])


@dataclass(frozen=True)
class OpenRun:
    """A run of a store."""

    store: Path
    run_id: str
    name: str = field(default="")

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self._folder.path

    @cached_property
    def config(self) -> RunConfig:
        """The whole config it was trained with.

        Raises:
            ConfigError: it has not begun, or its config cannot be read.
        """
        try:
            return resolve(self._folder.config())
        except (OSError, ConfigError) as error:
            raise ConfigError("RUN", self.run_id, f"its config cannot be read ({error})") from error

    @property
    def records(self) -> pd.DataFrame:
        """Its records so far, one row each; ``attrs["units"]`` has the unit of each field."""
        import pandas as pd

        from bitnet_sweep.api.frames import units_of

        frame = pd.DataFrame(self._folder.records())
        frame.attrs["units"] = units_of(frame)
        return frame

    @property
    def training_loss(self) -> pd.DataFrame:
        """Its training log so far: the training loss and the learning rate every ``log_every_steps``."""
        import pandas as pd

        from bitnet_sweep.api.frames import units_of

        frame = pd.DataFrame(self._folder.log(), columns=list(LOG_FIELDS))
        frame.attrs["units"] = units_of(frame)
        return frame

    @property
    def samples(self) -> pd.DataFrame:
        """The text that its probes wrote: step, prompt, continuation."""
        import pandas as pd

        return pd.DataFrame(self._folder.samples())

    @property
    def evaluations(self) -> pd.DataFrame:
        """What ``bitnet-sweep evaluate`` found: a row for each task file, task and metric.

        ``content`` tells two versions of a task file apart; ``n`` is the number of documents.

        Raises:
            ConfigError: the record of an evaluation cannot be read.
        """
        import pandas as pd

        from bitnet_sweep.report.evaluated import scores_in

        found: list[Score] = []
        for path in Store(self.store).evaluations(self.run_id):
            problems: list[str] = []
            found += scores_in(path, problems)
            if problems:
                raise ConfigError("RUN", self.run_id, f"evaluation {path.stem}: {problems[0]}")
        return pd.DataFrame(found, columns=list(Score._fields))

    @property
    def status(self) -> Status | None:
        """What ``status.json`` says; None of a run that has not begun."""
        return self._folder.status()

    @property
    def state(self) -> str:
        """*finished*, *running*, *failed*, *interrupted*, *died* or *waiting*."""
        return standing(self._folder)[2]

    @property
    def outcome(self) -> str | None:
        """What became of it: *healthy*, *recovered*, *stuck*, *late collapse* or *diverged*; None before."""
        return self.status.outcome if self.status else None

    @property
    def marks(self) -> list[str] | None:
        """What else is to be said of the outcome, such as *hollow*; None where it is not known."""
        return self.status.marks if self.status else None

    @cached_property
    def model(self) -> Model:
        """Its model with the final weights, on the CPU.

        Raises:
            ConfigError: it is not finished, or its weights were not kept.
        """
        from bitnet_sweep.loading import load_run  # late: it imports torch

        self.config.require_transformer(self.run_id)
        self._final_path()
        return load_run(self.store, self.run_id)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The tensors that it left at its end, by name: of the transformer its weights.

        Raises:
            ConfigError: as of :attr:`model`.
        """
        from safetensors.torch import load_file

        return load_file(self._final_path())

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokeniser it was trained with.

        Raises:
            ConfigError: the store does not have it any more.
        """
        from bitnet_sweep.data.tokenizer import load_gpt2, open_tokenizer
        from bitnet_sweep.data.tokens import TOKENIZER

        self.config.require_transformer(self.run_id)
        tokens = Store(self.store).tokens
        if self.fingerprint is not None:
            return open_tokenizer(tokens / f"{self.fingerprint}.{TOKENIZER}")
        if self.config.tokenizer.name is TokenizerName.gpt2:
            return load_gpt2()
        allowed = f"its tokeniser is not in {tokens}; the command that trained it makes it again"
        raise ConfigError("RUN", self.run_id, allowed)

    @cached_property
    def fingerprint(self) -> str | None:
        """How the names of its token files begin; None where the store does not have its tokeniser."""
        from bitnet_sweep.data.tokens import TOKENIZER

        for path in sorted(Store(self.store).tokens.glob(f"*.{TOKENIZER}")):
            name = path.name.removesuffix(f".{TOKENIZER}")
            # the run's id is made of the fingerprint, so it tells which one is its own
            if stage_ids(self.config, name)[-1] == self.run_id:
                return name
        return None

    def generate(self, prompt: str, max_tokens: int = DEFAULT_TOKENS) -> str:
        """The text that the model thinks most likely to follow, token by token.

        The model sees as many tokens as a row of its training had. An empty prompt is the start of a
        document.

        Args:
            prompt: any text.
            max_tokens: length of what follows.

        Raises:
            ConfigError: as of :attr:`model` and :attr:`tokenizer`; or the model has diverged.
        """
        import numpy as np

        from bitnet_sweep.data.tokenizer import separator_id
        from bitnet_sweep.measure.samples import continuations

        check_whole("max_tokens", max_tokens)
        ids = self.tokenizer.encode(prompt, add_special_tokens=False).ids or [separator_id(self.tokenizer)]
        made = continuations(self.model, np.array([ids]), self.config.row_targets, max_tokens)
        if made is None:
            raise ConfigError("RUN", self.run_id, "its model predicts no finite number (it diverged)")
        text: str = self.tokenizer.decode(made[0].tolist(), skip_special_tokens=False)
        return text

    def _final_path(self) -> Path:
        if not self._folder.final_path.is_file():
            allowed = f"has no final weights ({self.state}; weights are kept by sweep.keep_final=true)"
            raise ConfigError("RUN", self.run_id, allowed)
        return self._folder.final_path

    @property
    def _folder(self) -> Folder:
        return Store(self.store).run(self.run_id)

    def __repr__(self) -> str:
        return f"<run {self.run_id} ({self.name}): {self._told()}>"

    def _repr_html_(self) -> str:
        return f"<p>run <code>{self.run_id}</code> {html.escape(self.name)}: {html.escape(self._told())}</p>"

    def _told(self) -> str:
        outcome = outcome_text(self.outcome, self.marks) if self.outcome else ""
        return ", ".join(word for word in (self.state, outcome) if word)
