"""The report of `attribute`: warnings of every stage, and the unit of the scores."""

from test_properties import study_of

from influence.attribution.chain import Chain
from influence.attribution.report import report_of
from influence.curvature import method_named


def chain_by(method: str) -> Chain:
    return Chain(study_of(0), 0, lambda objective: method_named(method)(objective))


def test_a_warning_reaches_the_report_and_may_take_the_unit():
    chain = chain_by("exact")
    chain.objectives[1].remarks.warn("too flat to believe")
    report = report_of(chain, "exact")
    assert "too flat to believe" in report["warnings"]
    assert report["unit"] == "nat"
    chain.objectives[1].remarks.warn("linear in its outputs", order_only=True)
    report = report_of(chain, "exact")
    assert "linear in its outputs" in report["warnings"]
    assert report["unit"] == "order only"


def test_identity_gives_an_order_only():
    assert report_of(chain_by("identity"), "identity")["unit"] == "order only"
