"""The Triton of a container, with its own backends and, on a GPU, TensorRT engines."""

import os
from pathlib import Path
from typing import Any

from facekit.engines.check import active_config, check_engines, needs_machine
from facekit.engines.configs import active_configs
from facekit.engines.machine import Machine, probe_machine
from facekit.engines.optional import skipped_models
from facekit.errors import ConfigError, SetupError
from facekit.serving.runtime import Runtime
from facekit.serving.server import TritonServer

DEFAULT_ROOT = Path("/opt/tritonserver")
"""Where NVIDIA's images have it."""


class StockServer(TritonServer):
    """The Triton below a folder such as ``/opt/tritonserver``.

    Every start checks first that the engines fit this TensorRT and this GPU. A mask detector for
    which no engine was made is left out, as ``notes`` says.

    Args:
        model_repository: The folder of models; by default the kit's own.
        root: The folder with ``bin/tritonserver`` and ``backends``.
        config_name: The set of ``configs/<name>.pbtxt`` that goes before ``config.pbtxt``; "" for
            none; by default the one that the engines were made for.
        options: The fields of ``ServerOptions``: ports, address, log file, TLS, color.
    """

    computes = True

    def __init__(
        self,
        model_repository: str | os.PathLike[str] | None = None,
        *,
        root: str | os.PathLike[str] = DEFAULT_ROOT,
        config_name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model_repository, **options)
        self.root = Path(root).absolute()
        self._binary = self.root / "bin" / "tritonserver"
        self._wanted_config = config_name
        self._config_name = ""

    def _prepare(self) -> None:
        for part in (self._binary, self.root / "backends"):
            if not part.exists():
                raise SetupError(
                    f"There is no Triton in {self.root} ({part} is missing): name its folder "
                    f"(facekit serve --native DIR), or leave --native out for the embedded server."
                )
        repository, config = self.model_repository, self._wanted_config
        config = active_config(repository) if config is None else config
        self._config_name = config
        # TensorRT's libraries are not loaded where no model needs them.
        try:
            needed = needs_machine(repository, config)
            self._skipped = skipped_models(repository, config)
            models = set(active_configs(repository, config))
            models -= set(self._skipped.models if self._skipped else ())
        except ConfigError as error:
            raise SetupError(str(error)) from error
        machine = probe_machine() if needed else Machine(None, (), "")
        problems = check_engines(repository, models, machine, self._wanted_config)
        if problems:
            lines = "\n  ".join(problems)
            raise SetupError(f"These models cannot be served here:\n  {lines}")

    def _new_runtime(self) -> Runtime:
        return Runtime()

    def _command(self, runtime: Runtime) -> list[str]:
        backends = runtime.links.plain(self.root / "backends")
        command = [str(self._binary), f"--backend-directory={backends}"]
        if self._config_name:
            command.append(f"--model-config-name={self._config_name}")
        return command
