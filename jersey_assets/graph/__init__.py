"""The asset graph: assets, their checks and pages, resources and run config."""
