"""Release: the gate, the bundle to deploy, publishing and rolling back."""
