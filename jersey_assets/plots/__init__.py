"""The figures on asset pages and in reports, as matplotlib `Figure`s and PNG bytes."""
