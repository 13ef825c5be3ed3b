# %% [markdown]
# # Explore a reading
#
# One radiologist, one X-ray, once: what is in the tables, whether to trust it, where the gaze was, and what was said
# meanwhile. The X-ray is real, the reading simulated (`data/sample/README.md`). Run it from the root of the repository,
# as a script or cell by cell: `python docs/explore_a_reading.py`. It writes `out/docs/reading.png`.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt

import gazekit
from gazekit import plots
from gazekit.events import measure_saccades
from gazekit.sources.paths import find_image

OUT = Path(os.environ.get("OUT", "out/docs"))
SAMPLE = Path("data/sample")

# %% [markdown]
# A data set is an index: no reading is opened before it is asked for. Every format has such a function.

# %%
readings = gazekit.read_reflacx(SAMPLE / "reflacx")
reading = readings["P101R998518"]
shape = reading.image_shape
image, frame = gazekit.read_image(find_image(SAMPLE / "mimic-cxr", reading.image_path, reading.image_id))
print(readings)
print(f"{reading.reading_id}: {len(reading.fixations)} fixations on {shape[1]} x {shape[0]} pixels")
print(reading.fixations[["onset_s", "offset_s", "x_px", "y_px", "px_per_deg_x"]].head())

# %% [markdown]
# Can it be trusted? Precision is in degrees, within fixations; `flags` says what looks odd, and `reasons` why.

# %%
found = gazekit.reading_quality(reading)
print(f"{found.sampling_rate_hz:.0f} Hz, {found.data_loss:.1%} lost, {found.blinks} blinks")
print(f"RMS-S2S {found.rms_s2s_dva:.3f} and STD {found.std_dva:.3f} degrees, flags: {found.flags or 'none'}")

# %% [markdown]
# The heatmap is a sum of Gaussians, evaluated at whatever size is asked for. The gaze on each patch of a vision
# transformer needs no map: it is a closed form. Saccades come from the raw samples.

# %%
dense = gazekit.heatmap(reading.fixations, image_shape=shape, out_shape=(shape[0] // 2, shape[1] // 2))
patches = gazekit.patch_relevance(reading.fixations, image_shape=shape, grid=(14, 14))
relevant = gazekit.partition(patches)
samples = reading.samples()
saccades = measure_saccades(samples, reading.fixations)
print(f"{relevant.sum()} of {relevant.size} patches hold {patches[relevant].sum():.0%} of the gaze")

# %%
figure = plt.figure(figsize=(15, 10), layout="constrained")
axes = figure.subplot_mosaic([["heat", "patches"], ["scanpath", "saccades"], ["time", "time"]], height_ratios=[5, 5, 3])
plots.overlay(image, dense, image_shape=shape, ax=axes["heat"])
plots.patch_grid(patches, image_shape=shape, image=image, relevant=relevant, ax=axes["patches"])
plots.scanpath(reading.fixations, image_shape=shape, image=image, ax=axes["scanpath"])
plots.main_sequence(saccades, ax=axes["saccades"])
plots.timeline(reading.fixations, image_shape=shape, samples=samples, transcript=reading.transcript, ax=axes["time"])
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "reading.png", dpi=90, bbox_inches="tight")
print(OUT / "reading.png")
