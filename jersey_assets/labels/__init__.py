"""Labels: the class mapping and the dataset's statistics."""
