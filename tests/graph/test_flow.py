"""Dominators, against brute force: take a tensor away and see what can still be reached."""

import hypothesis
from hypothesis import strategies as st

from tfsal.graph.flow import Flow, producers


@st.composite
def graphs(draw):
    """{tensor: its inputs} in topological order, sources and sinks."""
    size = draw(st.integers(2, 12))
    inputs = {"0": ()}
    for i in range(1, size):
        earlier = st.integers(0, i - 1).map(str)
        inputs[str(i)] = tuple(draw(st.lists(earlier, max_size=3)))
    names = st.sampled_from(list(inputs))
    sources = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    sinks = draw(st.lists(names, min_size=1, max_size=2, unique=True))
    return inputs, sources, sinks


def reach(inputs, sources, starts, without=None):
    """Tensors met on the ways from `starts` back to the sources, which stop a way."""
    seen, stack = set(), [s for s in starts if s != without]
    while stack:
        tensor = stack.pop()
        if tensor not in seen:
            seen.add(tensor)
            if tensor not in sources:
                stack.extend(i for i in inputs[tensor] if i != without)
    return seen


def connected(inputs, sources, sinks, without=None):
    return bool(reach(inputs, sources, sinks, without) & set(sources))


@hypothesis.given(graphs())
@hypothesis.settings(max_examples=300, deadline=None)
def test_order_is_what_lies_on_a_way(graph):
    inputs, sources, sinks = graph
    flow = Flow(inputs, sources, sinks)
    expected = [
        t for t in inputs if t in reach(inputs, sources, sinks) and connected(inputs, sources, [t])
    ]
    assert flow.order == expected
    for tensor in flow.order:
        before = reach(inputs, sources, [tensor])
        assert flow.reaching(tensor) == [s for s in sources if s in before]


@hypothesis.given(graphs())
@hypothesis.settings(max_examples=300, deadline=None)
def test_trunk_is_on_every_way(graph):
    inputs, sources, sinks = graph
    flow = Flow(inputs, sources, sinks)
    live = [s for s in sinks if s in flow]
    expected = [
        t
        for t in flow.order
        # Every sink needs it: without it, none of them is reached from a source.
        if all(not connected(inputs, sources, [s], without=t) for s in live)
    ]
    assert flow.trunk == expected


@hypothesis.given(graphs())
@hypothesis.settings(max_examples=300, deadline=None)
def test_next_common_is_the_first_tensor_all_ways_meet(graph):
    inputs, sources, sinks = graph
    flow = Flow(inputs, sources, sinks)
    after = {t: [u for u in flow.order if t in flow.inputs(u)] for t in flow.order}

    def escapes(start, without):
        """Whether a sink can be reached forward from `start` around `without`."""
        return connected(after, flow.sinks, [start], without)

    for tensor in flow.order:
        common = [t for t in flow.order if t != tensor and not escapes(tensor, t)]
        expected = None if tensor in flow.sinks or not common else common[0]
        assert flow.next_common(tensor) == expected


@hypothesis.given(graphs())
@hypothesis.settings(max_examples=100, deadline=None)
def test_between(graph):
    inputs, sources, sinks = graph
    flow = Flow(inputs, sources, sinks)
    for first in flow.order:
        for last in flow.order:
            used = reach(dict.fromkeys(flow.order, ()) | flow._inputs, sources, flow.inputs(last))
            expected = {t for t in used if flow.position[t] > flow.position[first]}
            assert flow.between(first, last) <= expected
            # What is left out is only reached through tensors made before `first`.
            assert {t for t in flow.inputs(last) if t in expected} <= flow.between(first, last)


def test_sizes_carry_nothing_and_identities_carry_one():
    assert producers("Shape", 0, ["a:0"]) == ()
    assert producers("IdentityN", 1, ["a:0", "b:0"]) == ("b:0",)
    assert producers("Split", 1, ["axis:0", "a:0"]) == ("axis:0", "a:0")


def test_a_sink_that_is_a_source():
    flow = Flow({"x": (), "y": ("x",)}, ["x"], ["x", "y"])
    assert flow.trunk == ["x"] and flow.order == ["x", "y"]
    assert Flow({"x": ()}, ["x"], ["x"]).trunk == ["x"]
