"""Builds csv-python.wasm from capability.py. The helper and the contract are those of this repository; a project of its own has copies of
them, as `redress capability new NAME --lang python` puts them there.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
OUTPUT = HERE / "csv-python.wasm"


def main() -> int:
    # That of the environment in `.venv` comes first, whichever Python runs this.
    folders = [HERE / ".venv/bin", HERE / ".venv/Scripts", Path(sys.executable).parent]
    tool = shutil.which("componentize-py", path=os.pathsep.join(str(folder) for folder in folders)) or shutil.which("componentize-py")
    if tool is None:
        print("componentize-py is missing: README.md says how to set it up", file=sys.stderr)
        return 2
    (HERE / "wit").mkdir(exist_ok=True)
    shutil.copyfile(REPOSITORY / "wit/capability.wit", HERE / "wit/capability.wit")
    shutil.copyfile(REPOSITORY / "sdk/python/redress_capability.py", HERE / "redress_capability.py")
    world = ["--wit-path", "wit", "--world", "capability"]
    done = subprocess.run([tool, *world, "componentize", "capability", "--python-path", ".", "--output", OUTPUT.name], cwd=HERE)
    if done.returncode == 0:
        print(f"{OUTPUT.name}: {OUTPUT.stat().st_size / 1e6:.1f} MB")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
