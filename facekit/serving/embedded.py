"""A Triton server as a child process, for a machine with no GPU and no container engine.

::

    with EmbeddedServer() as server:
        Client(server.grpc_url).detect("photo.jpg")
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from facekit.engines.configs import active_configs
from facekit.engines.optional import left_out
from facekit.serving.installation import (
    Installation,
    check_backend_package,
    find_installation,
)
from facekit.serving.options import ServerOptions
from facekit.serving.repository import default_model_repository
from facekit.serving.runtime import EmbeddedRuntime, Runtime
from facekit.serving.server import TritonServer
from facekit.serving.tls import Tls

__all__ = ["EmbeddedServer", "default_model_repository"]


class EmbeddedServer(TritonServer):
    """The Triton of the ``nvidia-pytriton`` wheel, with the kit's stand-ins for its backends.

    Args:
        model_repository: the folder of models; by default the kit's own.
        http_port: see ``ServerOptions``, as for all that follow but one.
        grpc_port: see ``ServerOptions``.
        metrics_port: see ``ServerOptions``.
        address: see ``ServerOptions``.
        config_name: the set of ``configs/<name>.pbtxt`` that goes before ``config.pbtxt``.
        log_file: see ``ServerOptions``.
        tls: see ``ServerOptions``.
        color: see ``ServerOptions``.
        restrict_management: see ``ServerOptions``.
        extra_args: see ``ServerOptions``.
    """

    def __init__(
        self,
        model_repository: str | os.PathLike[str] | None = None,
        *,
        http_port: int = 0,
        grpc_port: int = 0,
        metrics_port: int = 0,
        address: str = "127.0.0.1",
        config_name: str = "cpu",
        log_file: str | os.PathLike[str] | None = None,
        tls: Tls | None = None,
        color: str | None = None,
        restrict_management: bool = False,
        extra_args: Sequence[str] = (),
    ) -> None:
        options = ServerOptions(
            http_port=http_port,
            grpc_port=grpc_port,
            metrics_port=metrics_port,
            address=address,
            log_file=log_file,
            tls=tls,
            color=color,
            restrict_management=restrict_management,
            extra_args=extra_args,
        )
        super().__init__(model_repository, options)
        self._config_name = config_name
        self._installation: Installation | None = None

    def _prepare(self) -> None:
        self._installation = find_installation()
        self._left_out = left_out(self.model_repository, self._config_name)
        configs = active_configs(self.model_repository, self._config_name)
        backends = {str(config.backend) for config in configs.values()}
        for backend in sorted(backends & {"dali", "onnxruntime"}):
            check_backend_package(backend)

    def _new_runtime(self) -> Runtime:
        assert self._installation is not None
        return EmbeddedRuntime(self._installation)

    def _binary(self) -> Path:
        assert self._installation is not None
        return self._installation.binary

    def _own_arguments(self, runtime: Runtime) -> list[str]:
        assert isinstance(runtime, EmbeddedRuntime)
        return [
            f"--backend-directory={runtime.backends}",
            f"--model-config-name={self._config_name}",
            "--allow-gpu-metrics=false",
        ]
