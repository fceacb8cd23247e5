"""``python -m deflect``."""

import sys

from deflect.cli import main

sys.exit(main())
