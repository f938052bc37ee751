"""Builds {{name}}.wasm from capability.py.

    redress_capability.py   the helper that capability.py imports
    wit/capability.wit      the contract
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUTPUT = HERE / "{{name}}.wasm"


def main() -> int:
    # That of the environment in `.venv` comes first, whichever Python runs this.
    folders = [HERE / ".venv/bin", HERE / ".venv/Scripts", Path(sys.executable).parent]
    tool = shutil.which("componentize-py", path=os.pathsep.join(str(folder) for folder in folders)) or shutil.which("componentize-py")
    if tool is None:
        print("componentize-py is missing: README.md says how to set it up", file=sys.stderr)
        return 2
    # No `--stub-wasi`: files need WASI, and without it nothing is logged.
    world = ["--wit-path", "wit", "--world", "capability"]
    done = subprocess.run([tool, *world, "componentize", "capability", "--python-path", ".", "--output", OUTPUT.name], cwd=HERE)
    if done.returncode == 0:
        print(f"{OUTPUT.name}: {OUTPUT.stat().st_size / 1e6:.1f} MB")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
