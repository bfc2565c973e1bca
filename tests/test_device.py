"""Where JAX runs a model: chosen by the work, and said on the page."""

from types import SimpleNamespace

import pytest

from models.device import TERMS, choose
from reports.comparison.catalogue import Options
from reports.page.opening import devices

CPU, GPU = [SimpleNamespace(platform="cpu")] * 2, [SimpleNamespace(platform="gpu")]


@pytest.mark.parametrize(
    ("asked", "terms", "there", "used"),
    [
        ("auto", 272 * 2 * 6, GPU, "cpu"),
        ("auto", TERMS, GPU, "gpu"),
        ("auto", TERMS, CPU, "cpu"),
        ("cpu", TERMS, GPU, "cpu"),
        ("gpu", 10, GPU, "gpu"),
    ],
)
def test_small_models_stay_on_the_cpu(asked, terms, there, used):
    assert choose(asked, terms, there) == (used, asked, there is GPU)


@pytest.mark.robustness("errors")
def test_devices_that_are_not_there():
    with pytest.raises(ValueError, match="JAX sees no GPU here"):
        choose("gpu", TERMS, CPU)
    with pytest.raises(ValueError, match="device is 'tpu'; expected auto, cpu or gpu"):
        choose("tpu", TERMS, CPU)
    with pytest.raises(ValueError, match="there is no device 'tpu'"):
        Options(device="tpu")


def test_the_page_says_where():
    def words(*known):
        return devices(SimpleNamespace(methods={str(i): {"device": own} for i, own in enumerate(known)}))

    own = {"used": "cpu", "asked": "auto", "gpu": True}
    assert words(None) == ""
    assert words(own | {"gpu": False}) == "the CPU: it sees no GPU"
    assert words(own, None) == "the CPU, chosen by the size of the model"
    assert words(own | {"asked": "cpu"}) == "the CPU, as asked (--device)"
