"""Text source -> token files (memory-mapped) -> ``batch_at(step)``.

``fingerprint`` names the token files of a config cheaply and refuses input that cannot be read;
``prepare`` builds them once and maps them; ``Batches`` cuts training batches; ``heldout_windows``,
``text_contexts`` and ``prompts`` cut the fixed held-out text that the measures read.
"""

from bitnet_sweep.data.batches import Batches
from bitnet_sweep.data.fingerprint import fingerprint
from bitnet_sweep.data.heldout import heldout_windows, prompts, text_contexts
from bitnet_sweep.data.tokens import Corpus, prepare

__all__ = ["Batches", "Corpus", "fingerprint", "heldout_windows", "prepare", "prompts", "text_contexts"]
