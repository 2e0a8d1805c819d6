"""TLT's experiment specs: their schema, their reader, and what the trainer takes from them."""
