"""The Triton of a container, with its own backends and, on a GPU, TensorRT engines."""

from __future__ import annotations

import os
from pathlib import Path

from facekit.engines.check import active_config, check_engines, needs_machine
from facekit.engines.configs import active_configs
from facekit.engines.machine import Machine, probe_machine
from facekit.engines.optional import left_out
from facekit.errors import ConfigError, SetupError
from facekit.serving.options import ServerOptions
from facekit.serving.runtime import Runtime
from facekit.serving.server import TritonServer

DEFAULT_ROOT = Path("/opt/tritonserver")
"""Where NVIDIA's images have it."""


class StockServer(TritonServer):
    """The Triton below a folder such as ``/opt/tritonserver``.

    Every start checks first that the engines fit this TensorRT and this GPU. A mask detector for
    which no engine was made is left out, and ``notes`` tells.

    Args:
        model_repository: the folder of models; by default the kit's own.
        options: see ``TritonServer``.
        root: the folder with ``bin/tritonserver`` and ``backends``.
        config_name: the set of ``configs/<name>.pbtxt`` that goes before ``config.pbtxt``; "" for
            none; by default the one that the engines were made for.
    """

    computes = True

    def __init__(
        self,
        model_repository: str | os.PathLike[str] | None = None,
        options: ServerOptions | None = None,
        *,
        root: str | os.PathLike[str] = DEFAULT_ROOT,
        config_name: str | None = None,
    ) -> None:
        super().__init__(model_repository, options)
        self.root = Path(root).absolute()
        self._wanted_config = config_name
        self._config_name = ""

    def _prepare(self) -> None:
        for part in (self._binary(), self.root / "backends"):
            if not part.exists():
                raise SetupError(
                    f"There is no Triton in {self.root} ({part} is missing): name its folder "
                    f"(facekit serve --native DIR), or leave --native out for the embedded server."
                )
        if self._wanted_config is None:
            self._config_name = active_config(self.model_repository)
        else:
            self._config_name = self._wanted_config
        self._check_engines()

    def _check_engines(self) -> None:
        repository, config = self.model_repository, self._config_name
        # TensorRT's libraries are not asked where nothing needs them.
        try:
            needed = needs_machine(repository, config)
            self._left_out = left_out(repository, config)
            models = set(active_configs(repository, config))
            models -= set(self._left_out.models if self._left_out else ())
        except ConfigError as error:
            raise SetupError(str(error)) from error
        machine = probe_machine() if needed else Machine(None, (), "")
        problems = check_engines(repository, models, machine, self._wanted_config)
        if problems:
            lines = "\n  ".join(problems)
            raise SetupError(f"These models can't be served here:\n  {lines}")

    def _new_runtime(self) -> Runtime:
        return Runtime()

    def _binary(self) -> Path:
        return self.root / "bin" / "tritonserver"

    def _own_arguments(self, runtime: Runtime) -> list[str]:
        arguments = [f"--backend-directory={runtime.links.plain(self.root / 'backends')}"]
        if self._config_name:
            arguments.append(f"--model-config-name={self._config_name}")
        return arguments
