""".npy files that tfsal_run reads, good and hostile."""

import io
import subprocess

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from run_models import DTYPES, identical, refused


def npy(header, data=b"", version=(1, 0), length=None):
    header = header.encode("latin1") if isinstance(header, str) else header
    width = 2 if version[0] == 1 else 4
    size = len(header) if length is None else length
    return b"\x93NUMPY" + bytes(version) + size.to_bytes(width, "little") + header + data


def described(descr="'<f4'", order="False", shape="(2,)"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


HOSTILE = {
    "empty": (b"", "not a .npy file"),
    "magic": (b"\x92NUMPY\x01\x00\x00\x00", "not a .npy file"),
    "version": (npy(described(), bytes(8), version=(4, 0)), "version 4"),
    "header_past_end": (npy(described(), length=60000), "runs past the end"),
    "header_past_end_2": (npy(described(), version=(2, 0), length=2**32 - 1), "runs past the end"),
    "cut_in_length": (b"\x93NUMPY\x02\x00\x10\x00\x00", "not a .npy file|too early|past the end"),
    "no_header": (npy(""), "expected {"),
    "not_ending": (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,"), "malformed"),
    "open_quote": (npy("{'descr': '<f4"), "malformed"),
    "long_key": (npy("{'" + "k" * 500 + "': 1}"), "malformed"),
    "zero_byte": (npy(described().replace(" ", "\0")), "zero byte"),
    "missing_shape": (npy("{'descr': '<f4', 'fortran_order': False}"), "keys"),
    "missing_descr": (npy("{'fortran_order': False, 'shape': ()}", bytes(4)), "keys"),
    "twice": (npy("{'shape': (2,), 'shape': (2,)}"), "once each"),
    "trailing": (npy(described() + "x", bytes(8)), "nothing more"),
    "fortran": (npy(described(order="True"), bytes(8)), "np.ascontiguousarray"),
    "order": (npy(described(order="0"), bytes(8)), "malformed"),
    "big_endian": (npy(described("'>f4'"), bytes(8)), "big-endian"),
    "object": (npy(described("'|O'"), bytes(8)), "'|O'"),
    "structured": (npy(described("[('a', '<f4')]"), bytes(8)), "structured"),
    "unicode": (npy(described("'<U3'"), bytes(24)), "'<U3'"),
    "strings_short": (npy(described("'|S3'"), bytes(5)), "string [2] takes 6 bytes"),
    "strings_huge": (npy(described("'|S2147483647'", shape="(17179869184,)")), "not possible"),
    "strings_beyond": (npy(described("'|S99999999999'"), bytes(8)), "not supported"),
    "strings_empty": (npy(described("'|S0'", shape="(1000000000,)")), "not supported"),
    "strings_no_size": (npy(described("'|S'"), bytes(8)), "not supported"),
    "void": (npy(described("'|V2'"), bytes(4)), "'|V2'"),
    "empty_descr": (npy(described("''"), bytes(8)), "not supported"),
    "byte_order": (npy(described("'!f4'"), bytes(8)), "not supported"),
    "too_short": (npy(described(), bytes(7)), "takes 8 bytes, the file has 7"),
    "too_long": (npy(described(), bytes(9)), "takes 8 bytes, the file has 9"),
    "huge": (npy(described(shape="(1000000000000,)")), "takes 4000000000000 bytes"),
    "overflow": (npy(described(shape="(4294967296, 4294967296)")), "not possible"),
    "overflow_to_zero": (npy(described(shape="(9223372036854775807, 2)")), "not possible"),
    "overflow_digits": (npy(described(shape="(99999999999999999999,)")), "not possible"),
    "overflow_empty": (npy(described(shape="(0, 9223372036854775807, 9)")), "not possible"),
    "overflow_bytes": (npy(described("'<c16'", shape="(1152921504606846976,)")), "not possible"),
    "rank": (npy(described(shape="(" + "1," * 65 + ")"), bytes(4)), "not possible"),
    "negative": (npy(described(shape="(-2,)"), bytes(8)), "a dimension"),
    "no_tuple": (npy(described(shape="2"), bytes(8)), "expected ("),
    "double_comma": (npy(described(shape="(2,,)"), bytes(8)), "a dimension"),
    "format": (npy("%s%n%s%n" * 10), "malformed"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_npy_files(run, tmp_path, name):
    content, words = HOSTILE[name]
    (tmp_path / "x.npy").write_bytes(content)
    done = run("to_float32", {"x": tmp_path / "x.npy"})
    refused(done, "x.npy")
    assert any(word in done.stderr for word in words.split("|")), done.stderr


def test_npy_versions_2_and_3_and_old_headers(answer, tmp_path):
    x = np.arange(6, dtype="f4").reshape(2, 3)
    versions = []
    for version in ((2, 0), (3, 0)):
        stream = io.BytesIO()
        np.lib.format.write_array(stream, x, version=version)
        versions.append(stream.getvalue())
    # Python 2's integers, keys in any order, no spaces, no padding.
    versions.append(npy('{"shape":(2L,3L),"fortran_order":False,"descr":"<f4"}', x.tobytes()))
    for content in versions:
        (tmp_path / "v.npy").write_bytes(content)
        _, arrays = answer("to_float32", {"x": tmp_path / "v.npy"})
        identical(arrays["y"], x)


@hypothesis.settings(
    max_examples=6, deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)  # fmt: skip
@hypothesis.given(
    st.tuples(
        *(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=4))
          for dtype in DTYPES)
    )
)  # fmt: skip
def test_npy_round_trip(answer, values):
    _, arrays = answer("identities", dict(zip(DTYPES, values, strict=False)))
    for dtype, value in zip(DTYPES, values, strict=False):
        identical(arrays[dtype], value)


@hypothesis.settings(
    max_examples=15, deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)  # fmt: skip
@hypothesis.given(st.data())
def test_damaged_npy_files_never_crash(runner, tmp_path, data):
    stream = io.BytesIO()
    np.save(stream, np.zeros((2, 3), "f4"))
    content = bytearray(stream.getvalue())
    if data.draw(st.booleans(), label="cut"):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, 75))] = data.draw(st.integers(0, 255))
    (tmp_path / "x.npy").write_bytes(content)
    # A model that is not there: a file that is still good gets as far as that.
    command = [runner, "/nonexistent", "--input", f"x={tmp_path}/x.npy"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith(b"tfsal_run: "), done
