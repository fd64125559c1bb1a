"""What people see: tables and sentences for the terminal, and in `page` the report on a network as one HTML page.

    page = rmp_lava.make_page(network, images, labels, steps=16, trained=model)
    page.figures["raster"]        # a matplotlib figure
    page.sections[3].sheets       # tables with captions
    rmp_lava.write_page(page, Path("page.html"))

Only `page` needs matplotlib and jinja2 (the extra `report`).
"""
