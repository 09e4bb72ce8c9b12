"""The other libraries, where the extra `export` is installed."""

import warnings

import pytest


@pytest.fixture(scope="session")
def transformers():
    """Imported with its own warnings, which are not ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("accelerate", reason="the extra export is not installed")
        return pytest.importorskip("transformers", reason="the extra export is not installed")


@pytest.fixture
def hf_model(transformers):
    """Opens a folder as the check's own process does."""
    import torch._dynamo

    from bitnet_sweep.export.hf_child import opened

    was = torch._dynamo.config.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield opened
    torch._dynamo.config.disable = was
