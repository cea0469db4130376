"""What is measured of each crop, and the pictures of faulty ones."""
