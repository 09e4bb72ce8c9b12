"""``bitnet-sweep export``: write, check, and only then put the export where it was asked for."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from bitnet_sweep import files
from bitnet_sweep.api.runs import OpenRun, open_run
from bitnet_sweep.config import ConfigError, Precision, TokenizerName
from bitnet_sweep.data.tokenizer import SEPARATOR, separator_id
from bitnet_sweep.export import check, gguf, gguf_check, hf
from bitnet_sweep.export.card import Told
from bitnet_sweep.export.held_out import Rows, held_out_rows
from bitnet_sweep.export.parts import Parts
from bitnet_sweep.model.transformer import Transformer

CHECK, CARD, PROVENANCE = "check.json", "README.md", "bitnet_sweep.json"
_HF_CHECK = {"transformers": "transformers", "accelerate": "accelerate"}
_GGUF_CHECK = {"xllamacpp": "xllamacpp"}


def export_to_hf(store: Path, text: str, folder: Path, *, checked: bool = True) -> str:
    """Export a run as a folder that ``transformers`` opens; what to tell.

    Args:
        store: the folder that holds ``runs/``.
        text: which run.
        folder: new, or empty.
        checked: ask ``transformers`` whether it is the same model.

    Raises:
        ConfigError: not exactly one such run, no weights, not representable, ``folder`` is in use, or the
            check could not run.
        check.CheckError: it is not the same model; nothing is left in ``folder``.
    """
    run = open_run(store, text)
    run.config.require_transformer(run.run_id, built_in=True)
    hf.refuse(run.config.model)
    _require_free(folder)
    if checked:
        check.require(_HF_CHECK)
    rows = held_out_rows(run) if checked else []
    model = reference(run)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=_parent(folder)) as name:
        making = Path(name, "export")
        making.mkdir()
        hf.write_model(Parts.of(model), run.config, separator_id(run.tokenizer), making)
        write_tokenizer(run, making)
        told = Told(run, _size(making / hf.WEIGHTS), 4 * sum(p.numel() for p in model.parameters()))
        if checked:
            told = dataclasses.replace(told, check=_checked(run, model, rows, making))
            files.write_json(making / CHECK, told.check)
        files.write_json(making / PROVENANCE, told.provenance())
        files.write_text(making / CARD, told.card("hf"))
        if folder.is_dir():
            folder.rmdir()
        shutil.move(making, folder)
    return summary(told, folder)


def export_to_gguf(
    store: Path, text: str, path: Path, *, checked: bool = True, packing: str = gguf.PACKINGS[0]
) -> str:
    """Export a run as a file for llama.cpp, its card and the check's report beside it; what to tell.

    Args:
        store: the folder that holds ``runs/``.
        text: which run.
        path: a new file.
        checked: ask llama.cpp whether it is the same model.
        packing: of the ternary codes, one of ``gguf.PACKINGS``.

    Raises:
        ConfigError: not exactly one such run, no weights, not representable, ``path`` is in use, or the
            libraries are not installed.
        check.CheckError: it is not the same model; nothing is left at ``path``.
    """
    run = open_run(store, text)
    run.config.require_transformer(run.run_id, built_in=True)
    if run.config.tokenizer.name is TokenizerName.file:
        allowed = "knows how GPT-2 splits text, and not how the tokenizer of a file does; allowed: --to hf"
        raise ConfigError("--to", "gguf", allowed)
    gguf.refuse(run.config.model)
    if path.exists():
        raise ConfigError("WHERE", path, "is there already; allowed: a new name")
    check.require({"gguf": "gguf"} | (_GGUF_CHECK if checked else {}))
    rows = held_out_rows(run) if checked else []
    model = reference(run)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=_parent(path)) as name:
        making = Path(name, path.name)
        tokenizer = run.tokenizer
        gguf.write_gguf(Parts.of(model), run.config, tokenizer, separator_id(tokenizer), making, packing)
        told = Told(run, _size(making), 4 * sum(p.numel() for p in model.parameters()))
        if checked:
            told = dataclasses.replace(told, check=_checked_gguf(model, rows, making))
        shutil.move(making, path)
    if checked:
        files.write_json(path.with_name(f"{path.name}.{CHECK}"), told.check)
    files.write_json(path.with_name(f"{path.name}.{PROVENANCE}"), told.provenance())
    files.write_text(path.with_name(f"{path.name}.{CARD}"), told.card("gguf"))
    return summary(told, path)


def reference(run: OpenRun) -> Transformer:
    """Its model with the final weights at ``precision=fp32``, which every export is held against.

    Raises:
        ConfigError: it is not finished, its weights were not kept, or they are not finite.
    """
    model = Transformer(run.config.model, run.model.vocab_size, run.config.seed, Precision.fp32)
    model.load_state_dict(run.model.state_dict())
    if not all(parameter.isfinite().all() for parameter in model.parameters()):
        raise ConfigError("RUN", run.run_id, "has weights that are not finite (it diverged)")
    return model


def write_tokenizer(run: OpenRun, folder: Path) -> None:
    """``tokenizer.json`` and what ``transformers`` wants to know beside it.

    Text that spells the separator is read as characters, as in training.
    """
    run.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    ends = dict.fromkeys(("bos_token", "eos_token", "pad_token"), SEPARATOR)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": run.config.row_targets,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,
    }
    files.write_json(folder / "tokenizer_config.json", settings | ends)
    files.write_json(folder / "special_tokens_map.json", ends)


def summary(told: Told, where: Path) -> str:
    """What was exported, its size and speed, and what the check found."""
    lines = [
        f"{where}: {told.run.run_id} ({told.run.name})",
        f"size   {told.bytes_written:,} bytes of weights, {told.bytes_fp32:,} in float32",
    ]
    if not told.check:
        return "\n".join([*lines, "check  not made (--no-check)"])
    speed = told.check["perf/tokens_per_s"]
    lines.append(f"speed  {speed['export']:,.0f} tokens/s exported, {speed['here']:,.0f} here")
    return "\n".join([*lines, f"check  {told.check['result']}"])


def _checked(run: OpenRun, model: Transformer, rows: Rows, folder: Path) -> dict[str, Any]:
    """The report of the check.

    Raises:
        check.CheckError: it is not the same model.
    """
    answers = check.ask("bitnet_sweep.export.hf_child", folder, rows, check.num_logits(model.vocab_size))
    speed = {"export": answers.pop("tokens_per_s").item(), "here": check.tokens_per_s(model, rows)}
    found = check.compare(model, rows, answers)
    if not found.is_same:
        raise check.CheckError(f"the export is not the same model: {found}")
    versions = {name: importlib.metadata.version(name) for name in ("transformers", "torch")}
    return {
        "program": f"transformers {versions['transformers']}",
        "result": str(found),
        **dataclasses.asdict(found),
        "versions": versions,
        "threads": torch.get_num_threads(),
        "perf/tokens_per_s": speed,
    }


def _checked_gguf(model: Transformer, rows: Rows, path: Path) -> dict[str, Any]:
    """The report of the check.

    Raises:
        check.CheckError: it is not the same model.
    """
    asked = gguf_check.prompts(rows, model.vocab_size)
    answers = check.ask("bitnet_sweep.export.gguf_child", path, asked, model.vocab_size)
    speed = {
        "export": answers["tokens_per_s"].item(),
        "here": check.tokens_per_s(model, asked),
    }
    found = gguf_check.compare(model, asked, answers["log_probabilities"])
    if not found.is_same:
        raise check.CheckError(f"the export is not the same model: {found}")
    version = importlib.metadata.version("xllamacpp")
    return {
        "program": f"xllamacpp {version}",
        "result": str(found),
        **dataclasses.asdict(found),
        "versions": {"xllamacpp": version, "gguf": importlib.metadata.version("gguf")},
        "threads": torch.get_num_threads(),
        "perf/tokens_per_s": speed,
    }


def _require_free(path: Path) -> None:
    """Refuse a place that holds something."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ConfigError("WHERE", path, "is there already; allowed: a new name, or an empty folder")


def _parent(path: Path) -> Path:
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError("WHERE", path, f"cannot be made ({error.strerror})") from error
    return path.absolute().parent


def _size(path: Path) -> int:
    return path.stat().st_size
