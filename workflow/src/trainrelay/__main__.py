"""`python -m trainrelay`: the command line without an activated environment."""

import sys

from trainrelay.cli import main

sys.exit(main())
