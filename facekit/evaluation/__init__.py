"""How well faces are found: average precision and landmark errors."""
