"""Stand-in for Triton's DALI backend."""
