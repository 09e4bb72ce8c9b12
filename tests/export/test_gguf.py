"""The file for llama.cpp: what its ``bitnet`` can hold goes through it, and other models are refused."""

import importlib.util
import json

import numpy as np
import pytest
import torch

import bitnet_sweep as bs
from bitnet_sweep.config import Activations, ConfigError, GateActivation, ModelConfig, NormPlace, Weights
from bitnet_sweep.data.tokenizer import separator_id, train_bpe
from bitnet_sweep.export import export, gguf, gguf_check
from bitnet_sweep.export.parts import Parts
from bitnet_sweep.model.transformer import relu2
from tests.export.models import built, config_of, rows, train
from tests.front.conftest import settings, verb
from tests.repetition import repeated

HAS_EXTRA = all(importlib.util.find_spec(name) for name in ("gguf", "xllamacpp"))
needs_extra = pytest.mark.skipif(not HAS_EXTRA, reason="the extra export is not installed")

WORDS = "llama.cpp's bitnet cannot hold this model; it would need "


@pytest.fixture
def inside_and_silu():
    """Makes models that llama.cpp can hold, trained a little."""

    def make():
        config = config_of(
            ModelConfig(
                hidden=256,
                num_layers=2,
                num_heads=4,
                norm=NormPlace.inside,
                activation=GateActivation.silu,
                tied=True,
            )
        )
        model = built(config)
        generator = torch.Generator().manual_seed(0)
        for bitlinear in model.bitlinears().values():
            bitlinear.initialise(generator)
            bitlinear.norm.weight.data.uniform_(0.5, 1.5, generator=generator)
        train(model, rows(config), steps=10)
        return model, config

    return make


@pytest.fixture(scope="session")
def tokenizer(corpus_file):
    return train_bpe([corpus_file.read_text()], 300)


def checked(model, config, tokenizer, path):
    from bitnet_sweep.export.gguf_child import log_probabilities, opened

    asked = gguf_check.prompts(rows(config), 300)
    server = opened(path, 32, 1)
    return gguf_check.compare(
        model, asked, log_probabilities(server, [x_1T[0].tolist() for x_1T, _ in asked], 300)
    )


def silu_for_relu2(parts):
    """What llama.cpp computes where the model has ReLU²; the model is changed, not the file."""


def inverse_scale(parts):
    for block in parts.blocks:
        block.out.scale.copy_(1 / block.out.scale)


def gate_for_up(parts):
    for block in parts.blocks:
        gate = block.gate.codes.clone()
        block.gate.codes.copy_(block.up.codes)
        block.up.codes.copy_(gate)


def dropped_gain(parts):
    parts.blocks[0].down.gain.fill_(1.0)


def q_for_k(parts):
    q = parts.blocks[1].q.codes.clone()
    parts.blocks[1].q.codes.copy_(parts.blocks[1].v.codes)
    parts.blocks[1].v.codes.copy_(q)


@pytest.mark.system
@needs_extra
@pytest.mark.parametrize("packing", repeated(gguf.PACKINGS, list(gguf.PACKINGS)[:1]))
@pytest.mark.parametrize("mutate", [None, silu_for_relu2, inverse_scale, gate_for_up, dropped_gain, q_for_k])
@pytest.mark.few(3)
def test_llama_cpp_answers_as_we_do(inside_and_silu, tokenizer, tmp_path, mutate, packing):
    model, config = inside_and_silu()
    parts = Parts.of(model)
    whole = {name: value.clone() for name, value in model.state_dict().items()}
    if mutate is not None:
        mutate(parts)
    gguf.write_gguf(parts, config, tokenizer, separator_id(tokenizer), tmp_path / "m.gguf", packing)
    model.load_state_dict(whole)
    if mutate is silu_for_relu2:
        for block in model.blocks:
            block.feed_forward.activation = relu2
    found = checked(model, config, tokenizer, tmp_path / "m.gguf")
    assert found.is_same == (mutate is None), found


