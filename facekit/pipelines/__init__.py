"""The DALI pipelines of the model repository, as readable Python, and their serialised form."""
