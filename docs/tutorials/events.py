# %% [markdown]
# # Events
#
# An event camera reports changes of brightness, pixel by pixel, with their time and their sign. Here, digits move
# under such a camera. The network is trained on the mean of the events over time, and runs on the events themselves.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import rmp_lava
from rmp_lava.training.data import bin_events, frames, load

# %% [markdown]
# ## Recordings
#
# The camera moves along a small circle around each digit. Where a pixel becomes brighter or darker by a quarter, it
# sends an event.

# %%
EVENT = np.dtype([("t", np.int64), ("x", np.int16), ("y", np.int16), ("p", np.int8)])


def record(image, moves=24, threshold=0.25):
    canvas = np.zeros((20, 20), np.float32)
    canvas[2:18, 2:18] = np.kron(image[0], np.ones((2, 2)))
    angles = np.linspace(0, 2 * np.pi, moves + 1)
    seen = [np.roll(canvas, (round(2 * np.sin(a)), round(2 * np.cos(a))), (0, 1)) for a in angles]
    parts = []
    for time, change in enumerate(np.diff(seen, axis=0)):
        y, x = np.nonzero(np.abs(change) > threshold)
        part = np.zeros(len(x), EVENT)
        part["t"], part["x"], part["y"], part["p"] = 1000 * time, x, y, change[y, x] > 0
        parts.append(part)
    return np.concatenate(parts)


digits = load("digits")
recordings = [(record(image), label) for image, label in zip(digits.train_images, digits.train_labels, strict=True)]
tests = [(record(image), label) for image, label in zip(digits.test_images, digits.test_labels, strict=True)]
print(f"{len(recordings)} recordings of {np.mean([len(events) for events, _ in recordings]):.0f} events on average")

# %% [markdown]
# ## Time steps
#
# `bin_events` counts the events of each time step and pixel. It takes any indexable data set of (events, label), such
# as Tonic's.

# %%
STEPS = 12
events, labels = bin_events(recordings, STEPS, shape=(2, 20, 20))
test_events, test_labels = bin_events(tests, STEPS, shape=(2, 20, 20))
events.shape, events.dtype, int(events.max())

# %%
figure, axes = plt.subplots(1, 6, figsize=(7.5, 1.5), layout="constrained")
for number, each in enumerate(axes):
    brighter, darker = events[0, 2 * number, 1], events[0, 2 * number, 0]
    each.imshow(brighter - darker, cmap="RdBu", vmin=-2, vmax=2)
    each.set(title=f"step {2 * number + 1}", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Train on the means

# %%
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(2, 12, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(12, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
    nn.Linear(16 * 25, 10),
)  # fmt: skip
means, targets = torch.from_numpy(frames(events)), torch.from_numpy(labels)
optimizer = torch.optim.Adam(model.parameters(), 3e-3)
for _ in range(25):
    for batch in torch.randperm(len(means)).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(means[batch]), targets[batch]).backward()
        optimizer.step()
with torch.no_grad():
    right = model(torch.from_numpy(frames(test_events))).argmax(1).numpy() == test_labels
print(f"{right.mean():.2%} of {len(right)} test recordings, by their means")

# %% [markdown]
# ## Convert, with and without waiting
#
# Edges send many events at once. Neurons that wait gather them before they spike.

# %%
for wait in (0, STEPS):
    conversion = rmp_lava.convert(model, events[:300], steps=STEPS, encoding="spikes", wait=wait)
    result = rmp_lava.run(conversion.integer, test_events, steps=STEPS)
    operations = sum(result.operations_per_sample.values())
    print(f"wait {wait:2}: {result.accuracy(test_labels):.2%}, {operations:,.0f} synaptic operations per recording")

# %% [markdown]
# Recordings of N-MNIST, DVS-Gesture and SHD are read by name where Tonic has downloaded them
# ([guide](../guides/events.md)).
