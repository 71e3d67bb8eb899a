from collections.abc import Iterator

import pytest
from tests.unit.fetch.server import Site


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    found = Site()
    yield found
    found.server.shutdown()
    found.server.server_close()
    found.thread.join()
