"""What llama.cpp makes of a GGUF file, in a process of its own, by the wheel ``xllamacpp``.

Nothing here knows our model: the file alone decides. Shapes: T positions, N prompts, V vocabulary.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


def opened(path: Path, num_positions: int, threads: int) -> Any:
    """A server in this process; keys and values stay float32, so that they add no rounding of their own."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = num_positions
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.verbosity = 0
    params.warmup = False
    params.cpuparams.n_threads = threads
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return xllamacpp.Server(params)


def log_probabilities(server: Any, prompts: Sequence[list[int]], vocab_size: int) -> Tensor:
    """Log-probability of every token behind each prompt (N, V), in nats."""
    result_NV = torch.full((len(prompts), vocab_size), torch.nan)
    asked: dict[str, Any] = {"n_predict": 1, "n_probs": vocab_size, "temperature": 0, "cache_prompt": False}
    # it tells nothing where the document ends or a letter is not whole, so it has to write an "a";
    # what is asked for are the probabilities before that
    asked["logit_bias"] = [["a", 1000.0]]
    for i, prompt in enumerate(prompts):
        answer = server.handle_completions(asked | {"prompt": prompt})
        if "choices" not in answer:
            raise RuntimeError(f"llama.cpp does not answer: {answer}")
        for token in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            result_NV[i, token["id"]] = token["logprob"]
    return result_NV


def main(path: str, question: str, answer: str, vocab_size: str, threads: str) -> None:
    """Answer for the prompts in the file ``question`` into the file ``answer``, and say how quick it was."""
    asked = load_file(question)
    prompts = [asked[f"x{i}"][0].tolist() for i in range(len(asked) // 2)]
    server = opened(Path(path), max(map(len, prompts)) + 8, int(threads))
    start = time.perf_counter()
    found = log_probabilities(server, prompts, int(vocab_size))
    speed = sum(map(len, prompts)) / (time.perf_counter() - start)
    save_file({"log_probabilities": found, "tokens_per_s": torch.tensor(speed)}, answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
