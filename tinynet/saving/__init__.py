"""Models in Keras's files: `save` writes one, `load` opens it, `hdf5` holds the weights in it."""

from tinynet.saving.save import (
    KERAS as KERAS,
    get_config as get_config,
    save_model as save_model,
    to_json as to_json,
)
