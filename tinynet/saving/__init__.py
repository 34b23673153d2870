"""Models in Keras's file formats: `save` writes, `load` reads, `hdf5` does both for the weights."""

from tinynet.saving.save import (
    KERAS_VERSION as KERAS_VERSION,
    get_config as get_config,
    save_model as save_model,
    to_json as to_json,
)
