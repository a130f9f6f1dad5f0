"""Speed, measured next to the peers in one run."""
