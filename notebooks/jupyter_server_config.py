"""How JupyterLab runs in the image of Dockerfile.jupyter."""

import os
import shutil
from pathlib import Path

_NOTEBOOK = Path("/opt/facekit/share/face_workflow.ipynb")
_WORKSPACE = Path("/workspace")

c = get_config()  # noqa: F821 (Jupyter defines it)
c.ServerApp.ip = "0.0.0.0"
c.ServerApp.port = int(os.environ["FACEKIT_JUPYTER_PORT"])
c.ServerApp.port_retries = 0
c.ServerApp.open_browser = False
c.ServerApp.no_browser_open_file = True
c.ServerApp.root_dir = str(_WORKSPACE)
c.LabApp.default_url = f"/lab/tree/{_NOTEBOOK.name}"
# Nothing can be installed, and no language server looks through what is there.
c.LabApp.extension_manager = "readonly"
c.LanguageServerManager.autodetect = False

token = os.environ.get("FACEKIT_JUPYTER_TOKEN", "").strip()
# Never an empty one: to Jupyter that means that everybody may enter.
if token:
    c.IdentityProvider.token = token
c.PasswordIdentityProvider.allow_password_change = False

# A copy, so that changes stay in the workspace; who has one keeps it.
copy = _WORKSPACE / _NOTEBOOK.name
try:
    if not copy.exists():
        shutil.copyfile(_NOTEBOOK, copy)
except OSError as error:
    reason = f"{copy} can't be written by user {os.getuid()}: {error.strerror}"
    raise SystemExit(f"{reason}; see FACEKIT_WORKSPACE and FACEKIT_UID in .env.example") from None
