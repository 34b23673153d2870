"""One-hot labels and seeds, as in Keras's `utils`; atomic files, Ctrl-C, the progress line."""

from tinynet.compat import missing
from tinynet.utils.batches import PyDataset as PyDataset, Sequence as Sequence
from tinynet.utils.labels import (
    clear_session as clear_session,
    set_random_seed as set_random_seed,
    to_categorical as to_categorical,
)

missing.teach(__name__)
