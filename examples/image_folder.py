"""A run from folders of pictures, without any code of one's own: tiny folders are made, then the command is given.

python examples/image_folder.py [DIR]     # pictures and runs go to DIR, by default a temporary folder
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image


def paint(folder, colour, count, seed):
    """`count` pictures of one class: a blot of the colour on noise."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        pixels = random.integers(0, 90, (16, 16, 3))
        top, left = random.integers(0, 8, 2)
        pixels[top : top + 8, left : left + 8] += colour
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")


def main(root):
    red, green, blue, yellow = np.array([(150, 0, 0), (0, 150, 0), (0, 0, 150), (150, 150, 0)])
    paint(root / "pretrain" / "red", red, 20, seed=1)
    paint(root / "pretrain" / "green", green, 20, seed=2)
    for part, count in (("finetune", 8), ("test", 4)):
        paint(root / part / "blue", blue, count, seed=3 + count)
        paint(root / part / "yellow", yellow, count, seed=4 + count)
    folders = [str(root / part) for part in ("pretrain", "finetune", "test")]
    command = ["precompute", "--images", *folders, "--epochs", "2", "--image-size", "16", "--finetuning", "frozen"]
    command += ["--method", "identity", "--name", "blots", "--runs", str(root / "runs"), "--quiet"]
    print("upstream", *command)
    script = "from influence.cli import main; main()"  # the command `upstream`, also where it is not installed
    return subprocess.run([sys.executable, "-c", script, *command], check=False).returncode


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(main(Path(folder)))
