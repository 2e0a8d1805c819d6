"""Command line of the detector's training: ``python -m training.detector COMMAND``."""

import argparse
import importlib
import logging
import sys

from facekit.command import run_command

COMMANDS = {
    "pretrained": "turn an ONNX file or a checkpoint into weights to begin with",
    "train": "train as a spec says, or go on with a run",
    "evaluate": "measure a network on a spec's validation photos",
    "prune": "make a network smaller by its weakest filters",
    "infer": "find faces in photos, draw them and write labels",
    "export": "write a network as an ONNX file, in float32 or INT8",
}
"""Each is a module of the package with ``add_arguments(parser)`` and ``run(options)``."""
LOGGER = logging.getLogger("training")


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status."""
    return run_command(lambda: _main(arguments), "training.detector", extra="train")


def _main(arguments: list[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="python -m training.detector", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        # Only the command's own module is imported: each needs other libraries.
        if name in given[:1]:
            module = importlib.import_module(f"training.detector.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
            if name != "pretrained":
                text = "TLT's key to its files; unused: none are encrypted"
                command.add_argument("-k", "--key", help=text)
    options = parser.parse_args(given)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if vars(options).get("key") is not None:
        LOGGER.warning("-k is unused: nothing here is encrypted")
    status: int = options.run(options)
    return status


if __name__ == "__main__":
    sys.exit(main())
