"""Terms that must be accepted before a download."""

from __future__ import annotations

import os
from collections.abc import Mapping

from conversion.catalog import Weights
from conversion.errors import FetchError

VARIABLE = "FACEKIT_ACCEPT_EULA"


def accepted_by(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether ``FACEKIT_ACCEPT_EULA`` accepts the terms.

    Raises:
        FetchError: it is neither yes nor no.

    >>> accepted_by({"FACEKIT_ACCEPT_EULA": "yes"}), accepted_by({})
    (True, False)
    """
    text = environment.get(VARIABLE, "").strip().lower()
    if text in ("yes", "y", "true", "1"):
        return True
    if text in ("", "no", "n", "false", "0"):
        return False
    raise FetchError(f"{VARIABLE}: expected yes or no, got {text!r}")


def require(weights: Weights, accepted: bool) -> None:
    """See to it that the terms of some weights are accepted, where they must be.

    Raises:
        FetchError: they must be and are not; it names them, their address and both ways to accept.
    """
    license = weights.license
    if not license.accept or accepted:
        return
    raise FetchError(
        f"{weights.model}={weights.name} is under the {license.name}: {license.url}. Read it, then "
        f"accept it with --accept-eula or with {VARIABLE}=yes in .env. "
        "The kit's own networks ask for nothing: --weights open"
    )
