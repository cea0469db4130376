"""Lines of JSONL, read strictly into rows."""
