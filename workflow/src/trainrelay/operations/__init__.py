"""What a verb does, without its arguments: each module is one verb or what several share."""
