"""Tables and other resources that a model reads and a SavedModel must hold."""

import gc

import tensorflow as tf


def owned_resources(net):
    """Returns the Python objects behind the resources of a ModelGraph that are no variables.

    A tf.function holds only the handle of a table that it reads; saving takes the table itself,
    which may be a global, in a closure, or an attribute of anything.

    Args:
      net: a ModelGraph.
    """
    kind = tf.saved_model.experimental.TrackableResource
    found = [k for k in net.keep if isinstance(k, kind)]
    functions = [k for k in net.keep if isinstance(k, tf.types.experimental.ConcreteFunction)]
    captured = {id(t) for f in functions for t in f.captured_inputs if t.dtype == tf.resource}
    captured -= {id(v.handle) for v in net.variables if hasattr(v, "handle")}
    captured -= {id(_handle(k)) for k in found}
    if captured:
        # type(), for isinstance() asks proxies what they stand for.
        living = [o for o in gc.get_objects() if issubclass(type(o), kind)]
        found += [o for o in living if id(_handle(o)) in captured]
    return found


def _handle(resource):
    # Not `resource_handle`, which makes one where there is none.
    return getattr(resource, "_resource_handle", None)
