"""TensorRT engines: what is known of each (``plan.json``), and whether this machine can run it."""
