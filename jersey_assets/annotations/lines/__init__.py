"""Reads annotation files: JSONL lines, parsed strictly into rows."""
