"""Time in, deletions and second chances out."""
