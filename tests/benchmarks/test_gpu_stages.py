"""The ways to attend give what the dense mask gives, and a profile's time is counted once."""

import sys

import pytest
import torch
from packaging.version import Version
from places import ROOT

sys.path.append(str(ROOT / "benchmarks"))

from gpu import attention, kernels
from gpu.kernels import Event


@pytest.mark.skipif(
    Version(torch.__version__) < Version("2.11"), reason="the benchmark is for torch 2.11; older flash kernels give NaN"
)
@pytest.mark.parametrize("shape", [(2, 9, 1, 4, 3), (1, 9, 3, 4, 3)])
def test_ways_to_attend_give_the_dense_result_and_gradients(shape):
    trees = attention.trees("some", *shape, "cpu")
    inputs, gradient = attention.draw(trees, torch.float32)
    expected = attention.results(attention.dense(trees), inputs, gradient)
    merged = attention.results(attention.merged(trees), inputs, gradient)
    assert attention.difference(merged, expected) < 1e-5
    plain = [each.detach() for each in inputs]
    flex = attention.results(attention.flex(trees), plain, None)
    assert attention.difference(flex, expected[:1]) < 1e-5
    causal = attention.results(attention.flash(trees), inputs, gradient)
    assert attention.difference(causal, expected) > 1e-2, "the trees have no branches"


def test_the_time_of_kernels_is_counted_once():
    ran = [Event("sm90_xmma_gemm", 0, 10), Event("flash_fwd_kernel", 5, 20), Event("vectorized_elementwise", 30, 40)]
    assert kernels.busy(ran) == 30
    assert kernels.by_kind(ran) == {
        "attention": (15, 1),
        "matrix products": (10, 1),
        "elementwise and reductions": (10, 1),
    }
    assert kernels.gaps([Event("", 10, 12), Event("", 0, 3)]) == [7]
    assert kernels.kind_of("Memcpy HtoD") == "copies"
    assert kernels.kind_of("nvjet_tst_128x256") == "matrix products"
