"""`python -m trainrelay`: the command line without an activated environment."""

import sys

from trainrelay.system.say import say

try:
    from trainrelay.cli import main

    status = main()
except KeyboardInterrupt:  # while that was being loaded: nothing has begun
    say("Stopped.")
    status = 75
sys.exit(status)
