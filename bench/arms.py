"""What is timed: each arm lives in a process of its own, so that its peak memory is its own."""

from __future__ import annotations

import functools
import math
import multiprocessing as mp
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch
from torch import Tensor, nn

from bench.peers import PEERS
from bench.plain import PlainLoop, PlainModel
from bench.rates import KINDS, fastest, finish
from bitnet_sweep.config import Device, LossConfig, ModelConfig, OptimizerConfig, Precision
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.runtime import peak_memory_mb, prepare_process
from bitnet_sweep.train.backward import backward
from bitnet_sweep.train.optimizer import Adam, make_optimizer, update

StepFunction = Callable[[Tensor, Tensor], float]

ARMS = {
    "floor": "Only the products of a mixed step's linear layers and head, each once, with the operands that "
    "this machine multiplies fastest, and a fused Adam pass.",
    "mixed": "This project's step, by default: exact products forward, this machine's fastest backward.",
    "fp32": "This project's step with `precision=fp32`, the reference.",
    "plain": "What one writes from the published formulas: fake quantisation, float32 products, full logits.",
    "plain_compiled": "The same model under `torch.compile`, as it comes.",
} | {name: peer.differs for name, peer in PEERS.items()}
"""What each arm computes."""


@dataclass(frozen=True)
class Setting:
    """The notes' model at some width, trained on batches of random ids."""

    hidden: int
    batch: int
    length: int
    vocab_size: int
    threads: int = 1
    device: str = "cpu"
    micro_batches: int = 1

    @property
    def tokens(self) -> int:
        """Targets of a step."""
        return self.batch * self.length


@dataclass(frozen=True)
class Timing:
    """One step."""

    ms: float
    page_faults: int


@dataclass(frozen=True)
class Facts:
    """An arm's process at its end; memory is in MB and whole, Python and torch with it, or the GPU's."""

    parameters: int
    peak_mb: float
    base_mb: float
    """The part of the peak that was there before the arm was built: Python, torch, this project (GPU: 0)."""


@dataclass(frozen=True)
class Built:
    """An arm ready to run."""

    step: StepFunction
    model: nn.Module


def own_step(setting: Setting, precision: Precision) -> Built:
    """The objective and the update of ``train.loop``."""
    model = Transformer(ModelConfig(hidden=setting.hidden), setting.vocab_size, 0, precision)
    model.to(setting.device)
    config = OptimizerConfig()
    optimizer = make_optimizer(model, config)

    def step(x_BT: Tensor, y_BT: Tensor) -> float:
        loss = backward(model, x_BT, y_BT, LossConfig(), setting.micro_batches)
        update(model, optimizer, clip=config.clip, learning_rate=1.5e-3, weight_decay=0.1)
        return loss

    return Built(step, model)


def floor_step(setting: Setting) -> Built:
    """The fewest operations that a mixed step can do, with the operands that this machine multiplies fastest.

    Codes may be multiplied as int8 or float32, gradients and the head as bfloat16 or float32; which is
    faster is measured here, so the floor is the machine's own.
    """
    codes = fastest(torch.int8, torch.float32, device=setting.device)
    operands = fastest(torch.bfloat16, torch.float32, device=setting.device)
    ones = functools.partial(torch.ones, device=setting.device)
    code_product = KINDS[codes]
    hidden, tokens, vocab = setting.hidden, setting.tokens, setting.vocab_size
    shapes = [(hidden, 3 * hidden), (hidden, hidden), (hidden, 4 * hidden), (2 * hidden, hidden)]
    model = Transformer(ModelConfig(hidden=hidden), vocab, 0).to(setting.device)
    optimizer = Adam(model, OptimizerConfig())
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    layers = [
        (
            ones(tokens, inputs, dtype=codes),
            ones(outputs, inputs, dtype=codes),
            ones(tokens, outputs, dtype=operands),
        )
        for inputs, outputs in shapes * 4
    ]
    as_operands = [(x.to(operands), w.to(operands)) for x, w, _ in layers]
    hidden_states = ones(tokens, hidden, dtype=operands)
    head = ones(vocab, hidden, dtype=operands)
    probabilities = ones(tokens, vocab, dtype=operands)

    def step(x_BT: Tensor, y_BT: Tensor) -> float:
        for (x_codes, w_codes, gradient), (x, w) in zip(layers, as_operands, strict=True):
            code_product(x_codes, w_codes.T)
            gradient @ w
            gradient.T @ x
        hidden_states @ head.T
        probabilities @ head
        probabilities.T @ hidden_states
        optimizer.step(1.5e-3, 0.1)
        return 0.0

    return Built(step, model)


