"""Release: the gate, and the bundle that people deploy."""
