"""A plan as a picture: Mermaid text, SVG, or a page that holds the SVG. No network, no script."""

from talea.drawing.mermaid import draw_mermaid
from talea.drawing.svg import draw_html, draw_svg

__all__ = ["draw_html", "draw_mermaid", "draw_svg"]
