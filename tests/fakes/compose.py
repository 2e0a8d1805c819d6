#!/usr/bin/env python3
"""A stand-in for Docker Compose: it knows `config`, logs what it is asked, and ends as it is told.

``FAKE_COMPOSE_LOG`` gets a line of JSON a call; ``FAKE_COMPOSE_BUILD`` and ``FAKE_COMPOSE_RUN`` are
exit codes; ``FAKE_COMPOSE_HANG`` lets a run go on until it is ended.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import yaml

KIT = Path(__file__).parents[2] / "docker-compose.yml"


def config(folder: Path) -> dict[str, Any]:
    """What the kit's own file is for the environment and ``.env`` of a folder."""
    env_file = folder / ".env"
    lines = env_file.read_text().splitlines() if env_file.exists() else []
    values = dict(line.split("=", 1) for line in lines if "=" in line) | dict(os.environ)
    text = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda m: values.get(m[1]) or m[2], KIT.read_text())
    services: dict[str, Any] = yaml.safe_load(text)["services"]
    for service in services.values():
        if isinstance(service.get("environment"), list):
            service["environment"] = {name: values.get(name) for name in service["environment"]}
        service["volumes"] = [
            volume if not isinstance(volume, str) else os.path.normpath(folder / volume)
            for volume in service.get("volumes", [])
        ]
    return services


def main() -> int:
    words = sys.argv[1:]
    assert words[:2] == ["--profile", "convert"], words
    command, *arguments = words[2:]
    if command == "config":
        # Compose writes a dollar sign as its own file needs it.
        text = yaml.safe_dump({"services": config(Path.cwd())}).replace("$", "$$")
        sys.stdout.write(text)
        return 0
    key_file = os.environ.get("NGC_API_KEY_FILE", "")
    entry = {
        "command": command,
        "arguments": arguments,
        "env": dict(os.environ),
        "key": Path(key_file).read_text() if key_file else None,
    }
    with Path(os.environ["FAKE_COMPOSE_LOG"]).open("a") as log:
        log.write(json.dumps(entry) + "\n")
    while command == "run" and os.environ.get("FAKE_COMPOSE_HANG"):
        time.sleep(0.05)
    return int(os.environ.get(f"FAKE_COMPOSE_{command.upper()}", "0"))


if __name__ == "__main__":
    sys.exit(main())
