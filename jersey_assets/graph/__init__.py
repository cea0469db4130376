"""The asset graph: Dagster's nouns."""
