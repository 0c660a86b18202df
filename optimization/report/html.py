"""What the HTML reports share: one file each, no scripts, no network, light or dark, for phone and paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def document(title: str, parts: Iterable[str]) -> str:
    """A page of one file, without scripts, that asks the network for nothing.

    Parameters
    ----------
    title
        HTML.
    parts
        Of the body; empty ones are left out.
    """
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{title}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )
    return page.replace(" %", "\u00a0%")


def section(title: str, content: str) -> str:
    """A section of HTML under a heading."""
    return f"<section>\n<h2>{title}</h2>\n{content}\n</section>"


def figure(pictures: Iterable[str], caption: str) -> str:
    """SVG pictures side by side over a caption."""
    return f"<figure><div class=pictures>{''.join(pictures)}</div><figcaption>{caption}</figcaption></figure>"


def table(
    caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], marked: str | None = None, *, prose: bool = False
) -> str:
    """A table of cells that are HTML already; the first of each row is its header.

    Cells of ``prose`` are sentences, which wrap and begin on the left.
    """
    kind = " class=prose" if prose else ""
    lines = [f'<div class=scroll role=region tabindex=0 aria-label="{caption}"><table{kind}>']
    lines.append(f"<caption>{caption}</caption>")
    lines.append("<thead><tr>" + "".join(f"<th scope=col>{cell}</th>" for cell in head) + "</tr></thead><tbody>")
    for first, *others in rows:
        lines.append(f"<tr{' class=marked' if first == marked else ''}><th scope=row>{first}</th>")
        lines.append("".join(f"<td>{cell}</td>" for cell in others) + "</tr>")
    return "\n".join(lines) + "</tbody></table></div>"


def percent(share: float, digits: int = 1) -> str:
    """``12.3 %`` of 0.123."""
    return f"{100.0 * share:.{digits}f} %"


def signed(t: float | None) -> str:
    """Statistic with its sign, or n/a."""
    return "n/a" if t is None else minus(f"{round(t, 1) + 0.0:+.1f}")


def p_text(value: float | None) -> str:
    """Probability, to three digits."""
    if value is None:
        return "n/a"
    return "&lt; 0.001" if value < 0.001 else f"{value:.3f}"


def minus(text: str) -> str:
    """Text with a minus sign in place of the hyphen."""
    return text.replace("-", "−")


def power_of_ten(exponent: int) -> str:
    """``10⁻⁵`` and its like."""
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


_CSS = """
:root { color-scheme: light dark; --ink: #1c2430; --paper: #ffffff; --soft: #5b6675; --line: #d9dee5; --mark: #eef4fb;
  --series-1: #0b62a8; --series-2: #c2500a; --series-3: #5a7d1c; --better: #0a6b3d; --worse: #a8231f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --paper: #14181e; --soft: #9aa6b5; --line: #343c47;
  --mark: #1d2938; --series-1: #5fb0f2; --series-2: #f59a55; --series-3: #a9cf5f; --better: #58cf95;
  --worse: #ff8a83; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.7rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--line); }
p, ul, dl { max-width: 48rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0 0 1rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.lead { font-size: 1.15rem; font-weight: 600; }
.note, figcaption, small, caption { color: var(--soft); }
.note, figcaption { font-size: .875rem; }
.scroll { overflow-x: auto; margin: 0 0 .8rem; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .2rem 0; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top;
  white-space: nowrap; }
thead th { vertical-align: bottom; white-space: normal; max-width: 6.5rem; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
.prose td, .prose th { white-space: normal; text-align: left; min-width: 5rem; }
.marked > * { background: var(--mark) !important; font-weight: 600; }
.better { color: var(--better); } .worse { color: var(--worse); }
figure { margin: 0 0 1.4rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
svg { width: 100%; max-width: 34rem; height: auto; stroke-linejoin: round; }
summary { cursor: pointer; }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; }
  th:first-child { min-width: 6rem; max-width: 40vw; white-space: normal; overflow-wrap: break-word; } }
@media print { :root { --ink: #000000; --paper: #ffffff; --soft: #444444; --line: #cccccc; --mark: #f0f0f0;
  --series-1: #0b62a8; --series-2: #c2500a; --series-3: #5a7d1c; --better: #0a6b3d; --worse: #a8231f; }
  figure, tr, p, li { break-inside: avoid; } h2 { break-after: avoid; } table { font-size: 7.5pt; }
  th, td { padding: .15rem .3rem; }
  details::details-content { content-visibility: visible; } @page { margin: 14mm; } }
"""
