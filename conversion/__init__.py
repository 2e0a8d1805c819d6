"""From NVIDIA's published networks, or open ONNX ones, to TensorRT engines in a model repository.

``python -m conversion plan`` says what would be done; ``all`` does it. In order of their imports:

- ``errors``, ``catalog`` (what can be converted), ``catalog_file`` (``models.yaml``), ``releases``
  (``releases.yaml``: which versions fit together), ``choice`` (``--weights``), ``places`` (folders)
- ``fetch``: ``ngc``, ``ngc_client``, ``download``, ``license``
- ``build``: ``commands`` (the tools' arguments), ``toolrun``, ``reasons`` (whether to build at all)
- ``serialize`` and ``device_placement`` (DALI), ``verify``, ``lock``
- ``plan``, ``planning``, ``stages``, ``cli``
- ``host``: starts all of it in a container, for ``scripts/convert``
"""
