# %% [markdown]
# # Bring your own tracker
#
# A lab's eye tracker writes a CSV with its own column names and units. Twenty lines of TOML say what they mean and how
# far away the screen was; the rest is the same as for any data set. The recording here is made up, at 120 Hz with noise
# and a blink, so that the result can be checked against what was put in. Run it from the root of the repository:
# `python docs/bring_your_own_tracker.py`. It writes `out/docs/tracker.png`.

# %%
import os
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import gazekit
from gazekit import plots

OUT = Path(os.environ.get("OUT", "out/docs"))
LAB = OUT / "lab"
(LAB / "xrays").mkdir(parents=True, exist_ok=True)
(LAB / "recordings").mkdir(exist_ok=True)

# %% [markdown]
# ## What the lab has: an X-ray that was shown on the screen, and what the tracker wrote
# Times are milliseconds, positions shares of the screen, a lost eye is (-1, -1).

# %%
shutil.copy(sorted(Path("data/sample/labelled/images").glob("*.png"))[0], LAB / "xrays" / "chest1.png")
rng = np.random.default_rng(0)
durations = rng.uniform(0.2, 0.5, 30)
places = rng.uniform((0.35, 0.15), (0.65, 0.85), (30, 2))
at = np.repeat(np.arange(30), np.rint(durations * 120).astype(int))
gaze = places[at] + rng.normal(0, 0.001, (len(at), 2))
gaze[600:620] = -1
table = pd.DataFrame(
    {"t": np.arange(len(at)) * 1000 / 120, "gaze x": gaze[:, 0], "gaze y": gaze[:, 1], "shown": "chest1"}
)
table.to_csv(LAB / "recordings" / "session1.csv", index=False)
print(table.head(3))

# %% [markdown]
# ## What the file does not say: `lab.toml`
# A column or key that does not exist is an error that names the nearest. The image is fitted into the screen and
# centred unless a `[[stimulus]]` says where it was drawn.

# %%
SPEC = """
[screen]
size_px = [1920, 1080]
size_mm = [531, 299]
distance_mm = 650

[columns]
time = "t"
x = "gaze x"
y = "gaze y"
stimulus = "shown"

[units]
time = "ms"
position = "screen_share"

[lost]
positions = [-1]

[events]
source = "detect"
algorithm = "adaptive"
"""
(LAB / "lab.toml").write_text(SPEC)

# %% [markdown]
# ## From files to fixations in image pixels
# The same with the command line, from `out/docs/lab`:
#
#     gazekit quality recordings --dataset table --spec lab.toml --images xrays
#     gazekit build-heatmaps recordings cache --dataset table --spec lab.toml --images xrays

# %%
readings = gazekit.read_table(LAB / "recordings", images=LAB / "xrays", spec=LAB / "lab.toml")
for note in readings.notes:
    print("note:", note)
reading = readings[0]
found = gazekit.reading_quality(reading)
print(f"{found.sampling_rate_hz:.0f} Hz, {found.data_loss:.1%} lost, STD {found.std_dva:.2f} degrees")
print(f"{len(reading.fixations)} fixations found, {len(places)} were put in; flags: {found.flags or 'none'}")

# %%
shape = reading.image_shape
image, _ = gazekit.read_image(LAB / "xrays" / "chest1.png")
dense = gazekit.heatmap(reading.fixations, image_shape=shape, out_shape=(256, 256))
figure = plt.figure(figsize=(13, 8.5), layout="constrained")
axes = figure.subplot_mosaic([["heat", "scanpath"], ["time", "time"]], height_ratios=[2, 1])
plots.overlay(image, dense, image_shape=shape, ax=axes["heat"])
plots.scanpath(reading.fixations, image_shape=shape, image=image, ax=axes["scanpath"])
plots.timeline(reading.fixations, image_shape=shape, samples=reading.samples(), ax=axes["time"])
figure.savefig(OUT / "tracker.png", dpi=90, bbox_inches="tight")
print(OUT / "tracker.png")
