"""The transformer against a slow twin, and the properties its definition promises."""

from __future__ import annotations

import copy
import math
from typing import cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bitnet_sweep.config import IGNORED, Activations, GateActivation, ModelConfig, NormPlace, Weights
from bitnet_sweep.model.bitlinear import BitLinear
from bitnet_sweep.model.transformer import Block, Transformer, rotary_tables, rotate

CONFIGS = [
    pytest.param(ModelConfig(8, 1, 1), id="one head"),
    pytest.param(ModelConfig(12, 2, 3), id="three heads of width 4"),
    pytest.param(ModelConfig(6, 3, 3, ffn=5), id="head width 2, ffn 5"),
    pytest.param(ModelConfig(8, 2, 2, tied=True), id="tied"),
    pytest.param(ModelConfig(8, 2, 2, weights=Weights.full, activations=Activations.full), id="full"),
    pytest.param(ModelConfig(8, 1, 2, activations=Activations.full), id="full activations"),
    pytest.param(ModelConfig(8, 2, 2, norm=NormPlace.inside), id="norm inside"),
    pytest.param(ModelConfig(8, 2, 2, activation=GateActivation.silu), id="silu"),
    pytest.param(
        ModelConfig(8, 2, 2, tied=True, norm=NormPlace.inside, activation=GateActivation.silu),
        id="tied, norm inside, silu",
    ),
]