def build(name: str, setting: Setting) -> Built:
    """An arm; the plain loop, of the plain model and of the peers, keeps the process as it comes."""
    if name in ("plain", "plain_compiled") or name in PEERS:
        torch.set_num_threads(setting.threads)
        torch.manual_seed(0)
        model = (PEERS[name].build if name in PEERS else PlainModel)(setting.hidden, setting.vocab_size)
        model.to(setting.device)
        if name == "plain_compiled":
            model.compile()
        return Built(PlainLoop(model).step, model)
    prepare_process(setting.threads, Device[setting.device])
    return floor_step(setting) if name == "floor" else own_step(setting, Precision[name])


class ArmError(Exception):
    """An arm cannot take its step here; ``str()`` is one line that says why."""


def _serve(name: str, setting: Setting, connection: Connection) -> None:
    """Time as many steps as each message asks for; a message of 0 asks for the facts and ends it.

    Where an arm fails, what was wrong is the answer, and the end.
    """
    try:
        base = _peak_mb(setting.device)
        built = build(name, setting)
        generator = torch.Generator().manual_seed(0)
        while steps := connection.recv():
            connection.send(_timings(built, setting, steps, generator))
        parameters = sum(parameter.numel() for parameter in built.model.parameters())
        connection.send(Facts(parameters, _peak_mb(setting.device), base))
    except Exception as error:
        first = next(iter(str(error).splitlines()), "")
        connection.send(f"{type(error).__name__}: {first[:150]}")


def _timings(built: Built, setting: Setting, steps: int, generator: torch.Generator) -> list[Timing]:
    """On a GPU a step that is not kept comes first, and its memory is free for the other arms afterwards."""
    lead = 1 if setting.device == "cuda" else 0
    timings = []
    for _ in range(lead + steps):
        shape = (setting.batch, setting.length + 1)
        ids = torch.randint(setting.vocab_size, shape, generator=generator).to(setting.device)
        finish(setting.device)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        started = time.perf_counter()
        built.step(ids[:, :-1], ids[:, 1:])
        finish(setting.device)
        ms = 1e3 * (time.perf_counter() - started)
        timings.append(Timing(ms, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults))
    if setting.device == "cuda":
        torch.cuda.empty_cache()
    return timings[lead:]


def _peak_mb(device: str) -> float:
    """Of the process, or what it holds of a GPU's memory."""
    return torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else peak_memory_mb() or math.nan


class Arm:
    """An arm in its process."""

    def __init__(self, name: str, setting: Setting) -> None:
        context = mp.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(name, setting, theirs), daemon=True)
        self._process.start()
        theirs.close()  # or a process that died would leave recv waiting
        self.name = name
        self.timings: list[Timing] = []

    def start(self, steps: int) -> None:
        """Let it begin some steps, and do not wait for them."""
        self._connection.send(steps)

    def wait(self, keep: bool = True) -> None:
        """Wait for the steps it began.

        Raises:
            ArmError: the arm cannot take them.
            EOFError: the process died.
        """
        timings = self._connection.recv()
        if isinstance(timings, str):
            raise ArmError(timings)
        self.timings += timings if keep else []

    def run(self, steps: int, keep: bool = True) -> None:
        """Take some steps.

        Raises:
            ArmError: the arm cannot take them.
            EOFError: the process died.
        """
        self.start(steps)
        self.wait(keep)

    def close(self) -> Facts:
        """End the process; what it was."""
        self._connection.send(0)
        facts: Facts = self._connection.recv()
        self._process.join()
        return facts
