"""The folder for ``transformers``: models of many kinds go through it unchanged, and faults are seen."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from bitnet_sweep.config import Activations, ConfigError, GateActivation, ModelConfig, NormPlace, Weights
from bitnet_sweep.export import hf
from bitnet_sweep.export.check import compare, num_logits
from bitnet_sweep.export.hf_child import answers
from bitnet_sweep.export.parts import Parts
from bitnet_sweep.model.transformer import Transformer
from tests.export.models import WIDTHS, built, config_of, drawn, rows, train, written
from tests.repetition import EVERY, repeated


def checked(model, config, export):
    asked = rows(config)
    return compare(model, asked, answers(export, asked, num_logits(config.tokenizer.vocab_size)))


@pytest.mark.system
@pytest.mark.parametrize("seed", repeated(range(50), range(0, 50, 8)))
def test_a_random_model_goes_through(hf_model, tmp_path, seed):
    config = drawn(seed)
    model = built(config)
    found = checked(model, config, hf_model(written(model, config, tmp_path)))
    assert found.is_same, (found, config.model)
    assert found.largest_logit_difference <= 1e-5
    assert found.rounded_otherwise_elsewhere == 0
    assert found.tokens == found.logits_compared == sum(y_BT.numel() for _, y_BT in rows(config))


@pytest.mark.system
@pytest.mark.parametrize("activations", [Activations.int8, Activations.full])
@pytest.mark.parametrize("weights", repeated(Weights, [Weights.ternary]))
@pytest.mark.parametrize("tied", repeated([False, True], [True]))
@pytest.mark.parametrize("activation", GateActivation)
def test_a_model_with_norms_inside_alone_goes_through(
    hf_model, tmp_path, activations, weights, tied, activation
):
    fields = {"weights": weights, "activations": activations, "tied": tied, "ffn": 30}
    fields |= {"norm": NormPlace.inside, "activation": activation}
    config = config_of(ModelConfig(hidden=20, num_heads=5, num_layers=2, **fields), seed=4)
    model = built(config)
    export = hf_model(written(model, config, tmp_path))
    assert type(export).__name__ == "BitNetForCausalLM"
    found = checked(model, config, export)
    assert found.is_same, found
    assert (found.roundings > 0) == (activations is Activations.int8)


def test_the_random_models_are_of_every_kind():
    configs = [drawn(seed) for seed in range(50)]
    models = [config.model for config in configs]
    assert {model.tied for model in models} == {True, False}
    assert {model.weights for model in models} == set(Weights)
    assert {model.norm for model in models} == set(NormPlace)
    assert {model.activation for model in models} == set(GateActivation)
    assert len({(model.hidden, model.num_heads) for model in models}) == len(WIDTHS)
    assert any(model.hidden % 4 for model in models)


@pytest.mark.slow
def test_the_random_models_are_in_every_state():
    kinds = [kinds_of(drawn(seed)) for seed in range(16)]
    for kind in ("has gains of its own", "is trained", "has a dead layer"):
        assert {kind in found for found in kinds} == {True, False}, kind


def kinds_of(config):
    """What was done to a random model."""
    fresh, model = Transformer(config.model, config.tokenizer.vocab_size, config.seed), built(config)
    gains = [bitlinear.norm.weight for bitlinear in model.bitlinears().values()]
    is_dead = [not bitlinear.codes().any() for bitlinear in model.bitlinears().values()]
    told = {
        "has gains of its own": any((gain != 1).any() for gain in gains),
        "is trained": not torch.equal(fresh.embedding, model.embedding),
        "has a dead layer": any(is_dead),
    }
    return {name for name, holds in told.items() if holds}


def tensors_changed(change):
    def mutate(folder):
        path = folder / hf.WEIGHTS
        tensors = load_file(path)
        change(tensors)
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})

    return mutate


def config_changed(**changes):
    def mutate(folder):
        path = folder / "config.json"
        config = json.loads(path.read_text())
        for key, value in changes.items():
            where = config["quantization_config"] if key in config["quantization_config"] else config
            where[key] = value
        path.write_text(json.dumps(config))

    return mutate


def named(tensors, end):
    return [name for name in tensors if name.endswith(end)]


def inverse_scales(tensors):
    for name in named(tensors, "weight_scale"):
        tensors[name] = 1 / tensors[name]


def other_scale(tensors):
    for name in named(tensors, "k_proj.weight_scale"):
        tensors[name] = tensors[name] * 1.01


def without_inner_norms(folder):
    config_changed(use_rms_norm=False)(folder)
    tensors_changed(lambda t: [t.pop(name) for name in named(t, "rms_norm.weight")])(folder)


def without_outer_gains(tensors):
    for name in named(tensors, "layernorm.weight"):
        tensors[name] = torch.ones_like(tensors[name])


def exchanged(a, b):
    def change(tensors):
        for name in named(tensors, f"{a}.weight"):
            other = name.replace(a, b)
            tensors[name], tensors[other] = tensors[other], tensors[name]

    return tensors_changed(change)


def heads_interleaved(tensors):
    """As the first Llama's files had their rotary pairs: (i, i + 1) for (i, i + H/2)."""
    for name in [*named(tensors, "q_proj.weight"), *named(tensors, "k_proj.weight")]:
        packed = tensors[name]
        codes = torch.cat([(packed >> 2 * i) & 3 for i in range(4)]).float() - 1
        heads = codes.view(4, 2, -1, codes.shape[1]).transpose(1, 2)
        tensors[name] = hf.pack(heads.reshape(codes.shape))


