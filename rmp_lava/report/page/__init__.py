"""The report: one HTML page on a network, what it does on images, and what it would cost on a chip.

`measure` and `rates` compute; `sections`, `layers`, `hardware` and `provenance` say it in words, tables and pictures
(`drawing`, `plots`, `raster`, `cores`, `energy`); `style` and `svg` make pictures fit both backgrounds, and `page` puts
everything into one file. Names and provenance come from a file that anyone may have written: whatever is shown goes through
`words.label` or the template's escaping.
"""
