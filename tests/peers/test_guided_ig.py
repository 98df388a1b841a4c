"""GuidedIG against PAIR's, the same gradient function at batch 1 on both sides, in float64."""

import numpy as np
import pair
import pytest

import tfsal

peer = pytest.importorskip("saliency.core")


@pytest.fixture(scope="module", params=pair.ARCHITECTURES)
def net(request):
    return pair.load(request.param)


@pytest.fixture(scope="module")
def relu():
    return pair.load("relu")


def by_peer(net, x, class_index=1, **options):
    with pair.numpy_1():
        return peer.GuidedIG().GetMask(x, pair.model_function(net, class_index), **options)


def test_equals_pair_with_its_defaults(net):
    for x in pair.images():
        found = tfsal.GuidedIG()(net, x[np.newaxis], 1)[0]
        assert pair.relative(found, by_peer(net, x)) < 1e-9


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 50, "fraction": 0.1},
        {"steps": 50, "fraction": 1.0},
        {"steps": 40, "fraction": 0.001, "max_dist": 0.3},  # One value at a time.
        {"steps": 40, "max_dist": 0.0},
        {"steps": 40, "max_dist": 1.0},
        {"steps": 7, "fraction": 0.5, "max_dist": 0.9},
        {"steps": 1},
    ],
    ids=str,
)
def test_equals_pair_with_other_options(relu, options):
    x = pair.images(1)
    theirs = {"x_steps" if name == "steps" else name: v for name, v in options.items()}
    found = tfsal.GuidedIG(**options)(relu, x, 1)[0]
    assert pair.relative(found, by_peer(relu, x[0], **theirs)) < 1e-9


def test_equals_pair_in_a_batch(net):
    x = pair.images(3)
    found = tfsal.GuidedIG(steps=50)(net, x, [1, 0, 2])
    for i, class_index in enumerate([1, 0, 2]):
        expected = by_peer(net, x[i], class_index, x_steps=50)
        assert pair.relative(found[i], expected) < 1e-9


def test_equals_pair_where_values_do_not_change(relu):
    """Values that equal the baseline's do not move, and no more count in the quantile's favour."""
    x = pair.images(1)
    x[:, 3:7] = 0
    found = tfsal.GuidedIG(steps=50)(relu, x, 1)[0]
    assert pair.relative(found, by_peer(relu, x[0], x_steps=50)) < 1e-9


@pytest.mark.parametrize("baseline", [0.3, "image_range"])
def test_equals_pair_from_other_baselines(relu, baseline):
    x = pair.images(2)
    found = tfsal.GuidedIG(steps=30, baseline=baseline)(relu, x, 1)
    for row, image in zip(found, x, strict=True):
        ends = [0.3] if baseline == 0.3 else [image.min(), image.max()]
        starts = [np.full_like(image, end) for end in ends]
        each = [by_peer(relu, image, x_steps=30, x_baseline=start) for start in starts]
        assert pair.relative(row, np.mean(each, axis=0)) < 1e-9


@pytest.mark.parametrize("fraction", [0.05, 0.25, 0.4, 1.0])
def test_the_bound_of_the_search_is_none_of_theirs(relu, fraction):
    """PAIR's inner loop has no bound; it takes at most as many rounds as ours may."""
    rounds, x = [], pair.images(1)[0]
    gradient = pair.model_function(relu, 1)

    def counted(*args, **kwargs):
        rounds.append(0)
        return gradient(*args, **kwargs)

    def quantile(a, q, interpolation, original=np.quantile):
        rounds[-1] += 1
        return original(a, q, method=interpolation)

    with pair.numpy_1(quantile):
        peer.GuidedIG().GetMask(x, counted, x_steps=20, fraction=fraction, max_dist=0.4)
    group = 1 + int(fraction * (x.size - 1))
    assert len(rounds) == 20 and 1 <= max(rounds) <= -(-x.size // group)
    if fraction < 0.4:
        assert max(rounds) > 1
