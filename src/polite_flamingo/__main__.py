"""``python -m polite_flamingo``: the same as the console script."""

import sys

from polite_flamingo.cli import main

sys.exit(main())
