"""The report: one HTML page on a network, what it does on images, and what it would cost on a chip.

`measure` computes; `sections`, `layers`, `hardware` and `provenance` make sections of text, tables and the plots of
`rmp_lava.plot`; `svg` fits them to light and dark backgrounds; `page` puts everything into one file. Names and provenance come
from untrusted files: whatever is shown passes through `words.label`, the template's escaping or `Table.to_html`.
"""
