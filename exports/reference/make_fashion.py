"""Make `fashion-lenet.net` and `fashion-lenet-trained.net`: LeNet with maximum pooling, trained on Fashion-MNIST.

python exports/reference/make_fashion.py [FOLDER of Fashion-MNIST]
"""

import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import nn

import rmp_lava
from rmp_lava.training.data import load, split_validation

STEPS = WAIT = 8
EPOCHS = 4
BATCH = 128
FOLDER = Path(__file__).parent


def network() -> nn.Sequential:
    """The layers of LeCun et al. (1998), with ReLUs, batch normalisation, maximum pooling and twice the channels."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 12, 5, padding=2, bias=False),
            norm1=nn.BatchNorm2d(12),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(12, 32, 5, bias=False),
            norm2=nn.BatchNorm2d(32),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            dropout=nn.Dropout(0.2),
            dense1=nn.Linear(32 * 5 * 5, 120),
            relu3=nn.ReLU(),
            dense2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            dense3=nn.Linear(84, 10),
        )
    )


def accuracy(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of the images that the network classifies as their labels say."""
    with torch.no_grad():
        outputs = torch.cat([model(torch.from_numpy(part)) for part in np.array_split(images, len(images) // 500)])
    return float((outputs.argmax(1).numpy() == labels).mean())


def main() -> None:
    """Train on the training images that `split_validation` leaves, convert, and save the network before and after."""
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    fashion = load("fashion-mnist", sys.argv[1] if len(sys.argv) > 1 else None)
    split = split_validation(fashion)
    images, labels = torch.from_numpy(split.train_images), torch.from_numpy(split.train_labels)
    model = network().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=1e-2)
    batches = -(-len(images) // BATCH)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, EPOCHS * batches)
    for epoch in range(EPOCHS):
        model.train()
        for batch in torch.randperm(len(images), generator=random).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch], label_smoothing=0.05).backward()
            optimizer.step()
            rates.step()
        model.eval()
        print(
            f"epoch {epoch + 1}: {accuracy(model, split.validation_images, split.validation_labels):.2%} of validation",
            flush=True,
        )
    some = split.train_images[np.random.default_rng(0).permutation(len(split.train_images))[:512]]
    conversion = rmp_lava.convert(
        model,
        some,
        steps=STEPS,
        wait=WAIT,
        name="fashion-lenet",
        class_names=fashion.class_names,
        dataset=fashion.name,
        validation_fraction=0.1,
    )
    rmp_lava.save(conversion.analog, FOLDER / "fashion-lenet-trained.net")
    rmp_lava.save(conversion.integer, FOLDER / "fashion-lenet.net")


if __name__ == "__main__":
    main()
