"""One writer per stage, across the hosts that share its folder.

In `<stage_dir>/lease/` is a claim per fencing token (000007.json), made exclusively, and beside it the beat
of its owner (000007.beat), a counter that moves for as long as the owner's process runs. The owner of the
highest token is the one writer. No rule looks at file times, at another host's clock, or at locks.
"""
