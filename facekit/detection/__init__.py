"""DetectNet_v2 postprocessing: grid decode, clustering, and boxes in photo pixels."""
