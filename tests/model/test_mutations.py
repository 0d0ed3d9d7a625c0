"""Each rule of the protocol is needed: without it the explorer finds the schedule that breaks an invariant."""

import pytest

from tests.model.explorer import Explorer
from tests.model.mutations import MUTATIONS, Mutation

pytestmark = pytest.mark.exhaustive


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_without_this_rule_an_invariant_breaks(mutation: Mutation) -> None:
    with mutation.applied():
        report = Explorer(mutation.scenario).run()
    print(f"without this rule: {mutation.name}\n{report.counterexample}")  # noqa: T201
    assert report.broken is mutation.breaks


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_with_it_none_does(mutation: Mutation) -> None:
    report = Explorer(mutation.scenario).run()
    print(report)  # noqa: T201
    assert not report.counterexample
