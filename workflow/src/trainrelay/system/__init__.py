"""What lies under everything: files, processes, ports, text for a terminal."""
