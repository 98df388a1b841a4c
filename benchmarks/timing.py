"""Fair timing on noisy machines: contenders take turns, medians are compared."""

import os
import platform
import statistics
import time


def interleaved(contenders, rounds, warmup=2):
    """Times callables in turn, round after round.

    Args:
      contenders: {name: callable}.
      rounds: number of timed calls of each.
      warmup: number of calls of each before, not timed.

    Returns:
      {name: [seconds of each round]}.
    """
    for run in contenders.values():
        for _ in range(warmup):
            run()
    seconds = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds, name, base):
    """Median over rounds of one contender's time by another's in the same round."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[base], strict=True))


def machine():
    """Names the processor, its cores and the TensorFlow version."""
    import tensorflow as tf

    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        pass
    return f"{model}, {os.cpu_count()} cores, TensorFlow {tf.__version__}"
