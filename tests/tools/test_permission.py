"""No tool call is carried out that was not allowed: random scripts of calls, answers, and keys at every moment."""

import pytest

pytest.importorskip("pty", reason="needs a pseudo-terminal")

from tests.soak.hostile import permission


def test_nothing_is_carried_out_that_was_not_allowed():
    """A part of the soak trial of this name; whatever it allows is carried out, too."""
    outcome = permission.trial(0.02)
    assert (outcome.tried, outcome.failures) == (20, [])
    assert int(outcome.figures.split()[0]) > 20
