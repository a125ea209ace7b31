"""The audit of weights: one bit is found in any type, teachers may move, and large frozen models are not copied."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from medvfm.engine.weight_audit import FrozenMoved, WeightAudit, digest

TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float64, torch.uint8, torch.bool)


def flip(tensor: torch.Tensor, index: int) -> None:
    """The lowest bit of one byte, in place."""
    tensor.data.view(torch.uint8).view(-1)[index] ^= 1


@pytest.mark.parametrize("dtype", TYPES)
def test_one_bit_of_any_type_changes_the_digest(dtype):
    tensor = torch.randint(0, 2, (3, 40)).to(dtype)
    found = {digest(tensor)}
    for index in (0, 17, tensor.numel() * tensor.element_size() - 1):
        flip(tensor, index)
        found.add(digest(tensor))
    assert len(found) == 4


def test_the_digest_is_of_values_and_not_of_strides():
    weight = torch.randn(4, 3, 5, 5)
    assert digest(weight) == digest(weight.contiguous(memory_format=torch.channels_last))
    assert digest(weight) != digest(weight.flip(0))
    assert digest(torch.tensor(1.5)) != digest(torch.tensor(-1.5))
    assert digest(torch.zeros(1)) != digest(-torch.zeros(1))
    assert digest(torch.full((2,), float("nan"))) == digest(torch.full((2,), float("nan")))
    assert digest(torch.zeros(0, 3)) == digest(torch.zeros(0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_digest_of_an_accelerator_is_that_of_the_processor():
    for tensor in (torch.randn(5_000_000), torch.randn(7, 3, dtype=torch.bfloat16), torch.zeros(0)):
        assert digest(tensor.cuda()) == digest(tensor)


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(64, 64).to(torch.bfloat16).requires_grad_(False)
        self.encoder.register_buffer("table", torch.arange(6))
        self.student, self.teacher = nn.Linear(4, 2), nn.Linear(4, 2).requires_grad_(False)
        self.teacher.register_buffer("centre", torch.zeros(2))
        self.averaged = ("teacher",)

    def step(self) -> None:
        self.student(torch.randn(8, 4)).sum().backward()
        with torch.no_grad():
            for weight in self.student.parameters():
                weight += 0.1


@pytest.mark.parametrize(
    ("name", "index"), [("encoder.weight", 2 * 64 * 64 - 1), ("encoder.bias", 0), ("encoder.table", 40)]
)
def test_a_single_bit_that_flips_in_a_frozen_tensor_is_found(name, index):
    net = Student()
    found = WeightAudit(net)
    net.step()
    flip(dict([*net.named_parameters(), *net.named_buffers()])[name], index)
    with pytest.raises(FrozenMoved, match=rf"1 frozen weights moved in the first step: {name}"):
        found.after_step()


def test_a_teacher_counts_as_trained_and_may_stay_or_move():
    net = Student()
    resting, moving = WeightAudit(net), WeightAudit(net)
    for _ in range(3):
        net.step()
        resting.after_step()
    expected = {"trained_tensors": 5, "moved_tensors": 2, "still_tensors": 3, "frozen_tensors": 3}
    assert expected.items() <= resting.as_record().items()
    with torch.no_grad():
        for tensor in (*net.teacher.parameters(), *net.teacher.buffers()):
            tensor += 0.01
    moving.after_step()
    assert moving.as_record()["moved_tensors"] == 5
    net.averaged = ()
    strict = WeightAudit(net)
    net.step()
    with torch.no_grad():
        net.teacher.weight += 0.01
    with pytest.raises(FrozenMoved, match=r"teacher\.weight"):
        strict.after_step()


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's peak of resident memory")
def test_a_large_frozen_module_is_not_copied():
    code = """
import torch
from torch import nn
from medvfm.engine.weight_audit import WeightAudit

def peak():  # kB
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

net = nn.Sequential(*(nn.Linear(4096, 4096, bias=False) for _ in range(4)), nn.Linear(2, 2))
net.requires_grad_(False)
net[-1].requires_grad_(True)
before = peak()
audit = WeightAudit(net)
with torch.no_grad():
    net[-1].weight += 1
    net[-1].bias += 1
audit.after_step()
print(peak() - before, sum(p.numel() * 4 for p in net.parameters()) // 1024)
"""
    grown, size = map(int, subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert size > 250_000 and grown < size / 8