def one_gain(tensors):
    tensors["model.norm.weight"][3] *= 1.001


def one_code(tensors):
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name][2, 5] ^= 1


def eps_inside(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"]["rms_norm_eps"] = 1e-6
    path.write_text(json.dumps(config))


def eps_outside(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["rms_norm_eps"] = 1e-6
    path.write_text(json.dumps(config))


MUTANTS = {
    "inverse scale": tensors_changed(inverse_scales),
    "dividing by the scale": config_changed(linear_class="bitlinear"),
    "another scale for k": tensors_changed(other_scale),
    "inner norms dropped": without_inner_norms,
    "outer gains dropped": tensors_changed(without_outer_gains),
    "silu": config_changed(hidden_act="silu"),
    "relu": config_changed(hidden_act="relu"),
    "q and k": exchanged("q_proj", "k_proj"),
    "k and v": exchanged("k_proj", "v_proj"),
    "gate and up": exchanged("gate_proj", "up_proj"),
    "heads interleaved": tensors_changed(heads_interleaved),
    "rotary base": config_changed(rope_parameters={"rope_type": "default", "rope_theta": 500000.0}),
    "eps of the inner norms": eps_inside,
    "eps of the outer norms": eps_outside,
    "one gain a thousandth off": tensors_changed(one_gain),
    "one code": tensors_changed(one_code),
}


@pytest.mark.parametrize(
    "is_trained", [pytest.param(False, id="untrained", marks=EVERY), pytest.param(True, id="trained")]
)
@pytest.mark.system
@pytest.mark.parametrize("mutant", repeated(MUTANTS, list(MUTANTS)[::3]))
def test_a_faulty_export_fails_the_check(hf_model, tmp_path, mutant, is_trained):
    config = config_of(ModelConfig(hidden=32, num_heads=4, num_layers=2, tied=False))
    model = built(config)
    generator = torch.Generator().manual_seed(0)
    for bitlinear in model.bitlinears().values():
        bitlinear.initialise(generator)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data.uniform_(0.5, 1.5, generator=generator)
    if is_trained:
        train(model, rows(config))
    assert checked(model, config, hf_model(written(model, config, tmp_path))).is_same
    MUTANTS[mutant](tmp_path)
    found = checked(model, config, hf_model(tmp_path))
    assert not found.is_same, found


def test_packed_codes():
    codes_OI = torch.tensor([[-1, 0], [1, 1], [0, -1], [1, 0], [0, 0], [1, 1], [-1, 1], [0, -1]]).float()
    packed = hf.pack(codes_OI)
    # rows 0, 2, 4 and 6 stand in the first byte of each column, from the low bits up
    assert packed.tolist() == [[0b00_01_01_00, 0b10_01_00_01], [0b01_10_10_10, 0b00_10_01_10]]


def test_a_tied_head_is_folded_into_the_last_gain():
    model = built(config_of(ModelConfig(hidden=16, num_heads=2, num_layers=1, tied=True)))
    parts = Parts.of(model)
    assert parts.head is None
    assert torch.equal(parts.final_gain, model.final_norm.weight * 0.25)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"quantiser": "lsq4"}, "model.quantiser=lsq4: cannot be exported to hf; allowed: absmean"),
        ({"quantiser": "mine"}, "model.quantiser=mine: cannot be exported to hf; allowed: absmean"),
        ({"hadamard": True}, "model.hadamard=True: cannot be exported to hf; allowed: false"),
        (
            {"activations": Activations.int4},
            "model.activations=int4: cannot be exported to hf; allowed: int8, full",
        ),
    ],
)
def test_other_quantisers_are_refused_by_name(fields, said):
    with pytest.raises(ConfigError) as caught:
        hf.refuse(ModelConfig(**fields))
    assert str(caught.value) == said


@pytest.mark.parametrize("weights", Weights)
def test_what_transformers_cannot_hold_is_refused_by_the_knobs(weights, tmp_path):
    config = config_of(ModelConfig(hidden=16, num_heads=2, weights=weights, activations=Activations.full))
    with pytest.raises(
        ConfigError, match=r"^model.activations=full: .*model.norm=both.*model.activations=int8$"
    ):
        written(built(config), config, tmp_path)
    assert not list(tmp_path.iterdir())
