"""What Keras's layers and models have besides: attributes that follow from others.

`HasWeights`, the common base of layers and models, derives from this.
"""

from collections.abc import Callable, Mapping, MutableMapping
from typing import NamedTuple

from tinynet import backend, config
from tinynet.backend.types import Array, Config, HostArray, Shape
from tinynet.compat.contracts import CallsInit


class DTypePolicy(NamedTuple):
    """The float type of a layer, in Keras's form; computations and weights have the same."""

    name: str

    @property
    def quantization_mode(self) -> None:
        """Return None: nothing is quantized."""

    @property
    def compute_dtype(self) -> str:
        return self.name

    @property
    def variable_dtype(self) -> str:
        return self.name

    def get_config(self) -> Config:
        return {"name": self.name}

    def __repr__(self) -> str:
        return f'<DTypePolicy "{self.name}">'


class InputSpec(NamedTuple):
    """What a layer requires of its inputs: a number of axes, and the lengths of some of them."""

    ndim: int | None = None
    min_ndim: int | None = None
    axes: Mapping[int, int] | None = None


class Symbol(NamedTuple):
    """The shape and type of the arrays that a layer receives or returns, as `layer.output`."""

    shape: Shape
    dtype: str

    @property
    def ndim(self) -> int:
        return len(self.shape)


class Surface(CallsInit):
    """The attributes of Keras's layers and models that tinynet derives from its own."""

    name: str
    built: bool
    build: Callable[..., None]
    set_weights: Callable[..., None]
    _own_dtype: str | None = None  # `floatx` if not given

    # Masks, which say what to skip in a sequence, do not exist here, so this has no effect.
    supports_masking = False
    input_spec: InputSpec | None = None
    quantization_mode = None
    jit_compile = run_eagerly = False

    @property
    def dtype(self) -> str:
        """The float type of the weights and of the computation."""
        return self._own_dtype or config.floatx()

    @property
    def dtype_policy(self) -> DTypePolicy:
        return DTypePolicy(self.dtype)

    compute_dtype = variable_dtype = input_dtype = dtype

    @property
    def path(self) -> str | None:
        """The layer's name, once it is built."""
        return self.name if self.built else None

    @property
    def weights(self) -> list[Array]:
        raise NotImplementedError

    @property
    def variables(self) -> list[Array]:
        return self.weights

    @property
    def metrics(self) -> list[object]:
        """The metrics of a model; a layer has none."""
        return []

    metrics_variables = metrics

    @property
    def input(self) -> Symbol:
        """The shape and type of the inputs; an AttributeError before they are known."""
        return self._symbol("input", self.input_shape)

    @property
    def output(self) -> Symbol:
        """The shape and type of the outputs; an AttributeError before they are known."""
        return self._symbol("output", self.output_shape if self.built else None)

    def _symbol(self, name: str, shape: Shape | None) -> Symbol:
        if shape is None:
            raise AttributeError(
                f"'{self.name}' has no defined {name} shape yet: it is not built. Write: "
                "build((None, 784)), or an Input first"
            )
        return Symbol(tuple(shape), self.dtype)

    def get_build_config(self) -> Config | None:
        """Return the shape that this was built for, for `build_from_config`; None before."""
        return {"input_shape": self.input_shape} if self.built else None

    def build_from_config(self, config: Config) -> None:
        """Build for the shape that `get_build_config` of a layer of the same kind returned."""
        self.build(tuple(config["input_shape"]))

    def save_own_variables(self, store: MutableMapping[str, HostArray]) -> None:
        """Put copies of the weights into `store`, as ``"0"``, ``"1"``, …"""
        store.update({str(n): backend.to_numpy(array) for n, array in enumerate(self.weights)})

    def load_own_variables(self, store: Mapping[str, HostArray]) -> None:
        """Set the weights to those that `save_own_variables` put into `store`."""
        self.set_weights([store[str(number)] for number in range(len(store))])
