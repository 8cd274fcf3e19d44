"""The papers' numbers: whole, finite, found by an arm of ours."""

from study import published


def test_a_table_of_a_paper() -> None:
    rows = published.rows("LEWEL", "Tab7")
    assert len(rows) == 18
    assert {r["paper"] for r in rows} == {"LEWEL"}
    best = [
        r
        for r in rows
        if r["setting"].get("h") == 4 and r["setting"].get("d") == 256 and r["metric"] == "top1"
    ]
    assert [(r["value"], r["unit"], r["origin"]) for r in best] == [(83.3, "%", "own")]
    assert published.rows("LEWEL", "Tab99") == published.rows("nobody") == []


def test_every_row_is_whole() -> None:
    assert set(published.tables()) == {"LEWEL", "MCL", "GLSD", "EsViT"}
    for paper in published.tables():
        for row in published.rows(paper):
            assert row["method"]
            assert row["metric"]
            assert row["value"] is not None or "crashed" in row["note"]


def test_an_arm_finds_its_rows() -> None:
    rows = published.rows("LEWEL", "Tab7")
    found = published.matching(rows, "linear.top1", ["groups=8", "lewel_b"], {"method.groups": 8})
    assert [r["value"] for r in found] == [83.1]
    assert published.matching(rows, "linear.top1", ["groups=3", "lewel_b"], {"method.groups": 3}) == []
    found = published.matching(rows, "segmentation.mIoU", ["byol"], {})
    assert [r["value"] for r in found] == [59.7]
    assert published.matching(rows, "knn.top1", ["byol"], {}) == []
    rows = published.rows("GLSD", "Tab3")
    found = published.matching(rows, "knn.top1", ["glsd"], {"method.matching": "geometric"})
    assert found
    assert {r["method"] for r in found} == {"Geometric"}


def test_boxes_are_found_where_a_table_has_no_masks() -> None:
    found = published.matching(published.rows("LEWEL", "Tab3"), "detection.AP75_bb", ["byol"], {})
    assert found
    assert {r["metric"] for r in found} == {"AP75"}
    found = published.matching(published.rows("LEWEL", "Tab4"), "detection.AP_bb", ["byol"], {})
    assert {r["metric"] for r in found} == {"AP_bb"}


def test_what_is_given_cannot_be_changed_for_others() -> None:
    published.rows("LEWEL", "Tab7")[0]["setting"]["h"] = 99
    assert published.rows("LEWEL", "Tab7")[0]["setting"]["h"] != 99


def test_a_study_file_may_say_which_rows_an_arm_stands_beside() -> None:
    rows = published.rows("LEWEL", "Tab5")
    said = {"aligned_loss": True, "global_loss": False}
    assert [r["value"] for r in published.matching(rows, "linear.top1", ["aligned"], {}, said)] == [80.0]
    assert published.matching(rows, "linear.top1", ["lewel_m"], {}, {**said, "method": "BYOL"}) == []
