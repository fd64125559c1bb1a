"""From a trained network to spikes, cell by cell. Run it as a script, or in an editor that supports `# %%` cells.

python examples/tutorial.py

Uses handwritten digits of 8x8 pixels and takes less than a minute on a laptop. The final figure shows how many time steps the
network needs: accuracy against T, for neurons that subtract their threshold and for neurons that reset to zero.
"""

# %% A network, trained under the constraints of the RMP-SNN paper: no bias, no batch normalisation, average pooling.
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import numpy as np
from matplotlib import pyplot

import rmp_lava
from rmp_lava.network import Neurons
from rmp_lava.neuron import initial_state, step
from rmp_lava.report.tables import console
from rmp_lava.training.data import load
from rmp_lava.training.train import train

digits = load("digits")
trained = train("digits-cnn", digits, epochs=30)
print(f"Trained network: {trained.test_accuracy:.2%} of {len(digits.test_images)} test images")

# %% One neuron with an input of 30 per step and a threshold of 100: it should spike in three of ten steps.
for reset in ("soft", "hard"):
    neuron = Neurons(threshold=100, reset=reset)
    state = initial_state(neuron, (1,), 1, integer=True)
    spikes = [int(step(neuron, state, np.array([[30]]), integer=True)[0, 0]) for _ in range(100)]
    print(f"{reset} reset: {sum(spikes)} spikes in 100 steps, the first ones {''.join(map(str, spikes[:20]))}")
# Hard reset discards the potential above the threshold at every spike: 25 spikes instead of 29.

# %% What conversion will change, and whether there are obstacles.
console().print(rmp_lava.check(trained.model, digits.train_images))

# %% Convert as the paper does: thresholds from the largest input on training images, Poisson spikes as input.
calibration = digits.train_images[:300]
networks = {
    reset: rmp_lava.convert(trained.model, calibration, method="paper", reset=reset, steps=64).integer
    for reset in ("soft", "hard")
}
for layer in networks["soft"]:
    print(layer.name, layer.shape, "threshold", layer.neurons.threshold, "weights", layer.synapses[0].weight.dtype)

# %% One run gives the accuracy after every step.
curves = {
    f"{reset} reset, the paper's recipe": rmp_lava.run(network, digits.test_images, 128).accuracy_at(digits.test_labels)
    for reset, network in networks.items()
}

# %% Few time steps: least-error thresholds, corrected biases, pixels as currents.
fast = rmp_lava.convert(trained.model, calibration, steps=8).integer
result = rmp_lava.run(fast, digits.test_images, 8)
curves["low latency, T = 8"] = result.accuracy_at(digits.test_labels)
print(f"T = 8: {result.accuracy(digits.test_labels):.2%}, {sum(result.operations_per_sample.values()):,.0f} operations")

# %% Save the integers to a file, for Lava's simulator and for a board.
folder = Path("exports")
rmp_lava.save(fast, folder / "tutorial.net")
again = rmp_lava.run(rmp_lava.load(folder / "tutorial.net"), digits.test_images, 8)
print("The loaded file gives the same predictions:", bool((again.predictions == result.predictions).all()))

# %% The figure.
figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
for name, accuracy in curves.items():
    axes.plot(range(1, len(accuracy) + 1), 100 * accuracy, label=name)
axes.axhline(100 * trained.test_accuracy, color="grey", linewidth=0.8)
axes.set_xscale("log", base=2)
axes.set(xlabel="time steps T", ylabel="accuracy (%)", title="Digits, integers; grey: trained network")
axes.legend(frameon=False)
figure.savefig(folder / "tutorial.png", dpi=140)
print(f"Figure: {folder / 'tutorial.png'}")
