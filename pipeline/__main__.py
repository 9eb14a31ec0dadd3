"""``python -m pipeline`` is ``kpv``."""

import sys

from pipeline.cli import main

sys.exit(main())
