"""Measures each crop (size, hashes, flatness) and draws contact sheets of faults."""
