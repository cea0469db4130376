"""Labels: class mapping, dataset statistics, and drawn crops for rare labels."""
