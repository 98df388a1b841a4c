"""check: does a bundle keep its contract, here and now?"""

import dataclasses
import pathlib
import time

import numpy as np
import tensorflow as tf

from tfsal.errors import ExportError
from tfsal.serving import audit
from tfsal.serving.contract import file_hashes, read_contract
from tfsal.serving.guard import made_up, run_signatures


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
      subject: the files, or a signature of the bundle.
      problem: what is wrong, in words; None when nothing is known to be.
      detail: what was seen.
      ran: False where a signature could not be run, so that nothing is known of it.
    """

    subject: str
    problem: str | None
    detail: str = ""
    ran: bool = True

    @property
    def mark(self) -> str:
        """'ok', 'FAIL', or '--' for what was not run."""
        return "FAIL" if self.problem else "ok" if self.ran else "--"


def check(path) -> list:
    """Checks a bundle: its files, its ops, and its signatures by running them.

    Args:
      path: directory of the SavedModel.

    Returns:
      A list of Findings; the bundle is well when none has a problem.

    Raises:
      ExportError: there is no bundle, it has no contract, or its saved_model.pb cannot be read.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        raise ExportError(f"There is no directory '{path}'.")
    contract = read_contract(path)
    findings = [_check_files(path, contract["files"])]
    needs = audit.signature_needs(audit.read_meta_graph(path))
    for name, promised in contract["signatures"].items():
        if name not in needs:
            findings.append(Finding(name, "the signature is missing"))
        elif list(needs[name].ops) != promised["ops"]:
            changed = sorted(set(needs[name].ops) ^ set(promised["ops"]))
            findings.append(Finding(name, f"its ops differ from the contract: {changed}"))
        else:
            findings.append(_run(path, name, promised))
    return findings


def _check_files(path, promised):
    found = file_hashes(path)
    for name, digest in promised.items():
        if name not in found:
            return Finding("files", f"'{name}' is missing")
        if found[name] != digest:
            return Finding("files", f"'{name}' was changed after the export")
    return Finding("files", None, f"{len(promised)} files as exported")


def _run(path, name, promised):
    host = ", ".join(promised["host"])
    inputs = {k: (tf.as_dtype(v["dtype"]), v["shape"]) for k, v in promised["inputs"].items()}
    if any(dtype == tf.string for dtype, _ in inputs.values()):
        return Finding(name, None, f"not run, because it takes strings; host: {host}", ran=False)
    feeds = {
        key: made_up(key, *spec)
        for key, spec in inputs.items()
        if not promised["inputs"][key].get("optional")
    }
    start = time.perf_counter()
    try:
        results = run_signatures(path, [name], feeds)[name]
    except ExportError as error:
        if "method" in promised or name == "serving_default":
            return Finding(name, str(error))
        return Finding(name, None, "the model's own, not with made-up input", ran=False)
    seconds = time.perf_counter() - start
    heatmaps = [v for k, v in results.items() if k.removeprefix("tfsal_").startswith("heatmap")]
    for values in heatmaps if "method" in promised else ():
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            return Finding(name, "its heatmap is not within 0 and 1")
    return Finding(name, None, f"answered in {seconds:.1f} s with loading; host: {host}")
