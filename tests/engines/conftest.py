from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines.helpers.kernels import WITHOUT, copy_kernels, kernels_for


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What engines learn of a machine is neither read from the home of whoever runs the tests nor left there.

    Built kernels are copied from there.
    """
    cache = tmp_path_factory.mktemp("cache")
    copy_kernels(cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        yield


@pytest.fixture
def torch_only() -> Iterator[None]:
    """As on a machine that has no compiler."""
    with kernels_for(WITHOUT):
        yield
