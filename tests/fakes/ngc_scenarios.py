"""What the play NGC is told to do: scripts, some of them by name, and the keys it knows.

A script is a dict (``--script`` reads it from JSON)::

    {
        "key": "nvapi-secret",  # wanted by the API; left out: none is wanted
        "legacy_key": "bGVnYWN5",  # good for a token at /token only
        "locked": ["*fpenet*"],  # which paths want the key (all of them when left out)
        "redirect": true,  # false: the API sends the files itself
        "rules": [{"path": "*model.etlt", "times": 1, "status": 503}],
    }

The first rule that fits a request and has ``times`` left is used (left out: for ever). Its keys:

- ``path``: which paths, with ``*``; ``on``: ``"api"`` or ``"storage"`` (both when left out)
- ``status``, ``headers``, ``body``: this answer instead of the file
- ``redirect``: to this URL
- ``cut_after``: end the connection after so many bytes of the body; ``reset``: by a TCP reset
- ``stall_after``: send nothing more after so many bytes of the body, for ``stall_s`` seconds
- ``bytes_per_second``: a trickle
- ``corrupt``: one wrong byte in the middle of the file
- ``ignore_range``: the whole file whatever was asked for; ``etag``: another file each time;
  ``no_etag``: nothing tells one version of the file from another
- ``length_add``: the length announced is wrong by so much; ``no_length``: none is announced
- ``chunked``: chunks in place of a length
- ``content_type``
"""

from __future__ import annotations

from typing import Any

Script = dict[str, Any]

KEY = "nvapi-of-the-tests-0123456789"
LEGACY_KEY = "bGVnYWN5LW9mLXRoZS10ZXN0cw"
SESSION_TOKEN = "session-token-of-the-tests"
SIGNATURE = "X-Amz-Signature=signature-of-the-tests"

_ETLT = "*model.etlt"
SCENARIOS: dict[str, Script] = {
    "ok": {},
    "direct": {"redirect": False},
    "locked": {"key": KEY},
    "locked-legacy": {"legacy_key": LEGACY_KEY},
    "forbidden": {"rules": [{"path": _ETLT, "status": 403, "body": "terms not accepted"}]},
    "missing": {"rules": [{"path": _ETLT, "status": 404, "body": "no such version"}]},
    "busy": {
        "rules": [{"path": _ETLT, "times": 2, "status": 429, "headers": {"Retry-After": "1"}}]
    },
    "busy-for-ever": {"rules": [{"path": _ETLT, "status": 429, "headers": {"Retry-After": "1"}}]},
    "ailing": {"rules": [{"path": _ETLT, "times": 2, "status": 503, "body": "come again"}]},
    "broken": {"rules": [{"path": _ETLT, "status": 500, "body": "broken"}]},
    "cut-once": {"rules": [{"path": _ETLT, "on": "storage", "times": 1, "cut_after": 1000}]},
    "cut-always": {"rules": [{"path": _ETLT, "on": "storage", "cut_after": 0}]},
    "reset-once": {
        "rules": [{"path": _ETLT, "on": "storage", "times": 1, "cut_after": 1000, "reset": True}]
    },
    "corrupt-once": {"rules": [{"path": _ETLT, "on": "storage", "times": 1, "corrupt": True}]},
    "corrupt": {"rules": [{"path": _ETLT, "on": "storage", "corrupt": True}]},
    "trickle": {"rules": [{"path": _ETLT, "on": "storage", "bytes_per_second": 2000}]},
    "stall-once": {"rules": [{"path": _ETLT, "on": "storage", "times": 1, "stall_after": 1000}]},
    "no-resume": {
        "rules": [
            {"path": _ETLT, "on": "storage", "times": 1, "cut_after": 1000},
            {"path": _ETLT, "on": "storage", "ignore_range": True},
        ]
    },
    "wrong-length": {"rules": [{"path": _ETLT, "on": "storage", "length_add": 100}]},
    "sign-in-page": {
        "rules": [
            {
                "path": _ETLT,
                "status": 200,
                "content_type": "text/html",
                "body": "<html><head><title>Sign in</title></head></html>",
            }
        ]
    },
}
"""Scripts by name, for ``--scenario`` and for tests."""
