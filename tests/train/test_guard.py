"""What the guard lets pass."""

import torch

from mixlab.train.guard import Guard


def test_a_gradient_that_doubles_is_usual_however_alike_the_last_ones_were():
    """Of a run on real text: every batch had twice the gradient there, so five were dropped, and it went back."""
    guard = Guard(torch.device("cpu"))
    before = (0.26, 0.24, 0.24, 0.24, 0.23, 0.24, 0.23, 0.26, 0.27, 0.22, 0.26, 0.26, 0.27, 0.25, 0.31, 0.29)
    for step, norm in enumerate(before):
        assert guard.judge(torch.tensor(5.7 + 0.1 * (step % 3)), torch.tensor(norm)) == 0
    for norm in (0.564, 0.568, 0.598, 0.515, 0.529):
        assert guard.judge(torch.tensor(5.74), torch.tensor(norm)) == 0
    assert guard.judge(torch.tensor(5.74), torch.tensor(5.0)) == 1
