"""Annotations: JSONL on disk becomes one validated table and the rows set aside.

`validate.validate` judges a dataset, and `checks.verdicts` says what its checks find.
"""
