"""The model card: what the model is, where it comes from, what became of it, and what was checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from bitnet_sweep import __version__
from bitnet_sweep.api.runs import OpenRun
from bitnet_sweep.config import plain
from bitnet_sweep.store import Store
from bitnet_sweep.store.outcome import finite, outcome_text

USE = {
    "hf": """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("DIR")
tokenizer = AutoTokenizer.from_pretrained("DIR")
ids = tokenizer("The ", return_tensors="pt").input_ids
print(tokenizer.decode(model.generate(ids)[0]))
```

It needs `transformers` and `accelerate`, and no code of ours.
Without a C++ compiler set `TORCHDYNAMO_DISABLE=1`.
""",
    "gguf": """```
llama-completion --model FILE --prompt "The " --temp 0
```

It needs a llama.cpp whose `bitnet` computes SiLU, as the one does that checked it.
""",
}
"""How the export is opened, by what it is for."""

_WHAT_IT_IS = """A small language model with ternary weights, trained to learn when such training collapses.
It is an object of study: it writes no useful text.
"""


@dataclass(frozen=True)
class Told:
    """What the export says of itself."""

    run: OpenRun
    bytes_written: int
    """Size of the weights."""
    bytes_fp32: int
    """Size of the same numbers in float32."""
    check: dict[str, Any] = field(default_factory=dict)
    """The report of the check; empty where it was not made."""

    def provenance(self) -> dict[str, Any]:
        """What is known of the run, as JSON."""
        run, status = self.run, self.run.status
        last = Store(run.store).run(run.run_id).last_record() or {}
        return {
            "run": run.run_id,
            "name": run.name,
            "outcome": run.outcome,
            "marks": run.marks,
            "step": last.get("step"),
            "val/loss": finite(last, "val/loss"),
            "ref/unigram_loss": finite(last, "ref/unigram_loss"),
            "parameters": status.parameters if status else {},
            "bytes": {"export": self.bytes_written, "float32": self.bytes_fp32},
            "science_version": status.science_version if status else None,
            "provenance": status.provenance if status else {},
            "exported_by": f"bitnet_sweep {__version__}",
            "config": plain(run.config),
        }

    def card(self, target: str) -> str:
        """README.md."""
        about = self.provenance()
        library = "library_name: transformers\n" if target == "hf" else ""
        front = f"---\n{library}pipeline_tag: text-generation\ntags: [bitnet, ternary]\n---\n"
        parts = [
            f"{front}\n# {about['name'] or about['run']}\n\n{_WHAT_IT_IS}",
            f"## Use\n\n{USE[target]}",
            f"## What became of it\n\n{_table(self._facts(about))}",
            f"## The check\n\n{self._checked()}",
            f"## Where it comes from\n\n{_yaml(about['provenance'])}",
            f"## How it was trained\n\n{_yaml(about['config'])}",
        ]
        return "\n".join(parts)

    def _facts(self, about: dict[str, Any]) -> dict[str, Any]:
        outcome = outcome_text(about["outcome"], about["marks"]) if about["outcome"] else "unknown"
        return {
            "run": f"`{about['run']}`",
            "outcome, marks": outcome,
            "held-out loss, nats per token": _number(about["val/loss"]),
            "loss of the word frequencies alone": _number(about["ref/unigram_loss"]),
            "steps": about["step"],
            "parameters": about["parameters"].get("total", "unknown"),
            "bytes of the weights": f"{self.bytes_written:,} ({self.bytes_fp32:,} in float32)",
            **self._speed(),
        }

    def _speed(self) -> dict[str, str]:
        """As the check measured it, on this machine."""
        speed = self.check.get("perf/tokens_per_s")
        if speed is None:
            return {}
        return {"tokens/s read": f"{speed['export']:,.0f} ({speed['here']:,.0f} by the program it is from)"}

    def _checked(self) -> str:
        if not self.check:
            return "It was not checked that this is the same model.\n"
        return f"It gives what the trained model gives, in a fresh process of {self.check['program']}:\n" + (
            f"{self.check['result']}. All numbers are in the report beside it, `check.json`.\n"
        )


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def _table(facts: dict[str, Any]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items()), ""])


def _yaml(document: Any) -> str:
    return f"```yaml\n{yaml.safe_dump(document, sort_keys=False)}```\n"
