# %% [markdown]
# # A board's first day, on the simulator
#
# **Nothing here has run on a board.** This page is the rehearsal: what to run first, what to expect, and what will
# differ from the simulation that you know. [From an account to measured energy](../loihi.md) has the steps around it.

# %% [markdown]
# ## The ladder
#
# The self-test is a ladder of experiments. Each rung is a handful of neurons, with the spikes that it must give and
# the reason for them. On the day, `rmp-lava selftest --backend loihi2 --json board.json` climbs it and stops at the
# first rung that differs.

# %%
from rmp_lava.selftest.ladder import circuits
from rmp_lava.tables import table

rungs = circuits()
table("The rungs", ("rung", "tests"), [(rung.name, rung.tests) for rung in rungs], text_columns=2)

# %% [markdown]
# The rung `self-synapse` is the heart of it: a synapse of weight -threshold from a neuron to itself makes the soft
# reset. Its expected spikes are part of the rung.

# %%
import numpy as np

rung = next(rung for rung in rungs if rung.name == "self-synapse")
print(rung.reason)
for name, spikes in rung.expectation().spikes.items():
    for number, train in enumerate(spikes.reshape(len(spikes), -1).T):
        print(f"{name} {number}: steps {', '.join(map(str, np.flatnonzero(train) + 1))}")

# %% [markdown]
# With Lava (Python 3.10) the rungs run on its simulator, in unmodified LIF neurons. Without it, this cell says so.

# %%
from rmp_lava.backends.lava.simulator import availability
from rmp_lava.selftest.execute import executor_for
from rmp_lava.selftest.ladder import climb

missing = availability()
if missing:
    print(f"Not run: {missing}")
else:
    for done in climb(rungs[:5], executor_for("lava")):
        print(f"{done.rung.name}: {done.verdict}")

# %% [markdown]
# ## A network for the board
#
# Ten layers, trained on digits, and part of the package: the last but one rung. Two implementations of its neurons
# exist. *Native* neurons subtract their threshold themselves. *Stock* ones are LIF neurons with self-synapses, which
# every Loihi 2 runs.

# %%
import rmp_lava
from rmp_lava.selftest.network_rungs import digits as digits_rung
from rmp_lava.training.data import load

network = digits_rung().subject.network
mapping = rmp_lava.map_network(network, "oheo_gulch", "stock")
mapping

# %%
rmp_lava.plot.cores(mapping)

# %% [markdown]
# ## What will differ on the board
#
# A board resets every power of two steps, and registers of stock neurons wrap where those of the definition saturate.
# The plan of a deployed run has the longer period:

# %%
from rmp_lava.backends.loihi2 import deployed_schedule

STEPS = 8
deployed_schedule(network, STEPS)

# %% [markdown]
# Backend `reference` also simulates stock neurons, with every such difference. If its spikes are those of the
# definition, none matters for these images. `rmp-lava fit NET --implementation stock --data digits` reports the same.

# %%
images = load("digits").test_images[:4]
native = rmp_lava.run(network, images, STEPS, backend="fast", record=("spikes",))
stock = rmp_lava.run(network, images, STEPS, backend=rmp_lava.Reference("stock"), record=("spikes",))
{layer.name: bool((native.spikes[layer.name] == stock.spikes[layer.name]).all()) for layer in network}

# %% [markdown]
# ## Energy, before it is measured
#
# The estimate has bounds, because published figures differ by factors. On the board, `rmp-lava run NET --backend
# loihi2 --measure chip` measures.

# %%
rmp_lava.estimate(network, stock, "oheo_gulch")

# %% [markdown]
# Write the predictions and this estimate down before the day. What the board then gives is a test, not a fit.
