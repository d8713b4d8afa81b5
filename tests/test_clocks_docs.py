"""What the page publishes of virtual and real time is what it claims."""

from __future__ import annotations

from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "how-true.md").read_text(encoding="utf-8")


def test_the_published_comparison_agrees_as_it_says() -> None:
    """Counts are the same on both clocks in every case, and the 95th percentiles of waits lie within 5 %."""
    table = PAGE[PAGE.index("<!-- clocks -->") : PAGE.index("<!-- /clocks -->")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[3:]]
    assert [row[1] for row in rows] == ["virtual", "real"] * 3
    for virtual, real in zip(rows[::2], rows[1::2], strict=True):
        assert (virtual[0], virtual[2], virtual[3]) == (real[0], real[2], real[3])
        waits = [float(row[4].removesuffix(" s")) for row in (virtual, real)]
        assert abs(waits[1] - waits[0]) / waits[0] <= 0.05
        assert abs(float(real[5].removesuffix("%")) - 100 * abs(waits[1] - waits[0]) / waits[0]) < 0.2
