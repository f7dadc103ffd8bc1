"""Which branches a training keeps."""

import torch

from editinfinity.models.drop_path import DropPath


def test_nothing_is_drawn_where_nothing_can_be_dropped() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert DropPath(torch.zeros(3))(batch=2) is None
    assert torch.equal(torch.get_rng_state(), before)


def test_branches_are_dropped_at_their_rate_and_the_mean_stays() -> None:
    torch.manual_seed(0)
    kept = DropPath(torch.tensor([0.0, 0.25, 0.8]))(batch=20_000)
    assert kept is not None and kept.factors.shape == (3, 2, 20_000)
    for factors, rate in zip(kept.factors, (0.0, 0.25, 0.8), strict=True):
        for branch in factors:
            torch.testing.assert_close(
                branch.unique(), torch.tensor([0, 1 / (1 - rate)][not rate :])
            )
            torch.testing.assert_close((branch == 0).float().mean().item(), rate, atol=0.02, rtol=0)
    assert not torch.equal(kept.factors[1, 0], kept.factors[1, 1])  # each for itself


def test_a_branch_is_computed_where_any_sample_keeps_it() -> None:
    torch.manual_seed(0)
    drawn = [DropPath(torch.tensor([0.0, 0.7]))(batch=2) for _ in range(40)]
    seen = set()
    for kept in drawn:
        assert kept is not None
        assert kept.computed == [[bool(b.any()) for b in block] for block in kept.factors]
        seen.add(tuple(kept.computed[1]))
    assert len(seen) == 4


def test_draws_follow_the_generator_of_the_cpu() -> None:
    """So that a training that is resumed draws what it would have drawn."""
    rates = torch.tensor([0.1, 0.5])
    torch.manual_seed(3)
    kept = DropPath(rates)(batch=4)
    torch.manual_seed(3)
    expected = (torch.rand(2, 2, 4) >= rates[:, None, None]) / (1 - rates[:, None, None])
    assert kept is not None and torch.equal(kept.factors, expected)