@pytest.mark.system
@needs_extra
@pytest.mark.parametrize(("packing", "block_bytes"), [("tq2_0", 66), ("tq1_0", 54)])
@pytest.mark.few(1)
def test_a_run_goes_through_with_its_report_beside_it(corpus_file, tmp_path, packing, block_bytes):
    own = settings(corpus_file, tmp_path / "runs")
    own |= {"model.hidden": 256, "model.tied": True, "sequence_length": 16}
    own |= {"model.norm": "inside", "model.activation": "silu"}
    (run_id,) = bs.sweep({"wd2": [0.0]}, **own).run_ids
    told = export.export_to_gguf(tmp_path / "runs", run_id, tmp_path / "out" / "m.gguf", packing=packing)
    size = (tmp_path / "out" / "m.gguf").stat().st_size
    assert f"{size:,} bytes of weights" in told
    assert "tokens/s exported" in told
    matrices = 2 * 10 * 256**2 // gguf.BLOCK * block_bytes
    others = 4 * (300 * 256 + 2 * 5 * 256 + 256)  # the embedding and the norms; beside them names and tokens
    assert 0 < size - matrices - others < 40_000
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"m.gguf", "m.gguf.check.json", "m.gguf.README.md", "m.gguf.bitnet_sweep.json"}
    report = json.loads((tmp_path / "out" / "m.gguf.check.json").read_text())
    assert report["tokens"] == 256
    assert report["quarter_difference"] <= 1e-4


@pytest.mark.system
@pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="the extra export is not installed")
@pytest.mark.parametrize(("packing", "block_bytes"), [("tq2_0", 66), ("tq1_0", 54)])
def test_codes_and_scales_come_back_exactly(inside_and_silu, tokenizer, tmp_path, packing, block_bytes):
    from gguf import GGUFReader, quants

    model, config = inside_and_silu()
    parts = Parts.of(model)
    gguf.write_gguf(parts, config, tokenizer, separator_id(tokenizer), tmp_path / "m.gguf", packing)
    tensors = {tensor.name: tensor for tensor in GGUFReader(tmp_path / "m.gguf").tensors}
    for i, block in enumerate(parts.blocks):
        for name, matrix in {"attn_k": block.k, "ffn_down": block.down}.items():
            stored = tensors[f"blk.{i}.{name}.weight"]
            codes = quants.dequantize(stored.data, stored.tensor_type)
            assert np.array_equal(codes, matrix.codes.numpy())
            assert stored.n_bytes == matrix.codes.numel() // gguf.BLOCK * block_bytes
            assert tensors[f"blk.{i}.{name}.scale"].data == matrix.scale.numpy()


@pytest.mark.parametrize(
    ("fields", "needed"),
    [
        ({}, ["model.norm=inside", "model.activation=silu", "model.tied=true"]),
        ({"tied": True}, ["model.norm=inside", "model.activation=silu"]),
        (
            {"tied": True, "weights": Weights.full, "activations": Activations.full},
            ["model.norm=inside", "model.activation=silu", "model.weights=ternary", "model.activations=int8"],
        ),
        (
            {"tied": True, "hidden": 64, "ffn": 7},
            [
                "model.norm=inside",
                "model.activation=silu",
                "model.hidden a multiple of 256",
                "model.ffn a multiple of 256",
            ],
        ),
        (
            {"tied": True, "quantiser": "lsq4", "hadamard": True, "activations": Activations.int4},
            [
                "model.norm=inside",
                "model.activation=silu",
                "model.activations=int8",
                "model.quantiser=absmean",
                "model.hadamard=false",
            ],
        ),
    ],
)
def test_others_are_refused_by_all_their_knobs(fields, needed):
    with pytest.raises(ConfigError) as caught:
        gguf.refuse(ModelConfig(**fields))
    assert str(caught.value) == f"--to=gguf: {WORDS}{', '.join(needed)}"


@pytest.mark.slow
def test_the_verb_refuses_in_one_line(corpus_file, tmp_path):
    ids = bs.sweep({"wd2": [0.0]}, **settings(corpus_file, tmp_path / "runs")).run_ids
    status, out, err = verb(tmp_path, "export", ids[0], "--to=gguf", "m.gguf")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert WORDS + "model.norm=inside, model.activation=silu" in err
    assert not list(tmp_path.glob("*gguf*"))
