"""Charts as SVG text, for pages and files that must stand alone: no browser, no request, no script.

Lines and letters of a chart take the colour of the text around it (`currentColor`), so that one picture serves light
and dark paper; marks keep the palette of charts.py, which shows on both.
"""

import re
from pathlib import Path
from typing import Any

import vl_convert

INK = "#010203"
"""Stands for the colour of the text around it until the SVG is written: no palette holds it."""
FAINT = "#808080"
"""Grid and frame: half way between white and black paper."""
LOOK: dict[str, Any] = {
    "background": "transparent",
    "view": {"stroke": None},
    "title": {"color": INK, "font": "sans-serif"},
    "style": {"guide-label": {"fill": INK}, "guide-title": {"fill": INK}, "group-title": {"fill": INK}},
    "axis": {"domainColor": FAINT, "tickColor": FAINT, "gridColor": FAINT, "gridOpacity": 0.25},
    "header": {"labelColor": INK, "titleColor": INK},
}


def svg(chart: Any, *, ink: str = "currentColor") -> str:
    """An Altair chart as one `<svg>` element whose `<title>` is the chart's description; names no address.

    `ink`: CSS colour of axes and letters; `currentColor` is that of the page. Text of the data is escaped.
    """
    spec = chart.to_dict()
    spec["config"] = {**spec.get("config", {}), **LOOK}
    drawn = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]).replace(INK, ink)
    head, inside = re.split(r"(?<=>)", drawn, maxsplit=1)
    said = _escaped(str(spec.get("description", "")))
    size = re.search(r'width="([\d.]+)" height="([\d.]+)"', head)
    assert size is not None, head
    box = f'width="{size[1]}" height="{size[2]}" viewBox="0 0 {size[1]} {size[2]}"'
    return f'<svg role="img" aria-label="{said}" {box}><title>{said}</title>{inside}'


def save(chart: Any, path: Path) -> None:
    """Writes a chart as an SVG file that viewers on white and on dark paper can read."""
    drawn = svg(chart, ink="#737373").replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    path.write_text(drawn + "\n", encoding="utf-8")


def _escaped(text: str) -> str:
    for sign, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(sign, name)
    return text
