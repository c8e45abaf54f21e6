"""surgetank.serving.execution_providers: a provider that is not installed is refused with what to install."""

import numpy as np
import pytest

from surgetank.errors import ModelError, SettingsError
from surgetank.serving.execution_providers import CPU, provider_named
from surgetank.serving.onnx_model import OnnxModel
from surgetank.serving.onnx_session import check_started
from surgetank.settings import Settings
from tests.unit.serving.converted_models import FEATURES, ROWS, perceptron

AVAILABLE = ["CUDAExecutionProvider", "AzureExecutionProvider", CPU]


@pytest.mark.parametrize(
    ("name", "provider"),
    [("CPU", CPU), ("cpu", CPU), (CPU, CPU), ("cuda", AVAILABLE[0]), ("CUDAExecutionProvider", AVAILABLE[0])],
)
def test_a_provider_is_named_as_people_write_it(name: str, provider: str) -> None:
    """With or without the suffix, in any case."""
    assert provider_named(name, AVAILABLE) == provider


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("CUDA", "install onnxruntime-gpu instead of onnxruntime"),
        ("openvino", "install onnxruntime-openvino instead of onnxruntime"),
        ("Quantum", "install a build of ONNX Runtime that has it"),
    ],
)
def test_a_provider_that_is_not_installed_is_refused(name: str, cure: str) -> None:
    """The message has those that are, and the package."""
    with pytest.raises(SettingsError) as caught:
        provider_named(name, ["AzureExecutionProvider", CPU])
    assert f"model.provider is {name!r}" in str(caught.value)
    assert "it has Azure, CPU" in str(caught.value)
    assert cure in str(caught.value)


def test_the_provider_of_the_settings_reaches_the_session() -> None:
    """The default runs here; another one is refused by what is installed here."""
    content = perceptron("rows")
    default = Settings().model.provider
    model = OnnxModel(content, name="m", version="1", features=FEATURES, kind="vector", provider=default)
    assert np.isfinite(model.score(ROWS)).all()
    with pytest.raises(SettingsError, match="does not have"):
        OnnxModel(content, name="m", version="1", features=FEATURES, kind="vector", provider="Quantum")


def test_a_provider_that_did_not_start_is_refused() -> None:
    """ONNX Runtime goes on with the processor, and nobody would notice."""
    check_started("model m", AVAILABLE[0], AVAILABLE)
    with pytest.raises(ModelError, match="could not start it"):
        check_started("model m", AVAILABLE[0], [CPU])
