"""Survey simulator: image time series of SDSS Stripe 82, ZTF and Rubin/LSST with the classes' truth.

Light curves and hosts are drawn from published figures (``tables/``, each made by one script of ``make_tables``),
images are rendered epoch by epoch, and come out as packets in the survey's own wire format or as stamp sequences on
disk. Everything is a function of the seed. Magnitudes are AB, fluxes nJy, angles arcsec unless a name says otherwise.
"""
