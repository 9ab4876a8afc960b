"""`python -m trainrelay`: the command line without an activated environment."""

import sys

try:
    from trainrelay.cli import main

    status = main()
except KeyboardInterrupt:  # while that was being loaded: nothing has begun
    print("trainrelay: Stopped.", file=sys.stderr)
    status = 75
sys.exit(status)
