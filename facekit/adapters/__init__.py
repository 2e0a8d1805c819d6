"""Triton's Python models over the package: tensors in, tensors out, errors a request.

The ``model.py`` files of the model repository name one class of these modules each. They are
imported by Triton's Python backend alone, which brings ``triton_python_backend_utils``.
"""
