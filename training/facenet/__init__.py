"""The open face network: trained on every face set at once, in gray, with its own layout."""
