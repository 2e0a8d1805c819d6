"""``python -m conversion.host``, which ``scripts/convert`` runs."""

import sys

from conversion.host.cli import main

if __name__ == "__main__":
    sys.exit(main())
