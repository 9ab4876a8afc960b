"""Checkpoints: read without running code from them, judged, and promoted.

This is the one public door; torch is not needed and never imported.
"""

from trainrelay.checkpoint.inspection import Glance, glance, how_to_allow, inspect
from trainrelay.checkpoint.promotion import check_target, promote
from trainrelay.checkpoint.sources import SavedAs, Stamp, stamp_of
from trainrelay.checkpoint.validity import newest_valid, verify
from trainrelay.checkpoint.whole import is_ended, without_digits
