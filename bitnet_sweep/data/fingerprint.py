"""The name of a config's token files: a hash of everything that decides what they hold."""

from __future__ import annotations

from bitnet_sweep.config import RunConfig, having, plain
from bitnet_sweep.data import sources, tokenizer
from bitnet_sweep.data.split import MIN_HELDOUT_TOKENS
from bitnet_sweep.identity import digest
from bitnet_sweep.roles import Role

FORMAT_VERSION = 1
"""Raised by hand whenever the same text and config would give other token files than before."""


def fingerprint(config: RunConfig) -> str:
    """16 hex digits, from the corpus's content, the tokeniser and the split; never from the seed.

    Reads every file once and loads neither torch nor pyarrow: about 0.05 s for the default corpus.
    What only a build can find out (a hub without network, a field that is missing, a text too short)
    is refused by :func:`bitnet_sweep.data.prepare`.

    Raises:
        ConfigError: ``data.path`` for files that are missing, empty, not UTF-8 or of another format;
            ``tokenizer`` for GPT-2's without its package, not cached and offline; ``tokenizer.path`` and
            ``tokenizer.vocab_size`` for a tokeniser's file.
    """
    return digest(
        {
            "format": FORMAT_VERSION,
            "corpus": sources.describe(config.data),
            "tokenizer": tokenizer.describe(config.tokenizer),
            "heldout_fraction": config.data.heldout_fraction,
            "min_heldout_tokens": MIN_HELDOUT_TOKENS,
            **{
                knob.key: plain(knob.of(config))
                for knob in having(Role.in_corpus | Role.added)
                if Role.path not in knob.role and not knob.is_as_before(config)
            },
        }
    )
