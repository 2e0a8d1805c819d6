"""``scripts/convert``: checks the machine; Docker Compose builds and runs the converter."""
