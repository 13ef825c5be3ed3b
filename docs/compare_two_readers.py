# %% [markdown]
# # Compare two readers
#
# Two people read the same X-ray: do they look at the same places, and in the same order? The X-ray is real, the
# readings simulated (`data/sample/README.md`). Run it from the root of the repository, as a script or cell by cell:
# `python docs/compare_two_readers.py`. It writes `out/docs/readers.png`.
#
# For a whole cache, the same figures come from `gazekit compare CACHE`, and `gazekit lesions CACHE`.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt

import gazekit
from gazekit import metrics, plots
from gazekit.sources.paths import find_image

OUT = Path(os.environ.get("OUT", "out/docs"))
SAMPLE = Path("data/sample")

readings = gazekit.read_reflacx(SAMPLE / "reflacx")
first, second = readings["P101R996894"], readings["P101R998518"]
assert first.image_id == second.image_id
shape = first.image_shape

# %% [markdown]
# Maps against maps. CC and SIM are 1 for equal maps, KL (nats) 0. A small map is evaluated as such, not resized.

# %%
size = (shape[0] // 4, shape[1] // 4)
maps = [gazekit.heatmap(reading.fixations, image_shape=shape, out_shape=size) for reading in (first, second)]
scores = metrics.map_scores(*maps)
print(f"CC {scores.cc:.3f}, SIM {scores.sim:.3f}, KL {scores.kl:.3f}")

# %% [markdown]
# A map against fixations: does the first reader's map predict where the second one looked? NSS 0 and AUC 0.5 are
# chance. Fixations off the image are dropped by name, never silently.

# %%
whole = gazekit.heatmap(first.fixations, image_shape=shape)
points, off_image = metrics.on_map(second.fixations[["x_px", "y_px"]].to_numpy(), shape)
print(
    f"NSS {metrics.nss(whole, points):.2f}, AUC-Judd {metrics.auc_judd(whole, points):.3f}, {off_image} off the image"
)

# %% [markdown]
# The order as well: MultiMatch compares the two scanpaths in shape, direction, length, position and duration.

# %%
paths = [metrics.fixation_path(reading.fixations) for reading in (first, second)]
print(metrics.multimatch(*paths, image_shape=shape))

# %% [markdown]
# And the lesions that each of them marked: how much of the gaze, how soon, and how alike map and ellipses are.

# %%
for reading in (first, second):
    corners = reading.ellipses[["xmin_px", "ymin_px", "xmax_px", "ymax_px"]].to_numpy()
    each, together = metrics.lesion_gaze(reading.fixations, corners, outline="ellipse")
    dense = gazekit.heatmap(reading.fixations, image_shape=shape, out_shape=size)
    ncc = metrics.lesion_ncc(dense, corners, image_shape=shape)
    print(
        f"{reading.reading_id}: {together.dwell_share:.0%} of the gaze on {len(each)} marked region(s), "
        f"first after {together.first_fixation_s:.2f} s, NCC {ncc:.3f}"
    )

# %%
image, _ = gazekit.read_image(find_image(SAMPLE / "mimic-cxr", first.image_path, first.image_id))
figure, axes = plt.subplots(2, 2, figsize=(15, 9.5), layout="constrained")
for column, reading, dense in zip(axes.T, (first, second), maps, strict=True):
    plots.overlay(image, dense, image_shape=shape, ax=column[0]).set_title(reading.reading_id)
    plots.scanpath(reading.fixations, image_shape=shape, image=image, ax=column[1])
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "readers.png", dpi=90, bbox_inches="tight")
print(OUT / "readers.png")
