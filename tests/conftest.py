"""What every test may use: Hypothesis profiles and the folder of reference data."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import postgres_server
from tests.building import STORES, Shop, open_shop

CI = os.environ.get("CI") == "true"

# Comparisons that stand outside of the tests themselves show both sides as theirs do.
pytest.register_assert_rewrite(
    "cardbill.testing.conformance",
    "tests.deck_reading",
    "tests.machine_rules",
    "tests.museum",
    "tests.offers",
    "tests.registering",
)

# A deadline, or a complaint about slowness, judges the machine and not the code. In CI the same
# examples are tried each time, so that a red run is about the change; elsewhere new ones are.
_COMMON = settings(deadline=None, derandomize=CI, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("default", _COMMON, max_examples=100)
settings.register_profile("quick", _COMMON, max_examples=20)
settings.register_profile("soak", _COMMON, max_examples=5_000, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of store that a test runs over: each in turn."""
    return str(request.param)


@pytest.fixture
def shop(kind: str, tmp_path: Path) -> Iterator[Shop]:
    """The business of tests/building.py over each kind of store; its books add up at the end."""
    with open_shop(kind, tmp_path) as opened:
        yield opened
        opened.check_books()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of reference data: real rate decks, numbering plans, call records, golden vectors.

    It is the one named by CARDBILL_SHARED, or `shared` beside the project's own folder. Without it
    a test is skipped, but in CI it fails: there the data must be.
    """
    named = os.environ.get("CARDBILL_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    if folder.is_dir():
        return folder
    message = f"no reference data at {folder}; name its folder with CARDBILL_SHARED"
    if CI:
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture
def postgres() -> str:
    """The address of a PostgreSQL database with the tables of cardbill and nothing in them."""
    return postgres_server.database()


@pytest.fixture
def empty_postgres() -> str:
    """The address of a PostgreSQL database with nothing in it."""
    return postgres_server.database(empty=True)


@pytest.fixture(autouse=True)
def _databases_are_given_back() -> Iterator[None]:
    yield
    if (databases := postgres_server.started()) is not None:
        databases.give_back()


def pytest_sessionfinish() -> None:
    postgres_server.stop()
