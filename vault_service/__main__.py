"""``python -m vault_service`` and the command ``tokenvault``."""

from __future__ import annotations

from vault_service.cli.main import main

if __name__ == "__main__":
    main()
