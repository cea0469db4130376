"""Annotations: from JSONL files to one validated table and the rows set aside.

`validate.validate` judges a dataset; `checks.verdicts` computes its checks' results.
"""
