"""BlurIG of rule="pair" against PAIR's, the same gradient function at batch 1, in float64."""

import numpy as np
import pair
import pytest
from scipy import ndimage

import tfsal

peer = pytest.importorskip("saliency.core")


@pytest.fixture(scope="module", params=pair.ARCHITECTURES)
def net(request):
    return pair.load(request.param)


@pytest.fixture(scope="module")
def relu():
    return pair.load("relu")


def by_peer(net, x, class_index=1, **options):
    return peer.BlurIG().GetMask(x, pair.model_function(net, class_index), **options)


def test_equals_pair_with_its_defaults(net):
    for x in pair.images():
        found = tfsal.BlurIG(rule="pair", steps=100)(net, x[np.newaxis], 1, internal_batch_size=1)
        assert pair.relative(found[0], by_peer(net, x)) < 1e-9


@pytest.mark.parametrize("options", [{"steps": 30, "max_sigma": 3.0}, {"steps": 1}], ids=str)
def test_equals_pair_with_other_options(relu, options):
    x = pair.images(1)
    found = tfsal.BlurIG(rule="pair", **options)(relu, x, 1)[0]
    if options["steps"] == 1:  # A sharp picture, whose blur does not change there.
        assert not np.any(found) and not np.any(by_peer(relu, x[0], **options))
    else:
        assert pair.relative(found, by_peer(relu, x[0], **options)) < 1e-9


def test_equals_pairs_square_root_of_sigma(relu):
    """Their max_sigma is then the variance."""
    x = pair.images(1)
    method = tfsal.BlurIG(rule="pair", steps=40, max_sigma=9**0.5, spacing="variance")
    expected = by_peer(relu, x[0], steps=40, max_sigma=9, sqrt=True)
    assert pair.relative(method(relu, x, 1)[0], expected) < 1e-9


def test_equals_pair_in_a_batch(net):
    x = pair.images(3)
    found = tfsal.BlurIG(rule="pair", steps=20)(net, x, [1, 0, 2])
    for i, class_index in enumerate([1, 0, 2]):
        assert pair.relative(found[i], by_peer(net, x[i], class_index, steps=20)) < 1e-9


def test_the_gap_is_to_their_widest_blur(relu):
    x = pair.images(2)
    answer = tfsal.BlurIG(rule="pair", steps=20, max_sigma=2.0).explain(relu, x, 1)
    blurred = ndimage.gaussian_filter(x, [0, 2.0, 2.0, 0], mode="constant")
    start = tfsal.VanillaGradient().explain(relu, blurred, 1).score
    gap = answer.attribution.numpy().sum((1, 2, 3)) - (answer.score - start)
    np.testing.assert_allclose(answer.extras["completeness_gap"], gap, atol=1e-12)
