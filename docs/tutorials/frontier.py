# %% [markdown]
# # Accuracy and energy
#
# How many time steps does a network need, and should its neurons wait before they spike? Each choice has an accuracy
# and a cost. This page measures both, and then estimates the energy on a board.

# %%
import rmp_lava
from rmp_lava.training.data import load, split_validation
from rmp_lava.training.train import train

digits = load("digits")
split = split_validation(digits)  # images that choose T are not test images
model = train("digits-cnn", digits, epochs=20, progress=False).model

# %% [markdown]
# ## Convert once, and see where accuracy is lost
#
# `Conversion` holds the network in each of its forms. `stages` measures them on held-out images.

# %%
conversion = rmp_lava.convert(model, split.train_images[:300], steps=8)
conversion.stages(split.validation_images, split.validation_labels)

# %% [markdown]
# ## Convert for other time steps and waits
#
# A neuron that waits integrates for some steps before it may spike. That costs latency, but no spikes. The table says
# "yes" where no other choice is as good in everything and better in something.

# %%
from rmp_lava.conversion.frontier import frontier

choices = [(steps, wait) for steps in (1, 2, 4, 8, 16) for wait in sorted({0, steps})]
found = frontier(conversion, split.validation_images, split.validation_labels, choices)
found

# %% [markdown]
# ## The frontier
#
# Synaptic operations stand for the energy of activity. Points at the upper left are better; filled ones are beaten by
# no other one.

# %%
rmp_lava.plot.frontier(found, "energy")

# %%
rmp_lava.plot.frontier(found, "latency")

# %% [markdown]
# `best` takes the most accurate conversion, or the cheapest or fastest within half a point of it.

# %%
{
    aim: (found.points[found.best(aim)].steps, found.points[found.best(aim)].wait)
    for aim in ("accuracy", "energy", "latency")
}

# %% [markdown]
# ## Test images, and energy
#
# The choice is made, so test images may be used. Energy is estimated from published coefficients of other people's
# measurements; nothing here was measured on hardware ([how](../hardware.md#energy-and-time)).

# %%
chosen = found.conversions[found.best("energy")]
result = rmp_lava.run(chosen.integer, digits.test_images, chosen.steps)
print(f"{result.accuracy(digits.test_labels):.2%} of {result.samples} test images")
energy = rmp_lava.estimate(chosen.integer, result, "oheo_gulch")
energy

# %%
rmp_lava.plot.energy(energy)

# %% [markdown]
# The command line does the same: `rmp-lava convert exports/digits-cnn.pt --steps 16 --aim energy`. Where few steps
# lose too much, `rmp-lava tune` trains the network for them ([guide](../guides/tune.md)).
