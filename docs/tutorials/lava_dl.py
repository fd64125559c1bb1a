# %% [markdown]
# # A network of lava-dl
#
# lava-dl trains spiking networks and exports them as `.net` files. They run here without Lava, message by message as
# in lava-dl's own loader. This page writes a small file as lava-dl does, reads it, runs it, and moves it to our
# format.

# %% [markdown]
# ## The file
#
# A `.net` file is HDF5: a group for each layer, with its weights and its neurons' constants. Yours comes from
# `net.export_hdf5("trained.net")` of `lava.lib.dl.slayer`.

# %%
import h5py
import numpy as np

rng = np.random.default_rng(0)
NEURON = {"iDecay": 1024, "vDecay": 128, "vThMant": 80, "refDelay": 1}


def write(path, *layers):
    with h5py.File(path, "w") as file:
        for number, keys in enumerate(layers):
            group = file.create_group(f"layer/{number}")
            for key, value in keys.items():
                group[key] = np.array([value.encode()]) if isinstance(value, str) else value
            neuron = group.create_group("neuron")
            neuron["type"] = np.bytes_("CUBA")
            for key, value in NEURON.items():
                neuron[key] = value


write(
    "trained.net",
    {"type": "dense", "shape": [24], "weight": 2.0 * rng.integers(-20, 40, (24, 32))},
    {"type": "dense", "shape": [5], "weight": 2.0 * rng.integers(-30, 50, (5, 24))},
)

# %% [markdown]
# ## Read it
#
# CUBA neurons have a current and a voltage, which decay, and reset to zero. Everything that the loader of lava-dl
# would round, cut off or ignore is done in the same way, with a warning.

# %%
import rmp_lava

network = rmp_lava.load("trained.net")
network

# %% [markdown]
# ## Run it
#
# Input is spikes over time, (samples, steps, neurons). Each sample has a window of its own, after which all states
# are zero.

# %%
spikes = (rng.random((20, 16, 32)) < 0.15).astype(np.int8)
result = rmp_lava.run(network, spikes, steps=16, record=("spikes", "potentials"))
result

# %%
rmp_lava.plot.raster(network, result)

# %% [markdown]
# ## The call of lava-dl with the same spikes
#
# `lava_dl_call` says how to call lava-dl's loader, on Python 3.10 with Lava, so that every spike is the same: windows
# of T steps are its `reset_interval`.

# %%
from rmp_lava.netx import lava_dl_call

call = lava_dl_call(network, 16)
print(call.arguments, *call.notes, sep="\n")

# %% [markdown]
# ## Move
#
# Saved, the file has everything that a run needs, and goes through the same commands as our own: `rmp-lava run`,
# `report`, `fit`, `estimate`. [For users of lava-dl](../lava-dl.md) lists what runs, what is refused, and what
# differs.

# %%
rmp_lava.save(network, "ours.net")
again = rmp_lava.run(rmp_lava.load("ours.net"), spikes, steps=16, record=("spikes",))
assert all((again.spikes[name] == train).all() for name, train in result.spikes.items())

# %%
rmp_lava.map_network(network, "oheo_gulch")
