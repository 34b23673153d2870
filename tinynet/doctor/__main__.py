"""``python -m tinynet.doctor``."""

import sys

from tinynet.doctor import main

sys.exit(main(sys.argv[1:]))
