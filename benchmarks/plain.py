"""What people write today, to compare with: one run a script, DataLoader with PIL augmentation, eager float32 in
PyTorch's default memory format, the teacher in every step, `loss.item()` in every step."""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import transforms

from trainables.spec import RunSpec
from trainables.training.student import initial_model

MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
AUGMENTED = transforms.Compose(
    [
        transforms.RandomCrop(32, padding=4),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
)


class PlainImages(torch.utils.data.Dataset):
    """The images as a torchvision data set offers them: PIL, augmented one by one."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return AUGMENTED(Image.fromarray(self.images[index])), int(self.labels[index])


class PlainRun:
    """One distillation run written the usual way. high: the energy above which HE-DA mixes a sample."""

    def __init__(
        self,
        spec: RunSpec,
        teacher: nn.Module,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        high: float = 0.0,
        device: str = "cpu",
    ) -> None:
        self.spec, self.teacher, self.high, self.device = spec, teacher, high, device
        self.student = initial_model(spec, 100).train().to(device)
        self.optimizer = torch.optim.SGD(self.student.parameters(), lr=spec.lr, momentum=0.9, weight_decay=5e-4)
        self.loader = DataLoader(PlainImages(images, labels), batch_size=spec.batch_size, shuffle=True)

    def _distill(self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        T = 4.0
        if self.spec.method == "kd":
            divergence = functional.kl_div(
                functional.log_softmax(student / T, 1), functional.softmax(teacher / T, 1), reduction="batchmean"
            )
            return 0.9 * divergence * T**2
        mask = functional.one_hot(labels, student.shape[1]).bool()
        p, q = functional.softmax(teacher / T, 1), functional.softmax(student / T, 1)
        p2 = torch.stack([p[mask], 1 - p[mask]], 1)
        q2 = torch.stack([q[mask], 1 - q[mask]], 1)
        tckd = functional.kl_div(q2.log(), p2, reduction="batchmean")
        others = functional.log_softmax(student / T - 1000 * mask, 1), functional.softmax(teacher / T - 1000 * mask, 1)
        nckd = functional.kl_div(*others, reduction="batchmean")
        beta = dict(self.spec.params)["beta"]
        return (tckd + beta * nckd) * T**2

    def steps(self, count: int) -> None:
        for host_images, host_labels in islice(self.loader, count):
            images, labels = host_images.to(self.device), host_labels.to(self.device)
            with torch.no_grad():
                teacher = self.teacher(images)
            student = self.student(images)
            weight = 0.1 if self.spec.method == "kd" else 1.0
            loss = weight * functional.cross_entropy(student, labels) + self._distill(student, teacher, labels)
            if self.spec.mixing is not None:
                energy = -4 * torch.logsumexp(teacher / 4, 1)
                everything = self.spec.mixing.rate == 1
                chosen = torch.arange(len(images)) if everything else (energy > self.high).nonzero()[:, 0]
                if len(chosen) >= 2:
                    loss = loss + self._mixed(images[chosen], labels[chosen])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            loss.item()

    def _mixed(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        keep = np.random.beta(1, 1)
        partner = torch.randperm(len(images))
        side = int(32 * np.sqrt(1 - keep)) // 2
        y, x = np.random.randint(32, size=2)
        rows, columns = slice(max(y - side, 0), y + side), slice(max(x - side, 0), x + side)
        images = images.clone()
        images[:, :, rows, columns] = images[partner][:, :, rows, columns]
        with torch.no_grad():
            teacher = self.teacher(images)
        return self._distill(self.student(images), teacher, labels)
