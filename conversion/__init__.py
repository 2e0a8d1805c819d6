"""From NVIDIA's published networks, or open ONNX ones, to TensorRT engines in a model repository.

``python -m conversion plan`` says what would be done; ``all`` does it. The parts, in the order of
their imports: ``errors``, ``catalog`` (what can be converted), ``releases`` (which versions fit
together), ``fetch``, ``build``, ``serialize``, ``verify``, ``cli``.
"""
