# %% [markdown]
# # A first conversion
#
# A trained network becomes spikes, cell by cell: handwritten digits of 8 x 8 pixels, a small convolutional network,
# and the question how many time steps it needs.

# %% [markdown]
# ## A trained network
#
# `digits-cnn` has three layers and follows the constraints of the RMP-SNN paper: no bias, no batch normalisation,
# average pooling.

# %%
import numpy as np

import rmp_lava
from rmp_lava.training.data import load
from rmp_lava.training.train import train

digits = load("digits")
trained = train("digits-cnn", digits, epochs=20, progress=False)
print(f"{trained.test_accuracy:.2%} of {len(digits.test_images)} test images")

# %% [markdown]
# ## One neuron
#
# Its input is 30 in each time step, its threshold 100, so it should spike in three of ten steps. A *soft* reset
# subtracts the threshold at a spike. A *hard* reset sets the membrane potential to zero, and loses what was above the
# threshold.

# %%
from rmp_lava.network import Neurons
from rmp_lava.neuron import initial_state, step

for reset in ("soft", "hard"):
    neuron = Neurons(threshold=100, reset=reset)
    state = initial_state(neuron, (1,), 1, integer=True)
    spikes = [int(step(neuron, state, np.array([[30]]), integer=True)[0, 0]) for _ in range(100)]
    print(f"{reset} reset: {sum(spikes)} spikes in 100 steps, the first ones {''.join(map(str, spikes[:20]))}")

# %% [markdown]
# ## Check, then convert
#
# `check` lists what cannot be converted, and what will be changed, before anything is computed.

# %%
rmp_lava.check(trained.model, digits.train_images)

# %% [markdown]
# The paper's method takes the largest input on training images as the threshold of a layer, and sends pixels as
# Poisson spikes.

# %%
calibration = digits.train_images[:300]
paper = {
    reset: rmp_lava.convert(trained.model, calibration, method="paper", reset=reset, steps=64).integer
    for reset in ("soft", "hard")
}
paper["soft"]

# %% [markdown]
# ## Run
#
# One run gives the accuracy after every step.

# %%
runs = {f"{reset} reset": rmp_lava.run(network, digits.test_images, 64) for reset, network in paper.items()}
rmp_lava.plot.accuracy(runs, digits.test_labels, trained=trained.test_accuracy)

# %% [markdown]
# The default method needs fewer steps: thresholds of least error, corrected biases, and pixels as currents.

# %%
network = rmp_lava.convert(trained.model, calibration, steps=8).integer
result = rmp_lava.run(network, digits.test_images, 8)
result

# %%
rmp_lava.plot.accuracy(result, digits.test_labels, trained=trained.test_accuracy)

# %% [markdown]
# What the neurons do: a column for each image, a band for each layer, a mark for each spike.

# %%
recorded = rmp_lava.run(network, digits.test_images[:3], 8, record=("spikes",))
rmp_lava.plot.raster(network, recorded, images=digits.test_images[:3], labels=digits.test_labels[:3])

# %% [markdown]
# ## Save and load
#
# The integers go to a `.net` file, for Lava's simulator and for a board. Every backend gives the same spikes.

# %%
path = rmp_lava.save(network, "exports/digits.net")
again = rmp_lava.run(rmp_lava.load(path), digits.test_images, 8)
bool((again.predictions == result.predictions).all())

# %% [markdown]
# Next: [what accuracy costs](frontier.py), or [a network of your own](own_network.py).