def token_ids(vocab_size: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def twin_norm(x_D: Tensor, gain_D: Tensor) -> Tensor:
    return x_D / (x_D.pow(2).mean() + 1e-5).sqrt() * gain_D


def twin_bitlinear(layer: BitLinear, x_I: Tensor, rows: slice) -> Tensor:
    """One token through some rows of a BitLinear, e.g. the queries of a fused qkv."""
    x_I, w_OI = twin_norm(x_I, layer.norm.weight), layer.weight.detach()
    if layer.activations is Activations.int8:
        scale = 127 / x_I.abs().max().clamp(min=1e-5)
        x_I = (x_I * scale).round() / scale
    if layer.weights is Weights.ternary:
        absmean = w_OI.abs().mean()  # of the whole fused matrix, not of the rows
        w_OI = (w_OI / absmean).round().clamp(-1, 1) * absmean
    return w_OI[rows] @ x_I


def twin_rotate(x_H: Tensor, position: int) -> Tensor:
    width, turned = len(x_H), x_H.clone()
    for i in range(width // 2):
        angle = position * 10_000 ** (-2 * i / width)
        a, b = x_H[i], x_H[i + width // 2]
        turned[i] = a * math.cos(angle) - b * math.sin(angle)
        turned[i + width // 2] = a * math.sin(angle) + b * math.cos(angle)
    return turned


def twin_logits(model: Transformer, ids: list[int]) -> Tensor:
    """Logits (T, V) of one sequence, token by token and head by head, q, k, v, gate and up apart."""
    hidden, heads = model.config.hidden, model.config.num_heads
    ffn = model.config.ffn or 2 * hidden
    stream = [model.embedding[i] for i in ids]
    both, silu = model.config.norm is NormPlace.both, model.config.activation is GateActivation.silu
    everything = slice(None)
    for block in cast(list[Block], list(model.blocks)):
        normed = [twin_norm(x, cast(Tensor, block.attention_norm.weight)) if both else x for x in stream]
        q, k, v = (
            [
                twin_bitlinear(block.attention.qkv, x, slice(part * hidden, (part + 1) * hidden))
                for x in normed
            ]
            for part in range(3)
        )
        for t in range(len(ids)):
            mixed = []
            for head in range(heads):
                cut = slice(head * (hidden // heads), (head + 1) * (hidden // heads))
                query = twin_rotate(q[t][cut], t)
                keys = [twin_rotate(k[s][cut], s) for s in range(t + 1)]
                scores = torch.stack([query @ key for key in keys]) / math.sqrt(hidden // heads)
                weights = scores.softmax(0)
                mixed.append(
                    sum((weights[s] * v[s][cut] for s in range(t + 1)), torch.zeros(hidden // heads))
                )
            stream[t] = stream[t] + twin_bitlinear(block.attention.out, torch.cat(mixed), everything)
        for t, x in enumerate(stream):
            x_norm = twin_norm(x, cast(Tensor, block.feed_forward_norm.weight)) if both else x
            gate = twin_bitlinear(block.feed_forward.gate_up, x_norm, slice(0, ffn))
            up = twin_bitlinear(block.feed_forward.gate_up, x_norm, slice(ffn, 2 * ffn))
            active = gate / (1 + (-gate).exp()) if silu else gate.clamp(min=0) ** 2
            stream[t] = x + twin_bitlinear(block.feed_forward.down, active * up, everything)
    final = torch.stack([twin_norm(x, model.final_norm.weight) for x in stream])
    if model.head is None:
        return final @ model.embedding.T / math.sqrt(hidden)
    return final @ model.head.T


@pytest.mark.parametrize("config", CONFIGS)
def test_equals_a_slow_twin(config: ModelConfig) -> None:
    model = Transformer(config, 11, seed=3).double()  # in double, rounding ties do not fall apart
    gains = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 2.0, generator=gains)
        x_BT = token_ids(11, 2, 5)
        got = model(x_BT)
        assert got.shape == (2, 5, 11)
        for b in range(2):
            # rotary tables are float32, as in training
            torch.testing.assert_close(got[b], twin_logits(model, x_BT[b].tolist()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_later_token_never_changes_earlier_logits(config: ModelConfig) -> None:
    model = Transformer(config, 11, seed=0)
    x_BT = token_ids(11, 3, 7)
    before = model(x_BT)
    for t in range(7):
        changed = x_BT.clone()
        changed[:, t] = (changed[:, t] + 1) % 11
        after = model(changed)
        torch.testing.assert_close(after[:, :t], before[:, :t], rtol=1e-5, atol=1e-6)
        assert not torch.allclose(after[:, t], before[:, t], rtol=1e-3)


def test_rotation_by_hand() -> None:
    # head width 4: pair (0, 2) turns by t, pair (1, 3) by t/100
    x = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]] * 3]])
    got = rotate(x)[0, 0, 2]
    expected = torch.tensor([math.cos(2), math.cos(0.02), math.sin(2), math.sin(0.02)])
    torch.testing.assert_close(got, expected)
    assert rotate(x)[0, 0, 0].tolist() == [1.0, 1.0, 0.0, 0.0]


def test_rotary_products_depend_on_distance_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    q_H, k_H = torch.randn(8, generator=generator), torch.randn(8, generator=generator)
    q_TH, k_TH = (rotate(x.expand(1, 1, 40, 8))[0, 0] for x in (q_H, k_H))
    scores_TT = q_TH @ k_TH.T
    for distance in (0, 1, 7, -3):
        along = torch.diagonal(scores_TT, distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(scores_TT[0, 0], scores_TT[0, 1])


def test_rotary_tables_made_without_gradients_can_be_trained_with() -> None:
    rotary_tables.cache_clear()
    model = Transformer(ModelConfig(8, 1, 2), 11, seed=0)
    x_BT = token_ids(11, 2, 6)
    with torch.inference_mode():
        model(x_BT)
    torch.autograd.backward(model.objective(x_BT, x_BT))
    assert model.embedding.grad is not None
    assert not any("rotary" in name for name in model.state_dict())


@pytest.mark.parametrize(
    ("batch", "length"), [(1, 1), (5, 3), (1, 33)], ids=["one token", "odd", "longer than training"]
)
def test_any_shape(batch: int, length: int) -> None:
    model = Transformer(ModelConfig(6, 1, 3), 257, seed=0)
    x_BT = token_ids(257, batch, length)
    assert model(x_BT).shape == (batch, length, 257)
    assert model.hidden_states(x_BT).shape == (batch, length, 6)
    assert torch.isfinite(model.objective(x_BT, x_BT))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (5, 5 + 2**32),
        (0, 2**32),
        (1764331200123456789, 1764331200123456789 % 2**32),
        (2**62, 2**62 + 2**40),
        (1764331200123456789, 1764331200123456790),
    ],
)
def test_every_bit_of_the_seed_counts(one: int, other: int) -> None:
    weights = [Transformer(ModelConfig(8, 1, 2), 11, seed=seed).embedding for seed in (one, other)]
    assert not torch.equal(*weights)


def test_initial_weights_depend_on_seed_and_shapes_alone() -> None:
    def weights(seed: int = 0, **changes: object) -> dict[str, Tensor]:
        config = ModelConfig(hidden=8, num_layers=2, num_heads=2)
        for key, value in changes.items():
            setattr(config, key, value)
        return Transformer(config, 11, seed).state_dict()

    reference = weights()
    torch.manual_seed(5)  # the global generator must not matter
    for other in (
        weights(),
        weights(weights=Weights.full),
        weights(activations=Activations.full),
        weights(ffn=16),
    ):
        assert all(torch.equal(reference[name], other[name]) for name in reference)
    assert not torch.equal(reference["embedding"], weights(seed=1)["embedding"])


def test_global_generator_is_left_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    model = Transformer(ModelConfig(8, 1, 2), 11, seed=0)
    torch.autograd.backward(model.objective(token_ids(11, 2, 3), token_ids(11, 2, 3)))
    assert torch.equal(torch.get_rng_state(), before)


def test_initial_distributions() -> None:
    model = Transformer(ModelConfig(hidden=64, num_layers=1), 1000, seed=0)
    assert model.embedding.mean().item() == pytest.approx(0.0, abs=0.02)
    assert model.embedding.std().item() == pytest.approx(1.0, abs=0.02)
    assert model.head is not None
    matrices = [model.head, *(layer.weight for layer in model.bitlinears().values())]
    for w_OI in matrices:
        bound = w_OI.shape[1] ** -0.5  # 1/8, and for `down` 1/sqrt(128)
        assert 0.99 * bound < w_OI.abs().max().item() <= bound
        assert w_OI.abs().mean().item() == pytest.approx(bound / 2, rel=0.03)
    assert all(bool((p == 1).all()) for name, p in model.named_parameters() if "norm" in name)


def test_untrained_loss() -> None:
    """Gaussian logits of variance s² cost ln V + s²/2; here s² = D · (1/D) / 3 (10.99 at V=50257)."""
    model = Transformer(ModelConfig(hidden=64, num_layers=2), 2000, seed=0)
    loss = model.objective(token_ids(2000, 16, 64), token_ids(2000, 16, 64, seed=1)).item()
    assert loss == pytest.approx(math.log(2000) + 1 / 6, abs=0.05)


def test_tied_head_is_the_embedding() -> None:
    model = Transformer(ModelConfig(8, 1, 2, tied=True), 11, seed=0)
    assert model.head is None
    assert "head" not in model.state_dict()
    torch.autograd.backward(model.objective(token_ids(11, 1, 1), token_ids(11, 1, 1)))
    assert model.embedding.grad is not None
    assert bool((model.embedding.grad.abs().sum(1) > 0).all())  # through the head every row, not one alone


def test_objective_by_hand() -> None:
    model = Transformer(ModelConfig(4, 1, 1), 4, seed=0)
    assert model.head is not None
    with torch.no_grad():
        model.head.zero_()  # uniform: every log-probability is -ln 4, logsumexp is ln 4
    x_BT = token_ids(4, 2, 3)
    ln4 = math.log(4)
    assert model.objective(x_BT, x_BT).item() == pytest.approx(ln4)
    assert model.objective(x_BT, x_BT, label_smoothing=0.3).item() == pytest.approx(ln4)
    assert model.objective(x_BT, x_BT, z_loss=0.5).item() == pytest.approx(ln4 + 0.5 * ln4**2)


@pytest.mark.parametrize("loss", [{}, {"label_smoothing": 0.2}, {"z_loss": 0.1}], ids=str)
def test_ignored_targets_are_left_out_of_every_mean(loss: dict[str, float]) -> None:
    """A row whose last two targets are ignored counts as the shorter row, for no later token reaches it."""
    model = Transformer(ModelConfig(4, 1, 1), 5, seed=2)
    x_BT, y_BT = token_ids(5, 1, 6), token_ids(5, 1, 6, seed=9)
    expected = model.objective(x_BT[:, :4], y_BT[:, :4], **loss)
    y_BT[:, 4:] = IGNORED
    torch.testing.assert_close(model.objective(x_BT, y_BT, **loss), expected)


def test_label_smoothing_spreads_its_share_over_all_ids() -> None:
    model = Transformer(ModelConfig(4, 1, 1), 5, seed=2)
    x_BT, y_BT = token_ids(5, 1, 4), token_ids(5, 1, 4, seed=9)
    log_probs = F.log_softmax(model(x_BT), dim=-1)[0]
    plain = -sum(log_probs[t, y_BT[0, t]] for t in range(4)) / 4
    even = -log_probs.mean()
    got = model.objective(x_BT, y_BT, label_smoothing=0.1)
    torch.testing.assert_close(got, 0.9 * plain + 0.1 * even)


def test_state_moves_between_models() -> None:
    first, second = (Transformer(ModelConfig(8, 2, 2), 11, seed) for seed in (0, 1))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    x_BT = token_ids(11, 2, 5)
    assert torch.equal(first(x_BT), second(x_BT))


def test_bitlinears_are_named_in_order() -> None:
    names = list(Transformer(ModelConfig(8, 2, 2), 11, seed=0).bitlinears())
    layers = ("attention.qkv", "attention.out", "feed_forward.gate_up", "feed_forward.down")
    assert names == [f"blocks.{i}.{layer}" for i in range(2) for layer in layers]
