"""What everything else uses: files, processes, ports, text for a terminal."""
