"""How a run lives: its process, its limits, its terminal, what it left behind."""
