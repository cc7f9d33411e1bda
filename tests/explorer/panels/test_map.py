"""The map's words."""

from explorer.panels.charts import map


def test_the_heading_names_the_stage_letter_by_letter():
    assert map.title("pretrain") == "Map of the pretraining examples"
    assert map.title("first_stage<b>") == "Map of the first_stage&lt;b&gt; examples"
    assert map.title(None) == "Map"
