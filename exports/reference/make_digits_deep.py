"""Make `digits-deep.net`, the ten layers of the self-test: a residual network, trained on 8x8 digits.

python exports/reference/make_digits_deep.py
"""

from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

import rmp_lava
from rmp_lava.training.data import load

STEPS = 16
CHANNELS = 8
EPOCHS = 150


class Block(nn.Module):
    """A residual block: two convolutions, and the block's input added before the last ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(CHANNELS)
        self.conv2 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(CHANNELS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x))))) + x)


def network() -> nn.Sequential:
    """One convolution, four blocks, one dense layer; conversion folds the pooling into the next layers."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(1, CHANNELS, 3, padding=1, bias=False),
            norm=nn.BatchNorm2d(CHANNELS),
            relu=nn.ReLU(),
            block1=Block(),
            pool1=nn.AvgPool2d(2),
            block2=Block(),
            block3=Block(),
            pool2=nn.AvgPool2d(2),
            block4=Block(),
            flatten=nn.Flatten(),
            dense=nn.Linear(CHANNELS * 2 * 2, 10),
        )
    )


def main() -> None:
    """Train, convert, quantise so that no membrane potential overflows on a board, and save."""
    torch.manual_seed(0)
    digits = load("digits")
    images, labels = torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3, weight_decay=1e-4)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch], label_smoothing=0.1).backward()
            optimizer.step()
        rates.step()
    model.eval()
    some = digits.train_images[:500]
    for_board = rmp_lava.Quantization(for_board=True)
    conversion = rmp_lava.convert(model, some, steps=STEPS, name="digits-deep", quantization=for_board)
    path = rmp_lava.save(conversion.integer, Path(__file__).with_name("digits-deep.net"))
    result = rmp_lava.run(rmp_lava.load(path), digits.test_images, STEPS)
    with torch.no_grad():
        trained = (model(torch.from_numpy(digits.test_images)).argmax(1).numpy() == digits.test_labels).mean()
    print(f"{trained:.2%} of {result.samples} test images trained, {result.accuracy(digits.test_labels):.2%} on spikes")


if __name__ == "__main__":
    main()
