"""Matrix products on a GPU: cuBLAS, called directly.

CuPy refuses its own products while a stream captures, see `replay`, and takes the host twice as
long for each. So float32 products call the library that CuPy has loaded, in full float32 precision
unless CUPY_TF32 is set. Where that is not possible, as on Windows, CuPy's own products are used.
"""

import contextlib
import ctypes
import os
import sys

from tinynet.backend import gpu, turns
from tinynet.backend.types import Array, Compiled

# Memory for cuBLAS itself, in bytes, by the GPU's compute capability.
# Source: https://docs.nvidia.com/cuda/cublas/#cublassetworkspace
WORKSPACE, SINCE_HOPPER = 4 * 2**20, 32 * 2**20
HOST, DEVICE = 0, 1  # where cuBLAS finds or leaves a number
TF32 = 3  # products of numbers rounded to three digits


class Cublas:
    """cuBLAS on the GPU in use, with a handle and a workspace of its own.

    With a workspace of its own, it allocates nothing, which a captured step must not do, and the
    results do not depend on the stream.
    """

    def __init__(self) -> None:
        from cupy_backends.cuda.libs import cublas

        cupy = sys.modules["cupy"]
        self._get_stream = cupy.cuda.get_current_stream
        self._library = ctypes.CDLL(cublas.__file__)  # which finds what that has loaded
        self._handle, self._stream = ctypes.c_void_p(), -1
        self._check(self._library.cublasCreate_v2(ctypes.byref(self._handle)))
        if os.environ.get("CUPY_TF32", "0") != "0":  # as CuPy does
            self._check(self._library.cublasSetMathMode(self._handle, TF32))
        hopper = int(cupy.cuda.Device().compute_capability) >= 90
        self._workspace = cupy.cuda.Memory(SINCE_HOPPER if hopper else WORKSPACE)
        self._one, self._zero = (ctypes.byref(ctypes.c_float(number)) for number in (1, 0))
        pointer, whole = ctypes.c_void_p, ctypes.c_int
        self._gemm, self._dot = self._library.cublasSgemm_v2, self._library.cublasSdot_v2
        factor = pointer, whole  # where it is, and the length of its rows
        self._gemm.argtypes = [pointer, *[whole] * 5, pointer, *factor * 2, pointer, *factor]
        self._dot.argtypes = [pointer, whole, *factor * 2, pointer]

    def _check(self, status: int) -> None:
        if status:
            raise RuntimeError(f"cuBLAS failed with status {status}")

    def _follow_stream(self) -> None:
        """Compute on CuPy's current stream; another stream resets the workspace."""
        stream = self._get_stream().ptr
        if stream != self._stream:
            library, workspace = self._library, self._workspace
            self._check(library.cublasSetStream_v2(self._handle, ctypes.c_void_p(stream)))
            if set_workspace := getattr(library, "cublasSetWorkspace_v2", None):  # since CUDA 11
                memory, size = ctypes.c_void_p(workspace.ptr), ctypes.c_size_t(workspace.size)
                self._check(set_workspace(self._handle, memory, size))
            self._stream = stream

    def matmul(self, a: Compiled, b: Compiled, out: Compiled) -> bool:
        """Compute ``out = a @ b`` of float32 matrices; return False if it needs other strides.

        cuBLAS takes matrices column by column, so it computes outᵀ = bᵀ aᵀ.
        """
        (rows, inner), columns = a.shape, b.shape[1]
        a_turned, a_length = _layout(a.strides, rows, inner)
        b_turned, b_length = _layout(b.strides, inner, columns)
        if not (a_length and b_length):
            return False
        with _using:
            self._follow_stream()
            status = self._gemm(
                self._handle, b_turned, a_turned, columns, rows, inner,
                self._one, b.data.ptr, b_length, a.data.ptr, a_length,
                self._zero, out.data.ptr, columns,
            )  # fmt: skip
        self._check(status)
        return True

    def vdot(self, a: Compiled, b: Compiled, out: Compiled) -> None:
        """Compute the sum of a · b, for float32 arrays in C order, into the 0-d array `out`."""
        mode = self._library.cublasSetPointerMode_v2
        with _using:
            self._follow_stream()
            try:
                mode(self._handle, DEVICE)
                status = self._dot(self._handle, a.size, a.data.ptr, 1, b.data.ptr, 1, out.data.ptr)
            finally:
                mode(self._handle, HOST)
        self._check(status)


def _layout(strides: tuple[int, ...], rows: int, columns: int) -> tuple[bool, int]:
    """Return whether a matrix is stored by columns, and the distance of its rows, or columns.

    The distance is in float32 numbers; 0 if neither are contiguous, or the matrix is empty.
    """
    row, column = strides
    if column == 4:
        return False, max(row // 4, columns) if rows else 0
    return True, max(column // 4, rows) if row == 4 and columns else 0


_loaded: dict[object, Cublas | None] = {}
_using = turns.lock()  # a handle is for one thread at a time


def cublas(device: int) -> Cublas | None:
    """Return cuBLAS on this GPU, or None if it cannot be called."""
    cupy = sys.modules["cupy"]
    key = cupy, device
    if key not in _loaded:
        _loaded[key] = None
        with contextlib.suppress(Exception), cupy.cuda.Device(device):
            library = Cublas()
            gpu.check_arithmetic_of(library.matmul, cupy)
            _loaded[key] = library
    return _loaded[key]


def matmul(a: Array, b: Array, out: Compiled) -> bool:
    """Compute ``out = a @ b`` of matrices on a GPU; return False if that needs CuPy."""
    library = cublas(out.device.id) if out.dtype.char == "f" else None
    if library is None or not (a.dtype.char == b.dtype.char == "f" and a.ndim == b.ndim == 2):
        return False
    return library.matmul(a, b, out)


def vdot(a: Compiled, b: Array) -> Array | None:
    """Return the sum of a · b on a GPU, or None if that needs CuPy."""
    library = cublas(a.device.id) if a.dtype.char == b.dtype.char == "f" else None
    if library is None or not (a.flags.c_contiguous and b.flags.c_contiguous):
        return None
    out: Array = sys.modules["cupy"].empty((), "float32")
    library.vdot(a, b, out)
    return out
