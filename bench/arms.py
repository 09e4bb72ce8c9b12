"""What is timed: each arm lives in a process of its own, so that its peak memory is its own."""

from __future__ import annotations

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
from bench.rates import KINDS, fastest
from bitnet_sweep.config import Device, ModelConfig, OptimizerConfig, Precision
from bitnet_sweep.model.transformer import Transformer
from bitnet_sweep.train.optimizer import Adam, make_optimizer, update
from bitnet_sweep.train.runtime import peak_memory_mb, prepare_process

StepFunction = Callable[[Tensor, Tensor], float]

ARMS = {
    "floor": "Only the products of a mixed step's linear layers and head, each once, with the operands that "
    "this machine multiplies fastest, and a fused Adam pass.",
    "mixed": "This project's step, by default: exact products forward, this machine's fastest backward.",
    "fp32": "This project's step with `precision=fp32`, the reference.",
    "plain": "What one writes from the published formulas: fake quantisation, float32 products, full logits.",
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
    """An arm's process at its end; memory is in MB and whole, Python and torch with it."""

    parameters: int
    peak_mb: float
    base_mb: float
    """The part of the peak that was there before the arm was built: Python, torch, this project."""


@dataclass(frozen=True)
class Built:
    """An arm ready to run."""

    step: StepFunction
    model: nn.Module


def own_step(setting: Setting, precision: Precision) -> Built:
    """The objective and the update of ``train.loop``."""
    model = Transformer(ModelConfig(hidden=setting.hidden), setting.vocab_size, 0, precision)
    config = OptimizerConfig()
    optimizer = make_optimizer(model, config)

    def step(x_BT: Tensor, y_BT: Tensor) -> float:
        objective = model.objective(x_BT, y_BT)
        loss = objective.item()
        update(model, optimizer, objective, clip=config.clip, learning_rate=1.5e-3, weight_decay=0.1)
        return loss

    return Built(step, model)


def floor_step(setting: Setting) -> Built:
    """The fewest operations that a mixed step can do, with the operands that this machine multiplies fastest.

    Codes may be multiplied as int8 or float32, gradients and the head as bfloat16 or float32; which is
    faster is measured here, so the floor is the machine's own.
    """
    codes = fastest(torch.int8, torch.float32)
    operands = fastest(torch.bfloat16, torch.float32)
    code_product = KINDS[codes]
    hidden, tokens, vocab = setting.hidden, setting.tokens, setting.vocab_size
    shapes = [(hidden, 3 * hidden), (hidden, hidden), (hidden, 4 * hidden), (2 * hidden, hidden)]
    model = Transformer(ModelConfig(hidden=hidden), vocab, 0)
    optimizer = Adam(model, OptimizerConfig())
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    layers = [
        (
            torch.ones(tokens, inputs, dtype=codes),
            torch.ones(outputs, inputs, dtype=codes),
            torch.ones(tokens, outputs, dtype=operands),
        )
        for inputs, outputs in shapes * 4
    ]
    as_operands = [(x.to(operands), w.to(operands)) for x, w, _ in layers]
    hidden_states = torch.ones(tokens, hidden, dtype=operands)
    head = torch.ones(vocab, hidden, dtype=operands)
    probabilities = torch.ones(tokens, vocab, dtype=operands)

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
    if name == "plain" or name in PEERS:
        torch.set_num_threads(setting.threads)
        torch.manual_seed(0)
        model = (PEERS[name].build if name in PEERS else PlainModel)(setting.hidden, setting.vocab_size)
        return Built(PlainLoop(model).step, model)
    prepare_process(setting.threads, Device.cpu)
    return floor_step(setting) if name == "floor" else own_step(setting, Precision[name])


def _serve(name: str, setting: Setting, connection: Connection) -> None:
    """Time as many steps as each message asks for; a message of 0 asks for the facts and ends it."""
    base = peak_memory_mb() or math.nan
    built = build(name, setting)
    generator = torch.Generator().manual_seed(0)
    while steps := connection.recv():
        timings = []
        for _ in range(steps):
            shape = (setting.batch, setting.length + 1)
            ids = torch.randint(setting.vocab_size, shape, generator=generator)
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            started = time.perf_counter()
            built.step(ids[:, :-1], ids[:, 1:])
            ms = 1e3 * (time.perf_counter() - started)
            timings.append(Timing(ms, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults))
        connection.send(timings)
    parameters = sum(parameter.numel() for parameter in built.model.parameters())
    connection.send(Facts(parameters, peak_memory_mb() or math.nan, base))


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
            EOFError: the process died.
        """
        timings = self._connection.recv()
        self.timings += timings if keep else []

    def run(self, steps: int, keep: bool = True) -> None:
        """Take some steps.

        Raises:
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
