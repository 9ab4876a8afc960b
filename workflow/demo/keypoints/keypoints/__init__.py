"""A keypoint model that writes what it sees as a sequence of tokens and coordinates."""
