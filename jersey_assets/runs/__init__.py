"""One run of the graph: its executor, its time limits, its process, its history."""
