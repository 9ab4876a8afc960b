"""`trainrelay ARGUMENT...` whose watchdog allows seconds where the real one allows minutes."""

import sys

from trainrelay import cli
from trainrelay.supervise.watchdog import policy

# Start-up counts, and must be over by then on a busy machine as well.
policy.QUIET_FLOOR_S = policy.PACE_FLOOR_S = 45.0
policy.OUTPUT_FACTOR = 1.0
policy.UNKNOWN_AFTER_S = 5.0

if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:]))
