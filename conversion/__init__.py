"""From NVIDIA's published networks, or open ONNX ones, to TensorRT engines in a model repository.

``python -m conversion plan`` prints what would be done; ``all`` does it. From low to high:

- ``errors``, ``yaml_file``, ``catalog`` and ``catalog_file`` (``models.yaml``: what can be
  converted), ``releases`` (``releases.yaml``: which versions fit together), ``selection``
  (``--weights``), ``paths``
- ``ngc``, ``ngc_client``, ``download``, ``lock``, ``fetch``
- ``commands`` (the tools' arguments), ``tool_process``, ``staleness`` (whether to build), ``build``
- ``pipelines`` (DALI), ``verify``, ``deepstream``
- ``plan``, ``planning`` (decides), ``run`` (does what the plan says), ``cli``
- ``host``: checks and Docker Compose, for ``scripts/convert``
"""
