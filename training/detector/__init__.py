"""DetectNet_v2: trained, pruned, measured and exported by experiment specs of TLT's kind."""
