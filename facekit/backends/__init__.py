"""Stand-ins for Triton's native backends, for the embedded server, which carries only Python's.

Each folder is named as the backend in ``config.pbtxt`` and holds the ``model.py`` that Triton loads
in its place, so that one model repository runs on the native backends and on these.
"""
