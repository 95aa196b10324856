"""Take pictures of reports: docs/report.png, the README's, and docs/study.png.

python docs/report_picture.py report RUN    (needs chromium, or its path in $CHROMIUM)
python docs/report_picture.py study RUN
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

SHOWN = {
    "report": ("Results", "Training curves", "Views fed to the network"),
    "study": ("Which pretraining helps", "Label efficiency"),
}
LONG = "1000,4000"  # pixels: wide as the page, longer than what is shown
MARGIN = 24
# the page allows inline styles only; what is not shown takes no room
STYLE = """<style>
section:not({shown}), nav {{ display: none }}
.gallery figure:nth-child(n + 5) {{ display: none }}
</style></head>"""


def main(name: str, run: str) -> None:
    page = (Path(run) / "report.html").read_text(encoding="utf-8")
    places = {title: n for n, title in re.findall(r'<h2 id="(\d+)">(.*?)</h2>', page)}
    missing = [title for title in SHOWN[name] if title not in places]
    if missing:
        sys.exit(f"{run}/report.html has no section {missing}")
    shown = ", ".join(f'[aria-labelledby="{places[title]}"]' for title in SHOWN[name])
    with tempfile.TemporaryDirectory() as folder:
        short = Path(folder, "report.html")
        short.write_text(page.replace("</head>", STYLE.format(shown=shown), 1))
        shot = Path(folder, "report.png")
        subprocess.run(
            [
                os.environ.get("CHROMIUM", "chromium"),
                *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
                *("--disable-background-networking", "--hide-scrollbars"),
                *(f"--window-size={LONG}", f"--screenshot={shot}", short.as_uri()),
            ],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        picture = Image.open(shot).convert("RGB")
    white = Image.new("RGB", picture.size, "white")
    bottom = ImageChops.difference(picture, white).getbbox()[3] + MARGIN
    picture = picture.crop((0, 0, picture.width, min(bottom, picture.height)))
    target = Path(__file__).with_name(f"{name}.png")
    picture.save(target, optimize=True)
    print(f"{target}: {target.stat().st_size >> 10} KiB")


if __name__ == "__main__":
    main(*sys.argv[1:])
