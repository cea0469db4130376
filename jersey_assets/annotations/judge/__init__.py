"""What becomes of each row, judged beside all others."""
