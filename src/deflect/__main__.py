"""``python -m deflect`` is the command ``deflect``."""

import sys

from deflect.cli import main

sys.exit(main())
