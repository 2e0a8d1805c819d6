"""A Triton server as a child process, for a machine with no GPU and no container engine.

::

    with EmbeddedServer() as server:
        Client(server.grpc_url).detect("photo.jpg")
"""

import os
from typing import Any

from facekit.engines.configs import active_configs
from facekit.engines.optional import skipped_models
from facekit.serving.installation import Installation, check_backend_package, find_installation
from facekit.serving.runtime import EmbeddedRuntime, Runtime
from facekit.serving.server import TritonServer


class EmbeddedServer(TritonServer):
    """The Triton of the ``nvidia-pytriton`` wheel, with the kit's stand-ins for its backends.

    Args:
        model_repository: The folder of models; by default the kit's own.
        config_name: The set of ``configs/<name>.pbtxt`` that goes before ``config.pbtxt``.
        options: The fields of ``ServerOptions``: ports, address, log file, TLS, color.
    """

    def __init__(
        self,
        model_repository: str | os.PathLike[str] | None = None,
        *,
        config_name: str = "cpu",
        **options: Any,
    ) -> None:
        super().__init__(model_repository, **options)
        self._config_name = config_name
        self._installation: Installation | None = None

    def _prepare(self) -> None:
        self._installation = find_installation()
        self._skipped = skipped_models(self.model_repository, self._config_name)
        configs = active_configs(self.model_repository, self._config_name)
        backends = {str(config.backend) for config in configs.values()}
        for backend in sorted(backends & {"dali", "onnxruntime"}):
            check_backend_package(backend)

    def _new_runtime(self) -> Runtime:
        assert self._installation is not None
        return EmbeddedRuntime(self._installation)

    def _command(self, runtime: Runtime) -> list[str]:
        assert self._installation is not None
        assert isinstance(runtime, EmbeddedRuntime)
        return [
            str(self._installation.binary),
            f"--backend-directory={runtime.backends}",
            f"--model-config-name={self._config_name}",
            "--allow-gpu-metrics=false",
        ]
