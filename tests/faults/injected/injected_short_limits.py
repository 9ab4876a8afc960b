"""`trainrelay ARGUMENT...` whose watchdog allows seconds where the real one allows minutes."""

import sys

from trainrelay import cli
from trainrelay.supervise.hangs import detector

# Start-up counts, and must be over by then on a busy machine as well.
detector.QUIET_FLOOR_S = detector.PACE_FLOOR_S = 45.0
detector.OUTPUT_FACTOR = 1.0
detector.UNKNOWN_AFTER_S = 5.0

if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:]))
