# %% [markdown]
# # Bring your own network
#
# Any feed-forward `torch.nn.Module`, trained in any way: this one has residual blocks, batch normalisation, maximum
# pooling, and normalises its own input.

# %%
import torch
from torch import nn

import rmp_lava
from rmp_lava.training.data import load


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return torch.relu(self.second(torch.relu(self.norm(self.first(x)))) + x)


class Network(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), activation)
        self.block, self.pooling = Block(12), nn.MaxPool2d(2)
        self.classes = nn.Linear(12 * 16, 10)

    def forward(self, x):
        x = self.stem((x - 0.3) / 0.38)
        return self.classes(self.pooling(self.block(x)).flatten(1))


# %% [markdown]
# ## What stands in the way
#
# `check` needs the network and some images, and takes seconds. It lists every obstacle at once, each with a remedy.
# SiLU is one:

# %%
digits = load("digits")
rmp_lava.check(Network(nn.SiLU()), digits.train_images)

# %% [markdown]
# With ReLU nothing does. What remains are notes: maximum pooling is written with ReLUs, exactly, and costs neurons
# and time steps. (`rmp_lava.tune(..., replace=["activations"])` would have replaced the SiLU and trained the network
# again.)

# %%
torch.manual_seed(0)
model = Network(nn.ReLU())
rmp_lava.check(model, digits.train_images)

# %% [markdown]
# ## Train it your way

# %%
images, labels = torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels)
optimizer = torch.optim.Adam(model.parameters(), 5e-3)
for _ in range(60):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
model = model.eval()
# %% [markdown]
# ## Convert, and measure each stage
#
# The first images calibrate thresholds; others measure.

# %%
conversion = rmp_lava.convert(model, digits.train_images[:500], steps=16, name="own")
conversion.stages(digits.train_images[500:], digits.train_labels[500:])

# %% [markdown]
# ## The spiking network
#
# Layers of the pooling's comparisons have names of their own. All weights are Loihi's integers.

# %%
conversion.integer

# %%
rmp_lava.plot.network(conversion.integer)

# %% [markdown]
# ## Do rates represent the activations?
#
# Each neuron's spikes per step, against the activation of the trained network that it stands for.

# %%
rmp_lava.plot.rates(rmp_lava.compare_rates(conversion.integer, model, digits.test_images[:64], steps=16))

# %% [markdown]
# ## Save it, load it, run it

# %%
path = rmp_lava.save(conversion.integer, "exports/own.net")
network = rmp_lava.load(path)
result = rmp_lava.run(network, digits.test_images, steps=16)
result.accuracy(digits.test_labels)

# %% [markdown]
# ## How many cores it takes

# %%
mapping = rmp_lava.map_network(network, "oheo_gulch")
mapping

# %%
rmp_lava.plot.cores(mapping)

# %% [markdown]
# For layers and activations that PyTorch does not have, see [Extend](../guides/extend.md).
